/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Full jitter: the bound doubles, the wait is drawn evenly from everything below it. The floor keeps a lucky
 * draw from becoming a tight loop. */

#include "daemon/link/transport/backoff.h"

gint64 backoff_bound(const Backoff *backoff)
{
    gint64 bound = backoff->floor_ms;
    for (guint i = 0; i <= backoff->attempts && bound < backoff->ceiling_ms; i++)
        bound *= 2;
    return MIN(bound, backoff->ceiling_ms);
}

gint64 backoff_next(Backoff *backoff)
{
    gint64 bound = backoff_bound(backoff);
    backoff->attempts++;
    gint64 room = bound - backoff->floor_ms;
    return backoff->floor_ms + (room > 0 ? (gint64)(g_random_double() * (double)room) : 0);
}

void backoff_reset(Backoff *backoff)
{
    backoff->attempts = 0;
}
