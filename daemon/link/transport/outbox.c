/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two queues. The platform confirms in order, so that a seq is nearly always found at the head of |sent|. */

#include "daemon/link/transport/outbox.h"

/* No platform refuses a message of this size; a connection that ends over it ends for another reason. */
#define NEVER_TOO_LARGE (64U * 1024U)
#define CUTS_MAX 3

Publication *publication_new(const char *channel, GBytes *envelope, gint64 expires,
                             TransportPublishedFunc done, void *userdata)
{
    Publication *publication = g_new0(Publication, 1);
    publication->channel = g_strdup(channel);
    publication->envelope = g_bytes_ref(envelope);
    publication->expires = expires;
    publication->done = done;
    publication->userdata = userdata;
    return publication;
}

void publication_finish(Publication *publication, TransportOutcome outcome, const char *reason)
{
    if (publication->done)
        publication->done(outcome, reason, publication->userdata);
    g_free(publication->channel);
    g_bytes_unref(publication->envelope);
    g_free(publication);
}

Publication *outbox_take_sent(Outbox *outbox, guint64 seq)
{
    for (GList *link = outbox->sent.head; link; link = link->next) {
        Publication *publication = link->data;
        if (publication->seq == seq) {
            g_queue_delete_link(&outbox->sent, link);
            publication->seq = 0;
            return publication;
        }
    }
    return NULL;
}

void outbox_rewind(Outbox *outbox)
{
    Publication *publication;
    while ((publication = g_queue_pop_tail(&outbox->sent))) {
        publication->seq = 0;
        g_queue_push_head(&outbox->waiting, publication);
    }
}

void outbox_withdraw(Outbox *outbox, const char *channel)
{
    for (GList *link = outbox->sent.head, *next; link; link = next) {
        next = link->next;
        Publication *publication = link->data;
        if (g_str_equal(publication->channel, channel)) {
            publication->seq = 0;
            g_queue_unlink(&outbox->sent, link);
            g_queue_push_tail_link(&outbox->waiting, link);
        }
    }
}

static bool is_sendable(const Publication *publication, const OutboxLimits *limits, gint64 now)
{
    return g_hash_table_contains(limits->channels, publication->channel) && publication->expires > now &&
           g_bytes_get_size(publication->envelope) <= limits->size_max;
}

void outbox_sift(Outbox *outbox, const OutboxLimits *limits, gint64 now)
{
    GQueue unsendable = G_QUEUE_INIT;
    for (GList *link = outbox->waiting.head, *next; link; link = next) {
        next = link->next;
        if (!is_sendable(link->data, limits, now)) {
            g_queue_unlink(&outbox->waiting, link);
            g_queue_push_tail_link(&unsendable, link);
        }
    }
    Publication *publication;
    while ((publication = g_queue_pop_head(&unsendable))) {
        if (publication->expires <= now)
            publication_finish(publication, TRANSPORT_DROPPED, "its time ran out");
        else if (g_bytes_get_size(publication->envelope) > limits->size_max)
            publication_finish(publication, TRANSPORT_TOO_LARGE, limits->too_large);
        else
            publication_finish(publication, TRANSPORT_LEFT, "its channel is gone");
    }
}

void outbox_finish(Outbox *outbox, TransportOutcome outcome, const char *reason)
{
    Publication *publication;
    outbox_rewind(outbox);
    while ((publication = g_queue_pop_head(&outbox->waiting)))
        publication_finish(publication, outcome, reason);
}

Publication *outbox_take_culprit(Outbox *outbox, bool too_large)
{
    GList *largest = outbox->sent.head;
    for (GList *link = largest; link; link = link->next)
        if (g_bytes_get_size(((Publication *)link->data)->envelope) >
            g_bytes_get_size(((Publication *)largest->data)->envelope))
            largest = link;
    Publication *publication = largest ? largest->data : NULL;
    if (!publication)
        return NULL;
    bool is_suspect = g_bytes_get_size(publication->envelope) > NEVER_TOO_LARGE;
    publication->cuts += is_suspect;
    if (!too_large && publication->cuts < CUTS_MAX)
        return NULL;
    g_queue_delete_link(&outbox->sent, largest);
    publication->seq = 0;
    return publication;
}
