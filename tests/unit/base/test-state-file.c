/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/state-file.h"
#include "tests/support/support.h"
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_written_file_reads_back_and_is_private(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "deeper", "file", NULL);
    g_autoptr(GError) error = NULL;
    struct stat status;
    g_assert_true(state_file_write(path, "one", 3, &error));
    g_assert_true(state_file_write(path, "two!", 4, &error));
    g_autoptr(GBytes) bytes = state_file_read(path, 100, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), "two!", 4);
    g_assert_cmpint(g_stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);
}

static void no_file_is_no_error_and_a_large_one_is(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "file", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_null(state_file_read(path, 3, &error));
    g_assert_no_error(error);
    g_assert_true(state_file_write(path, "1234", 4, &error));
    g_assert_null(state_file_read(path, 3, &error));
    g_assert_nonnull(error);
}

static void a_link_is_not_followed(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *target = test_write(directory, "target", "x");
    g_autofree char *path = g_build_filename(directory, "link", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(symlink(target, path), ==, 0);
    g_assert_null(state_file_read(path, 3, &error));
    g_assert_nonnull(error);
}

static void a_pipe_is_not_waited_for(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "pipe", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    g_assert_null(state_file_read(path, 3, &error));
    g_assert_nonnull(error);
}

static void set_aside_keeps_every_broken_file(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GError) error = NULL;
    for (int i = 0; i < 3; i++) {
        g_autofree char *path = test_write(directory, "file", "broken");
        g_assert_true(state_file_set_aside(path, "test", &error));
        g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    }
    int kept = 0;
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    for (const char *name; (name = g_dir_read_name(dir));)
        kept += g_str_has_prefix(name, "file.unreadable-");
    g_assert_cmpint(kept, ==, 3);
}

static void a_failed_write_leaves_the_old_file_and_no_other(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "file", NULL);
    g_autoptr(GError) error = NULL;
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0); /* rename onto a folder fails */
    g_assert_false(state_file_write(path, "x", 1, &error));
    g_assert_nonnull(strstr(error->message, path));
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    g_assert_cmpstr(g_dir_read_name(dir), ==, "file");
    g_assert_null(g_dir_read_name(dir));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/state-file/round-trip", a_written_file_reads_back_and_is_private);
    g_test_add_func("/state-file/absent-and-large", no_file_is_no_error_and_a_large_one_is);
    g_test_add_func("/state-file/link", a_link_is_not_followed);
    g_test_add_func("/state-file/pipe", a_pipe_is_not_waited_for);
    g_test_add_func("/state-file/set-aside", set_aside_keeps_every_broken_file);
    g_test_add_func("/state-file/failed-write", a_failed_write_leaves_the_old_file_and_no_other);
    return g_test_run();
}
