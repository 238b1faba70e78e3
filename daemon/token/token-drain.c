/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Draining: a token takes no new work from the platform and finishes what it has, so that a person may unplug
 * it or work on it. Who asked for that is told when nothing runs on it any more. What people do with it
 * (PINs, keys, certificates) goes on as ever. */

#include "daemon/error.h"
#include "daemon/token/token-private.h"

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

/* NULL in |*ret_error| where it is drained. */
static bool is_over(const Token *token, GError **ret_error)
{
    if (token->gone)
        g_set_error(ret_error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                    "Token %s went away before it was drained", token->driver->serial);
    else if (!token->draining)
        g_set_error(ret_error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED,
                    "Token %s is in use again: somebody has taken the draining back", token->driver->serial);
    return token->gone || !token->draining || token_load(token) == 0;
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

static gboolean on_look(gpointer userdata)
{
    Token *token = userdata;
    token->drain_look = 0;
    token_end_drains(token);
    return G_SOURCE_REMOVE;
}

void token_drain_look(Token *token)
{
    if (token->drains->len > 0 && !token->drain_look)
        token->drain_look = g_idle_add_full(G_PRIORITY_DEFAULT, on_look, token, NULL);
}

void token_set_draining(Token *token, bool on)
{
    if (token->draining == on)
        return;
    token->draining = on;
    token_drain_look(token);
    token_changed(token);
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
    token_drain_look(token);
}

bool token_is_draining(const Token *token)
{
    return token->draining;
}
