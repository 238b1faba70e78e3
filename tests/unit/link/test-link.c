/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The link from bootstrap to connected, and back: what is said of authorities, and when (protocol.md 1.9,
 * W.4, W.5; section 9, vector 7). */

#include "daemon/error.h"
#include "tests/unit/link/agent.h"

typedef struct Scene {
    ScriptedPlatform *platform;
    Agent *agent;
} Scene;

static void open_scene(Scene *scene, const char *tokens)
{
    scene->platform = scripted_platform_new();
    scene->agent = agent_new(scene->platform, tokens);
}

static void close_scene(Scene *scene)
{
    agent_free(scene->agent);
    scripted_platform_free(scene->platform);
}

static Authority *provision(Scene *scene, const char *name)
{
    return agent_provision(scene->agent, scene->platform, "F1", "p256", name);
}

static void an_authority_is_connected_after_its_welcome_and_not_before(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    g_assert_cmpint(link_state(scene.agent->link), ==, LINK_UNCONFIGURED);
    scene.platform->link->welcomes = false;
    Authority *authority = provision(&scene, "One");
    websocket_server_frame(scene.platform->link, 0, "hello");
    g_assert_cmpint(authority_link(authority), ==, AUTHORITY_NOT_CONNECTED);
    g_assert_cmpuint(link_connected(scene.agent->link), ==, 0);
    g_autofree char *channel = scripted_platform_channel(authority_thumbprint(authority));
    websocket_server_say(scene.platform->link,
                         "{'op':'welcome','platform':'p','channels':[{'id':'%s','ok':true}]}", channel);
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    agent_wait_state(scene.agent, LINK_CONNECTED);
    g_assert_cmpstr(link_transport(scene.agent->link), ==, "websocket");
    g_assert_cmpuint(link_connected(scene.agent->link), ==, 1);
    g_assert_cmpstr(authority_link_message(authority), ==, "");
    close_scene(&scene);
}

static void connected_is_taken_back_with_the_connection(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    Authority *authority = provision(&scene, "One");
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    scene.platform->link->welcomes = false;
    soup_websocket_connection_close(scene.platform->link->connection, 1001, "moving house");
    agent_wait_link(authority, AUTHORITY_NOT_CONNECTED);
    agent_wait_message(authority, "moving house");
    g_assert_cmpuint(link_connected(scene.agent->link), ==, 0);
    scene.platform->link->welcomes = true;
    agent_reload(scene.agent, &scene.agent->config);
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->bootstraps, ==, 1); /* the token is still good */
    close_scene(&scene);
}

/* Weakness 24 of the original: one bad answer held up all other CAs. */
static void a_refused_authority_says_why_and_does_not_hold_up_another(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1;fake:serial=F2");
    Authority *good = agent_provision(scene.agent, scene.platform, "F2", "p256", "Good");
    agent_wait_link(good, AUTHORITY_CONNECTED);
    scene.platform->body = "{\"success\":false,\"message\":\"Certificate authority\\nnot found\"}";
    Authority *bad = provision(&scene, "Bad");
    agent_wait_link(bad, AUTHORITY_UNREGISTERED);
    g_assert_cmpstr(authority_link_message(bad), ==, "Certificate authority not found");
    gint64 seconds = (authority_next_attempt(bad) - g_get_real_time()) / G_USEC_PER_SEC;
    g_assert_cmpint(seconds, >=, 55); /* protocol.md W.4: 60 s to 1 h */
    g_assert_cmpint(seconds, <=, 120);
    agent_wait_state(scene.agent, LINK_CONNECTED);
    g_assert_nonnull(strstr(link_message(scene.agent->link), "1 of 2"));
    scene.platform->body = NULL;
    agent_reload(scene.agent, &scene.agent->config);
    agent_wait_link(bad, AUTHORITY_CONNECTED);
    g_assert_cmpint(authority_link(good), ==, AUTHORITY_CONNECTED);
    close_scene(&scene);
}

typedef struct Bootstraps {
    const ScriptedPlatform *platform;
    guint count;
} Bootstraps;

static bool has_bootstraps(void *userdata)
{
    const Bootstraps *wanted = userdata;
    return wanted->platform->bootstraps >= wanted->count;
}

static void wait_bootstraps(const ScriptedPlatform *platform, guint count)
{
    test_wait_for(has_bootstraps, &(Bootstraps){platform, count}, 30);
}

/* Long enough for what must not happen to happen. */
static void let_settle(void)
{
    test_let_pass(500);
}

static void strange_answers_are_told_in_words(void)
{
    static const struct {
        guint status;
        const char *body;
        const char *words;
    } cases[] = {
        {500, "<html>oops</html>", "500 Internal Server Error"},
        {429, "{\"success\":false,\"message\":\"slow down\"}", "slow down"},
        {503, "", "503"},
        {404, "<html>", "404 Not Found"},
        {302, "", "redirects are not followed"},
        {200, "null", "did not answer as the platform does"},
        {200, "certainly", "did not answer as the platform does"},
        {200, "{}", "did not answer as the platform does"},
        {200, "{\"success\":true}", "did not answer as the platform does"},
        {200, "{\"success\":true,\"data\":7}", "did not answer as the platform does"},
        {200, "{\"success\":true,\"data\":\"MIME-Version: 1.0\\n\\nAAAA\"}", "not signed by the platform"},
    };
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    scene.platform->status = 500;
    scene.platform->body = "";
    Authority *authority = provision(&scene, "One");
    agent_wait_message(authority, "500");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        scene.platform->status = cases[i].status;
        scene.platform->body = cases[i].body;
        guint before = scene.platform->bootstraps;
        agent_reload(scene.agent, &scene.agent->config);
        wait_bootstraps(scene.platform, before + 1);
        agent_wait_state(scene.agent, LINK_BACKING_OFF);
        if (!strstr(authority_link_message(authority), cases[i].words))
            g_error("%s: %s", cases[i].body, authority_link_message(authority));
        g_assert_cmpint(authority_link(authority), ==, AUTHORITY_NOT_CONNECTED);
        g_assert_cmpint(link_next_attempt(scene.agent->link), >, g_get_real_time());
    }
    close_scene(&scene);
}

static void passing_failures_are_retried_soon_by_themselves(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    scene.platform->status = 500;
    scene.platform->body = "";
    Authority *authority = provision(&scene, "One");
    agent_wait_message(authority, "500");
    scene.platform->status = 200;
    scene.platform->body = NULL;
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    close_scene(&scene);
}

static void an_answer_of_an_outsider_is_not_believed(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    scene.platform->signed_by = "outsider";
    Authority *authority = provision(&scene, "One");
    agent_wait_message(authority, "not signed by the platform");
    g_assert_cmpuint(scene.platform->link->accepted, ==, 0);
    close_scene(&scene);
}

static void an_unusable_address_is_not_used(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    scene.platform->websocket_url = "ws://platform.example/link";
    Authority *authority = provision(&scene, "One");
    agent_wait_message(authority, "ws://platform.example/link");
    g_assert_cmpint(authority_link(authority), ==, AUTHORITY_NOT_CONNECTED);
    close_scene(&scene);
}

static void without_a_trust_anchor_it_says_where_to_get_one(void)
{
    g_autoptr(ScriptedPlatform) platform = scripted_platform_new();
    g_autoptr(Agent) agent = agent_new(platform, "fake:serial=F1");
    Config without = agent->config;
    without.verification_ca = (char *)"/nonexistent/anchor.pem";
    agent_reload(agent, &without);
    Authority *authority = agent_provision(agent, platform, "F1", "p256", "One");
    agent_wait_state(agent, LINK_UNCONFIGURED);
    g_assert_nonnull(strstr(link_message(agent->link), "iothsmctl trust add"));
    g_assert_cmpstr(authority_link_message(authority), ==, link_message(agent->link));
    g_assert_cmpuint(platform->bootstraps, ==, 0);
    agent_reload(agent, &agent->config);
    agent_wait_link(authority, AUTHORITY_CONNECTED);
}

/* No PIN, no channel certificate: nothing is tried against the token, and the PIN's arrival is enough. */
static void a_missing_pin_is_said_and_its_arrival_connects(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1,pin=123456");
    agent_wait_ready(scene.agent, "F1");
    agent_give_pin(scene.agent, "F1", "123456");
    g_autofree char *thumbprint = g_strdup(authority_thumbprint(provision(&scene, "One")));
    agent_wait_link(authority_set_find(scene.agent->authorities, thumbprint), AUTHORITY_CONNECTED);

    fake_source_unplug(scene.agent->source, "F1");
    g_assert_null(authority_set_find(scene.agent->authorities, thumbprint));
    guint presented = fake_source_pins_presented(scene.agent->source, "F1");
    g_autoptr(GError) error = NULL;
    fake_source_plug(scene.agent->source, "fake:serial=F1", &error);
    g_assert_no_error(error);
    agent_wait_ready(scene.agent, "F1");
    Authority *authority = authority_set_find(scene.agent->authorities, thumbprint);
    agent_wait_message(authority, "PIN");
    g_assert_cmpuint(fake_source_pins_presented(scene.agent->source, "F1"), ==, presented);
    guint bootstraps = scene.platform->bootstraps;
    agent_give_pin(scene.agent, "F1", "123456");
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->bootstraps, ==, bootstraps + 1);
    close_scene(&scene);
}

static void a_refused_token_leads_to_a_new_bootstrap(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    Authority *authority = provision(&scene, "One");
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    g_autofree char *channel = scripted_platform_channel(authority_thumbprint(authority));
    websocket_server_say(scene.platform->link,
                         "{'op':'error','channel':'%s','code':'bad-token','reason':'expired'}", channel);
    agent_wait_link(authority, AUTHORITY_NOT_CONNECTED);
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->bootstraps, ==, 2);
    g_assert_cmpuint(scene.platform->link->accepted, ==, 1); /* on the same connection */
    close_scene(&scene);
}

static void an_expired_token_is_replaced_before_a_reconnect(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    scene.platform->expires = 1;
    Authority *authority = provision(&scene, "One");
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    test_let_pass(1100);
    g_assert_cmpint(authority_link(authority), ==,
                    AUTHORITY_CONNECTED); /* a running subscription is not cut by it */
    soup_websocket_connection_close(scene.platform->link->connection, 1001, NULL);
    agent_wait_link(authority, AUTHORITY_NOT_CONNECTED);
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->bootstraps, >=, 2);
    close_scene(&scene);
}

static void authorities_share_one_connection(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1,slots=8");
    Authority *authorities[4];
    for (guint i = 0; i < G_N_ELEMENTS(authorities); i++) {
        g_autofree char *name = g_strdup_printf("CA %u", i);
        authorities[i] = provision(&scene, name);
    }
    for (guint i = 0; i < G_N_ELEMENTS(authorities); i++)
        agent_wait_link(authorities[i], AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->link->accepted, ==, 1);
    g_assert_cmpuint(link_connected(scene.agent->link), ==, 4);
    close_scene(&scene);
}

static void eight_bootstraps_run_at_once_and_no_more(void)
{
    Scene scene;
    Authority *authorities[11];
    open_scene(&scene, "fake:serial=F1,slots=11");
    scene.platform->holds = true;
    for (guint i = 0; i < G_N_ELEMENTS(authorities); i++) {
        g_autofree char *name = g_strdup_printf("CA %u", i);
        authorities[i] = provision(&scene, name);
    }
    wait_bootstraps(scene.platform, 8);
    let_settle();
    g_assert_cmpuint(scene.platform->bootstraps, ==, 8);
    g_assert_cmpint(link_state(scene.agent->link), ==, LINK_BOOTSTRAPPING);
    scripted_platform_release(scene.platform);
    for (guint i = 0; i < G_N_ELEMENTS(authorities); i++)
        agent_wait_link(authorities[i], AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->bootstraps, ==, 11);
    close_scene(&scene);
}

/* Nine authorities wait for their token, more than may be at the platform at once. */
static void a_token_that_does_not_answer_holds_up_no_other(void)
{
    Scene scene;
    Authority *waiting[9];
    open_scene(&scene, "fake:serial=F1,slots=9;fake:serial=F2");
    for (guint i = 0; i < G_N_ELEMENTS(waiting); i++) {
        g_autofree char *name = g_strdup_printf("CA %u", i);
        waiting[i] = provision(&scene, name);
        agent_wait_link(waiting[i], AUTHORITY_CONNECTED);
    }
    Authority *other = agent_provision(scene.agent, scene.platform, "F2", "p256", "Other");
    agent_wait_link(other, AUTHORITY_CONNECTED);
    fake_source_hold(scene.agent->source, "F1", true);
    agent_restart(scene.agent);
    agent_wait_link(other, AUTHORITY_CONNECTED);
    for (guint i = 0; i < G_N_ELEMENTS(waiting); i++)
        g_assert_cmpint(authority_link(waiting[i]), ==, AUTHORITY_NOT_CONNECTED);
    fake_source_hold(scene.agent->source, "F1", false);
    for (guint i = 0; i < G_N_ELEMENTS(waiting); i++)
        agent_wait_link(waiting[i], AUTHORITY_CONNECTED);
    close_scene(&scene);
}

static void an_unplugged_authority_leaves_its_channel(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1;fake:serial=F2");
    Authority *one = provision(&scene, "One");
    Authority *two = agent_provision(scene.agent, scene.platform, "F2", "p256", "Two");
    agent_wait_link(one, AUTHORITY_CONNECTED);
    agent_wait_link(two, AUTHORITY_CONNECTED);
    guint frames = scene.platform->link->frames->len;
    fake_source_unplug(scene.agent->source, "F1");
    JsonObject *frame = websocket_server_frame(scene.platform->link, frames, "unsubscribe");
    g_assert_nonnull(frame);
    g_assert_cmpuint(link_connected(scene.agent->link), ==, 1);
    g_assert_cmpuint(scene.platform->link->closed, ==, 0);
    close_scene(&scene);
}

/* The only one, so that nothing keeps the connection but the expectation that it comes back. */
static void an_authority_that_comes_back_finds_its_connection(void)
{
    Scene scene;
    open_scene(&scene, "fake:serial=F1");
    Authority *one = provision(&scene, "One");
    g_autofree char *thumbprint = g_strdup(authority_thumbprint(one));
    agent_wait_link(one, AUTHORITY_CONNECTED);
    guint frames = scene.platform->link->frames->len;
    fake_source_unplug(scene.agent->source, "F1");
    websocket_server_frame(scene.platform->link, frames, "unsubscribe");
    g_autoptr(GError) error = NULL;
    fake_source_plug(scene.agent->source, "fake:serial=F1", &error);
    g_assert_no_error(error);
    agent_wait_ready(scene.agent, "F1");
    agent_wait_link(authority_set_find(scene.agent->authorities, thumbprint), AUTHORITY_CONNECTED);
    g_assert_cmpuint(scene.platform->link->accepted, ==, 1);
    g_assert_cmpuint(scene.platform->link->closed, ==, 0);
    close_scene(&scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/link/" #name, name)
    TEST(an_authority_is_connected_after_its_welcome_and_not_before);
    TEST(connected_is_taken_back_with_the_connection);
    TEST(a_refused_authority_says_why_and_does_not_hold_up_another);
    TEST(strange_answers_are_told_in_words);
    TEST(passing_failures_are_retried_soon_by_themselves);
    TEST(an_answer_of_an_outsider_is_not_believed);
    TEST(an_unusable_address_is_not_used);
    TEST(without_a_trust_anchor_it_says_where_to_get_one);
    TEST(a_missing_pin_is_said_and_its_arrival_connects);
    TEST(a_refused_token_leads_to_a_new_bootstrap);
    TEST(an_expired_token_is_replaced_before_a_reconnect);
    TEST(authorities_share_one_connection);
    TEST(eight_bootstraps_run_at_once_and_no_more);
    TEST(a_token_that_does_not_answer_holds_up_no_other);
    TEST(an_unplugged_authority_leaves_its_channel);
    TEST(an_authority_that_comes_back_finds_its_connection);
    return g_test_run();
}
