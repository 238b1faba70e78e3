/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/link/websocket-scene.h"

const WebsocketTimes FAST = {
    .ping_s = 1,
    .handshake_ms = 5000,
    .welcome_ms = 5000,
    .silence_ms = 10000,
    .backoff_floor_ms = 10,
    .backoff_ceiling_ms = 200,
    .settled_ms = 5000,
    .replaced_ms = 300,
    .later_ms = 200,
    .slower_ms = 200,
};

Transport *transport_to(Scene *scene, const char *url, const WebsocketTimes *times, guint64 message_size)
{
    const TransportEvents events = heard_events(scene->heard);
    g_autoptr(GError) error = NULL;
    Transport *transport =
        websocket_transport_new_with_times(url, NULL, UUID, message_size, times, &events, &error);
    g_assert_no_error(error);
    return transport;
}

void open_scene(Scene *scene, WebsocketServer *server, const char *url, const WebsocketTimes *times)
{
    *scene = (Scene){.server = server, .heard = heard_new()};
    scene->transport = transport_to(scene, url ? url : server->url, times, MESSAGE_SIZE);
}

void scene_clear(Scene *scene)
{
    if (scene->transport)
        scene->transport->class->free(g_steal_pointer(&scene->transport));
    g_clear_pointer(&scene->heard, heard_free);
    g_clear_pointer(&scene->server, websocket_server_free);
}

guint times_heard(const Scene *scene, const char *word)
{
    return heard_times(scene->heard, word);
}

void wait_heard(const Scene *scene, const char *word, guint times)
{
    heard_wait(scene->heard, word, times);
}

void subscribe(Scene *scene, const char *channel)
{
    scene->transport->class->subscribe(scene->transport, channel, "secret-token", NULL);
}

void publish(Scene *scene, const char *channel, const char *envelope, gint64 expires)
{
    g_autoptr(GBytes) bytes = g_bytes_new(envelope, strlen(envelope));
    scene->transport->class->publish(scene->transport, channel, bytes, expires, heard_published,
                                     scene->heard);
}

void connect_channel(Scene *scene, const char *channel)
{
    subscribe(scene, channel);
    g_autofree char *subscribed = g_strdup_printf("subscribed:%s", channel);
    wait_heard(scene, subscribed, 1);
}
