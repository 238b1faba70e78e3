/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests that wait, come in a flood, or lose the token they were given to: what is started is finished, and
 * each is signed once (protocol.md 4, 7). */

#include "daemon/error.h"
#include "daemon/link/refusal.h"
#include "tests/unit/link/request-scene.h"

static void what_waited_longer_than_its_ttl_is_dropped(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    g_autofree char *content = csr_content(&scene, "old");
    scripted_platform_send(scene.platform,
                           &(ScriptedMessage){.type = "signature request",
                                              .channel = scene.channel,
                                              .content = content,
                                              .envelope = "'siguuid':'old','signtype':'csr','ttl':60",
                                              .age_ms = 61000});
    assert_csr_signed(&scene, "r-1");
    agent_wait_denied(scene.agent, 1);
    g_assert_cmpuint(count_answers(&scene), ==, 1);
    g_assert_true(g_str_has_prefix(g_ptr_array_index(scene.agent->denied_requests, 0), "old: "));
}

static bool are_both_held(void *source)
{
    return fake_source_held(source, "F1") == 1 && fake_source_held(source, "F2") == 1;
}

static bool is_one_held(void *userdata)
{
    return fake_source_held(userdata, "F1") == 1;
}

/* The token works on one request; the next one's time passes in the token's queue. What was started is
 * finished. */
static void a_request_is_not_started_late_and_not_broken_off(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    assert_csr_signed(&scene, "warm"); /* the channel certificate is there from now on */
    hold(&scene, "F1", true);
    g_autofree char *first = csr_content(&scene, "first");
    g_autofree char *second = csr_content(&scene, "second");
    send_content(&scene, "first", "csr", first, "'ttl':1");
    test_poll_for(is_one_held, scene.agent->source, 30);
    send_content(&scene, "second", "csr", second, "'ttl':1");
    test_let_pass(1300);
    hold(&scene, "F1", false);
    g_autofree char *text = answer(&scene, "first", true);
    agent_wait_denied(scene.agent, 1);
    g_assert_true(g_str_has_prefix(g_ptr_array_index(scene.agent->denied_requests, 0), "second: "));
    g_assert_cmpuint(count_answers(&scene), ==, 2);
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* How far a name stands from where it would be in order, on average. */
static guint average_displacement(GPtrArray *names)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_new();
    g_ptr_array_extend(sorted, names, NULL, NULL);
    guint sum = 0;
    g_ptr_array_sort(sorted, by_name);
    for (guint i = 0; i < names->len; i++) {
        guint rank = 0;
        g_ptr_array_find(sorted, g_ptr_array_index(names, i), &rank);
        sum += MAX(rank, i) - MIN(rank, i);
    }
    return sum / MAX(names->len, 1);
}

static bool is_flood_over(void *authority)
{
    return authority_signatures(authority) + authority_denied(authority) >= 300;
}

/* 300 messages in one go, room for 200: bounded, in order, and the daemon goes on. */
static void a_flood_is_bounded_and_served_in_order(void)
{
    g_auto(Scene) scene = {0};
    open_scene_with(&scene, "fake:serial=F1", &(Config){.queue_length = 200, .default_ttl = 600});
    for (guint i = 0; i < 300; i++) {
        g_autofree char *siguuid = g_strdup_printf("r-%03u", i);
        send_csr(&scene, siguuid);
    }
    g_autofree char *first = answer(&scene, "r-000", true);
    test_wait_for(is_flood_over, scene.authority, 60);
    g_assert_cmpuint(authority_denied(scene.authority), >, 0);
    g_assert_cmpuint(authority_signatures(scene.authority), >=, 200);
    /* Several are handled at once, so neighbours may finish the other way round; last in, first out would
     * move each by about half the queue. */
    g_assert_cmpuint(average_displacement(scene.agent->signed_requests), <=, 16);
    assert_csr_signed(&scene, "s-after");
}

/* Answers that the platform does not take: no more is signed than are kept for it, and the rest once it does.
 */
static void a_platform_that_takes_no_answers_holds_up_signatures(void)
{
    enum { KEPT = 32, SENT = 40 };
    g_auto(Scene) scene = {0};
    open_scene_with(&scene, "fake:serial=F1", &(Config){.default_ttl = 600});
    scene.platform->link->confirms = false;
    send_csrs(&scene, SENT);
    wait_answers(&scene, KEPT);
    test_let_pass(500);
    g_assert_cmpuint(count_answers(&scene), ==, KEPT);
    g_assert_cmpuint(authority_signatures(scene.authority), ==, KEPT);
    scene.platform->link->confirms = true;
    for (guint seq = 1; seq <= KEPT; seq++)
        websocket_server_say(scene.platform->link, "{'op':'published','seq':%u}", seq);
    assert_answered(&scene, SENT);
    g_assert_cmpuint(authority_signatures(scene.authority), ==, SENT);
}

static void errors_of_the_token_are_told_in_stable_words(void)
{
    static const struct {
        IothsmError code;
        const char *text;
    } cases[] = {{IOTHSM_ERROR_PIN_REQUIRED, "HSM login failed"},
                 {IOTHSM_ERROR_PIN_WRONG, "HSM login failed"},
                 {IOTHSM_ERROR_PIN_BLOCKED, "HSM login failed"},
                 {IOTHSM_ERROR_TOUCH_TIMEOUT, "HSM was not touched in time"},
                 {IOTHSM_ERROR_TOKEN_BUSY, "HSM is busy"},
                 {IOTHSM_ERROR_TOKEN_GONE, "HSM is not available"},
                 {IOTHSM_ERROR_TIMED_OUT, "HSM did not answer in time"},
                 {IOTHSM_ERROR_FAILED, "Signing failed"},
                 {IOTHSM_ERROR_INVALID, "The PIN of /secret/path is 1234"}}; /* about the request: as it is */
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error =
            g_error_new_literal(IOTHSM_ERROR, (int)cases[i].code, "The PIN of /secret/path is 1234");
        g_assert_cmpstr(refusal_of_request(error), ==, cases[i].text);
    }
    g_autoptr(GError) foreign = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_NOSPC, "/secret/path is full");
    g_assert_cmpstr(refusal_of_request(foreign), ==, "Signing failed");
}

static void a_failed_signature_is_not_the_answer_for_ever(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    assert_csr_signed(&scene, "warm"); /* the channel certificate is there from now on */
    fake_source_fail_next(scene.agent->source, "F1", 1, IOTHSM_ERROR_FAILED);
    send_csr(&scene, "r-1");
    assert_refused(&scene, "r-1", "Signing failed");
    /* What a token says names the token and the slot: not the platform's business. */
    fake_source_fail_next(scene.agent->source, "F1", 1, IOTHSM_ERROR_UNSUPPORTED);
    send_csr(&scene, "r-2");
    assert_refused(&scene, "r-2", "Signing failed");
    send_csr_again(&scene, "r-1");
    g_autofree char *text = answer(&scene, "r-1", true);
}

/* Unplugged in the middle: the platform gets no answer, the daemon no trouble, and the request can come
 * again. */
static void an_unplugged_token_abandons_its_requests(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    g_autofree char *thumbprint = g_strdup(authority_thumbprint(scene.authority));
    hold(&scene, "F1", true);
    send_csrs(&scene, 40);
    test_poll_for(is_one_held, scene.agent->source, 30);
    fake_source_unplug(scene.agent->source, "F1");
    hold(&scene, "F1", false);
    g_autoptr(GError) error = NULL;
    fake_source_plug(scene.agent->source, "fake:serial=F1", &error);
    g_assert_no_error(error);
    agent_wait_ready(scene.agent, "F1");
    scene.authority = authority_set_find(scene.agent->authorities, thumbprint);
    agent_wait_link(scene.authority, AUTHORITY_CONNECTED);
    assert_csr_signed(&scene, "r-1");
}

static bool is_signed_or_held(void *userdata)
{
    const Scene *scene = userdata;
    return scene->agent->signed_requests->len > 0 || fake_source_held(scene->agent->source, "F1") > 0;
}

static void open_scene_of_two(Scene *scene)
{
    open_scene_with(scene, "fake:serial=F1;fake:serial=F2", &(Config){.queue_length = 0});
}

static void assert_signed_once(Scene *scene, guint requests)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    g_assert_cmpuint(scene->agent->signed_requests->len, ==, requests);
    for (guint i = 0; i < requests; i++)
        g_assert_true(g_hash_table_add(seen, scene->agent->signed_requests->pdata[i]));
    g_assert_cmpuint(scene->agent->denied_requests->len, ==, 0);
    g_assert_cmpuint(count_answers(scene), ==, requests);
}

/* Pulled out with a request in hand and others before it: each is signed, once. */
static void what_ran_on_a_lost_token_is_signed_by_another(void)
{
    g_auto(Scene) scene = {0};
    open_scene_of_two(&scene);
    hold(&scene, "F1", true);
    hold(&scene, "F2", true);
    send_csrs(&scene, 12);
    test_poll_for(are_both_held, scene.agent->source, 30);
    fake_source_unplug(scene.agent->source, "F1");
    hold(&scene, "F2", false);
    assert_answered(&scene, 12);
    assert_signed_once(&scene, 12);
}

static void what_a_token_fails_at_is_signed_by_another(void)
{
    g_auto(Scene) scene = {0};
    open_scene_of_two(&scene);
    assert_csr_signed(&scene, "warm");
    fake_source_fail_next(scene.agent->source, "F1", 3, IOTHSM_ERROR_FAILED);
    send_csrs(&scene, 12);
    assert_answered(&scene, 12);
    assert_signed_once(&scene, 13);
    /* Where nobody can, it is refused once, and may come again. */
    fake_source_fail_next(scene.agent->source, "F1", 1, IOTHSM_ERROR_FAILED);
    fake_source_fail_next(scene.agent->source, "F2", 1, IOTHSM_ERROR_FAILED);
    send_csr(&scene, "twice");
    assert_refused(&scene, "twice", "Signing failed");
    g_assert_cmpuint(scene.agent->denied_requests->len, ==, 1);
    send_csr_again(&scene, "twice");
    g_autofree char *text = answer(&scene, "twice", true);
}

/* The link is made anew while a token signs: what it makes is the answer to the copy that comes then, and
 * nobody waits behind it. */
static void a_request_outlives_its_channel(void)
{
    g_auto(Scene) scene = {0};
    open_scene_of_two(&scene);
    hold(&scene, "F1", true);
    g_autofree char *siguuid = NULL;
    for (guint i = 0; fake_source_held(scene.agent->source, "F1") == 0; i++) {
        g_free(siguuid);
        siguuid = g_strdup_printf("r-%u", i);
        send_csr(&scene, siguuid);
        test_poll_for(is_signed_or_held, &scene, 30);
        g_ptr_array_set_size(scene.agent->signed_requests, 0);
    }
    guint64 signatures = authority_signatures(scene.authority);
    guint64 counted = metrics_signed(link_metrics(scene.agent->link));
    Config changed = scene.agent->config;
    changed.message_size /= 2;
    agent_reload(scene.agent, &changed);
    g_assert_cmpint(authority_link(scene.authority), !=, AUTHORITY_CONNECTED);
    agent_wait_link(scene.authority, AUTHORITY_CONNECTED);
    guint answers = count_answers(&scene);
    send_csr(&scene, siguuid);
    assert_csr_signed(&scene, "another");
    g_assert_cmpuint(count_answers(&scene), ==, answers + 1);
    hold(&scene, "F1", false);
    g_autofree char *text = answer(&scene, siguuid, true);
    assert_csr_signed(&scene, "last");
    g_assert_cmpuint(count_answers(&scene), ==, answers + 3);
    g_assert_cmpuint(authority_signatures(scene.authority), ==, signatures + 3);
    g_assert_cmpuint(metrics_signed(link_metrics(scene.agent->link)), ==, counted + 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/request/" #name, name)
    TEST(what_waited_longer_than_its_ttl_is_dropped);
    TEST(a_request_is_not_started_late_and_not_broken_off);
    TEST(a_flood_is_bounded_and_served_in_order);
    TEST(a_platform_that_takes_no_answers_holds_up_signatures);
    TEST(errors_of_the_token_are_told_in_stable_words);
    TEST(a_failed_signature_is_not_the_answer_for_ever);
    TEST(an_unplugged_token_abandons_its_requests);
    TEST(what_ran_on_a_lost_token_is_signed_by_another);
    TEST(what_a_token_fails_at_is_signed_by_another);
    TEST(a_request_outlives_its_channel);
    return g_test_run();
}
