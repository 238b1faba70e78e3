/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/link/transport/backoff.h"

static void waits_stay_between_floor_and_a_doubling_bound(void)
{
    Backoff backoff = BACKOFF_INIT(1000, 60 * 1000);
    gint64 bound = 1000;
    for (guint i = 0; i < 100; i++) {
        bound = MIN(bound * 2, 60 * 1000);
        g_assert_cmpint(backoff_bound(&backoff), ==, bound);
        gint64 wait = backoff_next(&backoff);
        g_assert_cmpint(wait, >=, 1000);
        g_assert_cmpint(wait, <=, bound);
    }
    backoff_reset(&backoff);
    g_assert_cmpint(backoff_bound(&backoff), ==, 2000);
}

/* A thousand agents that lost the same server: no second sees a large part of them. */
static void waits_are_spread(void)
{
    guint in_second[60] = {0};
    for (guint agent = 0; agent < 6000; agent++) {
        Backoff backoff = {.floor_ms = 1000, .ceiling_ms = 60 * 1000, .attempts = 20};
        in_second[MIN(backoff_next(&backoff) / 1000, 59)]++;
    }
    for (guint second = 1; second < 60; second++) {
        g_assert_cmpuint(in_second[second], >, 20);
        g_assert_cmpuint(in_second[second], <, 300);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/backoff/waits_stay_between_floor_and_a_doubling_bound",
                    waits_stay_between_floor_and_a_doubling_bound);
    g_test_add_func("/backoff/waits_are_spread", waits_are_spread);
    return g_test_run();
}
