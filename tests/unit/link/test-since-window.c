/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/link/since-window.h"

static void finish(SinceWindow *window, const char *id, const char *expected)
{
    g_autofree char *since = since_window_finish(window, id);
    g_assert_cmpstr(since, ==, expected);
}

static void since_never_passes_an_unfinished_message(void)
{
    g_autoptr(SinceWindow) window = since_window_new();
    for (const char *const *id = (const char *const[]){"a", "b", "c", "d", NULL}; *id; id++)
        g_assert_true(since_window_add(window, *id));
    finish(window, "c", NULL);
    finish(window, "b", NULL);
    finish(window, "a", "c");
    finish(window, "d", "d");
}

static void a_message_delivered_twice_is_recognised_until_since_has_passed_it(void)
{
    g_autoptr(SinceWindow) window = since_window_new();
    g_assert_true(since_window_add(window, "a"));
    g_assert_true(since_window_add(window, "b"));
    finish(window, "b", NULL);
    g_assert_false(since_window_add(window, "a"));
    g_assert_false(since_window_add(window, "b"));
    finish(window, "a", "b");
    g_assert_true(since_window_add(window, "a"));
    finish(window, "never seen", NULL);
}

/* One that stays unfinished for long does not make the window grow with all that comes behind it. */
static void what_stays_unfinished_does_not_make_it_grow(void)
{
    g_autoptr(SinceWindow) window = since_window_new();
    g_assert_true(since_window_add(window, "stuck"));
    for (guint i = 0; i < 100000; i++) {
        g_autofree char *id = g_strdup_printf("%u", i);
        g_assert_true(since_window_add(window, id));
        if (i != 70001 && i % 7)
            finish(window, id, NULL);
    }
    g_assert_cmpuint(since_window_size(window), <, 4096 + 100000 / 7 * 2 + 2);
    for (guint i = 0; i < 100000; i += 7) {
        g_autofree char *id = g_strdup_printf("%u", i);
        finish(window, id, NULL);
    }
    g_assert_cmpuint(since_window_size(window), <, 2 * 4096);
    finish(window, "stuck", "70000");
    g_assert_cmpuint(since_window_size(window), <, 4096);
    finish(window, "70001", "99999");
    g_assert_cmpuint(since_window_size(window), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/since-window/" #name, name)
    TEST(since_never_passes_an_unfinished_message);
    TEST(what_stays_unfinished_does_not_make_it_grow);
    TEST(a_message_delivered_twice_is_recognised_until_since_has_passed_it);
    return g_test_run();
}
