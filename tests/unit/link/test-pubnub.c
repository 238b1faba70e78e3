/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The PubNub transport against a server that misbehaves on demand (protocol.md appendix A, W.4). Time runs
 * about a hundred times faster than in the world. */

#include "daemon/link/transport/pubnub.h"
#include "tests/support/support.h"
#include "tests/unit/link/heard.h"
#include "tests/unit/link/pubnub-server.h"

#define UUID "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d"

static const PubnubTimes FAST = {
    .poll_s = 30,
    .call_s = 5,
    .check_ms = 10 * 1000,
    .silence_ms = 20 * 1000,
    .hasty_ms = 200,
    .gather_ms = 5,
    .backoff_floor_ms = 20,
    .backoff_ceiling_ms = 300,
    .settled_ms = 5000,
};

typedef struct Scene {
    PubnubServer *server;
    Heard *heard;
    Transport *transport;
} Scene;

static Transport *transport_to(const PubnubServer *server, const PubnubTimes *times, Heard *heard)
{
    const PubnubKeys keys = {"pub-c-1", "sub-c-2"};
    const TransportEvents events = heard_events(heard);
    g_autoptr(GError) error = NULL;
    Transport *transport =
        pubnub_transport_new_with_times(server->origin, &keys, NULL, UUID, times, &events, &error);
    g_assert_no_error(error);
    return transport;
}

static void open_scene(Scene *scene, const PubnubTimes *times)
{
    scene->server = pubnub_server_new();
    scene->heard = heard_new();
    scene->transport = transport_to(scene->server, times, scene->heard);
}

static void close_scene(Scene *scene)
{
    if (scene->transport)
        scene->transport->class->free(scene->transport);
    heard_free(scene->heard);
    pubnub_server_free(scene->server);
}

static void subscribe(Scene *scene, const char *channel)
{
    scene->transport->class->subscribe(scene->transport, channel, NULL, NULL);
}

static void connect_channel(Scene *scene, const char *channel)
{
    guint polls = scene->server->polls;
    g_autofree char *subscribed = g_strdup_printf("subscribed:%s", channel);
    subscribe(scene, channel);
    heard_wait(scene->heard, subscribed, 1);
    pubnub_server_wait(&scene->server->polls, polls + 1);
}

static void publish_on(Transport *transport, Heard *heard, const char *channel, const char *envelope,
                       gint64 expires)
{
    g_autoptr(GBytes) bytes = g_bytes_new(envelope, strlen(envelope));
    transport->class->publish(transport, channel, bytes, expires, heard_published, heard);
}

static void publish(Scene *scene, const char *channel, const char *envelope)
{
    publish_on(scene->transport, scene->heard, channel, envelope, G_MAXINT64);
}

/* --- subscribing ------------------------------------------------------------------------------------- */

static void a_channel_is_subscribed_after_the_first_answer_and_not_before(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    scene.server->status = 0; /* no answer at all */
    scene.server->fail_joins = 1;
    subscribe(&scene, "c1");
    pubnub_server_wait(&scene.server->joins, 1);
    test_let_pass(50);
    g_assert_cmpuint(heard_times(scene.heard, "subscribed:c1"), ==, 0);
    g_assert_cmpuint(heard_times(scene.heard, "state:connected"), ==, 0);
    close_scene(&scene);

    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    g_assert_cmpuint(heard_times(scene.heard, "state:connected"), ==, 1);
    g_assert_cmpuint(scene.server->times, ==, 1);
    g_assert_cmpstr(scene.server->channels, ==, "c1");
    close_scene(&scene);
}

static void messages_come_in_order_and_own_ones_do_not(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    pubnub_server_say(scene.server, "c1", "platform", "{'type':'one'}");
    heard_wait(scene.heard, "message:c1:one", 1);
    publish(&scene, "c1", "{\"type\":\"own\"}");
    heard_wait(scene.heard, "published", 1);
    pubnub_server_say(scene.server, "c1", "platform", "{'type':'two'}");
    heard_wait(scene.heard, "message:c1:two", 1);
    g_assert_cmpuint(heard_times(scene.heard, "message:c1:own"), ==, 0);
    close_scene(&scene);
}

/* What is published while the channel list changes, over and over, comes exactly once. */
static void the_channel_list_changes_without_losing_messages(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c0");
    for (guint i = 1; i <= 8; i++) {
        g_autofree char *channel = g_strdup_printf("c%u", i);
        g_autofree char *payload = g_strdup_printf("{'type':'m%u'}", i);
        subscribe(&scene, channel);
        pubnub_server_say(scene.server, "c0", "platform", payload);
        g_main_context_iteration(NULL, FALSE);
        pubnub_server_say(scene.server, "c0", "platform", payload);
        g_autofree char *word = g_strdup_printf("message:c0:m%u", i);
        heard_wait(scene.heard, word, 2);
        if (i % 2 == 0)
            scene.transport->class->unsubscribe(scene.transport, channel);
        pubnub_server_say(scene.server, "c0", "platform", "{'type':'after'}");
    }
    heard_wait(scene.heard, "message:c0:after", 8);
    test_let_pass(50);
    for (guint i = 1; i <= 8; i++) {
        g_autofree char *word = g_strdup_printf("message:c0:m%u", i);
        g_assert_cmpuint(heard_times(scene.heard, word), ==, 2);
    }
    g_assert_cmpuint(heard_times(scene.heard, "message:c0:after"), ==, 8);
    g_assert_cmpuint(heard_times(scene.heard, "lost"), ==, 0);
    pubnub_server_wait(&scene.server->leaves, 4);
    g_assert_cmpstr(scene.server->channels, ==, "c0,c1,c3,c5,c7");
    close_scene(&scene);
}

static void nothing_is_polled_when_no_channel_is_left(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    scene.transport->class->unsubscribe(scene.transport, "c1");
    heard_wait(scene.heard, "state:idle", 1);
    pubnub_server_wait(&scene.server->leaves, 1);
    guint polls = scene.server->polls;
    test_let_pass(100);
    g_assert_cmpuint(scene.server->polls, ==, polls);
    connect_channel(&scene, "c2"); /* and it wakes up again */
    close_scene(&scene);
}

/* --- errors ------------------------------------------------------------------------------------------ */

typedef struct Trouble {
    const char *name;
    guint status;
    const char *body;
    const char *words; /* part of the state's message */
} Trouble;

static const Trouble troubles[] = {
    {"403", 403, NULL, "403 Forbidden: Forbidden"},
    {"400", 400, "{\"message\":\"Invalid Subscribe Key\"}", "400 Bad Request: Invalid Subscribe Key"},
    {"429", 429, "", "429"},
    {"500", 500, "<html>", "500 Internal Server Error"},
    {"503", 503, "", "503 Service Unavailable"},
    {"302", 302, "", "302 Found"},
    {"not-json", 200, "<html>Please log in</html>", "is not JSON"},
    {"truncated", 200, "{\"t\":{\"t\":\"17\",\"r\":4},\"m\":[{\"c\":", "is not JSON"},
    {"null", 200, "null", "is not JSON"},
};

/* Each error backs off, says why, and keeps the cursor: what was published meanwhile comes after it. */
static void test_trouble(gconstpointer data)
{
    const Trouble *trouble = data;
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    g_autofree char *cursor = g_strdup(scene.server->cursor);
    scene.server->status = trouble->status;
    scene.server->body = trouble->body;
    scene.server->fail_polls = 2;
    pubnub_server_end_polls(scene.server);
    heard_wait(scene.heard, "lost", 1);
    heard_wait(scene.heard, "state:backing-off", 1);
    if (!strstr(scene.heard->message, trouble->words))
        g_error("%s", scene.heard->message);
    g_assert_cmpint(scene.heard->next_attempt, >, g_get_real_time() - G_USEC_PER_SEC);
    pubnub_server_say(scene.server, "c1", "platform", "{'type':'meanwhile'}");
    heard_wait(scene.heard, "message:c1:meanwhile", 1);
    g_assert_cmpuint(heard_times(scene.heard, "state:backing-off"), ==, 3);
    g_assert_cmpuint(heard_times(scene.heard, "subscribed:c1"), ==, 4);
    close_scene(&scene);
}

static void the_backoff_grows_until_a_poll_is_answered(void)
{
    Scene scene;
    PubnubTimes times = FAST;
    times.backoff_floor_ms = 50;
    times.backoff_ceiling_ms = 800;
    open_scene(&scene, &times);
    scene.server->fail_times = 6;
    scene.server->status = 503;
    gint64 began = g_get_monotonic_time();
    connect_channel(&scene, "c1");
    /* Six waits of at least 50 ms; with full jitter nothing more is certain. */
    g_assert_cmpint(g_get_monotonic_time() - began, >=, 6 * 50 * 1000);
    g_assert_cmpuint(heard_times(scene.heard, "state:backing-off"), ==, 6);
    close_scene(&scene);
}

/* Keys can be others after a bootstrap; answers are kept for then. */
static void keys_that_are_refused_again_and_again_want_a_bootstrap(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    scene.server->fail_joins = 5;
    subscribe(&scene, "c1");
    heard_wait(scene.heard, "refused:c1:token", 1);
    g_assert_cmpuint(scene.server->joins, ==, 5);
    heard_wait(scene.heard, "state:idle", 1);
    connect_channel(&scene, "c1"); /* the bootstrap gave keys */
    close_scene(&scene);
}

static void a_server_that_is_gone_is_told_and_waited_for(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    soup_server_disconnect(scene.server->server);
    subscribe(&scene, "c1");
    heard_wait(scene.heard, "state:backing-off", 2);
    g_assert_nonnull(strstr(scene.heard->message, "127.0.0.1"));
    close_scene(&scene);
}

static void a_poll_that_ends_by_its_time_is_no_error(void)
{
    Scene scene;
    PubnubTimes times = FAST;
    times.poll_s = 1;
    open_scene(&scene, &times);
    connect_channel(&scene, "c1");
    g_autofree char *cursor = g_strdup(scene.server->cursor);
    pubnub_server_wait(&scene.server->polls, 3);
    g_assert_cmpstr(scene.server->cursor, ==, cursor);
    g_assert_cmpuint(heard_times(scene.heard, "lost"), ==, 0);
    pubnub_server_say(scene.server, "c1", "platform", "{'type':'still'}");
    heard_wait(scene.heard, "message:c1:still", 1);
    close_scene(&scene);
}

/* The connection stands and nothing comes any more: within silence_ms (50 s in the world) it is lost. */
static void silence_is_noticed(void)
{
    Scene scene;
    PubnubTimes times = FAST;
    times.check_ms = 200;
    times.silence_ms = 2000; /* more than a busy machine keeps us from looking */
    times.call_s = 1;
    open_scene(&scene, &times);
    connect_channel(&scene, "c1");
    pubnub_server_wait(&scene.server->times, 12); /* silent for longer, but the time is told */
    g_assert_cmpuint(heard_times(scene.heard, "lost"), ==, 0);
    scene.server->status = 0;
    scene.server->fail_times = 1000;
    gint64 began = g_get_monotonic_time();
    heard_wait(scene.heard, "lost", 1);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 15 * G_USEC_PER_SEC);
    g_assert_nonnull(strstr(scene.heard->message, "silent"));
    scene.server->fail_times = 0;
    heard_wait(scene.heard, "subscribed:c1", 2);
    close_scene(&scene);
}

/* An empty answer that comes at once, again and again, is not asked for a thousand times a second. */
static void hasty_answers_do_not_make_a_circle(void)
{
    Scene scene;
    PubnubTimes times = FAST;
    times.backoff_floor_ms = 100;
    open_scene(&scene, &times);
    scene.server->status = 200;
    scene.server->body = "{\"t\":{\"t\":\"1\",\"r\":4},\"m\":[]}";
    scene.server->fail_polls = 1000;
    connect_channel(&scene, "c1");
    guint polls = scene.server->polls;
    test_let_pass(450);
    g_assert_cmpuint(scene.server->polls - polls, <=, 5);
    g_assert_cmpuint(heard_times(scene.heard, "lost"), ==, 0);
    close_scene(&scene);
}

static void all_channels_are_left_at_once(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    connect_channel(&scene, "c2");
    scene.transport->class->free(g_steal_pointer(&scene.transport));
    pubnub_server_wait(&scene.server->leaves, 1);
    g_assert_cmpstr(scene.server->left, ==, "c1,c2");
    close_scene(&scene);
}

/* --- publishing -------------------------------------------------------------------------------------- */

static void what_is_not_taken_is_published_later_once(void)
{
    static const guint statuses[] = {403, 429, 500, 503};
    for (gsize i = 0; i < G_N_ELEMENTS(statuses); i++) {
        Scene scene;
        open_scene(&scene, &FAST);
        connect_channel(&scene, "c1");
        scene.server->status = statuses[i];
        scene.server->fail_posts = 2;
        publish(&scene, "c1", "{\"type\":\"answer\"}");
        heard_wait(scene.heard, "published", 1);
        g_assert_cmpuint(scene.server->posts, ==, 3);
        g_assert_cmpuint(scene.server->items->len, ==, 2);
        g_assert_cmpuint(heard_times(scene.heard, "lost"), ==, 0);
        close_scene(&scene);
    }
}

/* More of it than are posted at once. */
static void what_is_not_taken_on_one_channel_does_not_keep_others_waiting(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    connect_channel(&scene, "c2");
    scene.server->denied = "c1";
    for (guint i = 0; i < 20; i++)
        publish(&scene, "c1", "{}");
    publish(&scene, "c2", "{}");
    heard_wait(scene.heard, "published", 1);
    scene.server->denied = NULL;
    heard_wait(scene.heard, "published", 21);
    close_scene(&scene);
}

static char *envelope_of(gsize size)
{
    g_autofree char *filler = g_strnfill(size - strlen("{\"a\":\"\"}"), 'x');
    return g_strdup_printf("{\"a\":\"%s\"}", filler);
}

static void what_is_larger_than_32_KiB_is_not_sent(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    g_autofree char *fits = envelope_of(PUBNUB_MESSAGE_MAX);
    g_autofree char *large = envelope_of(PUBNUB_MESSAGE_MAX + 1);
    publish(&scene, "c1", fits);
    heard_wait(scene.heard, "published", 1);
    publish(&scene, "c1", large);
    heard_wait(scene.heard, "too-large", 1);
    g_assert_cmpuint(scene.server->posts, ==, 1);
    close_scene(&scene);
}

static void what_PubNub_calls_too_large_is_told_so(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    scene.server->status = 400;
    scene.server->body = "[0,\"Message Too Large\",\"17\"]";
    scene.server->fail_posts = 1;
    publish(&scene, "c1", "{}");
    heard_wait(scene.heard, "too-large", 1);
    scene.server->body = "[0,\"Invalid JSON\",\"17\"]";
    scene.server->fail_posts = 1;
    publish(&scene, "c1", "{}");
    heard_wait(scene.heard, "dropped", 1);
    g_assert_cmpuint(scene.server->posts, ==, 2);
    close_scene(&scene);
}

static void an_expired_offer_is_dropped(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    scene.server->status = 503;
    scene.server->fail_posts = 1000;
    publish_on(scene.transport, scene.heard, "c1", "{}", g_get_monotonic_time() + 200 * 1000);
    heard_wait(scene.heard, "dropped", 1);
    close_scene(&scene);
}

static void publications_are_told_when_their_channel_goes(void)
{
    Scene scene;
    open_scene(&scene, &FAST);
    connect_channel(&scene, "c1");
    scene.server->status = 0;
    scene.server->fail_posts = 2;
    publish(&scene, "c1", "{}");
    pubnub_server_wait(&scene.server->posts, 1);
    scene.transport->class->unsubscribe(scene.transport, "c1");
    heard_wait(scene.heard, "left", 1);
    publish(&scene, "nowhere", "{}");
    heard_wait(scene.heard, "left", 2);
    connect_channel(&scene, "c2");
    publish(&scene, "c2", "{}");
    pubnub_server_wait(&scene.server->posts, 2);
    scene.transport->class->free(g_steal_pointer(&scene.transport));
    g_assert_cmpuint(heard_times(scene.heard, "left"), ==, 3);
    close_scene(&scene);
}

/* libsoup's usual two connections a host would keep a post waiting behind two polls. */
static void two_key_sets_that_poll_publish_within_100_ms(void)
{
    Scene scene;
    open_scene(&scene, &PUBNUB_TIMES);
    g_autoptr(Heard) other_heard = heard_new();
    Transport *other = transport_to(scene.server, &PUBNUB_TIMES, other_heard);
    connect_channel(&scene, "c1");
    other->class->subscribe(other, "c2", NULL, NULL);
    heard_wait(other_heard, "subscribed:c2", 1);
    pubnub_server_wait(&scene.server->polls, 2);
    gint64 best = G_MAXINT64;
    for (guint i = 1; i <= 5; i++) {
        gint64 began = g_get_monotonic_time();
        publish(&scene, "c1", "{}");
        publish_on(other, other_heard, "c2", "{}", G_MAXINT64);
        heard_wait(scene.heard, "published", i);
        heard_wait(other_heard, "published", i);
        best = MIN(best, g_get_monotonic_time() - began);
    }
    g_test_message("both published within %" G_GINT64_FORMAT " us", best);
    g_assert_cmpint(best, <, 100 * 1000);
    other->class->free(other);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(function) g_test_add_func("/pubnub/" #function, function)
    TEST(a_channel_is_subscribed_after_the_first_answer_and_not_before);
    TEST(messages_come_in_order_and_own_ones_do_not);
    TEST(the_channel_list_changes_without_losing_messages);
    TEST(nothing_is_polled_when_no_channel_is_left);
    for (gsize i = 0; i < G_N_ELEMENTS(troubles); i++) {
        g_autofree char *path = g_strdup_printf("/pubnub/keeps-its-place-after/%s", troubles[i].name);
        g_test_add_data_func(path, &troubles[i], test_trouble);
    }
    TEST(the_backoff_grows_until_a_poll_is_answered);
    TEST(keys_that_are_refused_again_and_again_want_a_bootstrap);
    TEST(a_server_that_is_gone_is_told_and_waited_for);
    TEST(a_poll_that_ends_by_its_time_is_no_error);
    TEST(silence_is_noticed);
    TEST(hasty_answers_do_not_make_a_circle);
    TEST(all_channels_are_left_at_once);
    TEST(what_is_not_taken_is_published_later_once);
    TEST(what_is_not_taken_on_one_channel_does_not_keep_others_waiting);
    TEST(what_is_larger_than_32_KiB_is_not_sent);
    TEST(what_PubNub_calls_too_large_is_told_so);
    TEST(an_expired_offer_is_dropped);
    TEST(publications_are_told_when_their_channel_goes);
    TEST(two_key_sets_that_poll_publish_within_100_ms);
    return g_test_run();
}
