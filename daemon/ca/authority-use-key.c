/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The scheduler of one authority: which of its slots signs next. The shortest queue wins; among equals the
 * slot that has signed least, so that load spreads while the queues are empty. A slot whose queue is full is
 * passed over. Work whose token goes away before it began, or while it failed, has its turn on another one;
 * each slot gets one turn.
 *
 * A turn that was given up may still be about to begin on its thread. |turn| settles that: the thread begins
 * only its own number, and the main thread passes the work on only by taking the number away from it. */

#include "daemon/ca/authority.h"
#include "daemon/error.h"

/* What is to be done, on one slot after the other until one has done it. */
typedef struct Task {
    guint references; /* main thread */
    gint turn;        /* atomic: the number of the turn that may begin, or RUNNING */
    Authority *authority;
    GPtrArray *tried; /* Slot, referenced */
    SlotKeyFunc work;
    void *data;
    GDestroyNotify free_data;
    gint64 deadline;
    GCancellable *cancellable; /* or NULL */
    DoneFunc done;
    void *userdata;
} Task;

enum { RUNNING = -1 };

/* One slot's go at it. */
typedef struct Turn {
    Task *task;
    gint number;
} Turn;

/* Main thread. */
static void task_unref(Task *task)
{
    if (--task->references > 0)
        return;
    if (task->free_data)
        task->free_data(task->data);
    g_ptr_array_unref(task->tried);
    g_clear_object(&task->cancellable);
    authority_unref(task->authority);
    g_free(task);
}

static void turn_free(void *data)
{
    Turn *turn = data;
    task_unref(turn->task);
    g_free(turn);
}

static bool run_turn(EVP_PKEY *key, void *data, GError **error)
{
    const Turn *turn = data;
    Task *task = turn->task;
    if (!g_atomic_int_compare_and_exchange(&task->turn, turn->number, RUNNING)) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "Another token does it");
        return false;
    }
    bool done = task->work(key, task->data, error);
    g_atomic_int_set(&task->turn, turn->number);
    return done;
}

/* Lower is better; NEVER: the token takes no work at all. */
typedef enum Readiness { READY, WAITS_FOR_A_PERSON, NEEDS_PIN, NEVER } Readiness;

static Readiness readiness(const Slot *slot)
{
    const Token *token = slot_token(slot);
    PinState pin = token_pin_state(token);
    switch (token_state(token)) {
    case TOKEN_STATE_READY:
        return pin == PIN_STATE_SET || pin == PIN_STATE_NOT_NEEDED ? READY : NEEDS_PIN;
    case TOKEN_STATE_BUSY:
    case TOKEN_STATE_TOUCH_NEEDED:
        return WAITS_FOR_A_PERSON;
    case TOKEN_STATE_STARTING:
    case TOKEN_STATE_DRAINING:
    case TOKEN_STATE_HELD:
    case TOKEN_STATE_FAILED:
    case TOKEN_STATE_GONE:
        return NEVER;
    }
    return NEVER;
}

static int by_suitability(gconstpointer a, gconstpointer b)
{
    const Slot *left = *(const Slot *const *)a;
    const Slot *right = *(const Slot *const *)b;
    int order = (int)readiness(left) - (int)readiness(right);
    if (order == 0)
        order = (token_load(slot_token(left)) > token_load(slot_token(right))) -
                (token_load(slot_token(left)) < token_load(slot_token(right)));
    if (order == 0)
        order = (slot_signatures(left) > slot_signatures(right)) -
                (slot_signatures(left) < slot_signatures(right));
    return order;
}

static bool nobody_ready(const Authority *authority, GError **error)
{
    GPtrArray *slots = authority_slots(authority);
    if (slots->len == 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                    "No token holds the key of %s any more; plug one in", authority_subject(authority));
        return false;
    }
    const Token *token = slot_token(slots->pdata[0]);
    bool held = token_state(token) == TOKEN_STATE_HELD;
    g_set_error(error, IOTHSM_ERROR, held ? IOTHSM_ERROR_TOKEN_HELD : IOTHSM_ERROR_TOKEN_BUSY,
                "No token with the key of %s is ready; token %s is %s", authority_subject(authority),
                token_serial(token), token_state_to_string(token_state(token)));
    return false;
}

static void on_turn_done(const GError *error, void *userdata);

static bool give_to_next(Task *task, GError **error)
{
    g_autoptr(GPtrArray) slots = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    g_autoptr(GError) reason = NULL;
    for (guint i = 0; i < authority_slots(task->authority)->len; i++)
        g_ptr_array_add(slots, slot_ref(authority_slots(task->authority)->pdata[i]));
    g_ptr_array_sort(slots, by_suitability);

    for (guint i = 0; i < slots->len && readiness(slots->pdata[i]) != NEVER; i++) {
        Slot *slot = slots->pdata[i];
        if (g_ptr_array_find(task->tried, slot, NULL))
            continue;
        g_ptr_array_add(task->tried, slot_ref(slot));
        Turn *turn = g_new0(Turn, 1);
        *turn = (Turn){task, g_atomic_int_get(&task->turn)};
        task->references++;
        g_clear_error(&reason);
        if (slot_use_key(slot, run_turn, turn, turn_free, task->deadline, task->cancellable, on_turn_done,
                         turn, &reason))
            return true;
    }
    if (!reason)
        return nobody_ready(task->authority, error);
    g_propagate_error(error, g_steal_pointer(&reason));
    return false;
}

static void on_turn_done(const GError *error, void *userdata)
{
    const Turn *turn = userdata;
    Task *task = turn->task;
    if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE) &&
        g_atomic_int_compare_and_exchange(&task->turn, turn->number, turn->number + 1) &&
        give_to_next(task, NULL))
        return;
    task->done(error, task->userdata);
}

bool authority_use_key(Authority *authority, SlotKeyFunc work, void *data, GDestroyNotify free_data,
                       gint64 deadline, GCancellable *cancellable, DoneFunc done, void *userdata,
                       GError **error)
{
    Task *task = g_new0(Task, 1);
    *task = (Task){
        .references = 1,
        .authority = authority_ref(authority),
        .tried = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref),
        .work = work,
        .data = data,
        .free_data = free_data,
        .deadline = deadline,
        .cancellable = cancellable ? g_object_ref(cancellable) : NULL,
        .done = done,
        .userdata = userdata,
    };
    bool taken = give_to_next(task, error);
    task_unref(task);
    return taken;
}
