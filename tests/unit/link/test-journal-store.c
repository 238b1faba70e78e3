/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The rows, without the thread: eviction and its line, what survives, and files that are not ours. */

#include "daemon/error.h"
#include "daemon/link/journal/journal-store.h"
#include "tests/support/support.h"
#include <glib/gstdio.h>
#include <sqlite3.h>
#include <string.h>
#include <sys/stat.h>

static const JournalBounds wide = {.rows = 1000, .bytes = 1 << 20};
static const guint8 digest[JOURNAL_DIGEST_SIZE] = "thirty-two bytes of one request";

static JournalStore *open_at(const char *path, const JournalBounds *bounds, gint64 now)
{
    g_autoptr(GError) error = NULL;
    JournalStore *store = journal_store_open(path, bounds, now, &error);
    g_assert_no_error(error);
    return store;
}

static char *new_path(void)
{
    g_autofree char *directory = test_directory();
    return g_build_filename(directory, "state", "journal.sqlite", NULL);
}

static void add(JournalStore *store, const char *siguuid, gint64 signing_time, const char *answer)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(journal_store_begin(store, &error));
    g_assert_true(journal_store_intend(store, "aa", siguuid, digest, signing_time, "{}", &error));
    if (answer)
        g_assert_true(journal_store_answer(store, "aa", siguuid, answer, &error));
    g_assert_true(journal_store_commit(store, &error));
    g_assert_no_error(error);
}

static bool has(JournalStore *store, const char *siguuid)
{
    g_autoptr(GError) error = NULL;
    g_auto(JournalRow) row = {0};
    bool found = false;
    g_assert_true(journal_store_find(store, "aa", siguuid, &found, &row, &error));
    return found;
}

static void evict(JournalStore *store, gint64 before)
{
    bool more = true;
    while (more) {
        g_autoptr(GError) error = NULL;
        g_assert_true(journal_store_begin(store, &error));
        g_assert_true(journal_store_evict(store, before, &more, &error));
        g_assert_true(journal_store_commit(store, &error));
    }
}

static void file_belongs_to_its_owner_alone(void)
{
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) store = open_at(path, &wide, 1000);
    static const char *const suffixes[] = {"", "-wal"};
    for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *file = g_strconcat(path, suffixes[i], NULL);
        struct stat status;
        g_assert_cmpint(stat(file, &status), ==, 0);
        g_assert_cmphex(status.st_mode & 0777, ==, 0600);
    }
    g_assert_cmpint(journal_store_line(store), ==, 0);
}

static void age_evicts_and_moves_the_line(void)
{
    g_autofree char *path = new_path();
    JournalStore *store = open_at(path, &wide, 1000);
    add(store, "old", 100, "answer");
    add(store, "middle", 200, NULL);
    add(store, "young", 300, "answer");
    evict(store, 200);
    g_assert_false(has(store, "old"));
    g_assert_true(has(store, "middle"));
    g_assert_cmpint(journal_store_line(store), ==, 100);
    evict(store, 201);
    g_assert_false(has(store, "middle"));
    g_assert_cmpint(journal_store_line(store), ==, 200);
    evict(store, 201);
    g_assert_cmpuint(journal_store_rows(store), ==, 1);
    journal_store_close(store);

    store = open_at(path, &wide, 1000);
    g_assert_cmpint(journal_store_line(store), ==, 200);
    g_assert_cmpuint(journal_store_rows(store), ==, 1);
    g_assert_true(has(store, "young"));
    journal_store_close(store);
}

static void many_leave_in_portions(void)
{
    const JournalBounds roomy = {.rows = 10000, .bytes = 1 << 30};
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) store = open_at(path, &roomy, 1000);
    g_autoptr(GError) error = NULL;
    g_assert_true(journal_store_begin(store, &error));
    for (int i = 0; i < 2500; i++) {
        g_autofree char *id = g_strdup_printf("%d", i);
        g_assert_true(journal_store_intend(store, "aa", id, digest, 1000 + i, "{}", &error));
    }
    bool more = false;
    g_assert_true(journal_store_evict(store, G_MAXINT64, &more, &error));
    g_assert_true(more);
    g_assert_cmpuint(journal_store_rows(store), ==, 1500);
    g_assert_cmpint(journal_store_line(store), ==, 1999);
    g_assert_true(journal_store_commit(store, &error));
    evict(store, G_MAXINT64);
    g_assert_cmpuint(journal_store_rows(store), ==, 0);
    g_assert_cmpint(journal_store_line(store), ==, 3499);
}

static void row_bound_moves_the_line_over_whole_seconds(void)
{
    const JournalBounds narrow = {.rows = 10, .bytes = 1 << 20};
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) store = open_at(path, &narrow, 1000);
    for (int i = 0; i < 12; i++) {
        g_autofree char *id = g_strdup_printf("%d", i);
        add(store, id, 500 + i / 4, NULL);
    }
    g_assert_true(journal_store_is_full(store));
    evict(store, 0);
    g_assert_false(journal_store_is_full(store));
    /* Four rows share the oldest second: the line may not stand in the middle of it. */
    g_assert_cmpuint(journal_store_rows(store), ==, 8);
    g_assert_cmpint(journal_store_line(store), ==, 500);
    g_assert_false(has(store, "3"));
    g_assert_true(has(store, "4"));
}

static void byte_bound_counts_answers(void)
{
    const JournalBounds small = {.rows = 1000, .bytes = 64 * 1024};
    g_autofree char *path = new_path();
    g_autofree char *answer = g_strnfill(20 * 1024, 'x');
    JournalStore *store = open_at(path, &small, 1000);
    for (int i = 0; i < 4; i++) {
        g_autofree char *id = g_strdup_printf("%d", i);
        add(store, id, 500 + i, answer);
    }
    journal_store_close(store);
    store = open_at(path, &small, 1000);
    g_assert_true(journal_store_is_full(store));
    evict(store, 0);
    g_assert_false(has(store, "0"));
    g_assert_true(has(store, "1"));
    g_assert_cmpint(journal_store_line(store), ==, 500);
    journal_store_close(store);
}

static void an_undone_transaction_counts_nothing(void)
{
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) store = open_at(path, &wide, 1000);
    g_autoptr(GError) error = NULL;
    bool more = false;
    add(store, "kept", 100, NULL);
    g_assert_true(journal_store_begin(store, &error));
    g_assert_true(journal_store_intend(store, "aa", "lost", digest, 200, "{}", &error));
    g_assert_true(journal_store_evict(store, 150, &more, &error));
    journal_store_rollback(store);
    g_assert_true(has(store, "kept"));
    g_assert_false(has(store, "lost"));
    g_assert_cmpuint(journal_store_rows(store), ==, 1);
    g_assert_cmpint(journal_store_line(store), ==, 0);
}

static void one_request_has_one_intent_and_one_answer(void)
{
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) store = open_at(path, &wide, 1000);
    g_autoptr(GError) error = NULL;
    add(store, "id", 100, NULL);
    g_assert_true(journal_store_intend(store, "aa", "id", digest, 100, "{}", &error));
    g_assert_false(journal_store_intend(store, "aa", "id", digest, 100, "{\"serial\":1}", &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_clear_error(&error);

    g_assert_true(journal_store_answer(store, "aa", "id", "first", &error));
    g_assert_true(journal_store_answer(store, "aa", "id", "second", &error));
    g_auto(JournalRow) row = {0};
    bool found = false;
    g_assert_true(journal_store_find(store, "aa", "id", &found, &row, &error));
    g_assert_cmpstr(row.answer, ==, "first");

    g_assert_false(journal_store_answer(store, "bb", "id", "text", &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
}

static void hostile_names_are_only_text(void)
{
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) store = open_at(path, &wide, 1000);
    add(store, "'); DROP TABLE request; --", 100, "a");
    add(store, "", 100, "b");
    add(store, "\xc3\xa4 \x01 \n", 100, "");
    g_assert_true(has(store, "'); DROP TABLE request; --"));
    g_assert_true(has(store, ""));
    g_assert_true(has(store, "\xc3\xa4 \x01 \n"));
    g_assert_false(has(store, "\xc3\xa4"));
}

static guint set_aside_files(const char *path)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_autoptr(GDir) files = g_dir_open(directory, 0, NULL);
    guint found = 0;
    for (const char *name = g_dir_read_name(files); name; name = g_dir_read_name(files))
        found += strstr(name, ".unreadable-") != NULL;
    return found;
}

/* What a test leaves at |path|, and whether there is something to keep. */
static void leave_garbage(const char *path)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_mkdir_with_parents(directory, 0700);
    g_assert_true(
        g_file_set_contents(path, "this was a database once, was it not? yes, it was a large one", -1, NULL));
}

static void leave_truncated(const char *path)
{
    journal_store_close(open_at(path, &wide, 1000));
    g_assert_cmpint(truncate(path, 4096), ==, 0);
}

static void leave_damaged_pages(const char *path)
{
    JournalStore *store = open_at(path, &wide, 1000);
    for (int i = 0; i < 200; i++) {
        g_autofree char *id = g_strdup_printf("%d", i);
        add(store, id, 100, "answer");
    }
    journal_store_close(store);
    g_autofree char *bytes = NULL;
    gsize size = 0;
    g_assert_true(g_file_get_contents(path, &bytes, &size, NULL));
    memset(bytes + 4096, 0x5a, size - 4096);
    g_assert_true(g_file_set_contents(path, bytes, (gssize)size, NULL));
}

static void leave_foreign(const char *path)
{
    g_autofree char *directory = g_path_get_dirname(path);
    g_mkdir_with_parents(directory, 0700);
    sqlite3 *database = NULL;
    g_assert_cmpint(sqlite3_open(path, &database), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(database, "CREATE TABLE cookies (a)", NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_close(database);
}

static void unusable_files_are_set_aside(void)
{
    static void (*const leave[])(const char *) = {leave_garbage, leave_truncated, leave_damaged_pages,
                                                  leave_foreign};
    for (gsize i = 0; i < G_N_ELEMENTS(leave); i++) {
        g_autofree char *path = new_path();
        leave[i](path);
        JournalStore *store = open_at(path, &wide, 5000);
        g_assert_cmpuint(set_aside_files(path), ==, 1);
        g_assert_cmpuint(journal_store_rows(store), ==, 0);
        g_assert_cmpint(journal_store_line(store), ==, 5000);
        add(store, "new", 5001, NULL);
        journal_store_close(store);
        store = open_at(path, &wide, 6000);
        g_assert_cmpint(journal_store_line(store), ==, 5000);
        g_assert_true(has(store, "new"));
        journal_store_close(store);
    }
}

static void emptied_file_refuses_what_was_before(void)
{
    g_autofree char *path = new_path();
    journal_store_close(open_at(path, &wide, 1000));
    g_assert_cmpint(truncate(path, 0), ==, 0);
    g_autoptr(JournalStore) store = open_at(path, &wide, 5000);
    g_assert_cmpint(journal_store_line(store), ==, 5000);
    g_assert_cmpuint(set_aside_files(path), ==, 0);
}

static void newer_versions_are_left_alone(void)
{
    g_autofree char *path = new_path();
    journal_store_close(open_at(path, &wide, 1000));
    sqlite3 *database = NULL;
    g_assert_cmpint(sqlite3_open(path, &database), ==, SQLITE_OK);
    g_assert_cmpint(sqlite3_exec(database, "PRAGMA user_version = 2", NULL, NULL, NULL), ==, SQLITE_OK);
    sqlite3_close(database);

    g_autoptr(GError) error = NULL;
    g_assert_null(journal_store_open(path, &wide, 1000, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "newer version"));
    g_assert_cmpuint(set_aside_files(path), ==, 0);
}

static void two_daemons_do_not_share_a_journal(void)
{
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) first = open_at(path, &wide, 1000);
    g_autoptr(GError) error = NULL;
    g_assert_null(journal_store_open(path, &wide, 1000, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
    g_assert_nonnull(strstr(error->message, "in use by another process"));
    g_assert_cmpuint(set_aside_files(path), ==, 0);
    add(first, "still", 100, NULL);
}

static void silent_channels_are_forgotten(void)
{
    g_autofree char *path = new_path();
    g_autoptr(JournalStore) store = open_at(path, &wide, 1000);
    g_autoptr(GError) error = NULL;
    g_assert_true(journal_store_begin(store, &error));
    g_assert_true(journal_store_set_since(store, "silent", "m1", 1000, &error));
    g_assert_true(journal_store_set_since(store, "busy", "m2", 1000, &error));
    g_assert_true(journal_store_set_since(store, "busy", "m3", 1001, &error));
    g_assert_true(journal_store_commit(store, &error));
    g_autoptr(GHashTable) all = journal_store_all_since(store, 1000 + 90 * 86400, &error);
    g_assert_cmpuint(g_hash_table_size(all), ==, 2);
    g_assert_cmpstr(g_hash_table_lookup(all, "busy"), ==, "m3");
    g_autoptr(GHashTable) later = journal_store_all_since(store, 1001 + 90 * 86400, &error);
    g_assert_cmpuint(g_hash_table_size(later), ==, 1);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_log_set_always_fatal(G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_ERROR);
    g_test_add_func("/journal-store/the-file-belongs-to-its-owner-alone", file_belongs_to_its_owner_alone);
    g_test_add_func("/journal-store/age-evicts-and-moves-the-line", age_evicts_and_moves_the_line);
    g_test_add_func("/journal-store/many-leave-in-portions", many_leave_in_portions);
    g_test_add_func("/journal-store/the-row-bound-moves-the-line-over-whole-seconds",
                    row_bound_moves_the_line_over_whole_seconds);
    g_test_add_func("/journal-store/the-byte-bound-counts-answers", byte_bound_counts_answers);
    g_test_add_func("/journal-store/an-undone-transaction-counts-nothing",
                    an_undone_transaction_counts_nothing);
    g_test_add_func("/journal-store/one-request-has-one-intent-and-one-answer",
                    one_request_has_one_intent_and_one_answer);
    g_test_add_func("/journal-store/hostile-names-are-only-text", hostile_names_are_only_text);
    g_test_add_func("/journal-store/unusable-files-are-set-aside", unusable_files_are_set_aside);
    g_test_add_func("/journal-store/an-emptied-file-refuses-what-was-before",
                    emptied_file_refuses_what_was_before);
    g_test_add_func("/journal-store/newer-versions-are-left-alone", newer_versions_are_left_alone);
    g_test_add_func("/journal-store/two-daemons-do-not-share-a-journal", two_daemons_do_not_share_a_journal);
    g_test_add_func("/journal-store/silent-channels-are-forgotten", silent_channels_are_forgotten);
    return g_test_run();
}
