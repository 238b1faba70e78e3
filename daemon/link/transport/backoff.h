/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How long to wait before the next attempt (protocol.md W.4): exponential with full jitter, so that a
 * thousand agents that lost the same server do not come back in one moment. Attempt n waits a random time
 * between |floor_ms| and floor · 2^(n+1), never above |ceiling_ms|. */

#include <glib.h>

typedef struct Backoff {
    gint64 floor_ms;
    gint64 ceiling_ms;
    guint attempts; /* since the last reset */
} Backoff;

#define BACKOFF_INIT(floor, ceiling) ((Backoff){.floor_ms = (floor), .ceiling_ms = (ceiling)})

/* The upper bound of the next wait, in ms. */
gint64 backoff_bound(const Backoff *backoff);
/* The next wait in ms; counts the attempt. */
gint64 backoff_next(Backoff *backoff);
void backoff_reset(Backoff *backoff);
