/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What becomes of what is published over a WebSocket (protocol.md W.3, W.4). */

#include "daemon/error.h"
#include "tests/unit/link/websocket-scene.h"

static void what_is_not_confirmed_is_sent_again_with_a_new_seq(void)
{
    g_auto(Scene) scene = {0};
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
}

static void an_expired_offer_is_dropped_at_the_reconnect(void)
{
    g_auto(Scene) scene = {0};
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
}

static void error_frames_decide_what_becomes_of_a_publication(void)
{
    g_auto(Scene) scene = {0};
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
}

static void bad_token_keeps_the_answer_for_the_next_token(void)
{
    g_auto(Scene) scene = {0};
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
}

static void a_welcome_can_refuse_one_channel(void)
{
    g_auto(Scene) scene = {0};
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
}

/* That channel's own trouble: the others stay, and it is taken when the answer comes after all. */
static void a_subscription_that_is_not_answered_is_given_up(void)
{
    WebsocketTimes times = FAST;
    times.welcome_ms = 300;
    g_auto(Scene) scene = {0};
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
}

static void what_is_larger_than_a_message_may_be_is_not_sent(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene, websocket_server_new(PROTOCOL), NULL, &FAST);
    connect_channel(&scene, "c1");
    g_autofree char *filler = g_strnfill(MESSAGE_SIZE - 30, 'x');
    g_autofree char *envelope = g_strdup_printf("{\"a\":\"%s\"}", filler);
    publish(&scene, "c1", envelope, G_MAXINT64);
    wait_heard(&scene, "too-large", 1);
    g_assert_cmpuint(scene.server->frames->len, ==, 1);
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
    g_auto(Scene) scene = {0};
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
}

/* It only cuts the connection, each time it gets that frame. */
static void what_ends_the_connection_three_times_is_not_sent_again(void)
{
    g_auto(Scene) scene = {0};
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
}

static void publications_are_told_when_their_channel_goes(void)
{
    g_auto(Scene) scene = {0};
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
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/websocket/" #name, name)
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
