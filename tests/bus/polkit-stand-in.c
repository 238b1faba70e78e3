/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/bus/polkit-stand-in.h"
#include "tests/support/support.h"

static char *read_details(sd_bus_message *call)
{
    GString *text = g_string_new(NULL);
    const char *name, *value;
    g_assert_cmpint(sd_bus_message_enter_container(call, 'a', "{ss}"), >=, 0);
    while (sd_bus_message_read(call, "{ss}", &name, &value) > 0)
        g_string_append_printf(text, "%s=%s;", name, value);
    g_assert_cmpint(sd_bus_message_exit_container(call), >=, 0);
    return g_string_free(text, FALSE);
}

static void read_question(Polkit *polkit, sd_bus_message *call)
{
    const char *kind, *key, *name, *action;
    uint32_t flags;
    g_assert_cmpint(sd_bus_message_read(call, "(sa{sv})", &kind, 1, &key, "s", &name), >, 0);
    g_assert_cmpstr(kind, ==, "system-bus-name");
    g_assert_cmpstr(key, ==, "name");
    g_assert_cmpint(sd_bus_message_read(call, "s", &action), >, 0);
    g_free(polkit->action);
    g_free(polkit->subject);
    g_free(polkit->details);
    polkit->action = g_strdup(action);
    polkit->subject = g_strdup(name);
    polkit->details = read_details(call);
    g_assert_cmpint(sd_bus_message_read(call, "u", &flags), >, 0);
    polkit->interactive = flags & 1;
    polkit->questions++;
}

static int check_authorization(sd_bus_message *call, void *userdata, sd_bus_error *error)
{
    Polkit *polkit = userdata;
    read_question(polkit, call);
    switch (polkit->mode) {
    case POLKIT_YES:
        return sd_bus_reply_method_return(call, "(bba{ss})", 1, 0, 0);
    case POLKIT_NO:
        return sd_bus_reply_method_return(call, "(bba{ss})", 0, 0, 0);
    case POLKIT_CHALLENGE:
        return sd_bus_reply_method_return(call, "(bba{ss})", polkit->interactive, !polkit->interactive, 0);
    case POLKIT_NO_AGENT:
        return sd_bus_reply_method_return(call, "(bba{ss})", 0, 1, 0);
    case POLKIT_ERROR:
        return sd_bus_error_set(error, "org.freedesktop.PolicyKit1.Error.Failed", "No such action");
    case POLKIT_GARBAGE:
        /* sd-bus would not send what its own table does not promise, so the table below promises nothing. */
        return sd_bus_reply_method_return(call, "as", 2, "yes", "of course");
    case POLKIT_NEVER:
    case POLKIT_ABSENT:
        break;
    }
    return 1;
}

/* A filter instead of a vtable: it may answer with any type, and not at all. */
static int on_polkit_message(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    Polkit *polkit = userdata;
    if (sd_bus_message_is_method_call(message, "org.freedesktop.PolicyKit1.Authority",
                                      "CheckAuthorization")) {
        int r = check_authorization(message, polkit, error);
        if (r < 0 && sd_bus_error_is_set(error))
            r = sd_bus_reply_method_error(message, error);
        return r < 0 ? r : 1;
    }
    if (sd_bus_message_is_method_call(message, "org.freedesktop.PolicyKit1.Authority",
                                      "CancelCheckAuthorization")) {
        polkit->cancelled++;
        sd_bus_reply_method_return(message, "");
        return 1;
    }
    return 0;
}

Polkit *polkit_stand_in_new(sd_bus *bus)
{
    Polkit *polkit = g_new0(Polkit, 1);
    polkit->bus = bus;
    g_assert_cmpint(sd_bus_add_filter(polkit->bus, NULL, on_polkit_message, polkit), >=, 0);
    return polkit;
}

void polkit_stand_in_set(Polkit *polkit, PolkitMode mode)
{
    if (polkit->mode == POLKIT_ABSENT && mode != POLKIT_ABSENT)
        g_assert_cmpint(sd_bus_request_name(polkit->bus, "org.freedesktop.PolicyKit1", 0), >=, 0);
    if (polkit->mode != POLKIT_ABSENT && mode == POLKIT_ABSENT)
        g_assert_cmpint(sd_bus_release_name(polkit->bus, "org.freedesktop.PolicyKit1"), >=, 0);
    polkit->mode = mode;
}

void polkit_stand_in_free(Polkit *polkit)
{
    if (polkit == NULL)
        return;
    sd_bus_flush_close_unref(polkit->bus);
    g_free(polkit->action);
    g_free(polkit->subject);
    g_free(polkit->details);
    g_free(polkit);
}
