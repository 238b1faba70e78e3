/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal: what makes "never sign the same request twice" true across retries, reconnects and kill -9.
 *
 * One SQLite database (STATE/journal.sqlite, WAL, synchronous=FULL) with a row per (thumbprint, siguuid):
 * SHA-256 of the inner request, the intent (serial number, dates) before the token is asked, the inner answer
 * after. The same request again gets the same answer; the same id with another request is refused. A request
 * is refused as too old when its signingTime is absent, more than 5 minutes ahead, or older than the later of
 * now − ReplayWindow and the newest row ever evicted, so no row goes while its request would still be
 * accepted.
 *
 * One thread of its own writes; requests that arrive together share one fsync. Calls are asynchronous, done
 * functions run on the main thread. It also keeps, per channel id, the last message id that was dealt with
 * (`since`, protocol.md W.3). */

#include "daemon/done.h"
#include <stdbool.h>

typedef struct Journal Journal;

typedef enum JournalVerdict {
    JOURNAL_NEW,       /* go on: prepare the intent, journal_intend, then sign */
    JOURNAL_INTENDED,  /* seen, not answered (a crash, a failure of the token): go on with the same intent */
    JOURNAL_ANSWERED,  /* send the stored answer */
    JOURNAL_CONFLICT,  /* the id belongs to another request */
    JOURNAL_STALE,     /* too old, from the future, or without a signing time */
    JOURNAL_IN_FLIGHT, /* the same request is being handled right now: nothing to do, its answer will come */
} JournalVerdict;

/* Opens or makes the database; a damaged one is set aside (state-file.h), and every request that was signed
 * before now is then stale. |replay_window| in seconds. Blocks: before the main loop. */
Journal *journal_open(const char *path, gint64 replay_window, GError **error);
/* Finishes what is queued. */
void journal_close(Journal *journal);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Journal, journal_close)

/* |intent| and |answer| are NULL where the verdict has none. |error|: the journal can't be read; the request
 * must not be signed. */
typedef void (*JournalFoundFunc)(JournalVerdict verdict, const char *intent, const char *answer,
                                 const GError *error, void *userdata);

/* |digest|: SHA-256 of what is asked, 32 bytes; |signing_time| in seconds since the epoch, 0 = absent; |now|
 * too. After NEW and INTENDED the request is in flight until journal_release, so that no second copy is
 * signed beside it. False: it meets one whose answer nobody will send (journal_abandon), waits for the
 * release of that, and is looked up then: |found| may take as long as a signature. */
bool journal_look_up(Journal *journal, const char *thumbprint, const char *siguuid, const guint8 digest[32],
                     gint64 signing_time, gint64 now, JournalFoundFunc found, void *userdata);
void journal_release(Journal *journal, const char *thumbprint, const char *siguuid);
/* Nobody is there any more to send the answer of the request that was looked up with |userdata|; it is still
 * to be released, or still being looked up. */
void journal_abandon(Journal *journal, const char *thumbprint, const char *siguuid, void *userdata);
/* Durable when |done| runs without an error. */
void journal_intend(Journal *journal, const char *thumbprint, const char *siguuid, const guint8 digest[32],
                    gint64 signing_time, const char *intent, DoneFunc done, void *userdata);
void journal_answer(Journal *journal, const char *thumbprint, const char *siguuid, const char *answer,
                    DoneFunc done, void *userdata);

/* The last message of |channel| that was answered, journaled or dropped. |done| may be NULL. */
void journal_set_since(Journal *journal, const char *channel, const char *message_id);
/* Transfer full, or NULL. Cached: doesn't block. */
char *journal_get_since(Journal *journal, const char *channel);

typedef struct JournalSize {
    guint64 requests;
    guint64 bytes;
} JournalSize;
/* As of the last transaction. */
JournalSize journal_size(Journal *journal);

/* Waits until everything queued so far is durable. For tests and shutdown. */
void journal_flush(Journal *journal);
