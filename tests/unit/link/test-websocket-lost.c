/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A WebSocket connection that is lost is noticed, and made again when it should be (protocol.md W.2, W.4). */

#include "daemon/error.h"
#include "tests/unit/link/websocket-scene.h"

static void a_broken_connection_is_taken_back_and_made_again(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.transport->class->set_since(scene.transport, "c1", "41");
    g_io_stream_close(soup_websocket_connection_get_io_stream(scene.server->connection), NULL, NULL);
    wait_heard(&scene, "lost", 1);
    wait_heard(&scene, "subscribed:c1", 2);
    JsonObject *hello = websocket_server_frame(scene.server, 1, "hello");
    JsonObject *channel = json_array_get_object_element(json_object_get_array_member(hello, "channels"), 0);
    g_assert_cmpstr(json_object_get_string_member(channel, "since"), ==, "41");
}

/* A peer that libsoup can't play: it shakes hands, welcomes c1, says |farewell| on its first connection, and
 * never another word, not even to a ping. */
typedef struct RawPeer {
    GSocketService *service;
    char *url;
    const char *farewell;
    gsize farewell_size;
    gint connections;
    bool slow; /* the farewell in ten pieces, 100 ms apart */
} RawPeer;

static const char raw_welcome[] =
    "{\"op\":\"welcome\",\"platform\":\"p\",\"channels\":[{\"id\":\"c1\",\"ok\":true}]}";

/* The Sec-WebSocket-Accept for the handshake that comes in. Transfer full. */
static char *read_handshake(GInputStream *input)
{
    g_autoptr(GDataInputStream) lines = g_data_input_stream_new(input);
    g_autofree char *key = NULL;
    char *line;
    g_filter_input_stream_set_close_base_stream(G_FILTER_INPUT_STREAM(lines), FALSE);
    g_data_input_stream_set_newline_type(lines, G_DATA_STREAM_NEWLINE_TYPE_CR_LF);
    while ((line = g_data_input_stream_read_line(lines, NULL, NULL, NULL)) && *line) {
        if (g_ascii_strncasecmp(line, "Sec-WebSocket-Key:", 18) == 0)
            key = g_strconcat(g_strstrip(line + 18), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", NULL);
        g_free(line);
    }
    g_free(line);
    guint8 digest[20];
    gsize size = sizeof digest;
    g_autoptr(GChecksum) sha1 = g_checksum_new(G_CHECKSUM_SHA1);
    g_checksum_update(sha1, (const guchar *)key, -1);
    g_checksum_get_digest(sha1, digest, &size);
    return g_base64_encode(digest, size);
}

static gboolean on_raw_peer(GThreadedSocketService *service, GSocketConnection *connection, GObject *source,
                            void *userdata)
{
    RawPeer *peer = userdata;
    GInputStream *input = g_io_stream_get_input_stream(G_IO_STREAM(connection));
    GOutputStream *output = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    g_autofree char *accept = read_handshake(input);
    g_autoptr(GString) answer = g_string_new(NULL);
    g_string_append_printf(answer,
                           "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                           "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: " PROTOCOL "\r\n\r\n\x81%c%s",
                           accept, (char)strlen(raw_welcome), raw_welcome);
    bool is_first = g_atomic_int_add(&peer->connections, 1) == 0;
    if (is_first && !peer->slow)
        g_string_append_len(answer, peer->farewell, (gssize)peer->farewell_size);
    g_output_stream_write_all(output, answer->str, answer->len, NULL, NULL, NULL);
    for (gsize i = 0; i < 10 && is_first && peer->slow; i++) {
        gsize piece = (peer->farewell_size + 9) / 10;
        gsize size = MIN(piece, peer->farewell_size - i * piece);
        g_output_stream_write_all(output, peer->farewell + i * piece, size, NULL, NULL, NULL);
        g_usleep(100 * 1000); /* the peer is slow */
    }
    char swallowed[4096]; /* until the other side gives up */
    while (g_input_stream_read(input, swallowed, sizeof swallowed, NULL, NULL) > 0)
        ;
    return TRUE;
}

static void raw_peer_start(RawPeer *peer, const char *farewell, gsize size)
{
    *peer =
        (RawPeer){.service = g_threaded_socket_service_new(4), .farewell = farewell, .farewell_size = size};
    guint16 port = g_socket_listener_add_any_inet_port(G_SOCKET_LISTENER(peer->service), NULL, NULL);
    peer->url = g_strdup_printf("ws://127.0.0.1:%u/", port);
    g_signal_connect(peer->service, "run", G_CALLBACK(on_raw_peer), peer);
}

static void raw_peer_stop(RawPeer *peer)
{
    g_socket_service_stop(peer->service);
    g_object_unref(peer->service);
    g_free(peer->url);
}

static void silence_is_found_by_our_own_timer(void)
{
    WebsocketTimes times = FAST;
    times.silence_ms = 400;
    RawPeer peer;
    g_auto(Scene) scene = {0};
    raw_peer_start(&peer, "", 0);
    open_scene(&scene, NULL, peer.url, &times);
    connect_channel(&scene, "c1");
    gint64 since = g_get_monotonic_time();
    wait_heard(&scene, "lost", 1);
    g_assert_cmpint(g_get_monotonic_time() - since, >=, 300 * 1000);
    g_assert_nonnull(strstr(scene.heard->message, "silent"));
    scene_clear(&scene);
    raw_peer_stop(&peer);
}

/* A message that takes longer to come than silence may last, as a large one does on a slow line. */
static void a_message_on_its_way_is_no_silence(void)
{
    WebsocketTimes times = FAST;
    times.silence_ms = 500;
    g_autofree char *text =
        g_strdup_printf("{\"op\":\"message\",\"channel\":\"c1\",\"id\":\"7\",\"publisher\":"
                        "\"p\",\"age\":0,\"message\":{\"a\":\"%0200d\"}}",
                        0);
    gsize length = strlen(text);
    g_autoptr(GByteArray) frame = g_byte_array_new();
    g_byte_array_append(frame, (const guint8[]){0x81, 126, (guint8)(length >> 8), (guint8)length}, 4);
    g_byte_array_append(frame, (const guint8 *)text, (guint)length);
    RawPeer peer;
    g_auto(Scene) scene = {0};
    raw_peer_start(&peer, (const char *)frame->data, frame->len);
    peer.slow = true;
    open_scene(&scene, NULL, peer.url, &times);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "message:c1:7", 1);
    g_assert_cmpuint(times_heard(&scene, "lost"), ==, 0);
    wait_heard(&scene, "lost", 1);
    g_assert_nonnull(strstr(scene.heard->message, "silent"));
    scene_clear(&scene);
    raw_peer_stop(&peer);
}

static void pongs_keep_a_quiet_connection(void)
{
    g_auto(Scene) scene = {0};
    WebsocketTimes times = FAST;
    times.silence_ms = 3500; /* a ping every one or two seconds */
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &times);
    connect_channel(&scene, "c1");
    test_let_pass(5000);
    g_assert_cmpuint(times_heard(&scene, "lost"), ==, 0);
}

static void a_close_with_1008_wants_new_tokens_first(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    soup_websocket_connection_close(scene.server->connection, 1008, "who are you");
    wait_heard(&scene, "refused:c1:token", 1);
    wait_heard(&scene, "state:idle", 1);
    g_assert_nonnull(strstr(scene.heard->message, "who are you"));
    g_assert_cmpuint(scene.server->accepted, ==, 1);
    subscribe(&scene, "c1"); /* with a new token */
    wait_heard(&scene, "subscribed:c1", 2);
}

/* From the loss to the next subscription, in ms. */
static gint64 reconnect_time(const char *close_frame, gsize size)
{
    RawPeer peer;
    g_auto(Scene) scene = {0};
    raw_peer_start(&peer, close_frame, size);
    open_scene(&scene, NULL, peer.url, &FAST);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "lost", 1);
    gint64 since = g_get_monotonic_time();
    scene.transport->class->hurry(scene.transport); /* must not shorten what the platform asked for */
    wait_heard(&scene, "subscribed:c1", 2);
    gint64 took = (g_get_monotonic_time() - since) / 1000;
    scene_clear(&scene);
    raw_peer_stop(&peer);
    return took;
}

static void the_platform_says_when_to_come_back(void)
{
    g_assert_cmpint(reconnect_time("\x88\x02\x0f\xa1", 4), >=, FAST.replaced_ms - 20); /* 4001 */
    g_assert_cmpint(reconnect_time("\x88\x02\x03\xf5", 4), >=, FAST.later_ms - 20);    /* 1013 */
}

/* A message of one byte that is not UTF-8, and one of two fragments: the text arrives whole. */
static void broken_utf8_is_1007_and_fragments_are_joined(void)
{
    RawPeer peer;
    g_auto(Scene) scene = {0};
    raw_peer_start(&peer, "\x81\x01\xff", 3);
    open_scene(&scene, NULL, peer.url, &FAST);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "lost", 1);
    wait_heard(&scene, "subscribed:c1", 2);
    scene_clear(&scene);
    raw_peer_stop(&peer);

    static const char fragments[] = "\x01\x0a"
                                    "{\"op\":\"mes\x80\x43"
                                    "sage\",\"channel\":\"c1\",\"id\":\"7\",\"publisher\":\"p\","
                                    "\"age\":0,\"message\":{}}";
    raw_peer_start(&peer, fragments, sizeof fragments - 1);
    open_scene(&scene, NULL, peer.url, &FAST);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "message:c1:7", 1);
    scene_clear(&scene);
    raw_peer_stop(&peer);
}

static void hurry_does_not_wait_for_the_backoff(void)
{
    WebsocketTimes times = FAST;
    times.backoff_floor_ms = 3600 * 1000;
    times.backoff_ceiling_ms = 3600 * 1000;
    g_auto(Scene) scene = {0};
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &times);
    connect_channel(&scene, "c1");
    soup_websocket_connection_close(scene.server->connection, 1001, NULL);
    wait_heard(&scene, "state:backing-off", 1);
    scene.transport->class->hurry(scene.transport);
    wait_heard(&scene, "subscribed:c1", 2);
}

static void shutting_down_is_a_reconnect_after_a_while(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    gint64 since = g_get_monotonic_time();
    websocket_server_say(scene.server, "{'op':'error','code':'shutting-down','reason':'new version'}");
    wait_heard(&scene, "subscribed:c1", 2);
    g_assert_cmpint(g_get_monotonic_time() - since, >=, (FAST.later_ms - 20) * 1000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/websocket/" #name, name)
    TEST(a_broken_connection_is_taken_back_and_made_again);
    TEST(silence_is_found_by_our_own_timer);
    TEST(a_message_on_its_way_is_no_silence);
    TEST(pongs_keep_a_quiet_connection);
    TEST(a_close_with_1008_wants_new_tokens_first);
    TEST(the_platform_says_when_to_come_back);
    TEST(broken_utf8_is_1007_and_fragments_are_joined);
    TEST(hurry_does_not_wait_for_the_backoff);
    TEST(shutting_down_is_a_reconnect_after_a_while);
    return g_test_run();
}
