/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The times of the WebSocket transport (protocol.md W.2 to W.4) in one place, so that a test can live faster
 * than the world. websocket_transport_new (transport.h) uses WEBSOCKET_TIMES. */

#include "daemon/link/transport/transport.h"

typedef struct WebsocketTimes {
    guint ping_s; /* whole seconds: libsoup's keepalive */
    gint64 handshake_ms;
    gint64 welcome_ms;
    gint64 silence_ms;
    gint64 backoff_floor_ms;
    gint64 backoff_ceiling_ms;
    gint64 settled_ms;  /* connected this long: the next loss starts from the floor */
    gint64 replaced_ms; /* close 4001: another agent with our uuid took over */
    gint64 later_ms;    /* close 1013, error shutting-down */
    gint64 slower_ms;   /* error rate-limited */
} WebsocketTimes;

extern const WebsocketTimes WEBSOCKET_TIMES;

Transport *websocket_transport_new_with_times(const char *url, GTlsDatabase *roots, const char *uuid,
                                              guint64 message_size, const WebsocketTimes *times,
                                              const TransportEvents *events, GError **error);
