/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/link/lane.h"

/* Who went to the token, in order. */
static GString *story;

typedef struct Runner {
    char letter;
    LanePlace *place;
} Runner;

static void sign(void *userdata)
{
    const Runner *runner = userdata;
    g_string_append_c(story, runner->letter);
}

static void sign_and_leave(void *userdata)
{
    Runner *runner = userdata;
    sign(runner);
    lane_leave(g_steal_pointer(&runner->place));
}

static void start(Lane *lane, Runner *runners, guint n)
{
    story = g_string_new(NULL);
    for (guint i = 0; i < n; i++)
        runners[i] = (Runner){(char)('A' + i), NULL};
    for (guint i = 0; i < n; i++)
        runners[i].place = lane_enter(lane);
}

static void assert_story(const char *expected)
{
    g_assert_cmpstr(story->str, ==, expected);
}

static void finish(Lane *lane, Runner *runners, guint n)
{
    lane_close(lane);
    for (guint i = 0; i < n; i++)
        lane_leave(runners[i].place);
    g_string_free(g_steal_pointer(&story), TRUE);
}

static void the_order_of_arrival_holds_at_the_token(void)
{
    Lane *lane = lane_new();
    Runner r[3];
    start(lane, r, 3);
    lane_proceed(r[2].place, sign, &r[2]);
    lane_proceed(r[1].place, sign, &r[1]);
    assert_story("");
    lane_proceed(r[0].place, sign, &r[0]);
    assert_story("ABC");
    finish(lane, r, 3);
}

static void who_leaves_lets_the_next_ones_on(void)
{
    Lane *lane = lane_new();
    Runner r[3];
    start(lane, r, 3);
    lane_proceed(r[1].place, sign_and_leave, &r[1]);
    lane_proceed(r[2].place, sign_and_leave, &r[2]);
    g_assert_false(lane_leave(g_steal_pointer(&r[0].place)));
    assert_story("BC");
    finish(lane, r, 3);
}

static void nobody_goes_on_in_a_closed_lane(void)
{
    Lane *lane = lane_new();
    Runner r[3];
    start(lane, r, 3);
    lane_proceed(r[0].place, sign, &r[0]);
    lane_proceed(r[2].place, sign, &r[2]);
    lane_close(lane);
    g_assert_false(lane_leave(r[0].place));
    g_assert_false(lane_leave(r[1].place));
    g_assert_true(lane_leave(r[2].place));
    assert_story("A");
    g_string_free(g_steal_pointer(&story), TRUE);
}

#define TEST(name) g_test_add_func("/lane/" #name, name)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    TEST(the_order_of_arrival_holds_at_the_token);
    TEST(who_leaves_lets_the_next_ones_on);
    TEST(nobody_goes_on_in_a_closed_lane);
    return g_test_run();
}
