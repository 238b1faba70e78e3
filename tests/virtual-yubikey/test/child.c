/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See child.h. */

#include "tests/virtual-yubikey/test/child.h"
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NOBODY 65534

/* Between fork and exec; the kernel forgets the signal when credentials change. */
static void prepare(gpointer unprivileged)
{
    if (unprivileged && geteuid() == 0 &&
        (setgroups(0, NULL) != 0 || setgid(NOBODY) != 0 || setuid(NOBODY) != 0))
        _exit(126);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        _exit(126);
}

GSubprocess *child_start(const char *const *argv, int descriptor, bool unprivileged)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_subprocess_launcher_set_child_setup(launcher, prepare, GINT_TO_POINTER(unprivileged), NULL);
    if (descriptor >= 0)
        g_subprocess_launcher_take_fd(launcher, descriptor, 3);
    GSubprocess *child = g_subprocess_launcher_spawnv(launcher, argv, &error);
    g_assert_no_error(error);
    return child;
}
