/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Draining: a token takes no new work from the platform and finishes what it has, so that a person may unplug
 * it or work on it. Requests that were offered before still come for a moment, and belong to what it has: it
 * is drained when it has been idle for that long. Who asked for it is told then. What people do with it
 * (PINs, keys, certificates) goes on as ever. */

#include "daemon/error.h"
#include "daemon/token/token-private.h"

#define IDLE_US (2 * G_USEC_PER_SEC)

typedef struct Drain {
    Token *token;       /* a reference */
    GSource *cancelled; /* or NULL */
    DoneFunc done;
    void *userdata;
} Drain;

static void drain_end(Drain *drain, GError *error)
{
    g_autoptr(GError) owned = error;
    g_ptr_array_remove(drain->token->drains, drain);
    if (drain->cancelled) {
        g_source_destroy(drain->cancelled);
        g_source_unref(drain->cancelled);
    }
    drain->done(owned, drain->userdata);
    token_unref(drain->token);
    g_free(drain);
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer userdata)
{
    drain_end(userdata, g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "It was cancelled"));
    return G_SOURCE_REMOVE;
}

/* True when nobody has to wait any longer; |*ret_error| NULL where it is drained. */
static bool is_over(const Token *token, GError **ret_error)
{
    if (token->gone)
        g_set_error(ret_error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                    "Token %s went away before it was drained", token->driver->serial);
    else if (token->draining == TOKEN_NOT_DRAINING)
        g_set_error(ret_error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED,
                    "Token %s is in use again: somebody has taken the draining back", token->driver->serial);
    return token->gone || token->draining != TOKEN_DRAINS;
}

void token_end_drains(Token *token)
{
    token_ref(token);
    while (token->drains->len > 0) {
        GError *error = NULL;
        if (!is_over(token, &error))
            break;
        drain_end(g_ptr_array_index(token->drains, 0), error);
    }
    token_unref(token);
}

static void look_at(Token *token, gint64 when);

static gboolean on_look(gpointer userdata)
{
    Token *token = userdata;
    g_clear_pointer(&token->drain_look, g_source_unref);
    token_ref(token);
    bool drains = !token->gone && token->draining == TOKEN_DRAINS && token_load(token) == 0;
    gint64 idle = g_get_monotonic_time() - token->busy_until;
    if (drains && (token->slots->len == 0 || idle >= IDLE_US)) {
        token->draining = TOKEN_DRAINED;
        token_changed(token);
    } else if (drains) {
        look_at(token, token->busy_until + IDLE_US);
    }
    token_end_drains(token);
    token_unref(token);
    return G_SOURCE_REMOVE;
}

static void look_at(Token *token, gint64 when)
{
    if (token->drain_look) {
        g_source_destroy(token->drain_look);
        g_source_unref(token->drain_look);
    }
    token->drain_look = g_timeout_source_new(0);
    g_source_set_priority(token->drain_look, G_PRIORITY_DEFAULT);
    g_source_set_ready_time(token->drain_look, when);
    g_source_set_callback(token->drain_look, on_look, token, NULL);
    g_source_attach(token->drain_look, g_main_context_get_thread_default());
}

void token_drain_look(Token *token)
{
    token->busy_until = g_get_monotonic_time();
    if (token->gone)
        return;
    if (token->draining == TOKEN_DRAINS || token->drains->len > 0)
        look_at(token, 0);
}

static void set(Token *token, TokenDraining draining)
{
    if (token->draining == draining)
        return;
    token->draining = draining;
    token_drain_look(token);
    token_changed(token);
}

void token_set_draining(Token *token, bool on)
{
    if (token_is_draining(token) != on)
        set(token, on ? TOKEN_DRAINS : TOKEN_NOT_DRAINING);
}

void token_set_drained(Token *token)
{
    set(token, TOKEN_DRAINED);
}

void token_wait_drained(Token *token, GCancellable *cancellable, DoneFunc done, void *userdata)
{
    Drain *drain = g_new0(Drain, 1);
    *drain = (Drain){.token = token_ref(token), .done = done, .userdata = userdata};
    g_ptr_array_add(token->drains, drain);
    if (cancellable) {
        drain->cancelled = g_cancellable_source_new(cancellable);
        g_source_set_callback(drain->cancelled, G_SOURCE_FUNC(on_cancelled), drain, NULL);
        g_source_attach(drain->cancelled, g_main_context_get_thread_default());
    }
    look_at(token, 0);
}

bool token_is_draining(const Token *token)
{
    return token->draining != TOKEN_NOT_DRAINING;
}

bool token_is_drained(const Token *token)
{
    return token->draining == TOKEN_DRAINED;
}
