/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A worker: a bounded queue of jobs and the threads that do them, so that nothing in the main loop waits.
 *
 * A job is immutable once submitted and completes exactly once, on the main thread: with its result, or with
 * TIMED_OUT when its deadline passes first (in the queue or running), CANCELLED when its cancellable is, or
 * TOKEN_GONE when the worker is closed. Whichever comes first wins; what a thread finishes later is thrown
 * away. A thread touches the job's data and nothing else of the daemon. Jobs start in order of submission. */

#include "daemon/done.h"
#include <gio/gio.h>
#include <stdbool.h>

typedef struct Worker Worker;

/* Runs on a thread. False with |error| set on failure. |cancelled| is set when nobody waits for the result
 * any more; long work looks at it. */
typedef bool (*WorkerRunFunc)(void *data, GCancellable *cancelled, GError **error);

#define WORKER_NO_DEADLINE G_MAXINT64

/* |name| names the threads (15 bytes are seen). |queue_length| counts jobs that have not started. */
Worker *worker_new(const char *name, guint threads, guint queue_length);

/* Completes everything that waits or runs with TOKEN_GONE at once and frees the worker when its threads have
 * come back. Never blocks, accepts NULL. */
void worker_close(Worker *worker);

/* Closes and waits for the threads: for shutdown, when libraries are about to be unloaded. */
void worker_close_and_join(Worker *worker);

/* False with IOTHSM_ERROR_TOKEN_BUSY when the queue is full; |done| is not called then, |data| is freed.
 * |deadline| is in µs of g_get_monotonic_time(). |free_data| runs on the main thread, after |done| and after
 * the thread has let go. |cancellable| may be NULL. */
bool worker_submit(Worker *worker, WorkerRunFunc run, void *data, GDestroyNotify free_data, gint64 deadline,
                   GCancellable *cancellable, DoneFunc done, void *userdata, GError **error);

/* Jobs that wait or run. */
guint worker_load(const Worker *worker);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Worker, worker_close)
