/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Drained tokens are remembered, whatever their serial numbers look like. */

#include "daemon/drained.h"
#include "tests/support/support.h"

typedef struct Ending {
    bool done;
    GError *error;
} Ending;

static void on_done(const GError *error, void *userdata)
{
    Ending *ending = userdata;
    ending->done = true;
    ending->error = error ? g_error_copy(error) : NULL;
}

static void set(Drained *drained, Worker *files, const char *serial, bool on)
{
    Ending ending = {0};
    drained_set(drained, serial, on, files, on_done, &ending);
    g_assert_cmpint(drained_has(drained, serial), ==, on);
    test_wait(&ending.done, 30);
    g_assert_no_error(ending.error);
}

static Drained *open_in(const char *directory)
{
    g_autoptr(GError) error = NULL;
    Drained *drained = drained_open(directory, &error);
    g_assert_no_error(error);
    return drained;
}

static void test_remembered(void)
{
    static const char *const serials[] = {"12345678", "with blanks and %25", "line\nfeed", "\xff\xfe"};
    g_autofree char *directory = test_directory();
    Worker *files = worker_new("files", 1, 8);
    g_autoptr(Drained) drained = open_in(directory);
    for (gsize i = 0; i < G_N_ELEMENTS(serials); i++) {
        g_assert_false(drained_has(drained, serials[i]));
        set(drained, files, serials[i], true);
    }
    g_autoptr(Drained) again = open_in(directory);
    for (gsize i = 0; i < G_N_ELEMENTS(serials); i++) {
        g_assert_true(drained_has(again, serials[i]));
        set(again, files, serials[i], false);
    }
    g_autoptr(Drained) empty = open_in(directory);
    for (gsize i = 0; i < G_N_ELEMENTS(serials); i++)
        g_assert_false(drained_has(empty, serials[i]));
    worker_close_and_join(files);
}

static void test_damaged(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *file = test_write(directory, "drained", "12345678\n%zz\n");
    g_autoptr(Drained) drained = open_in(directory);
    g_assert_false(drained_has(drained, "12345678"));
    g_assert_false(g_file_test(file, G_FILE_TEST_EXISTS));
}

static void test_not_written(void)
{
    g_autofree char *directory = test_directory();
    Worker *files = worker_new("files", 1, 8);
    g_autoptr(Drained) drained = open_in(directory);
    g_autofree char *file = g_build_filename(directory, "drained", "in-the-way", NULL);
    g_assert_cmpint(g_mkdir_with_parents(file, 0700), ==, 0);
    Ending ending = {0};
    drained_set(drained, "1", true, files, on_done, &ending);
    test_wait(&ending.done, 30);
    g_assert_nonnull(ending.error);
    g_clear_error(&ending.error);
    g_assert_true(drained_has(drained, "1"));
    worker_close_and_join(files);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/drained/is-remembered", test_remembered);
    g_test_add_func("/drained/a-damaged-list-is-set-aside", test_damaged);
    g_test_add_func("/drained/what-can-not-be-written-is-said-and-holds-meanwhile", test_not_written);
    return g_test_run();
}
