/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Four tokens that take 100 ms for a signature can make 40 a second together. What the daemon makes of them
 * is measured end to end, and the bound fails when a token ever waits for work that is there.
 *
 * Something else may want the machine just then. So the best of a few windows counts, and in each of them a
 * thread sleeps and works as little as one of the tokens does: when even that one comes late in all of them,
 * the figures say something about the machine and nothing about the daemon, and are only reported. */

#include "tests/end-to-end/appliances.h"
#include <time.h>

#define TOKENS 4
#define REQUESTS 160
#define WINDOWS 5
#define SIGNATURES_A_SECOND_MIN 38.0

/* The thread that knows the machine: what it asks for, and by how much longer it may take on one with room.
 */
#define PROBE_SLEEP_US 20000
#define PROBE_WORK_US 2000
#define PROBE_LATE_US_MAX 1000

typedef struct Probe {
    gint stop; /* atomic */
    gint64 rounds;
    gint64 taken;
} Probe;

static gint64 own_time(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (gint64)time.tv_sec * G_USEC_PER_SEC + time.tv_nsec / 1000;
}

static gpointer run_probe(gpointer userdata)
{
    Probe *probe = userdata;
    while (!g_atomic_int_get(&probe->stop)) {
        gint64 begin = g_get_monotonic_time();
        g_usleep(PROBE_SLEEP_US); /* how late it wakes is what is measured */
        for (gint64 worked = own_time(); own_time() - worked < PROBE_WORK_US;)
            ;
        probe->taken += g_get_monotonic_time() - begin;
        probe->rounds++;
    }
    return NULL;
}

typedef struct Window {
    double throughput;
    double late_us; /* of the probe, on average */
} Window;

static Window measure(Scene *scene)
{
    Probe probe = {0};
    GThread *thread = g_thread_new("probe", run_probe, &probe);
    g_autofree char *requests = g_strdup_printf("%d", REQUESTS);
    g_autofree char *driven = scene_platform(
        scene, 0, "drive --ca=$1 --requests=$2 --concurrency=24 --attempts=1 --samples=0 --json", "Busy",
        requests, NULL);
    g_atomic_int_set(&probe.stop, 1);
    g_thread_join(thread);

    g_autoptr(JsonNode) node = json_from_string(driven, NULL);
    JsonObject *figures = json_node_get_object(node);
    g_assert_cmpint(json_object_get_int_member(figures, "ok"), ==, REQUESTS);
    g_assert_cmpint(probe.rounds, >, 0);
    Window window = {json_object_get_double_member(figures, "throughput"),
                     (double)probe.taken / (double)probe.rounds - PROBE_SLEEP_US - PROBE_WORK_US};
    test_figure("%d tokens of 100 ms: %.1f signatures/s of %.1f, p50 %.0f ms, p99 %.0f ms; 2 ms of work come "
                "%.1f ms late",
                TOKENS, window.throughput, TOKENS * 10.0, json_object_get_double_member(figures, "p50"),
                json_object_get_double_member(figures, "p99"), window.late_us / 1000);
    return window;
}

static void four_tokens_are_kept_busy(void)
{
    g_autoptr(Scene) scene = scene_new("");
    g_autoptr(Appliances) appliances = appliances_new(scene, 1, TOKENS, "delay-ms=100", "Busy");
    double best = 0;
    bool had_room = false;
    for (int i = 0; i < WINDOWS && best < SIGNATURES_A_SECOND_MIN; i++) {
        Window window = measure(scene);
        best = MAX(best, window.throughput);
        had_room = had_room || window.late_us <= PROBE_LATE_US_MAX;
    }
    if (best < SIGNATURES_A_SECOND_MIN && !had_room)
        g_test_skip("The machine has other work: the figures say nothing about the daemon");
    else
        g_assert_cmpfloat(best, >=, SIGNATURES_A_SECOND_MIN);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench/four-tokens-are-kept-busy", four_tokens_are_kept_busy);
    return g_test_run();
}
