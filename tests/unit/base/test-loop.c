/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The three traps of sd-event inside GLib's loop (ARCHITECTURE.md), each provoked. */

#include "daemon/loop.h"
#include "tests/support/support.h"
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct PingPong {
    Loop *loop;
    int fds[2];
    int rounds;
} PingPong;

enum { ROUNDS = 10000 };

static int on_ping(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    PingPong *game = userdata;
    char byte;
    g_assert_cmpint(read(fd, &byte, 1), ==, 1);
    if (++game->rounds == ROUNDS)
        loop_quit(game->loop, 7);
    else
        g_assert_cmpint(write(game->fds[1], "x", 1), ==, 1);
    return 0;
}

static atomic_bool disturbing;

static gboolean do_nothing(gpointer userdata)
{
    return G_SOURCE_REMOVE;
}

/* Attaching sources from another thread makes GLib prepare again while the sd-event is armed. */
static gpointer disturb(gpointer userdata)
{
    while (atomic_load(&disturbing)) {
        g_idle_add(do_nothing, NULL);
        g_thread_yield();
    }
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

    atomic_store(&disturbing, true);
    GThread *thread = g_thread_new("disturb", disturb, NULL);
    g_assert_cmpint(loop_run(loop), ==, 7);
    atomic_store(&disturbing, false);
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

static int count_dispatch(sd_event_source *source, void *userdata)
{
    (*(int *)userdata)++;
    return 0;
}

typedef struct Idle {
    Loop *loop;
    int dispatched;
    int laps;
} Idle;

static gboolean lap(gpointer userdata)
{
    Idle *idle = userdata;
    if (++idle->laps < 1000)
        return G_SOURCE_CONTINUE;
    loop_quit(idle->loop, 0);
    return G_SOURCE_REMOVE;
}

/* A source that is dispatched although check said no would make sd_event_dispatch fail and end the loop early. */
static void nothing_is_dispatched_that_did_not_happen(void)
{
    g_autoptr(Loop) loop = loop_new(NULL);
    Idle idle = {.loop = loop};
    sd_event_source *once = NULL;
    g_assert_cmpint(sd_event_add_defer(loop_event(loop), &once, count_dispatch, &idle.dispatched), >=, 0);
    g_idle_add(lap, &idle);
    g_assert_cmpint(loop_run(loop), ==, 0);
    g_assert_cmpint(idle.laps, ==, 1000);
    g_assert_cmpint(idle.dispatched, ==, 1);
    sd_event_source_unref(once);
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
    g_test_add_func("/loop/no-false-dispatch", nothing_is_dispatched_that_did_not_happen);
    return g_test_run();
}
