/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The journal's queue, its thread and the rules; journal-store.c holds the rows.
 *
 * The thread takes whatever is queued as one transaction: while it waits for one fsync, the next requests
 * gather, and share the next. Look-ups stand in the same queue, so they see every intent that was queued
 * before them, and are answered once all of that is durable. A batch that can't be made durable fails as a
 * whole, its look-ups too: what was not read or not written is not signed. `since` alone never hurries: it
 * waits up to a second for company, since losing it means meeting messages again, which the rows know.
 *
 * Answers are stored as they are: what is in them (certificates) hardly compresses. A delivered CRL is not
 * among them, only the short answer that confirmed it; a repeated request gets that confirmation again, as
 * the platform has the CRL already. */

#include "daemon/link/journal/journal.h"
#include "daemon/error.h"
#include "daemon/link/journal/journal-store.h"
#include "daemon/log.h"
#include <string.h>

enum {
    AHEAD_MAX = 5 * 60,           /* seconds that a request may be signed in the future */
    EVICT_EVERY = 10 * 60,        /* seconds */
    SINCE_WAIT = 1000 * 1000,     /* µs */
    SINCE_LOOK_EVERY = 24 * 3600, /* seconds */
};

static const JournalBounds bounds = {.rows = 1000 * 1000, .bytes = (guint64)2 << 30};

typedef enum WorkKind { LOOK_UP, INTEND, ANSWER } WorkKind;

/* Belongs to the main thread, then to the queue, the journal's thread, and the main thread again. */
typedef struct Work {
    WorkKind kind;
    char *thumbprint;
    char *siguuid;
    guint8 digest[JOURNAL_DIGEST_SIZE];
    gint64 signing_time;
    gint64 now;
    char *text; /* the intent or answer to store */
    JournalFoundFunc found;
    DoneFunc done;
    void *userdata;
    bool decided;   /* the verdict is known before the thread sees it */
    bool abandoned; /* by whoever looks up */
    /* result */
    JournalVerdict verdict;
    JournalRow row;
    GError *error;
} Work;

/* A request that is being handled. Main thread. */
typedef struct Flight {
    guint8 digest[JOURNAL_DIGEST_SIZE];
    void *owner;    /* who looked it up */
    bool abandoned; /* its answer will be recorded, and not be sent */
    GQueue parked;  /* Work: copies that wait for it */
} Flight;

typedef struct Since {
    char *message_id;
    gint64 updated; /* seconds since the epoch */
} Since;

struct Journal {
    gint64 window;
    GMainContext *context;
    GHashTable *since;     /* main thread: channel to Since */
    gint64 since_looked;   /* main thread: when it was last cleared of what is old, seconds */
    GHashTable *in_flight; /* main thread: request to Flight */
    GThread *thread;
    JournalStore *store; /* the thread's */
    gint64 newest_now;   /* the thread's: what look-ups say the time is */
    gint64 evict_at;     /* the thread's */

    GMutex mutex; /* over everything below; never held while the database works */
    GCond wake;
    GCond settled;
    GQueue queue;            /* Work */
    GHashTable *since_dirty; /* channel to message id */
    gint64 since_due;        /* monotonic µs; meaningful while since_dirty holds something */
    GQueue finished;         /* Work, for the main thread */
    GSource *delivery;       /* attached and not yet run */
    JournalSize size;        /* as of the last transaction */
    bool hurry;              /* somebody flushes */
    bool working;
    bool closing;
};

static void work_free(Work *work)
{
    g_free(work->thumbprint);
    g_free(work->siguuid);
    g_free(work->text);
    journal_row_clear(&work->row);
    g_clear_error(&work->error);
    g_free(work);
}

static bool is_stale(const Journal *journal, const Work *work)
{
    return work->signing_time == 0 || work->signing_time > work->now + AHEAD_MAX ||
           work->signing_time < work->now - journal->window ||
           work->signing_time <= journal_store_line(journal->store);
}

static bool look_up(Journal *journal, Work *work)
{
    bool found = false;
    journal->newest_now = MAX(journal->newest_now, work->now);
    if (is_stale(journal, work)) {
        work->verdict = JOURNAL_STALE;
        return true;
    }
    if (!journal_store_find(journal->store, work->thumbprint, work->siguuid, &found, &work->row,
                            &work->error))
        return false;
    if (!found) {
        work->verdict = JOURNAL_NEW;
        return true;
    }
    if (memcmp(work->row.digest, work->digest, JOURNAL_DIGEST_SIZE) != 0) {
        journal_row_clear(&work->row);
        work->verdict = JOURNAL_CONFLICT;
        return true;
    }
    work->verdict = work->row.answer ? JOURNAL_ANSWERED : JOURNAL_INTENDED;
    return work->signing_time <= work->row.signing_time ||
           journal_store_touch(journal->store, work->thumbprint, work->siguuid, work->signing_time,
                               &work->error);
}

/* False: the transaction can't go on. An error of this work alone is kept in it. */
static bool do_work(Journal *journal, Work *work)
{
    bool done = false;
    switch (work->kind) {
    case LOOK_UP:
        done = work->decided || look_up(journal, work);
        break;
    case INTEND:
        done = journal_store_intend(journal->store, work->thumbprint, work->siguuid, work->digest,
                                    work->signing_time, work->text, &work->error);
        break;
    case ANSWER:
        done =
            journal_store_answer(journal->store, work->thumbprint, work->siguuid, work->text, &work->error);
        break;
    }
    return done || journal_store_in_transaction(journal->store);
}

/* Some at a time; the rest goes with the next batches. */
static bool evict(Journal *journal, GError **error)
{
    bool more = false;
    if (!journal_store_is_full(journal->store) && journal->newest_now < journal->evict_at)
        return true;
    if (!journal_store_evict(journal->store, journal->newest_now - journal->window, &more, error))
        return false;
    if (more)
        return true;
    journal->evict_at = journal->newest_now + EVICT_EVERY;
    return journal_store_forget_since(journal->store, journal->newest_now, error);
}

static bool write_since(Journal *journal, GHashTable *since, GError **error)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    GHashTableIter iter;
    gpointer channel = NULL;
    gpointer message_id = NULL;
    g_hash_table_iter_init(&iter, since);
    while (g_hash_table_iter_next(&iter, &channel, &message_id)) {
        if (!journal_store_set_since(journal->store, channel, message_id, now, error))
            return false;
    }
    return true;
}

static bool run_batch(Journal *journal, GQueue *batch, GHashTable *since, GError **error)
{
    if (journal_store_is_damaged(journal->store) &&
        !journal_store_start_over(journal->store, g_get_real_time() / G_USEC_PER_SEC, error))
        return false;
    if (!journal_store_begin(journal->store, error))
        return false;
    for (GList *link = batch->head; link; link = link->next) {
        Work *work = link->data;
        if (do_work(journal, work))
            continue;
        g_propagate_error(error, g_error_copy(work->error));
        journal_store_rollback(journal->store);
        return false;
    }
    if (write_since(journal, since, error) && evict(journal, error))
        return journal_store_commit(journal->store, error);
    journal_store_rollback(journal->store);
    return false;
}

/* Nothing of a failed batch counts. */
static void fail_batch(GQueue *batch, const GError *error)
{
    for (GList *link = batch->head; link; link = link->next) {
        Work *work = link->data;
        journal_row_clear(&work->row);
        g_clear_error(&work->error);
        work->error = g_error_copy(error);
    }
}

/* Both parts may hold anything but NUL; the length of the first tells them apart. Transfer full. */
static char *request_key(const char *thumbprint, const char *siguuid)
{
    return g_strdup_printf("%zu %s %s", strlen(thumbprint), thumbprint, siguuid);
}

/* --- what is in flight -------------------------------------------------------------------------------- */

static void submit(Journal *journal, Work *work);

static void flight_free(void *data)
{
    Flight *flight = data;
    Work *work;
    while ((work = g_queue_pop_head(&flight->parked)))
        work_free(work);
    g_free(flight);
}

/* From here on, so that of two copies that come together only one gets through. False: |work| has to wait. */
static bool enter_flight(Journal *journal, Work *work)
{
    g_autofree char *key = request_key(work->thumbprint, work->siguuid);
    Flight *flight = g_hash_table_lookup(journal->in_flight, key);
    if (!flight) {
        flight = g_new0(Flight, 1);
        memcpy(flight->digest, work->digest, JOURNAL_DIGEST_SIZE);
        flight->owner = work->userdata;
        flight->abandoned = work->abandoned;
        g_hash_table_insert(journal->in_flight, g_steal_pointer(&key), flight);
        return true;
    }
    bool same = memcmp(flight->digest, work->digest, JOURNAL_DIGEST_SIZE) == 0;
    if (same && flight->abandoned) {
        g_queue_push_tail(&flight->parked, work);
        return false;
    }
    work->decided = true;
    work->verdict = same ? JOURNAL_IN_FLIGHT : JOURNAL_CONFLICT;
    return true;
}

/* The first of those who waited goes on in its place, the others meet that one. */
void journal_release(Journal *journal, const char *thumbprint, const char *siguuid)
{
    g_autofree char *key = request_key(thumbprint, siguuid);
    Flight *flight = g_hash_table_lookup(journal->in_flight, key);
    if (!flight)
        return;
    GQueue parked = flight->parked;
    g_queue_init(&flight->parked);
    g_hash_table_remove(journal->in_flight, key);
    Work *work;
    while ((work = g_queue_pop_head(&parked)))
        if (enter_flight(journal, work))
            submit(journal, work);
}

void journal_abandon(Journal *journal, const char *thumbprint, const char *siguuid, void *userdata)
{
    g_autofree char *key = request_key(thumbprint, siguuid);
    Flight *flight = g_hash_table_lookup(journal->in_flight, key);
    if (!flight)
        return;
    if (flight->owner == userdata)
        flight->abandoned = true;
    for (GList *link = flight->parked.head; link; link = link->next) {
        Work *work = link->data;
        work->abandoned = work->abandoned || work->userdata == userdata;
    }
}

static void deliver(Journal *journal, Work *work)
{
    if (work->found) {
        bool failed = work->error != NULL;
        bool goes_on = !failed && (work->verdict == JOURNAL_NEW || work->verdict == JOURNAL_INTENDED);
        if (!goes_on && !work->decided)
            journal_release(journal, work->thumbprint, work->siguuid);
        work->found(failed ? JOURNAL_STALE : work->verdict, work->row.intent, work->row.answer, work->error,
                    work->userdata);
    } else if (work->done) {
        work->done(work->error, work->userdata);
    }
    work_free(work);
}

static GQueue take_finished(Journal *journal)
{
    g_mutex_lock(&journal->mutex);
    GQueue finished = journal->finished;
    g_queue_init(&journal->finished);
    g_clear_pointer(&journal->delivery, g_source_unref);
    g_mutex_unlock(&journal->mutex);
    return finished;
}

static gboolean on_delivery(gpointer userdata)
{
    Journal *journal = userdata;
    GQueue finished = take_finished(journal);
    while (!g_queue_is_empty(&finished))
        deliver(journal, g_queue_pop_head(&finished));
    return G_SOURCE_REMOVE;
}

/* With the mutex held. */
static void give_back(Journal *journal, GQueue *batch)
{
    while (!g_queue_is_empty(batch))
        g_queue_push_tail(&journal->finished, g_queue_pop_head(batch));
    if (journal->delivery || g_queue_is_empty(&journal->finished))
        return;
    journal->delivery = g_idle_source_new();
    g_source_set_priority(journal->delivery, G_PRIORITY_DEFAULT);
    g_source_set_callback(journal->delivery, on_delivery, journal, NULL);
    g_source_attach(journal->delivery, journal->context);
}

/* Waits, with the mutex held, until there is something worth a transaction. False: closing, and nothing is
 * left. */
static bool wait_for_work(Journal *journal)
{
    while (g_queue_is_empty(&journal->queue)) {
        bool dirty = g_hash_table_size(journal->since_dirty) > 0;
        if (dirty && (journal->hurry || journal->closing || g_get_monotonic_time() >= journal->since_due))
            return true;
        if (journal->closing)
            return false;
        if (dirty)
            g_cond_wait_until(&journal->wake, &journal->mutex, journal->since_due);
        else
            g_cond_wait(&journal->wake, &journal->mutex);
    }
    return true;
}

static GHashTable *new_since(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
}

static JournalSize size_of(const JournalStore *store)
{
    return (JournalSize){journal_store_rows(store), journal_store_bytes(store)};
}

static gpointer run_thread(gpointer userdata)
{
    Journal *journal = userdata;
    g_mutex_lock(&journal->mutex);
    while (wait_for_work(journal)) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GHashTable) since = g_steal_pointer(&journal->since_dirty);
        GQueue batch = journal->queue;
        g_queue_init(&journal->queue);
        journal->since_dirty = new_since();
        journal->working = true;
        g_mutex_unlock(&journal->mutex);

        bool only_since = g_queue_is_empty(&batch);
        if (!run_batch(journal, &batch, since, &error)) {
            fail_batch(&batch, error);
            if (only_since)
                log_warning("%s", error->message);
        }

        g_mutex_lock(&journal->mutex);
        give_back(journal, &batch);
        journal->size = size_of(journal->store);
        journal->working = false;
        g_cond_broadcast(&journal->settled);
    }
    g_mutex_unlock(&journal->mutex);
    return NULL;
}

static void since_free(void *data)
{
    Since *since = data;
    g_free(since->message_id);
    g_free(since);
}

static void note_since(GHashTable *table, const char *channel, const char *message_id, gint64 now)
{
    Since *since = g_new0(Since, 1);
    *since = (Since){g_strdup(message_id), now};
    g_hash_table_replace(table, g_strdup(channel), since);
}

static GHashTable *since_table(GHashTable *stored, gint64 now)
{
    GHashTable *table = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, since_free);
    GHashTableIter iter;
    gpointer channel = NULL;
    gpointer message_id = NULL;
    g_hash_table_iter_init(&iter, stored);
    while (g_hash_table_iter_next(&iter, &channel, &message_id))
        note_since(table, channel, message_id, now);
    return table;
}

Journal *journal_open(const char *path, gint64 replay_window, GError **error)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    g_autoptr(JournalStore) store = journal_store_open(path, &bounds, now, error);
    if (!store)
        return NULL;
    g_autoptr(GHashTable) since = journal_store_all_since(store, now, error);
    if (!since)
        return NULL;

    Journal *journal = g_new0(Journal, 1);
    journal->window = replay_window;
    journal->context = g_main_context_ref_thread_default();
    journal->since = since_table(since, now);
    journal->since_looked = now;
    journal->in_flight = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, flight_free);
    journal->since_dirty = new_since();
    journal->size = size_of(store);
    journal->store = g_steal_pointer(&store);
    g_mutex_init(&journal->mutex);
    g_cond_init(&journal->wake);
    g_cond_init(&journal->settled);
    g_queue_init(&journal->queue);
    g_queue_init(&journal->finished);
    journal->thread = g_thread_new("journal", run_thread, journal);
    return journal;
}

static void stop_thread(Journal *journal)
{
    g_mutex_lock(&journal->mutex);
    journal->closing = true;
    g_cond_signal(&journal->wake);
    g_mutex_unlock(&journal->mutex);
    g_thread_join(journal->thread);
}

void journal_close(Journal *journal)
{
    if (!journal)
        return;
    /* What a done function queues here is done, too: hence again until nothing comes. */
    stop_thread(journal);
    while (!g_queue_is_empty(&journal->finished)) {
        if (journal->delivery)
            g_source_destroy(journal->delivery);
        on_delivery(journal);
        journal->thread = g_thread_new("journal", run_thread, journal);
        stop_thread(journal);
    }
    journal_store_close(journal->store);
    g_hash_table_unref(journal->since);
    g_hash_table_unref(journal->in_flight);
    g_hash_table_unref(journal->since_dirty);
    g_main_context_unref(journal->context);
    g_mutex_clear(&journal->mutex);
    g_cond_clear(&journal->wake);
    g_cond_clear(&journal->settled);
    g_free(journal);
}

static Work *work_new(WorkKind kind, const char *thumbprint, const char *siguuid, void *userdata)
{
    Work *work = g_new0(Work, 1);
    work->kind = kind;
    work->thumbprint = g_strdup(thumbprint);
    work->siguuid = g_strdup(siguuid);
    work->userdata = userdata;
    return work;
}

static void submit(Journal *journal, Work *work)
{
    g_mutex_lock(&journal->mutex);
    g_queue_push_tail(&journal->queue, work);
    g_cond_signal(&journal->wake);
    g_mutex_unlock(&journal->mutex);
}

bool journal_look_up(Journal *journal, const char *thumbprint, const char *siguuid, const guint8 digest[32],
                     gint64 signing_time, gint64 now, JournalFoundFunc found, void *userdata)
{
    Work *work = work_new(LOOK_UP, thumbprint, siguuid, userdata);
    memcpy(work->digest, digest, JOURNAL_DIGEST_SIZE);
    work->signing_time = signing_time;
    work->now = now;
    work->found = found;
    bool goes = enter_flight(journal, work);
    if (goes)
        submit(journal, work);
    return goes;
}

void journal_intend(Journal *journal, const char *thumbprint, const char *siguuid, const guint8 digest[32],
                    gint64 signing_time, const char *intent, DoneFunc done, void *userdata)
{
    Work *work = work_new(INTEND, thumbprint, siguuid, userdata);
    memcpy(work->digest, digest, JOURNAL_DIGEST_SIZE);
    work->signing_time = signing_time;
    work->text = g_strdup(intent);
    work->done = done;
    submit(journal, work);
}

void journal_answer(Journal *journal, const char *thumbprint, const char *siguuid, const char *answer,
                    DoneFunc done, void *userdata)
{
    Work *work = work_new(ANSWER, thumbprint, siguuid, userdata);
    work->text = g_strdup(answer);
    work->done = done;
    submit(journal, work);
}

static gboolean is_old(gpointer channel, gpointer since, gpointer now)
{
    return ((Since *)since)->updated < *(gint64 *)now - JOURNAL_SINCE_KEPT;
}

void journal_set_since(Journal *journal, const char *channel, const char *message_id)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    note_since(journal->since, channel, message_id, now);
    if (now - journal->since_looked >= SINCE_LOOK_EVERY) {
        journal->since_looked = now;
        g_hash_table_foreach_remove(journal->since, is_old, &now);
    }
    g_mutex_lock(&journal->mutex);
    if (g_hash_table_size(journal->since_dirty) == 0) {
        journal->since_due = g_get_monotonic_time() + SINCE_WAIT;
        g_cond_signal(&journal->wake);
    }
    g_hash_table_replace(journal->since_dirty, g_strdup(channel), g_strdup(message_id));
    g_mutex_unlock(&journal->mutex);
}

char *journal_get_since(Journal *journal, const char *channel)
{
    const Since *since = g_hash_table_lookup(journal->since, channel);
    return since ? g_strdup(since->message_id) : NULL;
}

JournalSize journal_size(Journal *journal)
{
    g_mutex_lock(&journal->mutex);
    JournalSize size = journal->size;
    g_mutex_unlock(&journal->mutex);
    return size;
}

void journal_flush(Journal *journal)
{
    g_mutex_lock(&journal->mutex);
    journal->hurry = true;
    g_cond_signal(&journal->wake);
    while (journal->working || !g_queue_is_empty(&journal->queue) ||
           g_hash_table_size(journal->since_dirty) > 0)
        g_cond_wait(&journal->settled, &journal->mutex);
    journal->hurry = false;
    g_mutex_unlock(&journal->mutex);
}
