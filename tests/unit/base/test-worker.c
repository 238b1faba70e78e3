/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/error.h"
#include "daemon/worker.h"
#include "tests/support/support.h"

/* A gate that jobs wait at, so that tests decide when a job goes on, without sleeping. */
typedef struct Gate {
    GMutex lock;
    GCond changed;
    bool open;
    int arrived;
} Gate;

static void gate_open(Gate *gate)
{
    g_mutex_lock(&gate->lock);
    gate->open = true;
    g_cond_broadcast(&gate->changed);
    g_mutex_unlock(&gate->lock);
}

static void gate_wait_arrived(Gate *gate, int count)
{
    g_mutex_lock(&gate->lock);
    while (gate->arrived < count)
        g_cond_wait(&gate->changed, &gate->lock);
    g_mutex_unlock(&gate->lock);
}

typedef struct TestJob {
    Gate *gate;
    bool freed;
    bool done;
    int done_count;
    int code; /* -1: success */
    GError *fail_with;
} TestJob;

static bool run_at_gate(void *data, GCancellable *cancelled, GError **error)
{
    TestJob *job = data;
    g_mutex_lock(&job->gate->lock);
    job->gate->arrived++;
    g_cond_broadcast(&job->gate->changed);
    while (!job->gate->open)
        g_cond_wait(&job->gate->changed, &job->gate->lock);
    g_mutex_unlock(&job->gate->lock);
    if (job->fail_with)
        g_propagate_error(error, g_error_copy(job->fail_with));
    return !job->fail_with;
}

static void on_done(const GError *error, void *userdata)
{
    TestJob *job = userdata;
    job->done = true;
    job->done_count++;
    job->code = error ? error->code : -1;
}

static void on_free(void *data)
{
    ((TestJob *)data)->freed = true;
}

static void submit(Worker *worker, TestJob *job, gint64 deadline, GCancellable *cancellable)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(
        worker_submit(worker, run_at_gate, job, on_free, deadline, cancellable, on_done, job, &error));
    g_assert_no_error(error);
    g_assert_false(job->done);
}

static void a_job_ends_with_its_result_once(void)
{
    Gate gate = {.open = true};
    g_autoptr(GError) failure = g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_BAD_KEY, "x");
    TestJob good = {.gate = &gate};
    TestJob bad = {.gate = &gate, .fail_with = failure};
    Worker *worker = worker_new("test", 2, 10);
    submit(worker, &good, WORKER_NO_DEADLINE, NULL);
    submit(worker, &bad, WORKER_NO_DEADLINE, NULL);
    test_wait(&good.freed, 10);
    test_wait(&bad.freed, 10);
    g_assert_cmpint(good.code, ==, -1);
    g_assert_cmpint(bad.code, ==, IOTHSM_ERROR_BAD_KEY);
    g_assert_cmpint(good.done_count + bad.done_count, ==, 2);
    g_assert_cmpuint(worker_load(worker), ==, 0);
    worker_close_and_join(worker);
}

static void jobs_start_in_order(void)
{
    enum { N = 50 };
    Gate gate = {.open = true};
    TestJob jobs[N] = {0};
    g_autoptr(GArray) order = g_array_new(FALSE, FALSE, sizeof(int));
    Worker *worker = worker_new("test", 1, N);
    for (int i = 0; i < N; i++) {
        jobs[i].gate = &gate;
        submit(worker, &jobs[i], WORKER_NO_DEADLINE, NULL);
    }
    for (int next = 0; next < N;) {
        g_main_context_iteration(NULL, TRUE);
        while (next < N && jobs[next].done)
            next++;
        for (int later = next + 1; later < N; later++)
            g_assert_false(jobs[later].done && !jobs[later - 1].done);
    }
    worker_close_and_join(worker);
}

static void a_deadline_ends_a_running_and_a_waiting_job_at_once(void)
{
    Gate gate = {0};
    TestJob running = {.gate = &gate};
    TestJob waiting = {.gate = &gate};
    Worker *worker = worker_new("test", 1, 10);
    gint64 soon = g_get_monotonic_time() + 50000;
    submit(worker, &running, soon, NULL);
    gate_wait_arrived(&gate, 1);
    submit(worker, &waiting, soon, NULL);
    test_wait(&running.done, 10);
    test_wait(&waiting.done, 10);
    g_assert_cmpint(running.code, ==, IOTHSM_ERROR_TIMED_OUT);
    g_assert_cmpint(waiting.code, ==, IOTHSM_ERROR_TIMED_OUT);
    g_assert_false(running.freed); /* the thread still has it */
    g_assert_true(waiting.freed);
    gate_open(&gate);
    test_wait(&running.freed, 10);
    g_assert_cmpint(running.done_count, ==, 1);
    g_assert_cmpint(gate.arrived, ==, 1); /* the waiting one never ran */
    worker_close_and_join(worker);
}

static void cancelling_ends_the_job_and_tells_the_thread(void)
{
    Gate gate = {0};
    TestJob job = {.gate = &gate};
    TestJob late = {.gate = &gate};
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    Worker *worker = worker_new("test", 1, 10);
    submit(worker, &job, WORKER_NO_DEADLINE, cancellable);
    g_cancellable_cancel(cancellable);
    g_assert_false(job.done); /* never from inside the call */
    test_wait(&job.done, 10);
    g_assert_cmpint(job.code, ==, IOTHSM_ERROR_CANCELLED);
    submit(worker, &late, WORKER_NO_DEADLINE, cancellable); /* cancelled before it began */
    test_wait(&late.done, 10);
    g_assert_cmpint(late.code, ==, IOTHSM_ERROR_CANCELLED);
    gate_open(&gate);
    worker_close_and_join(worker);
    g_assert_true(job.freed && late.freed);
}

static void a_full_queue_is_an_answer(void)
{
    Gate gate = {0};
    TestJob jobs[4] = {{.gate = &gate}, {.gate = &gate}, {.gate = &gate}, {.gate = &gate}};
    g_autoptr(GError) error = NULL;
    Worker *worker = worker_new("test", 1, 2);
    submit(worker, &jobs[0], WORKER_NO_DEADLINE, NULL);
    gate_wait_arrived(&gate, 1);
    submit(worker, &jobs[1], WORKER_NO_DEADLINE, NULL);
    submit(worker, &jobs[2], WORKER_NO_DEADLINE, NULL);
    g_assert_false(worker_submit(worker, run_at_gate, &jobs[3], on_free, WORKER_NO_DEADLINE, NULL, on_done,
                                 &jobs[3], &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_BUSY);
    g_assert_true(jobs[3].freed);
    g_assert_cmpuint(worker_load(worker), ==, 3);
    gate_open(&gate);
    test_wait(&jobs[2].freed, 10);
    g_assert_false(jobs[3].done);
    worker_close_and_join(worker);
}

static void closing_ends_everything_without_waiting(void)
{
    Gate gate = {0};
    TestJob running = {.gate = &gate};
    TestJob waiting = {.gate = &gate};
    Worker *worker = worker_new("test", 1, 10);
    submit(worker, &running, WORKER_NO_DEADLINE, NULL);
    gate_wait_arrived(&gate, 1);
    submit(worker, &waiting, WORKER_NO_DEADLINE, NULL);
    worker_close(worker);
    g_assert_cmpint(running.code, ==, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_cmpint(waiting.code, ==, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_true(waiting.freed);
    gate_open(&gate);
    test_wait(&running.freed, 10);
    g_assert_cmpint(running.done_count, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/worker/result", a_job_ends_with_its_result_once);
    g_test_add_func("/worker/order", jobs_start_in_order);
    g_test_add_func("/worker/deadline", a_deadline_ends_a_running_and_a_waiting_job_at_once);
    g_test_add_func("/worker/cancel", cancelling_ends_the_job_and_tells_the_thread);
    g_test_add_func("/worker/full", a_full_queue_is_an_answer);
    g_test_add_func("/worker/close", closing_ends_everything_without_waiting);
    return g_test_run();
}
