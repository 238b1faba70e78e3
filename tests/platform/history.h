/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was published on one channel, kept for catch-up: the last 100 messages, and those of the last ten
 * minutes up to a bound. An id is opaque to agents; it names this run of the platform and a number, so that
 * ids of an earlier run are known to be gone. Main thread. */

#include <glib.h>
#include <stdbool.h>

typedef struct Message {
    char *id;
    guint64 number;
    gint64 published; /* µs of g_get_monotonic_time() */
    char *envelope;
} Message;

typedef struct History History;

History *history_new(void);
void history_free(History *history);

/* Owned by the history; gone after the next call. */
const Message *history_add(History *history, const char *envelope, gint64 published);

typedef void (*HistoryFunc)(const Message *message, void *userdata);
/* Calls |each| for everything after the message |since|, or for all that is kept if that is no longer known.
 */
void history_replay(const History *history, const char *since, HistoryFunc each, void *userdata);
/* Whether something after |since| is gone. */
bool history_missed(const History *history, const char *since);
