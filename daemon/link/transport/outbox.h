/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was published and is not yet held by the platform: envelopes that wait to be sent, then those that are
 * on the wire under a seq of this connection. A lost connection puts the latter back in front, in their old
 * order. */

#include "daemon/link/transport/transport.h"

typedef struct Publication {
    char *channel;
    GBytes *envelope;
    gint64 expires;              /* µs of g_get_monotonic_time() */
    TransportPublishedFunc done; /* or NULL */
    void *userdata;
    guint64 seq; /* 0: not on the wire */
    guint cuts;  /* connections that ended while it was the largest on the wire */
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
/* What is on the wire for |channel| waits again: the channel is gone. */
void outbox_withdraw(Outbox *outbox, const char *channel);

/* Where what waits is going: to |channels| (a table by channel), in envelopes of at most |size_max| bytes. */
typedef struct OutboxLimits {
    GHashTable *channels;
    gsize size_max;
    const char *too_large; /* in words */
} OutboxLimits;
/* Finishes what waits and can't be sent. Publishers may do anything meanwhile but publish; the caller holds
 * what |outbox| is part of. */
void outbox_sift(Outbox *outbox, const OutboxLimits *limits, gint64 now);
/* Finishes everything. */
void outbox_finish(Outbox *outbox, TransportOutcome outcome, const char *reason);

/* The connection ended with something on the wire. Which frame broke it nobody says, but the largest one is
 * suspect: gives it where the peer said that it was |too_large|, or where it is no small one and this is the
 * third time. Transfer full, or NULL. */
Publication *outbox_take_culprit(Outbox *outbox, bool too_large);
