/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iothsmd with fake tokens: iothsmd-fake --fake='fake:serial=F1,pin=123456' … (daemon/token/fake/fake.h has
 * the words). Signals do to the first token what a hand does: SIGUSR1 unplugs it, SIGUSR2 plugs it in again,
 * SIGWINCH touches it. */

#include "daemon/daemon.h"
#include "daemon/token/fake/fake.h"
#include <glib-unix.h>
#include <string.h>

static char **specs;
static Source *source;

static const GOptionEntry options[] = {
    {"fake", 0, 0, G_OPTION_ARG_STRING_ARRAY, &specs, "Add a fake token", "SPEC"},
    G_OPTION_ENTRY_NULL,
};

/* "fake:serial=F1" of "fake:serial=F1,pin=123456". */
static char *first_name(void)
{
    return g_strndup(specs[0], strcspn(specs[0], ","));
}

static gboolean unplug(gpointer userdata)
{
    g_autofree char *name = first_name();
    fake_source_unplug(source, name + strlen("fake:serial="));
    return G_SOURCE_CONTINUE;
}

static gboolean plug(gpointer userdata)
{
    g_autofree char *name = first_name();
    g_autoptr(GError) error = NULL;
    if (!fake_source_plug(source, name, &error))
        log_error("%s", error->message);
    return G_SOURCE_CONTINUE;
}

static gboolean touch(gpointer userdata)
{
    g_autofree char *name = first_name();
    fake_source_touch(source, name + strlen("fake:serial="));
    return G_SOURCE_CONTINUE;
}

static bool add_sources(Manager *manager, GError **error)
{
    if (specs == NULL)
        return true;
    g_autofree char *joined = g_strjoinv("\n", specs);
    source = fake_source_new(joined, error);
    if (source == NULL)
        return false;
    g_unix_signal_add(SIGUSR1, unplug, NULL);
    g_unix_signal_add(SIGUSR2, plug, NULL);
    g_unix_signal_add(SIGWINCH, touch, NULL);
    manager_add_source(manager, source);
    return true;
}

int main(int argc, char **argv)
{
    static const DaemonAdditions additions = {options, add_sources};
    int status = daemon_main(argc, argv, &additions);
    g_strfreev(specs);
    return status;
}
