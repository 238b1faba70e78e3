/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One WebSocket from its handshake to its end (protocol.md W.2): subprotocol, size limit, text only, pings
 * and silence, frames parsed in their order. It knows nothing of channels and never reconnects: when it has
 * ended it says so once, in words, and only waits to be freed. */

#include "daemon/link/transport/frame.h"
#include "daemon/link/transport/websocket.h"
#include <libsoup/soup.h>

typedef struct WebsocketStream WebsocketStream;

typedef struct WebsocketEnd {
    guint close_code;   /* the platform's; 0: none came */
    bool offline;       /* no route to it */
    const char *reason; /* one sentence for people */
} WebsocketEnd;

typedef struct WebsocketStreamEvents {
    void (*opened)(void *userdata); /* handshake done, subprotocol right */
    void (*frame)(const Frame *frame, void *userdata);
    void (*ended)(const WebsocketEnd *end, void *userdata); /* once; nothing comes after it */
    void *userdata;
} WebsocketStreamEvents;

/* Starts the handshake. |times| outlives the stream. */
WebsocketStream *websocket_stream_new(SoupSession *session, const char *url, guint64 message_size,
                                      const WebsocketTimes *times, const WebsocketStreamEvents *events);
/* Says goodbye with |close_code| where somebody still hears it. Calls nobody back; safe inside an event. */
void websocket_stream_free(WebsocketStream *stream, guint close_code, const char *reason);

bool websocket_stream_is_open(const WebsocketStream *stream);
/* Nothing happens on a stream that is not open: its end is on the way. */
void websocket_stream_send(WebsocketStream *stream, GBytes *frame);
