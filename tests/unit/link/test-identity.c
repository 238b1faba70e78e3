/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who the agent is, across restarts, clones of the disk and broken files. */

#include "daemon/json.h"
#include "daemon/link/identity.h"
#include "tests/support/support.h"
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

static Identity *open_in(const char *directory)
{
    g_autoptr(GError) error = NULL;
    Identity *identity = identity_open(directory, &error);
    g_assert_no_error(error);
    g_assert_true(g_uuid_string_is_valid(identity_uuid(identity)));
    return identity;
}

static char *uuid_in(const char *directory)
{
    g_autoptr(Identity) identity = open_in(directory);
    return g_strdup(identity_uuid(identity));
}

static guint index_of(Identity *identity, const char *thumbprint)
{
    g_autoptr(GError) error = NULL;
    guint index = G_MAXUINT;
    g_assert_true(identity_caindex(identity, thumbprint, &index, &error));
    g_assert_no_error(error);
    return index;
}

static char *file_text(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "agent.json", NULL);
    char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return text;
}

static guint files_aside(const char *directory)
{
    g_autoptr(GDir) files = g_dir_open(directory, 0, NULL);
    guint found = 0;
    for (const char *name = g_dir_read_name(files); name; name = g_dir_read_name(files))
        found += strstr(name, ".unreadable-") != NULL;
    return found;
}

static void uuid_stays(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *first = uuid_in(directory);
    g_autofree char *second = uuid_in(directory);
    g_assert_cmpstr(first, ==, second);
    g_autofree char *other_directory = test_directory();
    g_autofree char *other = uuid_in(other_directory);
    g_assert_cmpstr(first, !=, other);
}

static void file_tells_nobody_the_machine_id(void)
{
    g_autofree char *directory = test_directory();
    g_free(uuid_in(directory));
    g_autofree char *path = g_build_filename(directory, "agent.json", NULL);
    struct stat status;
    g_assert_cmpint(stat(path, &status), ==, 0);
    g_assert_cmphex(status.st_mode & 0777, ==, 0600);

    sd_id128_t machine;
    if (sd_id128_get_machine(&machine) < 0) {
        g_test_skip("this machine has no machine id");
        return;
    }
    char text[SD_ID128_STRING_MAX];
    g_autofree char *stored = file_text(directory);
    g_assert_null(strstr(stored, sd_id128_to_string(machine, text)));
    g_assert_nonnull(strstr(stored, "\"machine\""));
}

static void caindex_is_kept_and_never_used_again(void)
{
    g_autofree char *directory = test_directory();
    Identity *identity = open_in(directory);
    g_assert_cmpuint(index_of(identity, "aa"), ==, 0);
    g_assert_cmpuint(index_of(identity, "bb"), ==, 1);
    g_assert_cmpuint(index_of(identity, "aa"), ==, 0);
    identity_free(identity);

    identity = open_in(directory);
    g_assert_cmpuint(index_of(identity, "cc"), ==, 2);
    g_assert_cmpuint(index_of(identity, "bb"), ==, 1);
    identity_free(identity);

    /* An entry that somebody took out of the file frees no number. */
    g_autofree char *text = file_text(directory);
    g_auto(GStrv) parts = g_strsplit(text, "\"bb\":1,", 2);
    if (!parts[1]) {
        g_strfreev(parts);
        parts = g_strsplit(text, ",\"bb\":1", 2);
    }
    g_autofree char *without = g_strconcat(parts[0], parts[1], NULL);
    g_free(test_write(directory, "agent.json", without));
    identity = open_in(directory);
    g_assert_cmpuint(index_of(identity, "dd"), ==, 3);
    g_assert_cmpuint(index_of(identity, "bb"), ==, 4);
    identity_free(identity);
}

static void cloned_disk_becomes_another_agent(void)
{
    static const char clone[] =
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\","
        "\"machine\":\"00000000000000000000000000000001\",\"next\":2,\"caindex\":{\"aa\":1}}";
    sd_id128_t machine;
    if (sd_id128_get_machine(&machine) < 0) {
        g_test_skip("this machine has no machine id");
        return;
    }
    g_autofree char *directory = test_directory();
    g_free(test_write(directory, "agent.json", clone));
    g_autofree char *first = uuid_in(directory);
    g_assert_cmpstr(first, !=, "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d");
    g_autofree char *second = uuid_in(directory);
    g_assert_cmpstr(first, ==, second);
    g_autoptr(Identity) identity = open_in(directory);
    g_assert_cmpuint(index_of(identity, "aa"), ==, 1);
    g_assert_cmpuint(index_of(identity, "bb"), ==, 2);
    g_assert_cmpuint(files_aside(directory), ==, 0);
}

static void uuid_from_a_machine_without_an_id_is_kept(void)
{
    static const char text[] =
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"next\":0,\"caindex\":{}}";
    g_autofree char *directory = test_directory();
    g_free(test_write(directory, "agent.json", text));
    for (int round = 0; round < 2; round++) {
        g_autofree char *uuid = uuid_in(directory);
        g_assert_cmpstr(uuid, ==, "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d");
    }
}

static void broken_files_are_set_aside(void)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"uuid\":7,\"next\":0,\"caindex\":{}}",
        "{\"uuid\":\"not one\",\"next\":0,\"caindex\":{}}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"next\":0}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"caindex\":{}}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"next\":-1,\"caindex\":{}}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"next\":99999999999,\"caindex\":{}}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"next\":1,\"caindex\":{\"aa\":\"0\"}}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"next\":1,\"caindex\":{\"aa\":1}}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"next\":2,\"caindex\":{\"aa\":1,\"bb\":1}}",
        "{\"uuid\":\"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d\",\"machine\":[],\"next\":0,\"caindex\":{}}",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autofree char *directory = test_directory();
        g_free(test_write(directory, "agent.json", texts[i]));
        g_autofree char *uuid = uuid_in(directory);
        g_assert_cmpstr(uuid, !=, "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d");
        g_assert_cmpuint(files_aside(directory), ==, 1);
        g_autoptr(Identity) identity = open_in(directory);
        g_assert_cmpstr(identity_uuid(identity), ==, uuid);
        g_assert_cmpuint(index_of(identity, "aa"), ==, 0);
    }
}

static void what_is_no_file_is_set_aside(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "agent.json", NULL);
    g_assert_cmpint(g_mkdir(path, 0700), ==, 0);
    g_autoptr(Identity) identity = open_in(directory);
    g_assert_true(g_uuid_string_is_valid(identity_uuid(identity)));
    g_assert_cmpuint(files_aside(directory), ==, 1);
}

/* A number that may have reached the disk is not given to anybody else. */
static void failed_write_burns_the_number(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *state = g_build_filename(directory, "state", NULL);
    g_autofree char *away = g_build_filename(directory, "away", NULL);
    g_autoptr(Identity) identity = open_in(state);
    g_assert_cmpuint(index_of(identity, "aa"), ==, 0);

    /* The folder turns into a file: nothing can be written there, not even by root. */
    g_assert_cmpint(g_rename(state, away), ==, 0);
    g_free(test_write(directory, "state", "in the way"));
    g_autoptr(GError) error = NULL;
    guint index = 77;
    g_assert_false(identity_caindex(identity, "bb", &index, &error));
    g_assert_nonnull(error);
    g_assert_cmpuint(index, ==, 77);
    g_assert_cmpuint(index_of(identity, "aa"), ==, 0);

    g_assert_cmpint(g_unlink(state), ==, 0);
    g_assert_cmpint(g_rename(away, state), ==, 0);
    g_assert_cmpuint(index_of(identity, "bb"), ==, 2);
}

static gpointer allocate_some(gpointer shared)
{
    for (int i = 0; i < 20; i++) {
        g_autofree char *thumbprint = g_strdup_printf("%040d", i);
        (void)index_of(shared, thumbprint);
    }
    return NULL;
}

static void threads_get_one_number_each(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Identity) identity = open_in(directory);
    GThread *threads[4];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("identity", allocate_some, identity);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    g_assert_cmpuint(index_of(identity, "next"), ==, 20);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    g_test_add_func("/identity/the-uuid-stays", uuid_stays);
    g_test_add_func("/identity/the-file-tells-nobody-the-machine-id", file_tells_nobody_the_machine_id);
    g_test_add_func("/identity/a-caindex-is-kept-and-never-used-again", caindex_is_kept_and_never_used_again);
    g_test_add_func("/identity/a-cloned-disk-becomes-another-agent", cloned_disk_becomes_another_agent);
    g_test_add_func("/identity/a-uuid-from-a-machine-without-an-id-is-kept",
                    uuid_from_a_machine_without_an_id_is_kept);
    g_test_add_func("/identity/broken-files-are-set-aside", broken_files_are_set_aside);
    g_test_add_func("/identity/what-is-no-file-is-set-aside", what_is_no_file_is_set_aside);
    g_test_add_func("/identity/a-failed-write-burns-the-number", failed_write_burns_the_number);
    g_test_add_func("/identity/threads-get-one-number-each", threads_get_one_number_each);
    return g_test_run();
}
