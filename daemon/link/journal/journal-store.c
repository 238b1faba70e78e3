/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests in SQLite. WAL with synchronous=FULL: a commit is one append and one fsync, and a transaction that
 * was reported is there after a power cut. Locked exclusively, so two daemons never share a journal, and
 * there is no shared memory file.
 *
 * Rows leave in order of signing time only, together with all rows of the same second, and the line that they
 * leave behind is the newest signing time among them: a request that the line lets pass can't have been here.
 */

#include "daemon/link/journal/journal-store.h"
#include "daemon/error.h"
#include "daemon/link/journal/journal-schema.h"
#include <sqlite3.h>
#include <string.h>

typedef enum Statement {
    BEGIN,
    COMMIT,
    ROLLBACK,
    FIND,
    TOUCH,
    INTEND,
    ANSWER,
    SET_SINCE,
    ALL_SINCE,
    FORGET_SINCE,
    EVICTABLE,
    COUNT_EVICTED,
    EVICT,
    MOVE_LINE,
    N_STATEMENTS
} Statement;

static const char *const statements[N_STATEMENTS] = {
    [BEGIN] = "BEGIN",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [FIND] =
        "SELECT digest, signing_time, intent, answer FROM request WHERE thumbprint = ?1 AND siguuid = ?2",
    [TOUCH] =
        "UPDATE request SET signing_time = max(signing_time, ?3) WHERE thumbprint = ?1 AND siguuid = ?2",
    [INTEND] = "INSERT INTO request (thumbprint, siguuid, digest, signing_time, size, intent)"
               " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    [ANSWER] = "UPDATE request SET answer = ?3, size = size + ?4"
               " WHERE thumbprint = ?1 AND siguuid = ?2 AND answer IS NULL",
    [SET_SINCE] =
        "INSERT INTO since (channel, message, updated) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (channel) DO UPDATE SET message = excluded.message, updated = excluded.updated",
    [ALL_SINCE] = "SELECT channel, message FROM since",
    [FORGET_SINCE] = "DELETE FROM since WHERE updated < ?1",
    [EVICTABLE] =
        "SELECT max(signing_time), count(*) FROM"
        " (SELECT signing_time FROM request WHERE signing_time < ?1 ORDER BY signing_time LIMIT ?2)",
    [COUNT_EVICTED] = "SELECT count(*), coalesce(sum(size), 0) FROM request WHERE signing_time <= ?1",
    [EVICT] = "DELETE FROM request WHERE signing_time <= ?1",
    [MOVE_LINE] = "UPDATE line SET refused = max(refused, ?1)",
};

enum { EVICT_AT_ONCE = 1000 };

struct JournalStore {
    char *path;
    sqlite3 *database;
    sqlite3_stmt *prepared[N_STATEMENTS];
    JournalBounds bounds;
    JournalTotals totals;
    JournalTotals before_transaction;
    bool damaged;
};

static bool failed(JournalStore *store, const char *what, GError **error)
{
    int code = sqlite3_errcode(store->database) & 0xff;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        store->damaged = true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't %s the journal %s: %s", what, store->path,
                sqlite3_errmsg(store->database));
    return false;
}

void journal_row_clear(JournalRow *row)
{
    g_clear_pointer(&row->intent, g_free);
    g_clear_pointer(&row->answer, g_free);
}

/* |which|, with nothing bound. */
static sqlite3_stmt *statement(JournalStore *store, Statement which)
{
    sqlite3_reset(store->prepared[which]);
    sqlite3_clear_bindings(store->prepared[which]);
    return store->prepared[which];
}

static void bind_text(sqlite3_stmt *prepared, int at, const char *text)
{
    sqlite3_bind_text64(prepared, at, text, strlen(text), SQLITE_STATIC, SQLITE_UTF8);
}

static sqlite3_stmt *request_statement(JournalStore *store, Statement which, const char *thumbprint,
                                       const char *siguuid)
{
    sqlite3_stmt *prepared = statement(store, which);
    bind_text(prepared, 1, thumbprint);
    bind_text(prepared, 2, siguuid);
    return prepared;
}

/* A statement without rows. */
static bool run(JournalStore *store, sqlite3_stmt *prepared, GError **error)
{
    bool done = sqlite3_step(prepared) == SQLITE_DONE;
    if (!done)
        failed(store, "write", error);
    sqlite3_reset(prepared);
    return done;
}

static bool prepare(JournalStore *store, GError **error)
{
    for (int i = 0; i < N_STATEMENTS; i++) {
        if (sqlite3_prepare_v3(store->database, statements[i], -1, SQLITE_PREPARE_PERSISTENT,
                               &store->prepared[i], NULL) != SQLITE_OK)
            return failed(store, "use", error);
    }
    return true;
}

static bool open_database(JournalStore *store, gint64 line, gint64 now, GError **error)
{
    store->database = journal_schema_open(store->path, line, now, &store->totals, error);
    if (!store->database || !prepare(store, error))
        return false;
    store->damaged = false;
    return true;
}

static void close_database(JournalStore *store)
{
    for (int i = 0; i < N_STATEMENTS; i++)
        g_clear_pointer(&store->prepared[i], sqlite3_finalize);
    g_clear_pointer(&store->database, sqlite3_close);
}

JournalStore *journal_store_open(const char *path, const JournalBounds *bounds, gint64 now, GError **error)
{
    g_autoptr(JournalStore) store = g_new0(JournalStore, 1);
    store->path = g_strdup(path);
    store->bounds = *bounds;
    /* Nothing was ever here, and what was sent before this process had its channel keys can't be opened. */
    return open_database(store, 0, now, error) ? g_steal_pointer(&store) : NULL;
}

void journal_store_close(JournalStore *store)
{
    if (!store)
        return;
    close_database(store);
    g_free(store->path);
    g_free(store);
}

bool journal_store_is_damaged(const JournalStore *store)
{
    return store->damaged;
}

bool journal_store_start_over(JournalStore *store, gint64 now, GError **error)
{
    close_database(store);
    if (g_file_test(store->path, G_FILE_TEST_EXISTS) &&
        !journal_schema_set_aside(store->path, "it showed damage in use", error))
        return false;
    return open_database(store, now, now, error);
}

bool journal_store_begin(JournalStore *store, GError **error)
{
    store->before_transaction = store->totals;
    return run(store, statement(store, BEGIN), error);
}

bool journal_store_commit(JournalStore *store, GError **error)
{
    if (!journal_store_in_transaction(store)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "The journal %s has undone its last changes",
                    store->path);
        store->totals = store->before_transaction;
        return false;
    }
    if (run(store, statement(store, COMMIT), error))
        return true;
    journal_store_rollback(store);
    return false;
}

void journal_store_rollback(JournalStore *store)
{
    if (journal_store_in_transaction(store))
        run(store, statement(store, ROLLBACK), NULL);
    store->totals = store->before_transaction;
}

bool journal_store_in_transaction(const JournalStore *store)
{
    return sqlite3_get_autocommit(store->database) == 0;
}

gint64 journal_store_line(const JournalStore *store)
{
    return store->totals.line;
}

guint64 journal_store_rows(const JournalStore *store)
{
    return store->totals.rows;
}

guint64 journal_store_bytes(const JournalStore *store)
{
    return store->totals.bytes;
}

bool journal_store_is_full(const JournalStore *store)
{
    return store->totals.rows > store->bounds.rows || store->totals.bytes > store->bounds.bytes;
}

bool journal_store_find(JournalStore *store, const char *thumbprint, const char *siguuid, bool *ret_found,
                        JournalRow *ret_row, GError **error)
{
    sqlite3_stmt *prepared = request_statement(store, FIND, thumbprint, siguuid);
    int code = sqlite3_step(prepared);
    bool fits = code == SQLITE_ROW && sqlite3_column_bytes(prepared, 0) == JOURNAL_DIGEST_SIZE;

    if (fits) {
        memcpy(ret_row->digest, sqlite3_column_blob(prepared, 0), JOURNAL_DIGEST_SIZE);
        ret_row->signing_time = sqlite3_column_int64(prepared, 1);
        ret_row->intent = g_strdup((const char *)sqlite3_column_text(prepared, 2));
        ret_row->answer = g_strdup((const char *)sqlite3_column_text(prepared, 3));
    } else if (code != SQLITE_DONE) {
        failed(store, "read", error);
    }
    sqlite3_reset(prepared);
    *ret_found = fits;
    return fits || code == SQLITE_DONE;
}

bool journal_store_touch(JournalStore *store, const char *thumbprint, const char *siguuid,
                         gint64 signing_time, GError **error)
{
    sqlite3_stmt *prepared = request_statement(store, TOUCH, thumbprint, siguuid);
    sqlite3_bind_int64(prepared, 3, signing_time);
    return run(store, prepared, error);
}

static bool is_same_intent(JournalStore *store, const char *thumbprint, const char *siguuid,
                           const guint8 *digest, const char *intent, GError **error)
{
    g_auto(JournalRow) row = {0};
    bool found = false;
    if (!journal_store_find(store, thumbprint, siguuid, &found, &row, error))
        return false;
    if (found && memcmp(row.digest, digest, JOURNAL_DIGEST_SIZE) == 0 && g_strcmp0(row.intent, intent) == 0)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The request %s is being signed already", siguuid);
    return false;
}

bool journal_store_intend(JournalStore *store, const char *thumbprint, const char *siguuid,
                          const guint8 digest[JOURNAL_DIGEST_SIZE], gint64 signing_time, const char *intent,
                          GError **error)
{
    gint64 size = (gint64)strlen(intent) + JOURNAL_ROW_OVERHEAD;
    sqlite3_stmt *prepared = request_statement(store, INTEND, thumbprint, siguuid);
    sqlite3_bind_blob(prepared, 3, digest, JOURNAL_DIGEST_SIZE, SQLITE_STATIC);
    sqlite3_bind_int64(prepared, 4, signing_time);
    sqlite3_bind_int64(prepared, 5, size);
    bind_text(prepared, 6, intent);
    if (!run(store, prepared, error))
        return false;
    if (sqlite3_changes(store->database) == 0)
        return is_same_intent(store, thumbprint, siguuid, digest, intent, error);
    store->totals.rows++;
    store->totals.bytes += (guint64)size;
    return true;
}

bool journal_store_answer(JournalStore *store, const char *thumbprint, const char *siguuid,
                          const char *answer, GError **error)
{
    gint64 size = (gint64)strlen(answer);
    sqlite3_stmt *prepared = request_statement(store, ANSWER, thumbprint, siguuid);
    bind_text(prepared, 3, answer);
    sqlite3_bind_int64(prepared, 4, size);
    if (!run(store, prepared, error))
        return false;
    if (sqlite3_changes(store->database) > 0) {
        store->totals.bytes += (guint64)size;
        return true;
    }
    g_auto(JournalRow) row = {0};
    bool found = false;
    if (!journal_store_find(store, thumbprint, siguuid, &found, &row, error))
        return false;
    if (!found)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "The request %s is not in the journal",
                    siguuid);
    return found;
}

bool journal_store_set_since(JournalStore *store, const char *channel, const char *message_id, gint64 now,
                             GError **error)
{
    sqlite3_stmt *prepared = statement(store, SET_SINCE);
    bind_text(prepared, 1, channel);
    bind_text(prepared, 2, message_id);
    sqlite3_bind_int64(prepared, 3, now);
    return run(store, prepared, error);
}

bool journal_store_forget_since(JournalStore *store, gint64 now, GError **error)
{
    sqlite3_stmt *forget = statement(store, FORGET_SINCE);
    sqlite3_bind_int64(forget, 1, now - JOURNAL_SINCE_KEPT);
    return run(store, forget, error);
}

GHashTable *journal_store_all_since(JournalStore *store, gint64 now, GError **error)
{
    if (!journal_store_forget_since(store, now, error))
        return NULL;

    g_autoptr(GHashTable) all = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    sqlite3_stmt *prepared = statement(store, ALL_SINCE);
    int code = sqlite3_step(prepared);
    for (; code == SQLITE_ROW; code = sqlite3_step(prepared))
        g_hash_table_replace(all, g_strdup((const char *)sqlite3_column_text(prepared, 0)),
                             g_strdup((const char *)sqlite3_column_text(prepared, 1)));
    if (code != SQLITE_DONE)
        failed(store, "read", error);
    sqlite3_reset(prepared);
    return code == SQLITE_DONE ? g_steal_pointer(&all) : NULL;
}

/* A row of two integers. */
static bool read_pair(JournalStore *store, sqlite3_stmt *prepared, gint64 *ret_first, gint64 *ret_second,
                      GError **error)
{
    bool found = sqlite3_step(prepared) == SQLITE_ROW;
    if (found) {
        *ret_first = sqlite3_column_int64(prepared, 0);
        *ret_second = sqlite3_column_int64(prepared, 1);
    } else {
        failed(store, "read", error);
    }
    sqlite3_reset(prepared);
    return found;
}

/* Deletes up to and including |line|, which is durable with the same commit. */
static bool evict_up_to(JournalStore *store, gint64 line, GError **error)
{
    gint64 rows = 0;
    gint64 bytes = 0;
    sqlite3_stmt *counting = statement(store, COUNT_EVICTED);
    sqlite3_stmt *evict = statement(store, EVICT);
    sqlite3_stmt *move = statement(store, MOVE_LINE);
    sqlite3_bind_int64(counting, 1, line);
    sqlite3_bind_int64(evict, 1, line);
    sqlite3_bind_int64(move, 1, line);
    if (!read_pair(store, counting, &rows, &bytes, error) || !run(store, move, error) ||
        !run(store, evict, error))
        return false;
    store->totals.line = MAX(store->totals.line, line);
    store->totals.rows -= (guint64)rows;
    store->totals.bytes -= (guint64)bytes;
    return true;
}

bool journal_store_evict(JournalStore *store, gint64 before, bool *ret_more, GError **error)
{
    bool full = journal_store_is_full(store);
    gint64 at_once = full ? CLAMP((gint64)store->totals.rows / 100, 1, EVICT_AT_ONCE) : EVICT_AT_ONCE;
    gint64 line = 0;
    gint64 found = 0;
    sqlite3_stmt *evictable = statement(store, EVICTABLE);
    sqlite3_bind_int64(evictable, 1, full ? G_MAXINT64 : before);
    sqlite3_bind_int64(evictable, 2, at_once);
    if (!read_pair(store, evictable, &line, &found, error))
        return false;
    if (found > 0 && !evict_up_to(store, line, error))
        return false;
    *ret_more = found > 0 && (full ? journal_store_is_full(store) : found == at_once);
    return true;
}
