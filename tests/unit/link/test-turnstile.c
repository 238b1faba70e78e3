/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* So many inside at once, the others in line. */

#include "daemon/link/turnstile.h"
#include "tests/support/support.h"

typedef struct Visitor {
    GString *log;
    const char *name;
} Visitor;

static void go(void *userdata)
{
    const Visitor *visitor = userdata;
    g_string_append(visitor->log, visitor->name);
}

static void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static void so_many_are_inside_and_the_others_follow_in_order(void)
{
    g_autoptr(GString) log = g_string_new(NULL);
    g_autoptr(Turnstile) turnstile = turnstile_new(2);
    Visitor visitors[] = {{log, "a"}, {log, "b"}, {log, "c"}, {log, "d"}};
    Turn *turns[4];
    for (guint i = 0; i < 4; i++)
        turns[i] = turnstile_enter(turnstile, go, &visitors[i]);
    g_assert_cmpstr(log->str, ==, ""); /* never from inside the call */
    settle();
    g_assert_cmpstr(log->str, ==, "ab");
    turnstile_leave(turns[1]);
    settle();
    g_assert_cmpstr(log->str, ==, "abc");
    turnstile_leave(turns[0]);
    turnstile_leave(turns[2]);
    settle();
    g_assert_cmpstr(log->str, ==, "abcd");
    turnstile_leave(turns[3]);
}

static void who_gives_his_turn_back_in_line_takes_no_place(void)
{
    g_autoptr(GString) log = g_string_new(NULL);
    g_autoptr(Turnstile) turnstile = turnstile_new(1);
    Visitor visitors[] = {{log, "a"}, {log, "b"}, {log, "c"}};
    Turn *turns[3];
    for (guint i = 0; i < 3; i++)
        turns[i] = turnstile_enter(turnstile, go, &visitors[i]);
    turnstile_leave(turns[1]);
    settle();
    g_assert_cmpstr(log->str, ==, "a");
    turnstile_leave(turns[0]);
    settle();
    g_assert_cmpstr(log->str, ==, "ac");
    turnstile_leave(turns[2]);
    turnstile_leave(NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/turnstile/so-many-are-inside-and-the-others-follow-in-order",
                    so_many_are_inside_and_the_others_follow_in_order);
    g_test_add_func("/turnstile/who-gives-his-turn-back-in-line-takes-no-place",
                    who_gives_his_turn_back_in_line_takes_no_place);
    return g_test_run();
}
