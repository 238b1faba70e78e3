/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests from the message to the answer: what is signed once and answered, a CRL after it was delivered
 * (protocol.md 2, 4, 7; section 9, vector 10). */

#include "daemon/ca/name.h"
#include "tests/unit/link/request-scene.h"

static void an_offer_names_agent_caindex_and_siguuid(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    g_autofree char *content =
        g_strdup_printf("{'serial':'%s','thumbprint':'%s','siguuid':'s-1'}",
                        authority_serial(scene.authority), authority_thumbprint(scene.authority));
    scripted_platform_send(scene.platform,
                           &(ScriptedMessage){.type = "solicit signature",
                                              .channel = scene.channel,
                                              .content = content,
                                              .envelope = "'uuid':null,'siguuid':'s-1','ttl':5"});
    g_autoptr(JsonObject) offer = scripted_platform_offer(scene.platform, "s-1");
    g_assert_cmpstr(json_object_get_string_member(offer, "uuid"), ==, identity_uuid(scene.agent->identity));
    g_assert_cmpint(json_object_get_int_member(offer, "caindex"), ==, 0);
    g_assert_cmpstr(json_object_get_string_member(offer, "siguuid"), ==, "s-1");
}

static void a_request_is_signed_and_answered(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    send_csr(&scene, "r-1");
    g_autofree char *pem = answer(&scene, "r-1", true);
    g_autoptr(GError) error = NULL;
    g_autoptr(X509) certificate = certificate_from_pem(pem, &error);
    g_assert_no_error(error);
    EVP_PKEY *ca_key = X509_get0_pubkey(authority_certificate(scene.authority));
    g_assert_cmpint(X509_verify(certificate, ca_key), ==, 1);
    g_assert_cmpuint(authority_signatures(scene.authority), ==, 1);
    g_assert_cmpuint(scene.agent->signed_requests->len, ==, 1);
}

static void the_same_request_gets_the_same_answer_also_after_a_restart(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    send_csr(&scene, "r-1");
    g_autofree char *first = answer(&scene, "r-1", true);
    send_csr_again(&scene, "r-1");
    g_autofree char *second = answer(&scene, "r-1", true);
    g_assert_cmpstr(first, ==, second);

    agent_restart(scene.agent);
    agent_wait_link(scene.authority, AUTHORITY_CONNECTED);
    send_csr_again(&scene, "r-1");
    g_autofree char *third = answer(&scene, "r-1", true);
    g_assert_cmpstr(first, ==, third);
    g_assert_cmpuint(authority_signatures(scene.authority), ==, 1);
}

/* since: after a restart the hello names the last message that was dealt with. */
static void since_survives_a_restart(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    assert_csr_signed(&scene, "r-1");
    scripted_platform_send(scene.platform, &(ScriptedMessage){.type = "nonsense", .channel = scene.channel});
    assert_csr_signed(&scene, "r-2");
    /* r-2 is dealt with once `published` came back, which is before the next message is. */
    assert_csr_signed(&scene, "r-3");
    agent_restart(scene.agent);
    websocket_server_wait_accepted(scene.platform->link, 2);
    agent_wait_link(scene.authority, AUTHORITY_CONNECTED);
    JsonObject *hello = NULL;
    for (guint i = 0; i < scene.platform->link->frames->len; i++) {
        JsonObject *frame = g_ptr_array_index(scene.platform->link->frames, i);
        if (g_str_equal(json_object_get_string_member(frame, "op"), "hello"))
            hello = frame;
    }
    JsonObject *channel = json_array_get_object_element(json_object_get_array_member(hello, "channels"), 0);
    g_assert_cmpint(atoi(json_object_get_string_member(channel, "since")), >=, 3);
}

static void a_message_delivered_twice_meanwhile_is_answered_once(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    hold(&scene, "F1", true);
    g_autofree char *content = csr_content(&scene, "r-1");
    const ScriptedMessage message = {.type = "signature request",
                                     .channel = scene.channel,
                                     .content = content,
                                     .envelope = "'siguuid':'r-1','signtype':'csr'",
                                     .id = "same"};
    scripted_platform_send(scene.platform, &message);
    scripted_platform_send(scene.platform, &message);
    hold(&scene, "F1", false);
    g_autofree char *first = answer(&scene, "r-1", true);
    assert_csr_signed(&scene, "r-2");
    g_assert_cmpuint(count_answers(&scene), ==, 2);
}

/* The same request in another message, while the first waits for its signature: one signature, and no
 * refusal. */
static void a_request_repeated_meanwhile_is_signed_once(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    hold(&scene, "F1", true);
    send_csr(&scene, "r-1");
    send_csr(&scene, "r-1");
    hold(&scene, "F1", false);
    g_autofree char *first = answer(&scene, "r-1", true);
    assert_csr_signed(&scene, "r-2");
    g_assert_cmpuint(authority_signatures(scene.authority), ==, 2);
    g_assert_cmpuint(authority_denied(scene.authority), ==, 0);
}

/* --- answers and CRLs -------------------------------------------------------------------------------- */

static void an_answer_that_is_too_large_becomes_a_short_one(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    scene.platform->link->confirms = false;
    assert_csr_signed(&scene, "r-1");
    guint answers = count_answers(&scene);
    websocket_server_say(scene.platform->link, "{'op':'error','seq':1,'code':'too-large','reason':'32 KiB'}");
    wait_answers(&scene, answers + 1);
    assert_refused(&scene, "r-1", "The result is too large for the link");
}

static void a_crl_is_delivered_before_it_is_confirmed(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    send_content(&scene, "c-1", "crl", "{'siguuid':'c-1','request':{'database':'','days':30}}", "");
    g_autofree char *text = answer(&scene, "c-1", true);
    g_assert_cmpstr(text, ==, "crl uploaded");
    g_assert_cmpuint(scene.platform->crls->len, ==, 1);
    const char *inner = g_ptr_array_index(scene.platform->crls, 0);
    /* `success` is false here, whatever it means: the only value that the platform has ever seen. */
    g_assert_true(g_str_has_prefix(
        inner, "{\"success\":false,\"siguuid\":\"c-1\",\"message\":\"-----BEGIN X509 CRL-----"));
}

/* Weakness 25: the original took a 404 for success. */
static void a_crl_that_is_not_taken_is_a_failure(void)
{
    static const struct {
        guint status;
        const char *body;
        const char *message;
    } cases[] = {
        {404, "<html>", "The CRL upload was answered with status 404"},
        {500, "", "The CRL upload was answered with status 500"},
        {302, "", "The CRL upload was answered with status 302"},
        {200, "{\"success\":false,\"message\":\"CRL is older\\nthan ours\"}", "CRL is older than ours"},
        {400, "{\"success\":true}", "The CRL upload was answered with status 400"},
    };
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *siguuid = g_strdup_printf("c-%u", i);
        g_autofree char *content =
            g_strdup_printf("{'siguuid':'%s','request':{'database':'','days':30}}", siguuid);
        scene.platform->crl_status = cases[i].status;
        scene.platform->crl_body = cases[i].body;
        send_content(&scene, siguuid, "crl", content, "");
        assert_refused(&scene, siguuid, cases[i].message);
    }
    /* Any other 2xx is taken, JSON or not; the request that failed comes again and is delivered. */
    scene.platform->crl_status = 204;
    scene.platform->crl_body = "";
    guint answers = count_answers(&scene);
    send_content(&scene, "c-0", "crl", "{'siguuid':'c-0','request':{'database':'','days':30}}", "");
    wait_answers(&scene, answers + 1);
    g_autofree char *text = answer(&scene, "c-0", true);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/request/" #name, name)
    TEST(an_offer_names_agent_caindex_and_siguuid);
    TEST(a_request_is_signed_and_answered);
    TEST(the_same_request_gets_the_same_answer_also_after_a_restart);
    TEST(since_survives_a_restart);
    TEST(a_message_delivered_twice_meanwhile_is_answered_once);
    TEST(a_request_repeated_meanwhile_is_signed_once);
    TEST(an_answer_that_is_too_large_becomes_a_short_one);
    TEST(a_crl_is_delivered_before_it_is_confirmed);
    TEST(a_crl_that_is_not_taken_is_a_failure);
    return g_test_run();
}
