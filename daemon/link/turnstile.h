/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A turnstile: so many may be inside at once, the others wait in line. It stands before the platform
 * (protocol.md W.1: eight bootstraps at once) and not before a token, so that an authority whose token does
 * not answer holds up nobody. Main thread. */

#include <glib.h>

typedef struct Turnstile Turnstile;
typedef struct Turn Turn;

typedef void (*TurnFunc)(void *userdata);

Turnstile *turnstile_new(guint places);
/* When every turn was given back; accepts NULL. */
void turnstile_free(Turnstile *turnstile);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Turnstile, turnstile_free)

/* |go| runs once, later, when it is its turn, unless the turn is given back before. */
Turn *turnstile_enter(Turnstile *turnstile, TurnFunc go, void *userdata);
/* Inside or still waiting: gives the turn back; accepts NULL. */
void turnstile_leave(Turn *turn);
