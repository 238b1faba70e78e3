/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the link says of the transport that carries its channels, while a channel goes from PubNub back to a
 * WebSocket and is connected all the time. */

#include "daemon/link/route.h"
#include "tests/unit/link/agent.h"
#include "tests/unit/link/pubnub-server.h"

/* PubNub is not left again, so that nothing but the way back itself can be what is told. */
static const RouteTimes FAST = {.attempts = 1, .probe_ms = 200, .linger_ms = 3600 * 1000};

typedef struct Scene {
    ScriptedPlatform *platform;
    PubnubServer *pubnub;
    Agent *agent;
    GPtrArray *told; /* char *: the transport, each time that the link said that it changed */
} Scene;

static void on_changed(Link *link, void *userdata)
{
    Scene *scene = userdata;
    g_ptr_array_add(scene->told, g_strdup(link_transport(link)));
}

static void open_scene(Scene *scene)
{
    *scene = (Scene){.platform = scripted_platform_new(), .pubnub = pubnub_server_new()};
    scene->told = g_ptr_array_new_with_free_func(g_free);
    scene->agent = agent_new(scene->platform, "fake:serial=F1;fake:serial=F2");
    scene->agent->config.pubnub_origin = scene->pubnub->origin;
    const LinkEvents events = {.changed = on_changed, .userdata = scene};
    link_free(scene->agent->link);
    scene->agent->link = link_new_with_times(&scene->agent->config, scene->agent->identity,
                                             scene->agent->journal, &FAST, &events);
}

static void close_scene(Scene *scene)
{
    agent_free(scene->agent);
    pubnub_server_free(scene->pubnub);
    scripted_platform_free(scene->platform);
    g_ptr_array_unref(scene->told);
}

typedef struct Telling {
    const GPtrArray *told;
    const char *transport;
} Telling;

static bool was_told_last(void *userdata)
{
    const Telling *telling = userdata;
    guint n = telling->told->len;
    return n > 0 && g_str_equal(g_ptr_array_index(telling->told, n - 1), telling->transport);
}

static void wait_told(const Scene *scene, const char *transport)
{
    test_wait_for(was_told_last, &(Telling){scene->told, transport}, 30);
}

static void the_way_back_to_the_websocket_is_told(void)
{
    Scene scene;
    open_scene(&scene);
    scene.platform->pubnub = true;
    scene.platform->websocket_url = "ws://127.0.0.1:1/link"; /* nobody is there */
    scene.platform->expires = 1;
    Authority *authority = agent_provision(scene.agent, scene.platform, "F1", "p256", "One");
    wait_told(&scene, "pubnub");
    g_assert_cmpint(authority_link(authority), ==, AUTHORITY_CONNECTED);
    scene.platform->websocket_url = NULL;
    wait_told(&scene, "websocket");
    g_assert_cmpint(authority_link(authority), ==, AUTHORITY_CONNECTED);
    g_assert_cmpstr(link_transport(scene.agent->link), ==, "websocket");
    close_scene(&scene);
}

/* Over a connection that another authority has open, and that tells nothing of itself. */
static void the_way_back_to_a_shared_websocket_is_told(void)
{
    Scene scene;
    open_scene(&scene);
    scene.platform->pubnub = true;
    agent_wait_link(agent_provision(scene.agent, scene.platform, "F1", "p256", "One"), AUTHORITY_CONNECTED);
    scene.platform->websocket_url = "ws://127.0.0.1:1/link";
    scene.platform->expires = 1;
    Authority *two = agent_provision(scene.agent, scene.platform, "F2", "p256", "Two");
    wait_told(&scene, "websocket,pubnub");
    scene.platform->websocket_url = NULL;
    wait_told(&scene, "websocket");
    g_assert_cmpint(authority_link(two), ==, AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->link->accepted, ==, 1);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/link-transport/" #name, name)
    TEST(the_way_back_to_the_websocket_is_told);
    TEST(the_way_back_to_a_shared_websocket_is_told);
    return g_test_run();
}
