/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The three traps of sd-event inside GLib's loop (ARCHITECTURE.md), each provoked. */

#include "daemon/loop.h"
#include "tests/support/support.h"
#include <gio/gunixsocketaddress.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct PingPong {
    Loop *loop;
    int fds[2];
    atomic_int rounds;
} PingPong;

enum { ROUNDS = 10000 };

static int on_ping(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    PingPong *game = userdata;
    char byte;
    g_assert_cmpint(read(fd, &byte, 1), ==, 1);
    if (atomic_fetch_add(&game->rounds, 1) + 1 == ROUNDS)
        loop_quit(game->loop, 7);
    else
        g_assert_cmpint(write(game->fds[1], "x", 1), ==, 1);
    return 0;
}

static gboolean never(int fd, GIOCondition condition, gpointer userdata)
{
    g_assert_not_reached();
}

/* A source with a descriptor that another thread attaches during our poll makes GLib skip all checks and
 * prepare everybody again: the sd-event is armed by then. Once a round, or nothing else would happen. */
static gpointer disturb(gpointer userdata)
{
    PingPong *game = userdata;
    int fds[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), ==, 0);
    for (int seen = 0, now; (now = atomic_load(&game->rounds)) < ROUNDS; seen = now) {
        g_autoptr(GSource) source = g_unix_fd_source_new(fds[0], G_IO_IN);
        g_source_set_callback(source, G_SOURCE_FUNC(never), NULL, NULL);
        g_source_attach(source, NULL);
        g_source_destroy(source);
        while (atomic_load(&game->rounds) == seen && seen < ROUNDS)
            g_thread_yield();
    }
    close(fds[0]);
    close(fds[1]);
    return NULL;
}

static void ten_thousand_events_pass_while_another_thread_attaches_sources(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Loop) loop = loop_new(&error);
    PingPong game = {.loop = loop};
    g_assert_no_error(error);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, game.fds), ==, 0);
    g_assert_cmpint(sd_event_add_io(loop_event(loop), NULL, game.fds[0], EPOLLIN, on_ping, &game), >=, 0);
    g_assert_cmpint(write(game.fds[1], "x", 1), ==, 1);

    GThread *thread = g_thread_new("disturb", disturb, &game);
    g_assert_cmpint(loop_run(loop), ==, 7);
    g_thread_join(thread);
    g_assert_cmpint(game.rounds, ==, ROUNDS);
    close(game.fds[0]);
    close(game.fds[1]);
}

static gboolean raise_sigterm(gpointer userdata)
{
    g_assert_cmpint(kill(getpid(), SIGTERM), ==, 0);
    return G_SOURCE_REMOVE;
}

static void sigterm_ends_the_loop(void)
{
    g_autoptr(Loop) loop = loop_new(NULL);
    g_idle_add(raise_sigterm, NULL);
    g_assert_cmpint(loop_run(loop), ==, 0);
}

static void on_hangup(void *userdata)
{
    (*(int *)userdata)++;
    g_idle_add(raise_sigterm, NULL);
}

static gboolean raise_sighup(gpointer userdata)
{
    g_assert_cmpint(kill(getpid(), SIGHUP), ==, 0);
    return G_SOURCE_REMOVE;
}

static void sighup_reloads_and_goes_on(void)
{
    g_autoptr(Loop) loop = loop_new(NULL);
    int hangups = 0;
    loop_on_hangup(loop, on_hangup, &hangups);
    g_idle_add(raise_sighup, NULL);
    g_assert_cmpint(loop_run(loop), ==, 0);
    g_assert_cmpint(hangups, ==, 1);
}

typedef struct Systemd {
    Loop *loop;
    GSocket *socket;
    int pings;
} Systemd;

static gboolean on_notification(GSocket *socket, GIOCondition condition, gpointer userdata)
{
    Systemd *systemd = userdata;
    char text[256] = "";
    g_assert_cmpint(g_socket_receive(socket, text, sizeof text - 1, NULL, NULL), >, 0);
    g_assert_cmpstr(text, ==, "WATCHDOG=1");
    if (++systemd->pings == 5)
        loop_quit(systemd->loop, 3);
    return G_SOURCE_CONTINUE;
}

static GSocket *listen_for_notifications(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    GSocket *socket = g_socket_new(G_SOCKET_FAMILY_UNIX, G_SOCKET_TYPE_DATAGRAM, 0, &error);
    g_assert_no_error(error);
    g_assert_true(g_socket_bind(socket, address, FALSE, &error));
    return socket;
}

/* The watchdog's timer wakes the sd-event without any source being due: a GSource that is dispatched all the
 * same ends the loop. */
static void watchdog_pings_go_out_and_nothing_else_is_dispatched(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "notify", NULL);
    Systemd systemd = {.socket = listen_for_notifications(path)};
    g_setenv("NOTIFY_SOCKET", path, TRUE);
    g_setenv("WATCHDOG_USEC", "200000", TRUE);
    g_autoptr(Loop) loop = loop_new(NULL);
    systemd.loop = loop;
    g_autoptr(GSource) source = g_socket_create_source(systemd.socket, G_IO_IN, NULL);
    g_source_set_callback(source, G_SOURCE_FUNC(on_notification), &systemd, NULL);
    g_source_attach(source, NULL);
    g_assert_cmpint(loop_run(loop), ==, 3);
    g_assert_cmpint(systemd.pings, ==, 5);
    g_source_destroy(source);
    g_object_unref(systemd.socket);
    g_unsetenv("NOTIFY_SOCKET");
    g_unsetenv("WATCHDOG_USEC");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL); /* before GLib's own threads */
    g_test_add_func("/loop/armed-twice", ten_thousand_events_pass_while_another_thread_attaches_sources);
    g_test_add_func("/loop/sigterm", sigterm_ends_the_loop);
    g_test_add_func("/loop/sighup", sighup_reloads_and_goes_on);
    g_test_add_func("/loop/watchdog", watchdog_pings_go_out_and_nothing_else_is_dispatched);
    return g_test_run();
}
