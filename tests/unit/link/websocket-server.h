/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A WebSocket server inside the test program that does what the test tells it, on a port of its own choice.
 * It keeps every frame that came and the connections that are open; the newest one is the one that is spoken
 * to. */

#include <json-glib/json-glib.h>
#include <libsoup/soup.h>
#include <stdbool.h>

typedef struct WebsocketServer {
    SoupServer *server;
    char *url;                           /* ws://127.0.0.1:PORT/link */
    SoupWebsocketConnection *connection; /* the newest, or NULL */
    GPtrArray *frames;                   /* JsonObject, all that came on all connections */
    guint accepted;
    guint closed;
    guint peer_close_code; /* of the last connection that closed */
    bool welcomes;         /* answer hello and subscribe with ok for everything; on at first */
    bool confirms;         /* answer publish with published; on at first */
} WebsocketServer;

/* |protocol| NULL: selects none. */
WebsocketServer *websocket_server_new(const char *protocol);
/* All handshakes are answered with |status| instead. */
WebsocketServer *websocket_server_new_refusing(guint status);
void websocket_server_free(WebsocketServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(WebsocketServer, websocket_server_free)

/* printf, with ' for ". */
void websocket_server_say(WebsocketServer *server, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Waits for frame number |index| (from 0) and gives it; its `op` is asserted. Transfer none. */
JsonObject *websocket_server_frame(WebsocketServer *server, guint index, const char *op);
/* Waits until |count| connections were accepted, or closed. */
void websocket_server_wait_accepted(WebsocketServer *server, guint count);
void websocket_server_wait_closed(WebsocketServer *server, guint count);
