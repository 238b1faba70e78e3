/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal's database (journal.h says what it is for): rows of requests, the refusal line, and `since` of
 * each channel. Blocks; used by one thread at a time. Everything between begin and commit is one transaction
 * with one fsync. */

#include <glib.h>
#include <stdbool.h>

typedef struct JournalStore JournalStore;

/* Above either bound the oldest requests go, and the refusal line moves over them. */
typedef struct JournalBounds {
    guint64 rows;
    guint64 bytes; /* of intents and answers, with JOURNAL_ROW_OVERHEAD for each row */
} JournalBounds;

enum {
    JOURNAL_ROW_OVERHEAD = 256,
    JOURNAL_DIGEST_SIZE = 32,
    JOURNAL_SINCE_KEPT = 90 * 24 * 3600, /* seconds of a channel's silence until it is forgotten */
};

typedef struct JournalRow {
    guint8 digest[JOURNAL_DIGEST_SIZE];
    gint64 signing_time; /* the newest that the request came with */
    char *intent;
    char *answer; /* NULL: none yet */
} JournalRow;
void journal_row_clear(JournalRow *row);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(JournalRow, journal_row_clear)

/* Makes the file (0600) and its folders where they are missing. A file that is not our database, or is
 * damaged, is set aside; the line of the new one is |now|. A file that another process has open, or that a
 * newer version wrote, is an error. */
JournalStore *journal_store_open(const char *path, const JournalBounds *bounds, gint64 now, GError **error);
void journal_store_close(JournalStore *store);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(JournalStore, journal_store_close)

/* A failure showed that the file is damaged: nothing will work until it is set aside, which start_over does.
 * After a failure of start_over itself, only journal_store_close is allowed and start_over again. */
bool journal_store_is_damaged(const JournalStore *store);
bool journal_store_start_over(JournalStore *store, gint64 now, GError **error);

bool journal_store_begin(JournalStore *store, GError **error);
/* On failure everything since begin is undone. */
bool journal_store_commit(JournalStore *store, GError **error);
void journal_store_rollback(JournalStore *store);
/* False once SQLite has undone the transaction by itself (disk full, I/O error). */
bool journal_store_in_transaction(const JournalStore *store);

/* Requests signed at this time or before may have been evicted; 0: none was. */
gint64 journal_store_line(const JournalStore *store);

bool journal_store_find(JournalStore *store, const char *thumbprint, const char *siguuid, bool *ret_found,
                        JournalRow *ret_row, GError **error);
/* Keeps the row as long as a repetition signed at |signing_time| would be accepted. */
bool journal_store_touch(JournalStore *store, const char *thumbprint, const char *siguuid,
                         gint64 signing_time, GError **error);
/* The same intent again is success; another one for a request that has one is INVALID. */
bool journal_store_intend(JournalStore *store, const char *thumbprint, const char *siguuid,
                          const guint8 digest[JOURNAL_DIGEST_SIZE], gint64 signing_time, const char *intent,
                          GError **error);
/* The first answer stays. A request without an intent is INVALID. */
bool journal_store_answer(JournalStore *store, const char *thumbprint, const char *siguuid,
                          const char *answer, GError **error);

bool journal_store_set_since(JournalStore *store, const char *channel, const char *message_id, gint64 now,
                             GError **error);
bool journal_store_forget_since(JournalStore *store, gint64 now, GError **error);
/* Channel to message id, both owned, without those that are forgotten |now|. */
GHashTable *journal_store_all_since(JournalStore *store, gint64 now, GError **error);

/* Evicts some of the requests that were signed before |before| or are too many. Call again while |*ret_more|.
 */
bool journal_store_evict(JournalStore *store, gint64 before, bool *ret_more, GError **error);
/* Rows now. */
guint64 journal_store_rows(const JournalStore *store);
guint64 journal_store_bytes(const JournalStore *store); /* as JournalBounds counts them */
bool journal_store_is_full(const JournalStore *store);
