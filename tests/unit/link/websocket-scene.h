/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A WebSocket transport, a server that misbehaves on demand, and what was heard between them. Time runs about
 * a hundred times faster than in the world. */

#include "daemon/link/transport/websocket.h"
#include "tests/support/support.h"
#include "tests/unit/link/heard.h"
#include "tests/unit/link/websocket-server.h"

#define PROTOCOL "pkiaas.iothsm.v1"
#define UUID "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d"
#define MESSAGE_SIZE (1024 * 1024)

extern const WebsocketTimes FAST;

typedef struct Scene {
    WebsocketServer *server;
    Transport *transport;
    Heard *heard;
} Scene;

Transport *transport_to(Scene *scene, const char *url, const WebsocketTimes *times, guint64 message_size);
/* Takes |server|, which may be NULL: then |url| is somebody else's. */
void open_scene(Scene *scene, WebsocketServer *server, const char *url, const WebsocketTimes *times);
void scene_clear(Scene *scene);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Scene, scene_clear)

guint times_heard(const Scene *scene, const char *word);
void wait_heard(const Scene *scene, const char *word, guint times);

void subscribe(Scene *scene, const char *channel);
/* And waits until it is. */
void connect_channel(Scene *scene, const char *channel);
void publish(Scene *scene, const char *channel, const char *envelope, gint64 expires);
