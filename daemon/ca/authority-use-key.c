/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The scheduler of one authority: which of its slots signs next. The shortest queue wins; among equals the
 * slot that has signed least, so that load spreads while the queues are empty. A slot whose queue is full is
 * passed over. */

#include "daemon/ca/authority.h"
#include "daemon/error.h"

/* What is to be done, handed to one slot after the other until one takes it. */
typedef struct Task {
    guint references;
    SlotKeyFunc work;
    void *data;
    GDestroyNotify free_data;
} Task;

/* Main thread. */
static void task_unref(void *data)
{
    Task *task = data;
    if (--task->references > 0)
        return;
    if (task->free_data)
        task->free_data(task->data);
    g_free(task);
}

static bool run_task(EVP_PKEY *key, void *data, GError **error)
{
    const Task *task = data;
    return task->work(key, task->data, error);
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

bool authority_use_key(Authority *authority, SlotKeyFunc work, void *data, GDestroyNotify free_data,
                       gint64 deadline, GCancellable *cancellable, DoneFunc done, void *userdata,
                       GError **error)
{
    Task *task = g_new0(Task, 1);
    *task = (Task){1, work, data, free_data};
    g_autoptr(GPtrArray) slots = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    g_autoptr(GError) reason = NULL;
    bool taken = false;

    for (guint i = 0; i < authority_slots(authority)->len; i++)
        g_ptr_array_add(slots, slot_ref(authority_slots(authority)->pdata[i]));
    g_ptr_array_sort(slots, by_suitability);
    for (guint i = 0; i < slots->len && !taken && readiness(slots->pdata[i]) != NEVER; i++) {
        g_clear_error(&reason);
        task->references++;
        taken = slot_use_key(slots->pdata[i], run_task, task, task_unref, deadline, cancellable, done,
                             userdata, &reason);
    }
    task_unref(task);
    if (taken)
        return true;
    if (!reason)
        return nobody_ready(authority, error);
    g_propagate_error(error, g_steal_pointer(&reason));
    return false;
}
