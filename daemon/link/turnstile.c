/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A line of turns and a count of those inside. Who may go in is decided from the main loop, never from inside
 * a call, so that nobody is called back by what he has just called. */

#include "daemon/link/turnstile.h"

#include <stdbool.h>

struct Turn {
    Turnstile *turnstile;
    bool is_inside;
    TurnFunc go;
    void *userdata;
};

struct Turnstile {
    guint places;
    guint inside;
    GQueue line; /* Turn */
    guint source;
};

static gboolean on_next(void *userdata)
{
    Turnstile *turnstile = userdata;
    Turn *turn = turnstile->inside < turnstile->places ? g_queue_pop_head(&turnstile->line) : NULL;
    if (!turn) {
        turnstile->source = 0;
        return G_SOURCE_REMOVE;
    }
    turn->is_inside = true;
    turnstile->inside++;
    turn->go(turn->userdata);
    return G_SOURCE_CONTINUE;
}

static void look(Turnstile *turnstile)
{
    if (!turnstile->source)
        turnstile->source = g_idle_add_full(G_PRIORITY_DEFAULT, on_next, turnstile, NULL);
}

Turnstile *turnstile_new(guint places)
{
    Turnstile *turnstile = g_new0(Turnstile, 1);
    turnstile->places = places;
    return turnstile;
}

void turnstile_free(Turnstile *turnstile)
{
    if (!turnstile)
        return;
    g_clear_handle_id(&turnstile->source, g_source_remove);
    g_free(turnstile);
}

Turn *turnstile_enter(Turnstile *turnstile, TurnFunc go, void *userdata)
{
    Turn *turn = g_new0(Turn, 1);
    *turn = (Turn){turnstile, false, go, userdata};
    g_queue_push_tail(&turnstile->line, turn);
    look(turnstile);
    return turn;
}

void turnstile_leave(Turn *turn)
{
    if (!turn)
        return;
    if (turn->is_inside)
        turn->turnstile->inside--;
    else
        g_queue_remove(&turn->turnstile->line, turn);
    look(turn->turnstile);
    g_free(turn);
}
