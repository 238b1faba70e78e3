/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The WebSocket transport connects, and reads frames, against a server that misbehaves on demand (protocol.md
 * W.2, W.3). */

#include "daemon/error.h"
#include "tests/unit/link/websocket-scene.h"

/* --- connecting -------------------------------------------------------------------------------------- */

static void hello_names_the_agent_and_its_channels(void)
{
    g_auto(Scene) scene = {0};
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
}

static void nothing_is_said_of_a_channel_before_its_welcome(void)
{
    g_auto(Scene) scene = {0};
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
}

static void a_server_without_our_subprotocol_is_left_with_1002(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene, websocket_server_new(NULL), NULL, &FAST);
    subscribe(&scene, "c1");
    websocket_server_wait_closed(scene.server, 1);
    g_assert_cmpuint(scene.server->peer_close_code, ==, SOUP_WEBSOCKET_CLOSE_PROTOCOL_ERROR);
    g_assert_cmpuint(scene.server->frames->len, ==, 0);
    wait_heard(&scene, "state:backing-off", 1);
    g_assert_nonnull(strstr(scene.heard->message, PROTOCOL));
}

static void refused_handshakes_are_told_in_words(void)
{
    static const struct {
        guint status;
        const char *words;
    } cases[] = {{403, "403 Forbidden"}, {404, "404 Not Found"}, {302, "redirects are not followed"}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_auto(Scene) scene = {0};
        open_scene(&scene, websocket_server_new_refusing(cases[i].status), NULL, &FAST);
        subscribe(&scene, "c1");
        wait_heard(&scene, "state:backing-off", 1);
        g_assert_nonnull(strstr(scene.heard->message, cases[i].words));
        g_assert_cmpint(scene.heard->next_attempt, >, 0);
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
    g_auto(Scene) scene = {0};
    WebsocketTimes times = FAST;
    times.welcome_ms = 100;
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &times);
    scene.server->welcomes = false;
    subscribe(&scene, "c1");
    websocket_server_wait_accepted(scene.server, 2);
    scene.server->welcomes = true;
    wait_heard(&scene, "subscribed:c1", 1);
    g_assert_cmpuint(times_heard(&scene, "lost"), ==, 0); /* it was never connected */
}

static void a_second_channel_is_subscribed_on_the_same_connection(void)
{
    g_auto(Scene) scene = {0};
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
}

/* --- frames ------------------------------------------------------------------------------------------ */

static void messages_keep_their_order_also_when_one_is_large(void)
{
    g_auto(Scene) scene = {0};
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
}

static void messages_for_channels_that_are_not_open_are_ignored(void)
{
    g_auto(Scene) scene = {0};
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
}

static void ten_bad_frames_close_with_1008_and_nine_do_not(void)
{
    g_auto(Scene) scene = {0};
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
}

static void binary_and_too_large_messages_end_the_connection(void)
{
    g_auto(Scene) scene = {0};
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
    TEST(messages_keep_their_order_also_when_one_is_large);
    TEST(messages_for_channels_that_are_not_open_are_ignored);
    TEST(ten_bad_frames_close_with_1008_and_nine_do_not);
    TEST(binary_and_too_large_messages_end_the_connection);
    return g_test_run();
}
