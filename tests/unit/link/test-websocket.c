/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The WebSocket transport against a server that misbehaves on demand (protocol.md W.2 to W.4). Time runs
 * about a hundred times faster than in the world. */

#include "daemon/error.h"
#include "daemon/link/websocket.h"
#include "tests/support/support.h"
#include "tests/unit/link/heard.h"
#include "tests/unit/link/websocket-server.h"

#define PROTOCOL "pkiaas.iothsm.v1"
#define UUID "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d"
#define MESSAGE_SIZE (1024 * 1024)

static const WebsocketTimes FAST = {
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

typedef struct Scene {
    WebsocketServer *server;
    Transport *transport;
    Heard *heard;
} Scene;

static Transport *transport_to(Scene *scene, const char *url, const WebsocketTimes *times,
                               guint64 message_size)
{
    const TransportEvents events = heard_events(scene->heard);
    g_autoptr(GError) error = NULL;
    Transport *transport =
        websocket_transport_new_with_times(url, NULL, UUID, message_size, times, &events, &error);
    g_assert_no_error(error);
    return transport;
}

/* |server| may be NULL: then |url| is somebody else's. */
static void open_scene(Scene *scene, WebsocketServer *server, const char *url, const WebsocketTimes *times)
{
    *scene = (Scene){.server = server, .heard = heard_new()};
    scene->transport = transport_to(scene, url ? url : server->url, times, MESSAGE_SIZE);
}

static void close_scene(Scene *scene)
{
    if (scene->transport)
        scene->transport->class->free(scene->transport);
    heard_free(scene->heard);
    if (scene->server)
        websocket_server_free(scene->server);
}

static guint times_heard(const Scene *scene, const char *word)
{
    return heard_times(scene->heard, word);
}

static void wait_heard(const Scene *scene, const char *word, guint times)
{
    heard_wait(scene->heard, word, times);
}

static void subscribe(Scene *scene, const char *channel)
{
    scene->transport->class->subscribe(scene->transport, channel, "secret-token", NULL);
}

static void publish(Scene *scene, const char *channel, const char *envelope, gint64 expires)
{
    g_autoptr(GBytes) bytes = g_bytes_new(envelope, strlen(envelope));
    scene->transport->class->publish(scene->transport, channel, bytes, expires, heard_published,
                                     scene->heard);
}

static void connect_channel(Scene *scene, const char *channel)
{
    subscribe(scene, channel);
    g_autofree char *subscribed = g_strdup_printf("subscribed:%s", channel);
    wait_heard(scene, subscribed, 1);
}

/* --- connecting -------------------------------------------------------------------------------------- */

static void hello_names_the_agent_and_its_channels(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    scene.transport->class->subscribe(scene.transport, "c1", "secret-token", "17");
    JsonObject *hello = websocket_server_frame(scene.server, 0, "hello");
    g_assert_cmpstr(json_object_get_string_member(hello, "uuid"), ==, UUID);
    g_assert_true(g_str_has_prefix(json_object_get_string_member(hello, "agent"), "iothsm/"));
    JsonObject *channel = json_array_get_object_element(json_object_get_array_member(hello, "channels"), 0);
    g_assert_cmpstr(json_object_get_string_member(channel, "id"), ==, "c1");
    g_assert_cmpstr(json_object_get_string_member(channel, "token"), ==, "secret-token");
    g_assert_cmpstr(json_object_get_string_member(channel, "since"), ==, "17");
    wait_heard(&scene, "subscribed:c1", 1);
    g_assert_cmpuint(times_heard(&scene, "state:connected"), ==, 1);
    close_scene(&scene);
}

static void nothing_is_said_of_a_channel_before_its_welcome(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    scene.server->welcomes = false;
    subscribe(&scene, "c1");
    subscribe(&scene, "c2");
    publish(&scene, "c1", "{}", G_MAXINT64);
    websocket_server_frame(scene.server, 0, "hello");
    g_assert_cmpuint(times_heard(&scene, "state:connected"), ==, 0);
    websocket_server_say(scene.server,
                         "{'op':'welcome','platform':'p','channels':[{'id':'c2','ok':true,'missed':true}]}");
    wait_heard(&scene, "subscribed:c2:missed", 1);
    g_assert_cmpuint(times_heard(&scene, "subscribed:c1"), ==, 0);
    publish(&scene, "c2", "{'a':1}", G_MAXINT64);
    /* What was published on c1 first still waits for it. */
    JsonObject *frame = websocket_server_frame(scene.server, 1, "publish");
    g_assert_cmpstr(json_object_get_string_member(frame, "channel"), ==, "c2");
    close_scene(&scene);
}

static void a_server_without_our_subprotocol_is_left_with_1002(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(NULL), NULL, &FAST);
    subscribe(&scene, "c1");
    websocket_server_wait_closed(scene.server, 1);
    g_assert_cmpuint(scene.server->peer_close_code, ==, SOUP_WEBSOCKET_CLOSE_PROTOCOL_ERROR);
    g_assert_cmpuint(scene.server->frames->len, ==, 0);
    wait_heard(&scene, "state:backing-off", 1);
    g_assert_nonnull(strstr(scene.heard->message, PROTOCOL));
    close_scene(&scene);
}

static void refused_handshakes_are_told_in_words(void)
{
    static const struct {
        guint status;
        const char *words;
    } cases[] = {{403, "403 Forbidden"}, {404, "404 Not Found"}, {302, "redirects are not followed"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        Scene scene;
        open_scene(&scene, websocket_server_new_refusing(cases[i].status), NULL, &FAST);
        subscribe(&scene, "c1");
        wait_heard(&scene, "state:backing-off", 1);
        g_assert_nonnull(strstr(scene.heard->message, cases[i].words));
        g_assert_cmpint(scene.heard->next_attempt, >, 0);
        close_scene(&scene);
    }
}

static void plain_ws_is_for_loopback_only(void)
{
    static const char *const bad[] = {"ws://platform.example/x", "http://127.0.0.1/x", "wss:", "", "nonsense",
                                      "ftp://localhost/"};
    const TransportEvents events = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(websocket_transport_new(bad[i], NULL, UUID, MESSAGE_SIZE, &events, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    }
}

static void no_welcome_in_time_is_a_new_attempt(void)
{
    Scene scene;
    WebsocketTimes times = FAST;
    times.welcome_ms = 100;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &times);
    scene.server->welcomes = false;
    subscribe(&scene, "c1");
    websocket_server_wait_accepted(scene.server, 2);
    scene.server->welcomes = true;
    wait_heard(&scene, "subscribed:c1", 1);
    g_assert_cmpuint(times_heard(&scene, "lost"), ==, 0); /* it was never connected */
    close_scene(&scene);
}

static void a_second_channel_is_subscribed_on_the_same_connection(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    connect_channel(&scene, "c2");
    JsonObject *frame = websocket_server_frame(scene.server, 1, "subscribe");
    g_assert_cmpuint(json_array_get_length(json_object_get_array_member(frame, "channels")), ==, 1);
    scene.transport->class->unsubscribe(scene.transport, "c1");
    frame = websocket_server_frame(scene.server, 2, "unsubscribe");
    g_assert_cmpstr(json_array_get_string_element(json_object_get_array_member(frame, "channels"), 0), ==,
                    "c1");
    g_assert_cmpuint(scene.server->accepted, ==, 1);
    close_scene(&scene);
}

/* --- losing ------------------------------------------------------------------------------------------ */

static void a_broken_connection_is_taken_back_and_made_again(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.transport->class->set_since(scene.transport, "c1", "41");
    g_io_stream_close(soup_websocket_connection_get_io_stream(scene.server->connection), NULL, NULL);
    wait_heard(&scene, "lost", 1);
    wait_heard(&scene, "subscribed:c1", 2);
    JsonObject *hello = websocket_server_frame(scene.server, 1, "hello");
    JsonObject *channel = json_array_get_object_element(json_object_get_array_member(hello, "channels"), 0);
    g_assert_cmpstr(json_object_get_string_member(channel, "since"), ==, "41");
    close_scene(&scene);
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
        g_usleep(100 * 1000);
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
    Scene scene;
    raw_peer_start(&peer, "", 0);
    open_scene(&scene, NULL, peer.url, &times);
    connect_channel(&scene, "c1");
    gint64 since = g_get_monotonic_time();
    wait_heard(&scene, "lost", 1);
    g_assert_cmpint(g_get_monotonic_time() - since, >=, 300 * 1000);
    g_assert_nonnull(strstr(scene.heard->message, "silent"));
    close_scene(&scene);
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
    Scene scene;
    raw_peer_start(&peer, (const char *)frame->data, frame->len);
    peer.slow = true;
    open_scene(&scene, NULL, peer.url, &times);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "message:c1:7", 1);
    g_assert_cmpuint(times_heard(&scene, "lost"), ==, 0);
    wait_heard(&scene, "lost", 1);
    g_assert_nonnull(strstr(scene.heard->message, "silent"));
    close_scene(&scene);
    raw_peer_stop(&peer);
}

static void pongs_keep_a_quiet_connection(void)
{
    Scene scene;
    WebsocketTimes times = FAST;
    times.silence_ms = 3500; /* a ping every one or two seconds */
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &times);
    connect_channel(&scene, "c1");
    test_let_pass(5000);
    g_assert_cmpuint(times_heard(&scene, "lost"), ==, 0);
    close_scene(&scene);
}

static void a_close_with_1008_wants_new_tokens_first(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    soup_websocket_connection_close(scene.server->connection, 1008, "who are you");
    wait_heard(&scene, "refused:c1:token", 1);
    wait_heard(&scene, "state:idle", 1);
    g_assert_nonnull(strstr(scene.heard->message, "who are you"));
    g_assert_cmpuint(scene.server->accepted, ==, 1);
    subscribe(&scene, "c1"); /* with a new token */
    wait_heard(&scene, "subscribed:c1", 2);
    close_scene(&scene);
}

/* From the loss to the next subscription, in ms. */
static gint64 reconnect_time(const char *close_frame, gsize size)
{
    RawPeer peer;
    Scene scene;
    raw_peer_start(&peer, close_frame, size);
    open_scene(&scene, NULL, peer.url, &FAST);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "lost", 1);
    gint64 since = g_get_monotonic_time();
    scene.transport->class->hurry(scene.transport); /* must not shorten what the platform asked for */
    wait_heard(&scene, "subscribed:c1", 2);
    gint64 took = (g_get_monotonic_time() - since) / 1000;
    close_scene(&scene);
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
    Scene scene;
    raw_peer_start(&peer, "\x81\x01\xff", 3);
    open_scene(&scene, NULL, peer.url, &FAST);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "lost", 1);
    wait_heard(&scene, "subscribed:c1", 2);
    close_scene(&scene);
    raw_peer_stop(&peer);

    static const char fragments[] = "\x01\x0a"
                                    "{\"op\":\"mes\x80\x43"
                                    "sage\",\"channel\":\"c1\",\"id\":\"7\",\"publisher\":\"p\","
                                    "\"age\":0,\"message\":{}}";
    raw_peer_start(&peer, fragments, sizeof fragments - 1);
    open_scene(&scene, NULL, peer.url, &FAST);
    connect_channel(&scene, "c1");
    wait_heard(&scene, "message:c1:7", 1);
    close_scene(&scene);
    raw_peer_stop(&peer);
}

static void hurry_does_not_wait_for_the_backoff(void)
{
    WebsocketTimes times = FAST;
    times.backoff_floor_ms = 3600 * 1000;
    times.backoff_ceiling_ms = 3600 * 1000;
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &times);
    connect_channel(&scene, "c1");
    soup_websocket_connection_close(scene.server->connection, 1001, NULL);
    wait_heard(&scene, "state:backing-off", 1);
    scene.transport->class->hurry(scene.transport);
    wait_heard(&scene, "subscribed:c1", 2);
    close_scene(&scene);
}

static void shutting_down_is_a_reconnect_after_a_while(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    gint64 since = g_get_monotonic_time();
    websocket_server_say(scene.server, "{'op':'error','code':'shutting-down','reason':'new version'}");
    wait_heard(&scene, "subscribed:c1", 2);
    g_assert_cmpint(g_get_monotonic_time() - since, >=, (FAST.later_ms - 20) * 1000);
    close_scene(&scene);
}

/* --- frames ------------------------------------------------------------------------------------------ */

static void messages_keep_their_order_also_when_one_is_large(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    g_autofree char *large = g_strnfill(500 * 1000, 'x');
    for (guint i = 0; i < 40; i++)
        websocket_server_say(
            scene.server,
            "{'op':'message','channel':'c1','id':'%u','publisher':'p','age':0,'message':{'m':'%s'}}", i,
            i % 5 == 0 ? large : "");
    wait_heard(&scene, "message:c1:39", 1);
    guint next = 0;
    for (guint i = 0; i < scene.heard->words->len; i++) {
        g_autofree char *expected = g_strdup_printf("message:c1:%u", next);
        next += g_str_equal(g_ptr_array_index(scene.heard->words, i), expected);
    }
    g_assert_cmpuint(next, ==, 40);
    close_scene(&scene);
}

static void messages_for_channels_that_are_not_open_are_ignored(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    websocket_server_say(scene.server,
                         "{'op':'message','channel':'other','id':'1','publisher':'p','age':0,'message':{}}");
    websocket_server_say(scene.server, "{'op':'tomorrow','channel':1}");
    websocket_server_say(
        scene.server,
        "{'op':'message','channel':'c1','id':'2','publisher':'p','age':0,'message':{},'new':[]}");
    wait_heard(&scene, "message:c1:2", 1);
    g_assert_cmpuint(times_heard(&scene, "message:other:1"), ==, 0);
    close_scene(&scene);
}

static void ten_bad_frames_close_with_1008_and_nine_do_not(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    for (guint i = 0; i < 9; i++)
        websocket_server_say(scene.server, i % 2 ? "[1]" : "{'op':'message'");
    websocket_server_say(scene.server,
                         "{'op':'message','channel':'c1','id':'1','publisher':'p','age':0,'message':{}}");
    wait_heard(&scene, "message:c1:1", 1);
    websocket_server_say(scene.server, "{'no':'op'}");
    websocket_server_wait_closed(scene.server, 1);
    g_assert_cmpuint(scene.server->peer_close_code, ==, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION);
    wait_heard(&scene, "subscribed:c1", 2);
    close_scene(&scene);
}

static void binary_and_too_large_messages_end_the_connection(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    soup_websocket_connection_send_binary(scene.server->connection, "x", 1);
    websocket_server_wait_closed(scene.server, 1);
    g_assert_cmpuint(scene.server->peer_close_code, ==, SOUP_WEBSOCKET_CLOSE_UNSUPPORTED_DATA);
    wait_heard(&scene, "subscribed:c1", 2);
    g_autofree char *large = g_strnfill(MESSAGE_SIZE, 'x');
    websocket_server_say(scene.server, "{'op':'%s'}", large);
    wait_heard(&scene, "lost", 2);
    wait_heard(&scene, "subscribed:c1", 3);
    close_scene(&scene);
}

/* --- publishing -------------------------------------------------------------------------------------- */

static void what_is_not_confirmed_is_sent_again_with_a_new_seq(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.server->confirms = false;
    publish(&scene, "c1", "{\"answer\":1}", G_MAXINT64);
    publish(&scene, "c1", "{\"answer\":2}", G_MAXINT64);
    JsonObject *frame = websocket_server_frame(scene.server, 2, "publish");
    g_assert_cmpint(json_object_get_int_member(frame, "seq"), ==, 2);
    websocket_server_say(scene.server, "{'op':'published','seq':1}");
    wait_heard(&scene, "published", 1);
    scene.server->confirms = true;
    g_io_stream_close(soup_websocket_connection_get_io_stream(scene.server->connection), NULL, NULL);
    websocket_server_frame(scene.server, 3, "hello");
    frame = websocket_server_frame(scene.server, 4, "publish");
    g_assert_cmpint(json_object_get_int_member(frame, "seq"), ==, 1);
    g_assert_cmpint(json_object_get_int_member(json_object_get_object_member(frame, "message"), "answer"), ==,
                    2);
    wait_heard(&scene, "published", 2);
    close_scene(&scene);
}

static void an_expired_offer_is_dropped_at_the_reconnect(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.server->confirms = false;
    publish(&scene, "c1", "{}", g_get_monotonic_time() + 500 * 1000);
    websocket_server_frame(scene.server, 1, "publish");
    WebsocketServer *server = scene.server;
    server->welcomes = false;
    g_io_stream_close(soup_websocket_connection_get_io_stream(server->connection), NULL, NULL);
    websocket_server_frame(server, 2, "hello");
    test_let_pass(600);
    websocket_server_say(server, "{'op':'welcome','platform':'p','channels':[{'id':'c1','ok':true}]}");
    wait_heard(&scene, "dropped", 1);
    g_assert_cmpuint(server->frames->len, ==, 3);
    close_scene(&scene);
}

static void error_frames_decide_what_becomes_of_a_publication(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.server->confirms = false;
    for (guint i = 0; i < 3; i++)
        publish(&scene, "c1", "{}", G_MAXINT64);
    websocket_server_frame(scene.server, 3, "publish");
    websocket_server_say(scene.server, "{'op':'error','seq':1,'code':'too-large','reason':'r'}");
    wait_heard(&scene, "too-large", 1);
    websocket_server_say(scene.server, "{'op':'error','seq':2,'code':'bad-frame','reason':'r'}");
    wait_heard(&scene, "dropped", 1);
    gint64 since = g_get_monotonic_time();
    scene.server->confirms = true;
    websocket_server_say(scene.server, "{'op':'error','seq':3,'code':'rate-limited','reason':'r'}");
    JsonObject *frame = websocket_server_frame(scene.server, 4, "publish");
    g_assert_cmpint(json_object_get_int_member(frame, "seq"), ==, 4);
    g_assert_cmpint(g_get_monotonic_time() - since, >=, (FAST.slower_ms - 20) * 1000);
    wait_heard(&scene, "published", 1);
    close_scene(&scene);
}

static void bad_token_keeps_the_answer_for_the_next_token(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.server->confirms = false;
    publish(&scene, "c1", "{}", G_MAXINT64);
    websocket_server_frame(scene.server, 1, "publish");
    websocket_server_say(scene.server,
                         "{'op':'error','seq':1,'channel':'c1','code':'bad-token','reason':'expired'}");
    wait_heard(&scene, "refused:c1:token", 1);
    scene.server->confirms = true;
    subscribe(&scene, "c1");
    websocket_server_frame(scene.server, 2, "subscribe");
    websocket_server_frame(scene.server, 3, "publish");
    wait_heard(&scene, "published", 1);
    close_scene(&scene);
}

static void a_welcome_can_refuse_one_channel(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    scene.server->welcomes = false;
    subscribe(&scene, "c1");
    subscribe(&scene, "c2");
    subscribe(&scene, "c3");
    websocket_server_frame(scene.server, 0, "hello");
    websocket_server_say(scene.server, "{'op':'welcome','platform':'p','channels':[{'id':'c1','ok':true},"
                                       "{'id':'c2','ok':false,'reason':'unknown-channel'},"
                                       "{'id':'c3','ok':false,'reason':'not today'},{'id':'c4','ok':true}]}");
    wait_heard(&scene, "refused:c3:other", 1);
    g_assert_cmpuint(times_heard(&scene, "refused:c2:token"), ==, 1);
    g_assert_cmpuint(times_heard(&scene, "subscribed:c1"), ==, 1);
    g_assert_cmpuint(times_heard(&scene, "subscribed:c4"), ==, 0);
    close_scene(&scene);
}

/* That channel's own trouble: the others stay, and it is taken when the answer comes after all. */
static void a_subscription_that_is_not_answered_is_given_up(void)
{
    WebsocketTimes times = FAST;
    times.welcome_ms = 300;
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &times);
    connect_channel(&scene, "c1");
    scene.server->welcomes = false;
    subscribe(&scene, "c2");
    wait_heard(&scene, "refused:c2:other", 1);
    websocket_server_say(scene.server, "{'op':'welcome','channels':[{'id':'c2','ok':true}]}");
    wait_heard(&scene, "subscribed:c2", 1);
    g_assert_cmpuint(times_heard(&scene, "lost"), ==, 0);
    g_assert_cmpuint(times_heard(&scene, "refused:c1:other"), ==, 0);
    scene.server->welcomes = true;
    soup_websocket_connection_close(scene.server->connection, SOUP_WEBSOCKET_CLOSE_GOING_AWAY, NULL);
    wait_heard(&scene, "subscribed:c2", 2);
    close_scene(&scene);
}

static void what_is_larger_than_a_message_may_be_is_not_sent(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    g_autofree char *filler = g_strnfill(MESSAGE_SIZE - 30, 'x');
    g_autofree char *envelope = g_strdup_printf("{\"a\":\"%s\"}", filler);
    publish(&scene, "c1", envelope, G_MAXINT64);
    wait_heard(&scene, "too-large", 1);
    g_assert_cmpuint(scene.server->frames->len, ==, 1);
    close_scene(&scene);
}

static void publish_large(Scene *scene, gsize size)
{
    g_autofree char *filler = g_strnfill(size, 'x');
    g_autofree char *envelope = g_strdup_printf("{\"a\":\"%s\"}", filler);
    publish(scene, "c1", envelope, G_MAXINT64);
}

/* The platform takes less than we would send: it says so with 1009, and the next connection does without. */
static void what_the_platform_closes_over_is_not_sent_again(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.server->confirms = false;
    publish(&scene, "c1", "{\"small\":1}", G_MAXINT64);
    publish_large(&scene, 20 * 1024);
    websocket_server_frame(scene.server, 2, "publish");
    scene.server->confirms = true;
    soup_websocket_connection_close(scene.server->connection, SOUP_WEBSOCKET_CLOSE_TOO_BIG, NULL);
    wait_heard(&scene, "too-large", 1);
    wait_heard(&scene, "published", 1);
    publish_large(&scene, 20 * 1024); /* now it is known */
    wait_heard(&scene, "too-large", 2);
    g_assert_cmpuint(scene.server->accepted, ==, 2);
    close_scene(&scene);
}

/* It only cuts the connection, each time it gets that frame. */
static void what_ends_the_connection_three_times_is_not_sent_again(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    scene.server->confirms = false;
    publish_large(&scene, 200 * 1024);
    publish(&scene, "c1", "{\"small\":1}", G_MAXINT64);
    for (guint i = 0; i < 3; i++) {
        websocket_server_frame(scene.server, 3 * i + 2, "publish");
        g_io_stream_close(soup_websocket_connection_get_io_stream(scene.server->connection), NULL, NULL);
        g_assert_cmpuint(times_heard(&scene, "too-large"), ==, 0);
        if (i == 2)
            scene.server->confirms = true;
        websocket_server_wait_accepted(scene.server, i + 2);
    }
    wait_heard(&scene, "too-large", 1);
    wait_heard(&scene, "published", 1);
    close_scene(&scene);
}

static void publications_are_told_when_their_channel_goes(void)
{
    Scene scene;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    scene.server->confirms = false;
    connect_channel(&scene, "c1");
    publish(&scene, "c1", "{}", G_MAXINT64);
    websocket_server_frame(scene.server, 1, "publish");
    scene.transport->class->unsubscribe(scene.transport, "c1");
    wait_heard(&scene, "left", 1);
    publish(&scene, "nowhere", "{}", G_MAXINT64);
    wait_heard(&scene, "left", 2);
    connect_channel(&scene, "c2");
    publish(&scene, "c2", "{}", G_MAXINT64);
    scene.transport->class->free(g_steal_pointer(&scene.transport));
    g_assert_cmpuint(times_heard(&scene, "left"), ==, 3);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/websocket/" #name, name)
    TEST(hello_names_the_agent_and_its_channels);
    TEST(nothing_is_said_of_a_channel_before_its_welcome);
    TEST(a_server_without_our_subprotocol_is_left_with_1002);
    TEST(refused_handshakes_are_told_in_words);
    TEST(plain_ws_is_for_loopback_only);
    TEST(no_welcome_in_time_is_a_new_attempt);
    TEST(a_second_channel_is_subscribed_on_the_same_connection);
    TEST(a_broken_connection_is_taken_back_and_made_again);
    TEST(silence_is_found_by_our_own_timer);
    TEST(a_message_on_its_way_is_no_silence);
    TEST(pongs_keep_a_quiet_connection);
    TEST(a_close_with_1008_wants_new_tokens_first);
    TEST(the_platform_says_when_to_come_back);
    TEST(broken_utf8_is_1007_and_fragments_are_joined);
    TEST(hurry_does_not_wait_for_the_backoff);
    TEST(shutting_down_is_a_reconnect_after_a_while);
    TEST(messages_keep_their_order_also_when_one_is_large);
    TEST(messages_for_channels_that_are_not_open_are_ignored);
    TEST(ten_bad_frames_close_with_1008_and_nine_do_not);
    TEST(binary_and_too_large_messages_end_the_connection);
    TEST(what_is_not_confirmed_is_sent_again_with_a_new_seq);
    TEST(an_expired_offer_is_dropped_at_the_reconnect);
    TEST(error_frames_decide_what_becomes_of_a_publication);
    TEST(bad_token_keeps_the_answer_for_the_next_token);
    TEST(a_welcome_can_refuse_one_channel);
    TEST(a_subscription_that_is_not_answered_is_given_up);
    TEST(what_is_larger_than_a_message_may_be_is_not_sent);
    TEST(what_the_platform_closes_over_is_not_sent_again);
    TEST(what_ends_the_connection_three_times_is_not_sent_again);
    TEST(publications_are_told_when_their_channel_goes);
    return g_test_run();
}
