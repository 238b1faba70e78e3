/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who signs next, and where.
 *
 * What is to be done waits with its authority, and a token is given no more than it can run, and one thing to
 * go on with: so an authority that asks for much does not fill the tokens that it shares, and who is slow or
 * gone keeps hardly anything waiting. Whenever a token has room, the authorities take turns.
 *
 * Work that was given to a token may be about to begin on its thread at the very moment in which it is taken
 * back. |turn| settles that: the thread begins only its own number, and the main thread takes work back only
 * by taking the number away from it. */

#include "daemon/ca/authority-private.h"
#include "daemon/error.h"

/* Given, and not begun for so long: another token may be quicker. */
#define PATIENCE_US G_USEC_PER_SEC

typedef struct Turn Turn;

typedef struct Task {
    guint references; /* main thread: one until it is over, one each turn */
    gint turn;        /* atomic: the number of the turn that may begin, or RUNNING, or ENDED */
    Authority *authority;
    AuthorityWork work; /* with a reference to |tried| */
    GList *place;       /* in authority->tasks; NULL: given, or over */
    Turn *given;        /* NULL: not at a token */
    GSource *timer;
    GError *failure; /* while it is among the failing */
} Task;

enum { RUNNING = -1, ENDED = -2 };

/* One slot's go at it. */
struct Turn {
    Task *task;
    Slot *slot;
    gint number;
    GCancellable *taken_back;
};

static void hand_out(AuthoritySet *set);
static gboolean on_timer(void *userdata);

/* --- a task ------------------------------------------------------------------------------------------ */

static void task_unref(Task *task)
{
    if (--task->references > 0)
        return;
    if (task->work.free_data)
        task->work.free_data(task->work.data);
    g_ptr_array_unref(task->work.tried);
    g_clear_error(&task->failure);
    authority_unref(task->authority);
    g_free(task);
}

static void set_timer(Task *task, gint64 when)
{
    if (task->timer) {
        g_source_destroy(task->timer);
        g_clear_pointer(&task->timer, g_source_unref);
    }
    if (when == G_MAXINT64)
        return;
    task->timer = g_timeout_source_new(0);
    g_source_set_priority(task->timer, G_PRIORITY_DEFAULT);
    g_source_set_ready_time(task->timer, when);
    g_source_set_callback(task->timer, on_timer, task, NULL);
    g_source_attach(task->timer, g_main_context_get_thread_default());
}

static void leave_queue(Task *task)
{
    if (!task->place)
        return;
    g_queue_delete_link(&task->authority->tasks, task->place);
    task->place = NULL;
}

/* Transfer full. */
static GError *nobody_ready(const Authority *authority)
{
    const Token *token = authority->slots->len > 0 ? slot_token(authority->slots->pdata[0]) : NULL;
    if (!token || !authority->set || token_state(token) == TOKEN_STATE_GONE)
        return g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                           "No token holds the key of %s any more; plug one in",
                           authority_subject(authority));
    bool held = token_state(token) == TOKEN_STATE_HELD;
    return g_error_new(IOTHSM_ERROR, held ? IOTHSM_ERROR_TOKEN_HELD : IOTHSM_ERROR_TOKEN_BUSY,
                       "No token with the key of %s is ready; token %s is %s", authority_subject(authority),
                       token_serial(token), token_state_to_string(token_state(token)));
}

static void finish(Task *task, const GError *error)
{
    leave_queue(task);
    set_timer(task, G_MAXINT64);
    task->work.done(error, task->work.userdata);
    task_unref(task);
}

/* False: |task| is over, as the authority has no token any more. */
static bool wait_in_queue(Task *task, bool first)
{
    Authority *authority = task->authority;
    if (!authority->set) {
        g_autoptr(GError) gone = nobody_ready(authority);
        finish(task, gone);
        return false;
    }
    if (first)
        g_queue_push_head(&authority->tasks, task);
    else
        g_queue_push_tail(&authority->tasks, task);
    task->place = first ? authority->tasks.head : authority->tasks.tail;
    set_timer(task, task->work.begin_by);
    if (!authority->waits) {
        authority->waits = true;
        g_queue_push_tail(&authority->set->waiting, authority_ref(authority));
    }
    return true;
}

/* Not from where we are called. */
static void fail_soon(Task *task)
{
    AuthoritySet *set = task->authority->set;
    leave_queue(task);
    set_timer(task, G_MAXINT64);
    task->failure = nobody_ready(task->authority);
    g_queue_push_tail(&set->failing, task);
    authority_set_go_on(set);
}

/* True when |turn| has not begun, and will not. */
static bool take_back(Task *task)
{
    Turn *turn = task->given;
    if (!g_atomic_int_compare_and_exchange(&task->turn, turn->number, turn->number + 1))
        return false;
    task->given = NULL;
    g_cancellable_cancel(turn->taken_back);
    return true;
}

/* True when its thread has tried and is done with it. */
static bool begin_anew(Task *task)
{
    if (!g_atomic_int_compare_and_exchange(&task->turn, ENDED, task->given->number + 1))
        return false;
    task->given = NULL;
    return true;
}

static gboolean on_timer(void *userdata)
{
    Task *task = userdata;
    bool late = g_get_monotonic_time() >= task->work.begin_by;
    set_timer(task, G_MAXINT64);
    if (task->given && !take_back(task))
        return G_SOURCE_REMOVE; /* it runs, or on_turn_done is about to come */
    if (late) {
        g_autoptr(GError) error =
            g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "No token with the key of %s was free in time",
                        authority_subject(task->authority));
        finish(task, error);
    } else if (task->place) {
        set_timer(task, task->work.begin_by);
    } else if (wait_in_queue(task, true)) {
        hand_out(task->authority->set);
    }
    return G_SOURCE_REMOVE;
}

/* --- which slot -------------------------------------------------------------------------------------- */

/* Lower is better; NEVER: the token takes no work at all. */
typedef enum Readiness { READY, FAILED_JUST_NOW, DRAINS, WAITS_FOR_A_PERSON, NEEDS_PIN, NEVER } Readiness;

static Readiness readiness(const Slot *slot)
{
    const Token *token = slot_token(slot);
    PinState pin = token_pin_state(token);
    switch (token_state(token)) {
    case TOKEN_STATE_READY:
        if (pin != PIN_STATE_SET && pin != PIN_STATE_NOT_NEEDED)
            return NEEDS_PIN;
        return slot_has_just_failed(slot) ? FAILED_JUST_NOW : READY;
    case TOKEN_STATE_BUSY:
    case TOKEN_STATE_TOUCH_NEEDED:
        return WAITS_FOR_A_PERSON;
    case TOKEN_STATE_DRAINING:
        return token_is_drained(token) ? NEVER : DRAINS;
    case TOKEN_STATE_STARTING:
    case TOKEN_STATE_HELD:
    case TOKEN_STATE_FAILED:
    case TOKEN_STATE_GONE:
        return NEVER;
    }
    return NEVER;
}

static bool has_room(const Slot *slot)
{
    const Token *token = slot_token(slot);
    return token_load(token) <= token_threads(token);
}

static bool is_better(const Slot *slot, const Slot *best)
{
    guint load = token_load(slot_token(slot));
    guint best_load = token_load(slot_token(best));
    return load < best_load || (load == best_load && slot_signatures(slot) < slot_signatures(best));
}

/* Among those that are readiest: the one with the shortest queue, among equals the one that has signed least.
 * NULL where none of them has room. |*ret_readiness|: theirs. */
static Slot *choose(const Authority *authority, GPtrArray *tried, Readiness *ret_readiness)
{
    Slot *best = NULL;
    *ret_readiness = NEVER;
    for (guint i = 0; i < authority->slots->len; i++) {
        Slot *slot = g_ptr_array_index(authority->slots, i);
        Readiness ready = readiness(slot);
        if (ready == NEVER || ready > *ret_readiness || (tried && g_ptr_array_find(tried, slot, NULL)))
            continue;
        if (ready < *ret_readiness)
            best = NULL;
        *ret_readiness = ready;
        if (has_room(slot) && (!best || is_better(slot, best)))
            best = slot;
    }
    return best;
}

/* --- turns ------------------------------------------------------------------------------------------- */

/* After the thread has let go: the token has room. */
static void turn_free(void *data)
{
    Turn *turn = data;
    g_autoptr(Authority) authority = authority_ref(turn->task->authority);
    g_object_unref(turn->taken_back);
    slot_unref(turn->slot);
    task_unref(turn->task);
    g_free(turn);
    if (authority->set)
        hand_out(authority->set);
}

static bool run_turn(EVP_PKEY *key, void *data, GError **error)
{
    const Turn *turn = data;
    Task *task = turn->task;
    if (g_get_monotonic_time() > task->work.begin_by ||
        !g_atomic_int_compare_and_exchange(&task->turn, turn->number, RUNNING)) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "It came too late to the token");
        return false;
    }
    bool done = task->work.run(key, task->work.data, error);
    g_atomic_int_set(&task->turn, ENDED);
    return done;
}

static void on_turn_done(const GError *error, void *userdata)
{
    Turn *turn = userdata;
    Task *task = turn->task;
    if (task->given != turn)
        return; /* it was taken back */
    if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE) &&
        (take_back(task) || begin_anew(task))) {
        wait_in_queue(task, true);
        return;
    }
    task->given = NULL;
    if (error)
        g_ptr_array_add(task->work.tried, slot_ref(turn->slot));
    finish(task, error);
}

static bool give(Task *task, Slot *slot)
{
    Turn *turn = g_new0(Turn, 1);
    *turn = (Turn){task, slot_ref(slot), g_atomic_int_get(&task->turn), g_cancellable_new()};
    task->references++;
    if (!slot_use_key(slot, run_turn, turn, turn_free, task->work.end_by, turn->taken_back, on_turn_done,
                      turn, NULL))
        return false;
    leave_queue(task);
    task->given = turn;
    bool others = task->authority->slots->len > 1;
    set_timer(task,
              others ? MIN(task->work.begin_by, g_get_monotonic_time() + PATIENCE_US) : task->work.begin_by);
    return true;
}

/* False: what is first in |authority|'s queue has to wait. */
static bool serve(Authority *authority)
{
    Readiness ready;
    Task *task = g_queue_peek_head(&authority->tasks);
    if (!task)
        return false;
    Slot *slot = choose(authority, task->work.tried, &ready);
    if (ready == NEVER)
        fail_soon(task);
    return ready == NEVER || (slot && give(task, slot));
}

/* Goes round until everybody had to wait in a row; that leaves the queue in its order. */
static void hand_out(AuthoritySet *set)
{
    guint waited = 0;
    if (set->handing_out)
        return;
    set->handing_out = true;
    while (waited < set->waiting.length) {
        Authority *authority = g_queue_pop_head(&set->waiting);
        waited = serve(authority) ? 0 : waited + 1;
        if (g_queue_is_empty(&authority->tasks)) {
            authority->waits = false;
            authority_unref(authority);
            waited = 0;
        } else {
            g_queue_push_tail(&set->waiting, authority);
        }
    }
    set->handing_out = false;
}

static void tell_failing(AuthoritySet *set)
{
    Task *task;
    while ((task = g_queue_pop_head(&set->failing))) {
        g_autoptr(GError) failure = g_steal_pointer(&task->failure);
        finish(task, failure);
    }
}

static gboolean on_going_on(void *userdata)
{
    AuthoritySet *set = userdata;
    set->going_on = 0;
    tell_failing(set);
    hand_out(set);
    return G_SOURCE_REMOVE;
}

void authority_set_go_on(AuthoritySet *set)
{
    if (!set->going_on && !(g_queue_is_empty(&set->waiting) && g_queue_is_empty(&set->failing)))
        set->going_on = g_idle_add_full(G_PRIORITY_DEFAULT, on_going_on, set, NULL);
}

void authority_stop_waiting(Authority *authority)
{
    Task *task;
    while ((task = g_queue_peek_head(&authority->tasks)))
        fail_soon(task);
    if (!authority->waits)
        return;
    authority->waits = false;
    g_queue_remove(&authority->set->waiting, authority);
    authority_unref(authority);
}

void authority_set_stop_waiting(AuthoritySet *set)
{
    tell_failing(set);
    g_clear_handle_id(&set->going_on, g_source_remove);
}

bool authority_use_key(Authority *authority, const AuthorityWork *work, GError **error)
{
    Readiness ready;
    choose(authority, work->tried, &ready);
    if (ready == NEVER || !authority->set) {
        if (work->free_data)
            work->free_data(work->data);
        g_propagate_error(error, nobody_ready(authority));
        return false;
    }
    Task *task = g_new0(Task, 1);
    task->references = 1;
    task->authority = authority_ref(authority);
    task->work = *work;
    task->work.begin_by = MIN(work->begin_by, work->end_by);
    task->work.tried = work->tried ? g_ptr_array_ref(work->tried)
                                   : g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    wait_in_queue(task, work->first);
    hand_out(authority->set);
    return true;
}

guint authority_waiting(const Authority *authority)
{
    return authority->tasks.length;
}

bool authority_is_served(const Authority *authority)
{
    bool served = false;
    for (guint i = 0; i < authority->slots->len; i++) {
        Readiness ready = readiness(g_ptr_array_index(authority->slots, i));
        served = served || (ready != DRAINS && ready != NEVER);
    }
    return served;
}
