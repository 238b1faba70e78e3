/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Opening goes through three answers: usable; damaged (not SQLite, not ours, broken pages), which sets the
 * file aside and starts a new one whose refusal line is now; and unusable for a reason that a new file would
 * not mend (locked, no rights, disk full, written by a newer version), which is the caller's error.
 *
 * A file that is there but empty counts as damaged without anything to keep: something took its rows. */

#include "daemon/link/journal/journal-schema.h"
#include "daemon/error.h"
#include "daemon/state-file.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* "IoTH" and the version of the tables below, in SQLite's header. */
#define APPLICATION_ID 0x496f5448
#define SCHEMA_VERSION 1

/* Above this, reading every page would hold up the start; damage then shows when a page is used. */
#define CHECKED_SIZE_MAX (64 << 20)

static const char settings[] = "PRAGMA locking_mode = EXCLUSIVE;"
                               "PRAGMA journal_mode = WAL;"
                               "PRAGMA synchronous = FULL;"
                               "PRAGMA journal_size_limit = 16777216;"
                               "PRAGMA trusted_schema = OFF;"
                               "PRAGMA cell_size_check = ON;";

/* The index holds all that counting needs, so that counting a million rows doesn't read their answers. */
static const char tables[] = "BEGIN EXCLUSIVE;"
                             "CREATE TABLE request (thumbprint TEXT NOT NULL, siguuid TEXT NOT NULL,"
                             " digest BLOB NOT NULL, signing_time INTEGER NOT NULL, size INTEGER NOT NULL,"
                             " intent TEXT NOT NULL, answer TEXT, PRIMARY KEY (thumbprint, siguuid));"
                             "CREATE INDEX request_time ON request (signing_time, size);"
                             "CREATE TABLE since (channel TEXT PRIMARY KEY, message TEXT NOT NULL,"
                             " updated INTEGER NOT NULL) WITHOUT ROWID;"
                             "CREATE TABLE line (refused INTEGER NOT NULL);"
                             "INSERT INTO line VALUES (%" G_GINT64_FORMAT ");"
                             "PRAGMA application_id = %d;"
                             "PRAGMA user_version = %d;"
                             "COMMIT;";

typedef enum Usable { USABLE, DAMAGED, UNUSABLE } Usable;

/* Of opening and examining; |code| is extended. */
static bool is_damage(int code)
{
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* SQL that is right fails: the tables are not ours */
        return true;
    default:
        return false;
    }
}

static Usable give_up(sqlite3 *database, const char *path, GError **error)
{
    int code = sqlite3_extended_errcode(database);
    if (is_damage(code)) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, sqlite3_errmsg(database));
        return DAMAGED;
    }
    if ((code & 0xff) == SQLITE_BUSY)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "The journal %s is in use by another process; stop the other iothsmd first", path);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't open the journal %s: %s", path,
                    sqlite3_errmsg(database));
    return UNUSABLE;
}

/* One row of up to two integers, and whether |sql| gave one. */
static bool integers(sqlite3 *database, const char *sql, gint64 *ret_first, gint64 *ret_second)
{
    sqlite3_stmt *statement = NULL;
    bool found = sqlite3_prepare_v2(database, sql, -1, &statement, NULL) == SQLITE_OK &&
                 sqlite3_step(statement) == SQLITE_ROW;
    if (found) {
        *ret_first = sqlite3_column_int64(statement, 0);
        if (ret_second)
            *ret_second = sqlite3_column_int64(statement, 1);
    }
    sqlite3_finalize(statement);
    return found;
}

/* "ok" is one row; each thing that is wrong is one, too. */
static bool is_sound(sqlite3 *database)
{
    sqlite3_stmt *statement = NULL;
    bool sound = sqlite3_prepare_v2(database, "PRAGMA quick_check(1)", -1, &statement, NULL) == SQLITE_OK &&
                 sqlite3_step(statement) == SQLITE_ROW &&
                 g_strcmp0((const char *)sqlite3_column_text(statement, 0), "ok") == 0;
    sqlite3_finalize(statement);
    return sound;
}

static bool count(sqlite3 *database, JournalTotals *totals)
{
    gint64 rows = 0;
    gint64 bytes = 0;
    if (!integers(database, "SELECT count(*), coalesce(sum(size), 0) FROM request INDEXED BY request_time",
                  &rows, &bytes) ||
        !integers(database, "SELECT refused, 0 FROM line", &totals->line, NULL))
        return false;
    totals->rows = (guint64)rows;
    totals->bytes = (guint64)bytes;
    return true;
}

static Usable set_up(sqlite3 *database, const char *path, gint64 line, JournalTotals *totals, GError **error)
{
    g_autofree char *sql = g_strdup_printf(tables, line, APPLICATION_ID, SCHEMA_VERSION);
    if (sqlite3_exec(database, sql, NULL, NULL, NULL) != SQLITE_OK || !count(database, totals))
        return give_up(database, path, error);
    return USABLE;
}

/* |line|: of a database that is made here. */
static Usable examine(sqlite3 *database, const char *path, gint64 size, gint64 line, JournalTotals *totals,
                      GError **error)
{
    gint64 application = 0;
    gint64 version = 0;
    gint64 made = 0;
    if (sqlite3_exec(database, settings, NULL, NULL, NULL) != SQLITE_OK ||
        !integers(database, "PRAGMA application_id", &application, NULL) ||
        !integers(database, "PRAGMA user_version", &version, NULL) ||
        !integers(database, "SELECT count(*) FROM sqlite_schema", &made, NULL))
        return give_up(database, path, error);
    if (made == 0 && application == 0)
        return set_up(database, path, line, totals, error);
    if (application != APPLICATION_ID) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                            "it is the database of another program");
        return DAMAGED;
    }
    if (version > SCHEMA_VERSION) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "The journal %s was written by a newer version of iothsmd; install that version again",
                    path);
        return UNUSABLE;
    }
    if (size <= CHECKED_SIZE_MAX && !is_sound(database)) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "its pages are damaged");
        return DAMAGED;
    }
    return count(database, totals) ? USABLE : give_up(database, path, error);
}

/* Makes the file before SQLite does, to have its mode right from the start. |*ret_size| -1: it was not there.
 */
static bool make_file(const char *path, gint64 *ret_size, GError **error)
{
    g_autofree char *directory = g_path_get_dirname(path);
    struct stat status = {0};
    *ret_size = -1;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 && fstat(fd, &status) == 0)
        *ret_size = status.st_size;
    else if (fd < 0 && errno == ENOENT && g_mkdir_with_parents(directory, 0700) == 0)
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't open the journal %s: %s", path,
                    g_strerror(errno));
        return false;
    }
    close(fd);
    return true;
}

/* A file that has to be made gets the refusal line |line|, one that is there but empty gets |now|. */
static Usable try_open(const char *path, gint64 line, gint64 now, sqlite3 **ret_database,
                       JournalTotals *totals, GError **error)
{
    gint64 size = -1;
    if (!make_file(path, &size, error))
        return UNUSABLE;
    sqlite3 *database = NULL;
    int code = sqlite3_open_v2(path, &database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    sqlite3_extended_result_codes(database, 1);
    Usable usable = code == SQLITE_OK ? examine(database, path, size, size < 0 ? line : now, totals, error)
                                      : give_up(database, path, error);
    if (usable == USABLE)
        *ret_database = database;
    else
        sqlite3_close(database);
    return usable;
}

bool journal_schema_set_aside(const char *path, const char *reason, GError **error)
{
    static const char *const suffixes[] = {"-wal", "-shm"};
    for (gsize i = 0; i < G_N_ELEMENTS(suffixes); i++) {
        g_autofree char *file = g_strconcat(path, suffixes[i], NULL);
        if (g_file_test(file, G_FILE_TEST_EXISTS) && !state_file_set_aside(file, reason, error))
            return false;
    }
    return state_file_set_aside(path, reason, error);
}

sqlite3 *journal_schema_open(const char *path, gint64 line, gint64 now, JournalTotals *ret_totals,
                             GError **error)
{
    sqlite3 *database = NULL;
    g_autoptr(GError) reason = NULL;
    Usable usable = try_open(path, line, now, &database, ret_totals, &reason);
    if (usable == DAMAGED) {
        g_autofree char *words = g_strdup(reason->message);
        g_clear_error(&reason);
        if (!journal_schema_set_aside(path, words, error))
            return NULL;
        usable = try_open(path, now, now, &database, ret_totals, &reason);
    }
    if (usable != USABLE)
        g_propagate_error(error, g_steal_pointer(&reason));
    return database;
}
