/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was published and is not yet held by the platform: envelopes that wait to be sent, then those that are
 * on the wire under a seq of this connection. A lost connection puts the latter back in front, in their old
 * order. */

#include "daemon/link/transport.h"

typedef struct Publication {
    char *channel;
    GBytes *envelope;
    gint64 expires;              /* µs of g_get_monotonic_time() */
    TransportPublishedFunc done; /* or NULL */
    void *userdata;
    guint64 seq; /* 0: not on the wire */
} Publication;

typedef struct Outbox {
    GQueue waiting; /* Publication, seq 0 */
    GQueue sent;    /* Publication, seq rising */
} Outbox;

#define OUTBOX_INIT                                                                                          \
    {                                                                                                        \
        G_QUEUE_INIT, G_QUEUE_INIT                                                                           \
    }

Publication *publication_new(const char *channel, GBytes *envelope, gint64 expires,
                             TransportPublishedFunc done, void *userdata);
/* Tells the publisher and frees. */
void publication_finish(Publication *publication, TransportOutcome outcome, const char *reason);

/* Out of |sent|: transfer full, or NULL. */
Publication *outbox_take_sent(Outbox *outbox, guint64 seq);
/* The connection is lost: everything waits again. */
void outbox_rewind(Outbox *outbox);
/* Moves everything of |channel| to the end of |ret_taken|. */
void outbox_take_channel(Outbox *outbox, const char *channel, GQueue *ret_taken);
