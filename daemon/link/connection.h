/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One transport and the channels that share it: what the transport says of a channel id goes to that channel,
 * what it says of itself goes to all of them. Main thread. */

#include "daemon/link/channel.h"

typedef struct Connection Connection;

/* |changed| runs after state, message or next attempt changed. INVALID where |url| is none that may be used.
 */
Connection *connection_new(const char *url, const LinkContext *context, void (*changed)(void *userdata),
                           void *userdata, GError **error);
void connection_free(Connection *connection);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Connection, connection_free)

/* INVALID where another channel is there under |id|. */
bool connection_add(Connection *connection, const char *id, Channel *channel, GError **error);
/* True when it was on this connection. */
bool connection_remove(Connection *connection, Channel *channel);
bool connection_is_empty(const Connection *connection);
/* The network came back: an attempt now. */
void connection_hurry(Connection *connection);

const char *connection_url(const Connection *connection);
Transport *connection_transport(const Connection *connection); /* transfer none */
TransportState connection_state(const Connection *connection);
const char *connection_message(const Connection *connection);
gint64 connection_next_attempt(const Connection *connection); /* µs since the epoch, 0 = none */
