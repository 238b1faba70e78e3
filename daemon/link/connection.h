/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One transport and the routes that share it: what the transport says of a channel id goes to that route,
 * what it says of itself goes to all of them. Main thread. */

#include "daemon/link/link-context.h"
#include "daemon/link/transport/transport.h"

typedef struct Connection Connection;
typedef struct Route Route;

/* What a connection leads to: a WebSocket, or with |url| NULL a key set of PubNub. */
typedef struct Endpoint {
    const char *url;
    PubnubKeys pubnub;
} Endpoint;

/* |changed| runs after state, message or next attempt changed. INVALID where |endpoint| is none that may be
 * used. */
Connection *connection_new(const Endpoint *endpoint, const LinkContext *context,
                           void (*changed)(void *userdata), void *userdata, GError **error);
void connection_free(Connection *connection);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Connection, connection_free)

bool connection_leads_to(const Connection *connection, const Endpoint *endpoint);
/* A subscription of PubNub names its channels in an address; further ones take another connection. */
bool connection_is_full(const Connection *connection);

/* INVALID where another route is there under |id|. */
bool connection_add(Connection *connection, const char *id, Route *route, GError **error);
void connection_remove(Connection *connection, Route *route);
bool connection_is_empty(const Connection *connection);
/* Since when, in µs of g_get_monotonic_time(). */
gint64 connection_empty_since(const Connection *connection);
/* The network came back: an attempt now. */
void connection_hurry(Connection *connection);

Transport *connection_transport(const Connection *connection); /* transfer none */
TransportState connection_state(const Connection *connection);
const char *connection_message(const Connection *connection);
gint64 connection_next_attempt(const Connection *connection); /* µs since the epoch, 0 = none */
/* Attempts in a row that failed. */
guint connection_failures(const Connection *connection);
