/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One channel between a WebSocket and PubNub (protocol.md W): which of them is taken, when the other one
 * takes over, and that what is published gets through in between. The connections are real ones, to servers
 * in this process. */

#include "daemon/error.h"
#include "daemon/link/route.h"
#include "tests/support/support.h"
#include "tests/unit/link/heard.h"
#include "tests/unit/link/pubnub-server.h"
#include "tests/unit/link/websocket-server.h"

#define PROTOCOL "pkiaas.iothsm.v1"

static const RouteTimes FAST = {.attempts = 3, .probe_ms = 300, .linger_ms = 100};
/* Nothing happens by itself any more. */
static const RouteTimes STILL = {.attempts = 3, .probe_ms = 3600 * 1000, .linger_ms = 100};

typedef struct Scene {
    WebsocketServer *websocket;
    PubnubServer *pubnub;
    char *directory;
    Config config;
    LinkContext context;
    GPtrArray *connections;
    Route *route;
    Heard *heard;
    char *reason; /* of the last disconnect or refusal */
    guint wants_keys;
} Scene;

static void on_changed(void *userdata)
{
}

static Connection *on_join(Route *route, const Endpoint *endpoint, const char *id, GError **error,
                           void *userdata)
{
    Scene *scene = userdata;
    Connection *connection = connection_new(endpoint, &scene->context, on_changed, NULL, error);
    if (!connection)
        return NULL;
    g_assert_true(connection_add(connection, id, route, error));
    g_ptr_array_add(scene->connections, connection);
    return connection;
}

static gboolean on_unused(void *userdata)
{
    Scene *scene = userdata;
    for (guint i = scene->connections->len; i-- > 0;)
        if (connection_is_empty(g_ptr_array_index(scene->connections, i)))
            g_ptr_array_remove_index(scene->connections, i);
    return G_SOURCE_REMOVE;
}

static void on_leave(Route *route, Connection *connection, void *userdata)
{
    connection_remove(connection, route);
    g_idle_add(on_unused, userdata);
}

static void note(Scene *scene, const char *word)
{
    g_ptr_array_add(scene->heard->words, g_strdup(word));
}

static void on_subscribed(bool missed, void *userdata)
{
    Scene *scene = userdata;
    g_autofree char *word = g_strdup_printf("subscribed:%s", route_carrier(scene->route));
    note(scene, word);
}

static void on_refused(TransportRefusal refusal, const char *reason, void *userdata)
{
    Scene *scene = userdata;
    g_free(scene->reason);
    scene->reason = g_strdup(reason);
    note(scene, "refused");
}

static void on_disconnected(const char *reason, gint64 next_attempt, void *userdata)
{
    Scene *scene = userdata;
    g_free(scene->reason);
    scene->reason = g_strdup(reason);
    note(scene, "disconnected");
}

static void on_wants_keys(void *userdata)
{
    ((Scene *)userdata)->wants_keys++;
}

static void on_message(TransportMessage *message, void *userdata)
{
    note(userdata, "message");
}

static const RouteEvents events = {on_subscribed, on_refused, on_disconnected, on_wants_keys, on_message};

static void open_scene(Scene *scene, const RouteTimes *times)
{
    g_autoptr(GError) error = NULL;
    *scene = (Scene){.websocket = websocket_server_new(PROTOCOL), .pubnub = pubnub_server_new()};
    scene->directory = test_directory();
    scene->heard = heard_new();
    scene->config = (Config){.pubnub_origin = scene->pubnub->origin, .message_size = 1024 * 1024};
    scene->context =
        (LinkContext){.config = &scene->config, .identity = identity_open(scene->directory, &error)};
    g_assert_no_error(error);
    scene->connections = g_ptr_array_new_with_free_func((GDestroyNotify)connection_free);
    const RouteHub hub = {on_join, on_leave, scene};
    scene->route = route_new(times, &hub, &events, scene);
}

static void close_scene(Scene *scene)
{
    route_free(scene->route);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_ptr_array_unref(scene->connections);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    heard_free(scene->heard);
    identity_free(scene->context.identity);
    websocket_server_free(scene->websocket);
    pubnub_server_free(scene->pubnub);
    g_free(scene->directory);
    g_free(scene->reason);
}

static BootstrapKeys *keys(const Scene *scene, const char *url, bool pubnub)
{
    BootstrapKeys *made = g_new0(BootstrapKeys, 1);
    made->channel = g_strdup("c1");
    made->url = g_strdup(url);
    made->token = g_strdup(url ? "secret" : NULL);
    made->expires = url ? g_get_monotonic_time() + G_GINT64_CONSTANT(3600) * G_USEC_PER_SEC : 0;
    made->publish_key = g_strdup(pubnub ? "pub-c-1" : NULL);
    made->subscribe_key = g_strdup(pubnub ? "sub-c-2" : NULL);
    return made;
}

static void use(Scene *scene, BootstrapKeys *owned)
{
    g_autoptr(GError) error = NULL;
    bool used = route_use(scene->route, owned, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(used);
}

static void publish(Scene *scene, const char *envelope)
{
    g_autoptr(GBytes) bytes = g_bytes_new(envelope, strlen(envelope));
    g_assert_true(route_publish(scene->route, bytes, G_MAXINT64, heard_published, scene->heard));
}

/* No answer to any handshake, and nobody at the old place. */
static void take_websocket_down(Scene *scene)
{
    scene->websocket->welcomes = false;
    soup_server_disconnect(scene->websocket->server);
    if (scene->websocket->connection)
        g_io_stream_close(soup_websocket_connection_get_io_stream(scene->websocket->connection), NULL, NULL);
}

static void each_way_is_used_where_it_is_the_only_one(void)
{
    Scene scene;
    open_scene(&scene, &STILL);
    use(&scene, keys(&scene, scene.websocket->url, false));
    heard_wait(scene.heard, "subscribed:websocket", 1);
    close_scene(&scene);
    open_scene(&scene, &STILL);
    use(&scene, keys(&scene, NULL, true));
    heard_wait(scene.heard, "subscribed:pubnub", 1);
    publish(&scene, "{\"a\":1}");
    heard_wait(scene.heard, "published", 1);
    pubnub_server_say(scene.pubnub, "c1", "platform", "{'type':'x'}");
    heard_wait(scene.heard, "message", 1);
    g_assert_cmpuint(scene.websocket->accepted, ==, 0);
    close_scene(&scene);
}

static void the_websocket_is_preferred(void)
{
    Scene scene;
    open_scene(&scene, &STILL);
    use(&scene, keys(&scene, scene.websocket->url, true));
    heard_wait(scene.heard, "subscribed:websocket", 1);
    g_assert_cmpuint(scene.pubnub->times, ==, 0);
    close_scene(&scene);
}

/* The answer that the WebSocket had not confirmed arrives over PubNub. */
static void three_failures_bring_pubnub_and_what_was_published_goes_along(void)
{
    Scene scene;
    open_scene(&scene, &STILL);
    scene.websocket->confirms = false;
    use(&scene, keys(&scene, scene.websocket->url, true));
    heard_wait(scene.heard, "subscribed:websocket", 1);
    publish(&scene, "{\"answer\":1}");
    websocket_server_frame(scene.websocket, 1, "publish");
    take_websocket_down(&scene);
    heard_wait(scene.heard, "disconnected", 1);
    heard_wait(scene.heard, "subscribed:pubnub", 1);
    heard_wait(scene.heard, "published", 1);
    g_assert_cmpuint(scene.pubnub->posts, ==, 1);
    g_assert_cmpstr(((PubnubItem *)g_ptr_array_index(scene.pubnub->items, 1))->payload, ==, "{\"answer\":1}");
    /* Lost, and three attempts. */
    g_assert_cmpuint(heard_times(scene.heard, "disconnected"), >=, 4);
    g_assert_cmpstr(route_carrier(scene.route), ==, "pubnub");
    close_scene(&scene);
}

static void without_pubnub_the_websocket_is_tried_for_ever(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    use(&scene, keys(&scene, "ws://127.0.0.1:1/link", false));
    heard_wait(scene.heard, "disconnected", 4);
    g_assert_cmpuint(scene.pubnub->times, ==, 0);
    g_assert_nonnull(strstr(scene.reason, "127.0.0.1"));
    close_scene(&scene);
}

/* From PubNub back to a WebSocket that works again: PubNub goes a little later. */
static void a_probe_finds_the_websocket_again(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    use(&scene, keys(&scene, NULL, true));
    heard_wait(scene.heard, "subscribed:pubnub", 1);
    /* As if it had fallen back: both are known, and PubNub is in use. */
    use(&scene, keys(&scene, "ws://127.0.0.1:1/link", true));
    test_let_pass(200);
    g_assert_cmpstr(route_carrier(scene.route), ==, "pubnub");
    use(&scene, keys(&scene, scene.websocket->url, true));
    heard_wait(scene.heard, "subscribed:websocket", 1);
    g_assert_cmpuint(scene.pubnub->leaves, ==, 0);
    pubnub_server_wait(&scene.pubnub->leaves, 1);
    publish(&scene, "{\"a\":1}");
    heard_wait(scene.heard, "published", 1);
    g_assert_cmpuint(scene.pubnub->posts, ==, 0);
    g_assert_cmpuint(heard_times(scene.heard, "disconnected"), ==, 0);
    close_scene(&scene);
}

/* A token that is over needs a bootstrap, and the channel stays connected meanwhile. */
static void a_probe_asks_for_new_keys_where_the_token_is_over(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    use(&scene, keys(&scene, NULL, true));
    heard_wait(scene.heard, "subscribed:pubnub", 1);
    BootstrapKeys *old = keys(&scene, "ws://127.0.0.1:1/link", true);
    old->expires = g_get_monotonic_time();
    use(&scene, old);
    pubnub_server_wait(&scene.wants_keys, 2);
    g_assert_cmpstr(route_carrier(scene.route), ==, "pubnub");
    g_assert_false(route_is_stale(scene.route));
    use(&scene, keys(&scene, scene.websocket->url, true));
    heard_wait(scene.heard, "subscribed:websocket", 1);
    close_scene(&scene);
}

static void assert_since(JsonObject *frame, const char *since)
{
    JsonObject *channel = json_array_get_object_element(json_object_get_array_member(frame, "channels"), 0);
    g_assert_cmpstr(json_object_get_string_member_with_default(channel, "since", ""), ==, since);
}

/* What came over PubNub meanwhile does not come again. */
static void a_websocket_begins_where_pubnub_ends(void)
{
    Scene scene;
    g_autoptr(GError) error = NULL;
    open_scene(&scene, &STILL);
    g_assert_true(route_use(scene.route, keys(&scene, scene.websocket->url, true), "17", &error));
    assert_since(websocket_server_frame(scene.websocket, 0, "hello"), "17");
    close_scene(&scene);
    open_scene(&scene, &STILL);
    use(&scene, keys(&scene, NULL, true));
    heard_wait(scene.heard, "subscribed:pubnub", 1);
    g_assert_true(route_use(scene.route, keys(&scene, scene.websocket->url, true), "17", &error));
    assert_since(websocket_server_frame(scene.websocket, 0, "hello"), "");
    close_scene(&scene);
}

/* Other keys of PubNub are taken at once, also while the WebSocket that goes first is still being tried. */
static void new_keys_of_pubnub_replace_the_old_ones(void)
{
    Scene scene;
    open_scene(&scene, &STILL);
    BootstrapKeys *old = keys(&scene, NULL, true);
    g_free(old->publish_key);
    old->publish_key = g_strdup("pub-c-old");
    use(&scene, old);
    heard_wait(scene.heard, "subscribed:pubnub", 1);
    use(&scene, keys(&scene, "ws://127.0.0.1:1/link", true));
    heard_wait(scene.heard, "subscribed:pubnub", 2);
    publish(&scene, "{\"a\":1}"); /* the server knows the new key only */
    heard_wait(scene.heard, "published", 1);
    close_scene(&scene);
}

static void a_route_that_is_left_tells_its_publishers(void)
{
    Scene scene;
    open_scene(&scene, &STILL);
    scene.websocket->confirms = false;
    use(&scene, keys(&scene, scene.websocket->url, true));
    heard_wait(scene.heard, "subscribed:websocket", 1);
    publish(&scene, "{\"a\":1}");
    websocket_server_frame(scene.websocket, 1, "publish");
    route_leave(scene.route);
    heard_wait(scene.heard, "left", 1);
    g_assert_null(route_id(scene.route));
    g_autoptr(GBytes) bytes = g_bytes_new_static("{}", 2);
    g_assert_false(route_publish(scene.route, bytes, G_MAXINT64, heard_published, scene.heard));
    close_scene(&scene);
}

static void an_address_that_may_not_be_used_is_an_error(void)
{
    Scene scene;
    open_scene(&scene, &STILL);
    g_autoptr(GError) error = NULL;
    g_assert_false(route_use(scene.route, keys(&scene, "ws://platform.example/link", false), NULL, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_clear_error(&error);
    g_assert_true(route_use(scene.route, keys(&scene, "ws://platform.example/link", true), NULL, &error));
    g_assert_no_error(error);
    heard_wait(scene.heard, "subscribed:pubnub", 1);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(function) g_test_add_func("/route/" #function, function)
    TEST(each_way_is_used_where_it_is_the_only_one);
    TEST(the_websocket_is_preferred);
    TEST(three_failures_bring_pubnub_and_what_was_published_goes_along);
    TEST(without_pubnub_the_websocket_is_tried_for_ever);
    TEST(a_probe_finds_the_websocket_again);
    TEST(a_probe_asks_for_new_keys_where_the_token_is_over);
    TEST(a_websocket_begins_where_pubnub_ends);
    TEST(new_keys_of_pubnub_replace_the_old_ones);
    TEST(a_route_that_is_left_tells_its_publishers);
    TEST(an_address_that_may_not_be_used_is_an_error);
    return g_test_run();
}
