/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The way of one channel to the platform: over a WebSocket, over PubNub, or for a moment over both
 * (protocol.md W).
 *
 * Where the bootstrap offered both, the WebSocket is used. After three attempts of its connection in a row
 * that failed the channel goes over PubNub, and tries the WebSocket again every five minutes; once that is
 * confirmed, PubNub is left a little later, so that nothing falls between the two. What is published goes out
 * once on whichever way is there, and goes with the channel when it changes. What came twice is the journal's
 * business. Main thread. */

#include "daemon/link/bootstrap.h"
#include "daemon/link/connection.h"

struct RouteTimes {
    guint attempts; /* of the WebSocket's connection, before PubNub is taken */
    gint64 probe_ms;
    gint64 linger_ms; /* PubNub beside a WebSocket that has come back */
};
extern const RouteTimes ROUTE_TIMES;

/* Who has the connections. */
typedef struct RouteHub {
    /* The connection to |endpoint| with |route| on it under |id|; NULL with |error|. Transfer none. */
    Connection *(*join)(Route *route, const Endpoint *endpoint, const char *id, GError **error,
                        void *userdata);
    /* |route| is not on |connection| any more. */
    void (*leave)(Route *route, Connection *connection, void *userdata);
    void *userdata;
} RouteHub;

typedef struct RouteEvents {
    void (*subscribed)(bool missed, void *userdata);
    void (*refused)(TransportRefusal refusal, const char *reason, void *userdata);
    /* Neither way is open. |next_attempt| as in TransportEvents. */
    void (*disconnected)(const char *reason, gint64 next_attempt, void *userdata);
    /* All is well, but the next attempt of the WebSocket needs a new bootstrap. */
    void (*wants_keys)(void *userdata);
    void (*message)(TransportMessage *message, void *userdata);
} RouteEvents;

/* |times| outlives the route. */
Route *route_new(const RouteTimes *times, const RouteHub *hub, const RouteEvents *events, void *userdata);
/* What is not published yet is told LEFT. */
void route_free(Route *route);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Route, route_free)

/* Takes |keys|. |since|: the last message that is in hand, for a WebSocket, or NULL. False: neither way can
 * be used. */
bool route_use(Route *route, BootstrapKeys *keys, const char *since, GError **error);
/* The platform wants no more of it. */
void route_leave(Route *route);

const char *route_id(const Route *route);      /* the channel's, NULL: none */
const char *route_carrier(const Route *route); /* "websocket", "pubnub", or "" while neither is open */
/* The way back needs a new bootstrap. */
bool route_is_stale(const Route *route);
void route_set_since(Route *route, const char *message_id);
/* As TransportClass.publish; false where the channel is nowhere, and |done| never runs. */
bool route_publish(Route *route, GBytes *envelope, gint64 expires, TransportPublishedFunc done,
                   void *userdata);

/* What a connection says. */
void route_on_subscribed(Route *route, Connection *connection, bool missed);
void route_on_refused(Route *route, Connection *connection, TransportRefusal refusal, const char *reason);
/* It is down, or still down. */
void route_on_disconnected(Route *route, Connection *connection, const char *reason, gint64 next_attempt);
void route_on_message(Route *route, TransportMessage *message);
