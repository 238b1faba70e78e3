/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two queues. The platform confirms in order, so that a seq is nearly always found at the head of |sent|. */

#include "daemon/link/outbox.h"

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

static void take_channel(GQueue *queue, const char *channel, GQueue *ret_taken)
{
    for (GList *link = queue->head, *next; link; link = next) {
        next = link->next;
        Publication *publication = link->data;
        if (g_str_equal(publication->channel, channel)) {
            g_queue_unlink(queue, link);
            g_queue_push_tail_link(ret_taken, link);
        }
    }
}

void outbox_take_channel(Outbox *outbox, const char *channel, GQueue *ret_taken)
{
    take_channel(&outbox->sent, channel, ret_taken);
    take_channel(&outbox->waiting, channel, ret_taken);
}
