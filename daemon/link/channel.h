/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One authority's channel: from its key over the bootstrap and the subscription to the messages that come in
 * on it.
 *
 *   DUE            a bootstrap is wanted; the link says when (8 at once)
 *   PREPARING      the first time: the channel key is generated, the caindex looked up
 *   BOOTSTRAPPING  under way
 *   WAITING        it failed, the next one is at channel_next_attempt
 *   SUBSCRIBING    its route has it and no transport has confirmed it
 *   SUBSCRIBED     confirmed: the authority is connected
 *
 * Messages are handled in order of arrival, a few at a time; more than QueueLength= are dropped unread,
 * because answering would cost what the limit saves. Main thread. */

#include "daemon/link/bootstrap.h"
#include "daemon/link/channel-context.h"
#include "daemon/link/route.h"

typedef struct Channel Channel;

typedef enum ChannelState {
    CHANNEL_DUE,
    CHANNEL_PREPARING,
    CHANNEL_BOOTSTRAPPING,
    CHANNEL_WAITING,
    CHANNEL_SUBSCRIBING,
    CHANNEL_SUBSCRIBED,
} ChannelState;

typedef struct ChannelEvents {
    void (*changed)(Channel *channel, void *userdata); /* state, message, next attempt, carrier */
    void (*signed_request)(Channel *channel, const char *siguuid, const char *kind, const char *result,
                           void *userdata);
    void (*denied_request)(Channel *channel, const char *siguuid, const char *kind, const char *reason,
                           void *userdata);
    void *userdata;
} ChannelEvents;

/* |context| outlives the channel. */
Channel *channel_new(LinkContext *context, Authority *authority, const RouteHub *hub,
                     const ChannelEvents *events);
void channel_free(Channel *channel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Channel, channel_free)

Authority *channel_authority(const Channel *channel);
ChannelState channel_state(const Channel *channel);
bool channel_is_offline(const Channel *channel);     /* the last attempt found no route */
const char *channel_message(const Channel *channel); /* why not connected, or "" */
gint64 channel_next_attempt(const Channel *channel); /* µs since the epoch, 0 = none */
guint channel_queue_length(const Channel *channel);  /* messages that wait or are being handled */
const char *channel_carrier(const Channel *channel); /* "websocket", "pubnub", or "" while not connected */

/* Due, or connected over PubNub and in need of new keys for its WebSocket. */
bool channel_wants_bootstrap(const Channel *channel);
bool channel_has_bootstrap(const Channel *channel); /* one is under way, or being prepared */
guint channel_failures(const Channel *channel);     /* bootstraps in a row that failed */
/* Only where it wants one. */
void channel_bootstrap(Channel *channel);
/* Network came back, Reload: what waits is due. */
void channel_hurry(Channel *channel);
/* The authority's token or PIN changed: due, where it was a signature that failed. */
void channel_token_changed(Channel *channel);
