/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One queue and one set. PIPELINE messages are handled at once: enough that the disk, the threads and the
 * token all have something to do, and few enough that one authority's flood does not keep the others waiting
 * on the crypto threads. */

#include "daemon/link/inbox.h"

#include "daemon/json.h"
#include "daemon/link/message/wire.h"
#include "daemon/link/offer.h"
#include "daemon/link/request.h"
#include "daemon/link/transport/https.h"

#define PIPELINE 32

typedef struct Entry {
    Inbox *inbox;
    TransportMessage *message;
    WireType type;
    gint64 deadline;
    Offer *offer; /* one of the two, once it is being handled */
    Request *request;
} Entry;

struct Inbox {
    ChannelContext *channel;
    Lane *lane;
    InboxDealtWithFunc dealt_with;
    void *userdata;
    GQueue waiting;      /* Entry */
    GHashTable *handled; /* Entry */
};

static void start_next(Inbox *inbox);

static void entry_free(Entry *entry)
{
    offer_abandon(entry->offer);
    request_abandon(entry->request);
    transport_message_unref(entry->message);
    g_free(entry);
}

static void on_dealt_with(void *userdata)
{
    Entry *entry = userdata;
    Inbox *inbox = entry->inbox;
    entry->offer = NULL; /* they are gone already */
    entry->request = NULL;
    g_hash_table_remove(inbox->handled, entry);
    inbox->dealt_with(entry->message->id, inbox->userdata);
    entry_free(entry);
    start_next(inbox);
}

static void drop(Inbox *inbox, const TransportMessage *message, const char *reason)
{
    g_autofree char *siguuid = https_one_line(json_get_string(message->envelope, "siguuid", NULL));
    g_autofree char *kind = wire_type(message->envelope) == WIRE_REQUEST
                                ? https_one_line(json_get_string(message->envelope, "signtype", NULL))
                                : NULL;
    channel_context_log_dropped(inbox->channel, siguuid, kind, reason);
    inbox->dealt_with(message->id, inbox->userdata);
}

static void start(Inbox *inbox, Entry *entry)
{
    g_hash_table_add(inbox->handled, entry);
    if (entry->type == WIRE_SOLICIT)
        entry->offer = offer_start(inbox->channel, entry->message, entry->deadline, on_dealt_with, entry);
    else
        entry->request =
            request_start(inbox->channel, inbox->lane, entry->message, entry->deadline, on_dealt_with, entry);
}

static void start_next(Inbox *inbox)
{
    while (g_hash_table_size(inbox->handled) < PIPELINE) {
        Entry *entry = g_queue_pop_head(&inbox->waiting);
        if (!entry)
            return;
        if (g_get_monotonic_time() <= entry->deadline) {
            start(inbox, entry);
        } else {
            drop(inbox, entry->message, "It waited longer than its ttl");
            entry_free(entry);
        }
    }
}

Inbox *inbox_new(ChannelContext *channel, InboxDealtWithFunc dealt_with, void *userdata)
{
    Inbox *inbox = g_new0(Inbox, 1);
    inbox->channel = channel;
    inbox->lane = lane_new();
    inbox->dealt_with = dealt_with;
    inbox->userdata = userdata;
    inbox->handled = g_hash_table_new(NULL, NULL);
    return inbox;
}

void inbox_free(Inbox *inbox)
{
    if (!inbox)
        return;
    GHashTableIter iter;
    void *entry;
    lane_close(inbox->lane);
    g_hash_table_iter_init(&iter, inbox->handled);
    while (g_hash_table_iter_next(&iter, &entry, NULL))
        entry_free(entry);
    g_hash_table_unref(inbox->handled);
    while ((entry = g_queue_pop_head(&inbox->waiting)))
        entry_free(entry);
    g_free(inbox);
}

guint inbox_length(const Inbox *inbox)
{
    return inbox->waiting.length + g_hash_table_size(inbox->handled);
}

void inbox_add(Inbox *inbox, TransportMessage *message)
{
    LinkContext *link = inbox->channel->link;
    const char *uuid = identity_uuid(link->identity);
    WireType type = wire_type(message->envelope);
    if (type == WIRE_OTHER || g_str_equal(message->publisher, uuid) ||
        !wire_is_for(message->envelope, uuid) || !json_get_string(message->envelope, "smime", NULL)) {
        inbox->dealt_with(message->id, inbox->userdata);
        return;
    }
    if (inbox_length(inbox) >= link->config->queue_length) {
        drop(inbox, message, "More requests are waiting than QueueLength= allows");
        return;
    }
    Entry *entry = g_new0(Entry, 1);
    entry->inbox = inbox;
    entry->message = transport_message_ref(message);
    entry->type = type;
    entry->deadline = wire_deadline(message, link->config->default_ttl);
    g_queue_push_tail(&inbox->waiting, entry);
    start_next(inbox);
}
