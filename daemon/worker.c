/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The queue, its threads, and who says first that a job is over.
 *
 * A job is seen by two sides. The main thread owns it until it is done and freed; a thread has it from taking
 * it off the queue until it hands it back. Both sides meet in `lock` only. What ends a job early (deadline,
 * cancellation, close) completes it at once on the main thread and leaves the carcass to the thread, whose
 * result nobody wants any more; the data is freed when both have let go. */

#include "daemon/worker.h"
#include "daemon/error.h"
#include <openssl/crypto.h>

typedef struct Job {
    Worker *worker;
    WorkerRunFunc run;
    void *data;
    GDestroyNotify free_data;
    DoneFunc done; /* NULL once it was called */
    void *userdata;
    GCancellable *cancelled; /* ours: tells the thread that nobody waits */
    GCancellable *cancellable;
    gulong cancel_handler;
    GSource *timer;
    GError *error;    /* of run; written by the thread before it hands the job back */
    bool with_thread; /* main thread: submitted and not handed back */
} Job;

struct Worker {
    GMutex lock;
    GCond wake;      /* a job or closing */
    GCond idle;      /* a thread ended */
    GQueue waiting;  /* Job; guarded by lock */
    bool closing;    /* guarded by lock */
    guint running;   /* threads; guarded by lock */
    gint references; /* the owner, each thread, each live job */
    guint queue_length;
    char *name;
    GMainContext *context;
    GPtrArray *jobs; /* live ones; main thread */
};

static Worker *worker_ref(Worker *worker)
{
    g_atomic_int_inc(&worker->references);
    return worker;
}

static void worker_unref(Worker *worker)
{
    if (!g_atomic_int_dec_and_test(&worker->references))
        return;
    g_mutex_clear(&worker->lock);
    g_cond_clear(&worker->wake);
    g_cond_clear(&worker->idle);
    g_ptr_array_unref(worker->jobs);
    g_main_context_unref(worker->context);
    g_free(worker->name);
    g_free(worker);
}

static void job_free(Job *job)
{
    g_ptr_array_remove_fast(job->worker->jobs, job);
    if (job->free_data)
        job->free_data(job->data);
    g_clear_error(&job->error);
    g_object_unref(job->cancelled);
    g_clear_object(&job->cancellable);
    worker_unref(job->worker);
    g_free(job);
}

static void job_detach(Job *job)
{
    if (job->timer) {
        g_source_destroy(job->timer);
        g_clear_pointer(&job->timer, g_source_unref);
    }
    if (job->cancel_handler) {
        g_signal_handler_disconnect(job->cancellable, job->cancel_handler);
        job->cancel_handler = 0;
    }
}

/* Main thread, once a job. */
static void job_complete(Job *job, const GError *error)
{
    DoneFunc done = g_steal_pointer(&job->done);
    job_detach(job);
    if (done)
        done(error, job->userdata);
}

/* True when the job had not started: it is ours again. */
static bool job_take_back(Job *job)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&job->worker->lock);
    return g_queue_remove(&job->worker->waiting, job);
}

/* Ends a job before its thread does. */
static void job_abandon(Job *job, IothsmError code, const char *sentence)
{
    if (!job->done)
        return;
    g_autoptr(GError) error = g_error_new_literal(IOTHSM_ERROR, (int)code, sentence);
    if (job_take_back(job))
        job->with_thread = false;
    g_cancellable_cancel(job->cancelled);
    job_complete(job, error);
    if (!job->with_thread)
        job_free(job);
}

static gboolean on_deadline(gpointer userdata)
{
    job_abandon(userdata, IOTHSM_ERROR_TIMED_OUT, "It was not done in time");
    return G_SOURCE_REMOVE;
}

static gboolean on_cancelled_in_main(gpointer userdata)
{
    job_abandon(userdata, IOTHSM_ERROR_CANCELLED, "It was cancelled");
    return G_SOURCE_REMOVE;
}

/* Replaces the deadline: never completes a job from inside g_cancellable_cancel. */
static void on_cancelled(GCancellable *cancellable, gpointer userdata)
{
    Job *job = userdata;
    if (job->timer) {
        g_source_destroy(job->timer);
        g_source_unref(job->timer);
    }
    job->timer = g_idle_source_new();
    g_source_set_priority(job->timer, G_PRIORITY_DEFAULT);
    g_source_set_callback(job->timer, on_cancelled_in_main, job, NULL);
    g_source_attach(job->timer, job->worker->context);
}

static gboolean on_handed_back(gpointer userdata)
{
    Job *job = userdata;
    job->with_thread = false;
    job_complete(job, job->error);
    job_free(job);
    return G_SOURCE_REMOVE;
}

static void hand_back(Job *job)
{
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, on_handed_back, job, NULL);
    g_source_attach(source, job->worker->context);
}

static gpointer worker_thread(gpointer userdata)
{
    Worker *worker = userdata;
    g_mutex_lock(&worker->lock);
    for (;;) {
        Job *job = g_queue_pop_head(&worker->waiting);
        if (job) {
            g_mutex_unlock(&worker->lock);
            if (!job->run(job->data, job->cancelled, &job->error) && !job->error)
                job->error =
                    g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "It failed without a reason");
            hand_back(job);
            g_mutex_lock(&worker->lock);
        } else if (worker->closing) {
            break;
        } else {
            g_cond_wait(&worker->wake, &worker->lock);
        }
    }
    /* What OpenSSL keeps for a thread goes before anybody is told that the thread has ended. */
    OPENSSL_thread_stop();
    worker->running--;
    g_cond_signal(&worker->idle);
    g_mutex_unlock(&worker->lock);
    worker_unref(worker);
    return NULL;
}

Worker *worker_new(const char *name, guint threads, guint queue_length)
{
    g_return_val_if_fail(threads > 0 && queue_length > 0, NULL);
    Worker *worker = g_new0(Worker, 1);
    g_mutex_init(&worker->lock);
    g_cond_init(&worker->wake);
    g_cond_init(&worker->idle);
    worker->references = 1;
    worker->queue_length = queue_length;
    worker->name = g_strdup(name);
    worker->context = g_main_context_ref_thread_default();
    worker->jobs = g_ptr_array_new();
    worker->running = threads;
    for (guint i = 0; i < threads; i++)
        g_thread_unref(g_thread_new(worker->name, worker_thread, worker_ref(worker)));
    return worker;
}

static void close_queue(Worker *worker)
{
    g_mutex_lock(&worker->lock);
    worker->closing = true;
    g_cond_broadcast(&worker->wake);
    g_mutex_unlock(&worker->lock);
    while (worker->jobs->len > 0) {
        Job *job = NULL;
        for (guint i = 0; i < worker->jobs->len && !job; i++) {
            Job *candidate = g_ptr_array_index(worker->jobs, i);
            job = candidate->done ? candidate : NULL;
        }
        if (!job)
            break;
        job_abandon(job, IOTHSM_ERROR_TOKEN_GONE, "The token was removed meanwhile");
    }
}

void worker_close(Worker *worker)
{
    if (!worker)
        return;
    close_queue(worker);
    worker_unref(worker);
}

void worker_close_and_join(Worker *worker)
{
    if (!worker)
        return;
    close_queue(worker);
    g_mutex_lock(&worker->lock);
    while (worker->running > 0)
        g_cond_wait(&worker->idle, &worker->lock);
    g_mutex_unlock(&worker->lock);
    while (worker->jobs->len > 0)
        g_main_context_iteration(worker->context, TRUE);
    worker_unref(worker);
}

bool worker_submit(Worker *worker, WorkerRunFunc run, void *data, GDestroyNotify free_data, gint64 deadline,
                   GCancellable *cancellable, DoneFunc done, void *userdata, GError **error)
{
    g_return_val_if_fail(done, false);
    g_mutex_lock(&worker->lock);
    bool full = worker->waiting.length >= worker->queue_length;
    bool closing = worker->closing;
    g_mutex_unlock(&worker->lock);
    if (full || closing) {
        if (free_data)
            free_data(data);
        g_set_error(error, IOTHSM_ERROR, closing ? IOTHSM_ERROR_TOKEN_GONE : IOTHSM_ERROR_TOKEN_BUSY, "%s",
                    closing ? "The token is gone" : "The queue is full; try again in a moment");
        return false;
    }

    Job *job = g_new0(Job, 1);
    *job = (Job){.worker = worker_ref(worker),
                 .run = run,
                 .data = data,
                 .free_data = free_data,
                 .done = done,
                 .userdata = userdata,
                 .cancelled = g_cancellable_new(),
                 .with_thread = true};
    g_ptr_array_add(worker->jobs, job);
    if (deadline != WORKER_NO_DEADLINE) {
        job->timer = g_timeout_source_new(0);
        g_source_set_ready_time(job->timer, deadline);
        g_source_set_callback(job->timer, on_deadline, job, NULL);
        g_source_attach(job->timer, worker->context);
    }
    if (cancellable) {
        job->cancellable = g_object_ref(cancellable);
        if (g_cancellable_is_cancelled(cancellable))
            on_cancelled(cancellable, job);
        else
            job->cancel_handler = g_signal_connect(cancellable, "cancelled", G_CALLBACK(on_cancelled), job);
    }
    g_mutex_lock(&worker->lock);
    g_queue_push_tail(&worker->waiting, job);
    g_cond_signal(&worker->wake);
    g_mutex_unlock(&worker->lock);
    return true;
}

guint worker_load(const Worker *worker)
{
    return worker->jobs->len;
}
