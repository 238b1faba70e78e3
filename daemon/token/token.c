/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The token's life, what is known of it, and how an act comes back from the worker.
 *
 * With several threads two acts can read the token at nearly the same time and be handed back in the other
 * order. Each probe has a number, and what an older probe saw never replaces what a newer one did. */

#include "daemon/error.h"
#include "daemon/token/key-provider.h"
#include "daemon/token/token-private.h"
#include <string.h>

#define QUEUE_LENGTH 4096
/* A token that can't be read is looked at again by itself, at first soon. */
#define RETRY_SECONDS_MIN 2
#define RETRY_SECONDS_MAX 60

Driver *driver_ref(Driver *driver)
{
    g_atomic_int_inc(&driver->references);
    return driver;
}

void driver_unref(Driver *driver)
{
    if (!driver || !g_atomic_int_dec_and_test(&driver->references))
        return;
    driver->backend->class->free(driver->backend);
    pin_store_unref(driver->store);
    g_mutex_clear(&driver->pins);
    g_free(driver->serial);
    g_free(driver);
}

Token *token_new(Backend *backend, const char *serial, Source *source, PinStore *store,
                 const TokenEvents *events)
{
    Token *token = g_new0(Token, 1);
    token->references = 1;
    token->driver = g_new0(Driver, 1);
    *token->driver = (Driver){.references = 1,
                              .backend = backend,
                              .serial = g_strdup(serial),
                              .store = pin_store_ref(store),
                              .token = token};
    g_mutex_init(&token->driver->pins);
    token->worker = worker_new(serial, token_threads(token), QUEUE_LENGTH);
    token->source = source;
    token->events = *events;
    token->info = token_info_new();
    token->slots = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unlist);
    token->acts = g_ptr_array_new();
    token->drains = g_ptr_array_new();
    token->advice = g_string_new(NULL);
    touch_follow(token);
    return token;
}

Token *token_ref(Token *token)
{
    token->references++;
    return token;
}

void token_unref(Token *token)
{
    if (!token || --token->references > 0)
        return;
    worker_close(g_steal_pointer(&token->worker));
    g_clear_handle_id(&token->retry, g_source_remove);
    touch_forget(token);
    g_ptr_array_unref(token->touches);
    g_ptr_array_unref(token->slots);
    g_ptr_array_unref(token->acts);
    g_ptr_array_unref(token->drains);
    if (token->drain_look) {
        g_source_destroy(token->drain_look);
        g_source_unref(token->drain_look);
    }
    token_info_free(token->info);
    token->driver->token = NULL;
    driver_unref(token->driver);
    g_free(token->failure);
    g_free(token->pin_note);
    g_string_free(token->advice, TRUE);
    g_free(token);
}

void token_changed(Token *token)
{
    if (token->events.changed)
        token->events.changed(token, token->events.userdata);
}

static void remove_slot(Token *token, guint at)
{
    Slot *slot = slot_ref(g_ptr_array_index(token->slots, at));
    g_ptr_array_remove_index(token->slots, at);
    if (token->events.slot_removed)
        token->events.slot_removed(token, slot, token->events.userdata);
    slot_unref(slot);
}

static void leave(Token *token, void (*close)(Worker *worker))
{
    if (token->gone)
        return;
    token_ref(token);
    token->gone = true;
    touch_forget(token);
    g_clear_handle_id(&token->retry, g_source_remove);
    close(g_steal_pointer(&token->worker));
    while (token->slots->len > 0)
        remove_slot(token, token->slots->len - 1);
    token_end_drains(token);
    token_changed(token);
    token_unref(token);
}

void token_gone(Token *token)
{
    leave(token, worker_close);
}

void token_close_and_join(Token *token)
{
    leave(token, worker_close_and_join);
}

static int compare_infos(const void *one, const void *other)
{
    return strcmp((*(SlotInfo *const *)one)->name, (*(SlotInfo *const *)other)->name);
}

/* Both lists are ordered by name: one walk finds what came, went and changed. */
static void apply_slots(Token *token, GPtrArray *infos)
{
    g_ptr_array_sort(infos, compare_infos);
    guint at = 0;
    for (guint i = 0; i < infos->len; i++) {
        SlotInfo *info = g_ptr_array_index(infos, i);
        g_ptr_array_index(infos, i) = NULL;
        while (at < token->slots->len && strcmp(slot_name(token->slots->pdata[at]), info->name) < 0)
            remove_slot(token, at);
        if (at < token->slots->len && g_str_equal(slot_name(token->slots->pdata[at]), info->name)) {
            Slot *slot = token->slots->pdata[at];
            if (slot_update(slot, info) && token->events.slot_changed)
                token->events.slot_changed(token, slot, token->events.userdata);
        } else {
            Slot *slot = slot_new(token, info);
            g_ptr_array_insert(token->slots, (int)at, slot);
            if (token->events.slot_added)
                token->events.slot_added(token, slot, token->events.userdata);
        }
        at++;
    }
    while (at < token->slots->len)
        remove_slot(token, at);
}

static void apply_verdict(Token *token, Act *act)
{
    if (act->verdict != PIN_NOT_TRIED)
        token->pin_refused = act->verdict == PIN_REFUSED;
    if (act->verdict != PIN_NOT_TRIED || act->note) {
        g_free(token->pin_note);
        token->pin_note = g_steal_pointer(&act->note);
    }
}

static gboolean on_retry(gpointer userdata)
{
    Token *token = userdata;
    token->retry = 0;
    token_refresh(token, NULL, NULL);
    return G_SOURCE_REMOVE;
}

/* Nobody tells when another program lets go, and asking for it costs nothing. */
static void plan_retry(Token *token)
{
    bool again = token->failure || token->info->outdated;
    g_clear_handle_id(&token->retry, g_source_remove);
    token->retry_after = again ? CLAMP(token->retry_after * 2, RETRY_SECONDS_MIN, RETRY_SECONDS_MAX) : 0;
    if (token->held)
        token->retry_after = RETRY_SECONDS_MIN;
    if (again)
        token->retry = g_timeout_add_seconds(token->retry_after, on_retry, token);
}

static void act_apply(Act *act)
{
    Token *token = act->token;
    if (act->applied)
        return;
    act->applied = true;
    g_ptr_array_remove(token->acts, act);
    if (!act->run)
        token->refreshing = false;
    if (token->gone)
        return;
    apply_verdict(token, act);
    if (act->probe > token->probe) {
        token->probe = act->probe;
        g_clear_pointer(&token->failure, g_free);
        if (act->info) {
            token->probed = true;
            token_info_free(token->info);
            token->info = g_steal_pointer(&act->info);
            apply_slots(token, token->info->slots);
            g_ptr_array_set_size(token->info->slots, 0);
        } else if (act->failure) {
            token->failure = g_strdup(act->failure->message);
        }
        token->held = g_error_matches(act->failure, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_HELD);
        plan_retry(token);
    }
    token_changed(token);
}

Act *act_new(Token *token, ActRunFunc run)
{
    Act *act = g_new0(Act, 1);
    act->token = token_ref(token);
    act->driver = driver_ref(token->driver);
    act->run = run;
    return act;
}

/* The last moment of an act, on the main thread. One that was given up while its thread went on has its
 * results taken over here: what the token holds now is true, whoever waited for it. */
static void act_free(void *data)
{
    Act *act = data;
    if (g_atomic_int_get(&act->finished) || g_ptr_array_find(act->token->acts, act, NULL))
        act_apply(act);
    if (!act->run)
        act->token->refreshing = false; /* also when it never ran */
    g_free(act->operation);
    g_free(act->slot);
    g_free(act->label);
    g_free(act->pin_policy);
    g_free(act->touch_policy);
    g_free(act->algorithm);
    secret_unref(act->secret);
    secret_unref(act->other);
    X509_free(act->certificate);
    token_info_free(act->info);
    g_clear_error(&act->failure);
    g_free(act->note);
    driver_unref(act->driver);
    token_drain_look(act->token);
    token_unref(act->token);
    g_free(act);
}

static bool act_thread(void *data, GCancellable *cancelled, GError **error)
{
    Act *act = data;
    Backend *backend = act->driver->backend;
    const KeyLimits limits = {G_MAXINT64, cancelled};
    act_note_refused(act);
    if (act->only_token_ends_it)
        key_provider_limit(&limits);
    bool done = !act->run || act->run(act, cancelled, error);
    act_note_refused(act);
    if (!act->info && !act->failure) {
        act->probe = g_atomic_int_add(&act->driver->probes, 1) + 1;
        act->info = backend->class->probe(backend, &act->failure);
        act_note_refused(act);
    }
    key_provider_limit(NULL); /* the thread goes on to other jobs, and |limits| ends here */
    const GError *unread = act->info ? act->info->outdated : act->failure;
    if (!act->run && unread) {
        g_propagate_error(error, g_error_copy(unread));
        done = false;
    }
    g_atomic_int_set(&act->finished, 1);
    return done;
}

static void act_report(Act *act, const GError *error)
{
    if (act->text_done)
        act->text_done(error ? NULL : act->slot, error, act->userdata);
    else if (act->done)
        act->done(error, act->userdata);
}

static void act_done(const GError *error, void *userdata)
{
    Act *act = userdata;
    if (g_atomic_int_get(&act->finished))
        act_apply(act);
    act_report(act, error);
}

typedef struct Refusal {
    Act *act;
    GError *error;
} Refusal;

static gboolean on_refusal(gpointer userdata)
{
    Refusal *refusal = userdata;
    act_report(refusal->act, refusal->error);
    act_free(refusal->act);
    g_error_free(refusal->error);
    g_free(refusal);
    return G_SOURCE_REMOVE;
}

void act_refuse(Act *act, GError *error)
{
    Refusal *refusal = g_new0(Refusal, 1);
    *refusal = (Refusal){.act = act, .error = error};
    g_idle_add_full(G_PRIORITY_DEFAULT, on_refusal, refusal, NULL);
}

/* The worker lets go of a job that it did not take, too; that one still has somebody to tell. */
static void act_let_go(void *data)
{
    Act *act = data;
    if (act->submitted)
        act_free(act);
}

void act_submit(Act *act, GCancellable *cancellable)
{
    Token *token = act->token;
    g_autoptr(GError) error = NULL;
    if (!token->worker) {
        act_refuse(act, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                                    "Token %s is gone; plug it in again", token->driver->serial));
        return;
    }
    for (guint i = 0; act->slot && i < token->acts->len; i++) {
        const Act *other = g_ptr_array_index(token->acts, i);
        if (g_strcmp0(other->slot, act->slot) == 0) {
            act_refuse(act, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_BUSY,
                                        "Slot %s of token %s is in use: %s; try again when that is over",
                                        act->slot, token->driver->serial, other->operation));
            return;
        }
    }
    if (act->operation) {
        act->since = g_get_real_time();
        g_ptr_array_add(token->acts, act);
        token_changed(token);
    }
    act->only_token_ends_it = !cancellable;
    act->submitted = worker_submit(token->worker, act_thread, act, act_let_go, WORKER_NO_DEADLINE,
                                   cancellable, act_done, act, &error);
    if (!act->submitted)
        act_refuse(act, g_steal_pointer(&error));
}

void token_refresh(Token *token, DoneFunc done, void *userdata)
{
    if (!done && token->refreshing)
        return;
    if (token->failure && !token->probed) {
        token_start(token, done, userdata); /* its stored PIN was not presented yet */
        return;
    }
    Act *act = act_new(token, NULL);
    token->refreshing = true;
    act->done = done;
    act->userdata = userdata;
    act_submit(act, NULL);
}

Source *token_source(const Token *token)
{
    return token->source;
}

const char *token_kind(const Token *token)
{
    return token->driver->backend->class->kind;
}

const char *token_serial(const Token *token)
{
    return token->driver->serial;
}

static const char *or_empty(const char *text)
{
    return text ? text : "";
}

const char *token_label(const Token *token)
{
    return or_empty(token->info->label);
}

const char *token_model(const Token *token)
{
    return or_empty(token->info->model);
}

const char *token_firmware(const Token *token)
{
    return or_empty(token->info->firmware);
}

TokenState token_state(const Token *token)
{
    if (token->gone)
        return TOKEN_STATE_GONE;
    if (token->failure)
        return token->held ? TOKEN_STATE_HELD : TOKEN_STATE_FAILED;
    if (!token->probed)
        return TOKEN_STATE_STARTING;
    if (token->touch_shown)
        return TOKEN_STATE_TOUCH_NEEDED;
    if (token_is_draining(token))
        return TOKEN_STATE_DRAINING;
    return token->acts->len > 0 ? TOKEN_STATE_BUSY : TOKEN_STATE_READY;
}

const char *token_state_to_string(TokenState state)
{
    static const char *const names[] = {
        [TOKEN_STATE_STARTING] = "starting", [TOKEN_STATE_READY] = "ready",
        [TOKEN_STATE_BUSY] = "busy",         [TOKEN_STATE_TOUCH_NEEDED] = "touch-needed",
        [TOKEN_STATE_DRAINING] = "draining", [TOKEN_STATE_HELD] = "held",
        [TOKEN_STATE_FAILED] = "failed",     [TOKEN_STATE_GONE] = "gone",
    };
    return names[state];
}

/* A sentence that ends with a command about this token, to be pasted. */
static const char *advise(const Token *token, const char *sentence, const char *verb)
{
    g_string_printf(token->advice, "%s: iothsmctl %s %s", sentence, verb, token->driver->serial);
    return token->advice->str;
}

const char *token_message(const Token *token)
{
    if (token->gone)
        return "The token is gone; plug it in again";
    if (token->failure)
        return token->failure;
    if (token->touch_shown)
        return token->touch_message;
    if (token_is_draining(token))
        return advise(token, "It takes no new work; take that back with", "drain --undo");
    if (token->pin_note)
        return token->pin_note;
    if (token->info->outdated)
        return token->info->outdated->message;
    switch (token_pin_state(token)) {
    case PIN_STATE_MISSING:
        return token->probed ? advise(token, "The PIN is not known; give it with", "pin set") : "";
    case PIN_STATE_FACTORY:
        return backend_is_piv(token->driver->backend)
                   ? advise(token, "The token has its factory PIN, which everybody knows; change it with",
                            "pin change")
                   : advise(token, "The token wants its first PIN changed before it is used; do that with",
                            "pin change");
    case PIN_STATE_WRONG:
        return advise(token, "The token refused the PIN; give the right one with", "pin set");
    case PIN_STATE_BLOCKED:
        return advise(token, "The PIN is blocked; unblock it with", "pin unblock");
    default:
        return "";
    }
}

static const Act *running(const Token *token)
{
    return token->gone || token->acts->len == 0 ? NULL : g_ptr_array_index(token->acts, 0);
}

const char *token_operation(const Token *token)
{
    const Act *act = running(token);
    return act ? act->operation : "";
}

gint64 token_operation_since(const Token *token)
{
    const Act *act = running(token);
    return act ? act->since : 0;
}

PinState token_pin_state(const Token *token)
{
    PinState state = token->info->pin_state;
    if (!token->probed)
        return PIN_STATE_MISSING;
    return token->pin_refused && state == PIN_STATE_MISSING ? PIN_STATE_WRONG : state;
}

const char *pin_state_to_string(PinState state)
{
    static const char *const names[] = {
        [PIN_STATE_NOT_NEEDED] = "not-needed", [PIN_STATE_MISSING] = "missing",
        [PIN_STATE_FACTORY] = "factory",       [PIN_STATE_SET] = "set",
        [PIN_STATE_WRONG] = "wrong",           [PIN_STATE_BLOCKED] = "blocked",
    };
    return names[state];
}

int token_pin_retries(const Token *token)
{
    return token->info->pin_retries;
}

int token_puk_retries(const Token *token)
{
    return token->info->puk_retries;
}

const char *token_management_key_state(const Token *token)
{
    return token->info->management_key ? token->info->management_key : "not-needed";
}

static const char *const no_names[] = {NULL};

const char *const *token_free_slots(const Token *token)
{
    return token->info->free_slots ? (const char *const *)token->info->free_slots : no_names;
}

const char *const *token_key_types(const Token *token)
{
    return token->info->key_types ? (const char *const *)token->info->key_types : no_names;
}

GPtrArray *token_slots(const Token *token)
{
    return token->slots;
}

Slot *token_find_slot(const Token *token, const char *name)
{
    for (guint i = 0; i < token->slots->len; i++)
        if (g_str_equal(slot_name(token->slots->pdata[i]), name))
            return token->slots->pdata[i];
    return NULL;
}

guint token_threads(const Token *token)
{
    guint threads = token->driver->backend->class->threads;
    return threads ? threads : g_get_num_processors();
}

guint token_load(const Token *token)
{
    return token->worker ? worker_load(token->worker) : 0;
}
