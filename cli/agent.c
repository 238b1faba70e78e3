/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Runs pkttyagent(1) and knows when it is ready: it closes the descriptor that it got as --notify-fd. */

#include "cli/agent.h"
#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#define NOTIFY_FD 3

struct Agent {
    GSubprocess *process;
};

static void die_with_parent(gpointer userdata)
{
    prctl(PR_SET_PDEATHSIG, SIGTERM);
}

static void wait_for_close(int fd)
{
    char byte;
    ssize_t n;
    do
        n = read(fd, &byte, 1);
    while (n > 0 || (n < 0 && errno == EINTR));
}

Agent *agent_new(void)
{
    int ready[2];
    if (!g_unix_open_pipe(ready, FD_CLOEXEC, NULL))
        return NULL;
    /* It asks on /dev/tty; that there is no polkit is said by the refusal. */
    g_autoptr(GSubprocessLauncher) launcher =
        g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDIN_INHERIT | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
    g_subprocess_launcher_take_fd(launcher, ready[1], NOTIFY_FD);
    g_subprocess_launcher_set_child_setup(launcher, die_with_parent, NULL, NULL);
    g_autofree char *pid = g_strdup_printf("%d", (int)getpid());
    GSubprocess *process =
        g_subprocess_launcher_spawn(launcher, NULL, "pkttyagent", "--process", pid, "--notify-fd",
                                    G_STRINGIFY(NOTIFY_FD), "--fallback", NULL);
    g_subprocess_launcher_close(launcher);
    if (process)
        wait_for_close(ready[0]);
    close(ready[0]);
    if (!process)
        return NULL;
    Agent *agent = g_new0(Agent, 1);
    agent->process = process;
    return agent;
}

void agent_free(Agent *agent)
{
    if (!agent)
        return;
    /* SIGTERM, not SIGKILL: it has to put the terminal's echo back. */
    g_subprocess_send_signal(agent->process, SIGTERM);
    g_subprocess_send_signal(agent->process, SIGCONT);
    g_subprocess_wait(agent->process, NULL, NULL);
    g_object_unref(agent->process);
    g_free(agent);
}
