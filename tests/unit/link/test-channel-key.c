/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The channel certificate: when it is used again, and that one signature of the token serves all who wait
 * (protocol.md 1.3; section 9, vector 2). */

#include "daemon/ca/name.h"
#include "daemon/error.h"
#include "daemon/link/channel-key.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/link/agent.h"

static void renewal_is_due_below_five_minutes_and_before_the_beginning(void)
{
    const gint64 begin = 1795218638;
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509) certificate =
        test_certificate(&(TestCertificate){.subject = "CN=x", .not_before = begin, .not_after = begin + 900},
                         key, NULL, NULL);
    const gint64 end = begin + 900;
    g_assert_false(channel_certificate_is_usable(certificate, begin - 1));
    g_assert_true(channel_certificate_is_usable(certificate, begin));
    g_assert_true(channel_certificate_is_usable(certificate, end - 301));
    g_assert_true(channel_certificate_is_usable(certificate, end - 300));
    g_assert_false(channel_certificate_is_usable(certificate, end - 299));
    g_assert_false(channel_certificate_is_usable(certificate, end + 1));
}

typedef struct Receipts {
    guint count;
    guint failed;
    X509 *certificate; /* the first one's; all get the same */
} Receipts;

static void on_certificate(X509 *certificate, const GError *error, void *userdata)
{
    Receipts *receipts = userdata;
    receipts->count++;
    if (error) {
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
        receipts->failed++;
        return;
    }
    if (!receipts->certificate) {
        X509_up_ref(certificate);
        receipts->certificate = certificate;
    }
    g_assert_cmpint(X509_cmp(receipts->certificate, certificate), ==, 0);
}

static bool has_twenty(void *userdata)
{
    return ((Receipts *)userdata)->count == 20;
}

static void one_signature_serves_all_who_wait(void)
{
    g_autoptr(ScriptedPlatform) platform = scripted_platform_new();
    g_autoptr(Agent) agent = agent_new(platform, "fake:serial=F1");
    Authority *authority = agent_provision(agent, platform, "F1", "p256", "One");
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    Slot *slot = g_ptr_array_index(authority_slots(authority), 0);
    guint64 before = slot_signatures(slot);

    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) pkey = channel_key_generate(&error);
    g_assert_no_error(error);
    g_assert_cmpint(EVP_PKEY_get_bits(pkey), ==, 2048);
    g_autoptr(ChannelKey) key = channel_key_new(authority, pkey);
    Receipts receipts = {0};
    for (guint i = 0; i < 10; i++)
        channel_key_certificate(key, on_certificate, &receipts);
    g_assert_cmpuint(receipts.count, ==, 0); /* never from inside the call */
    while (receipts.count < 10)
        g_main_context_iteration(NULL, TRUE);
    for (guint i = 0; i < 10; i++)
        channel_key_certificate(key, on_certificate, &receipts);
    test_wait_for(has_twenty, &receipts, 30);
    g_assert_cmpuint(receipts.failed, ==, 0);
    g_assert_cmpuint(slot_signatures(slot) - before, ==, 1);
    EVP_PKEY *ca_key = X509_get0_pubkey(authority_certificate(authority));
    g_assert_cmpint(X509_verify(receipts.certificate, ca_key), ==, 1);
    g_assert_true(EVP_PKEY_eq(X509_get0_pubkey(receipts.certificate), pkey));
    X509_free(receipts.certificate);
}

static void who_waits_is_told_when_the_token_goes(void)
{
    g_autoptr(ScriptedPlatform) platform = scripted_platform_new();
    g_autoptr(Agent) agent = agent_new(platform, "fake:serial=F1");
    g_autoptr(Authority) authority = authority_ref(agent_provision(agent, platform, "F1", "p256", "One"));
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    g_autoptr(EVP_PKEY) pkey = test_new_key("rsa2048");
    g_autoptr(ChannelKey) key = channel_key_new(authority, pkey);
    Receipts receipts = {0};
    fake_source_hold(agent->source, "F1", true);
    for (guint i = 0; i < 10; i++)
        channel_key_certificate(key, on_certificate, &receipts);
    fake_source_unplug(agent->source, "F1");
    fake_source_hold(agent->source, "F1", false);
    while (receipts.count < 10)
        g_main_context_iteration(NULL, TRUE);
    for (guint i = 0; i < 10; i++) /* nobody is left to ask */
        channel_key_certificate(key, on_certificate, &receipts);
    test_wait_for(has_twenty, &receipts, 30);
    g_assert_cmpuint(receipts.failed, ==, 20);
}

static bool wants_finger(void *userdata)
{
    const Agent *agent = userdata;
    return fake_source_waits_for_touch(agent->source, "F1") > 0;
}

static void lend_finger(Agent *agent)
{
    test_wait_for(wants_finger, agent, 30);
    fake_source_touch(agent->source, "F1");
}

/* All that the main loop has to do is done, and nothing runs at the token. */
static void assert_nothing_begins(Agent *agent)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(token_load(agent_token(agent, "F1")), ==, 0);
}

static bool has_one(void *userdata)
{
    return ((Receipts *)userdata)->count == 1;
}

static bool has_two(void *userdata)
{
    return ((Receipts *)userdata)->count == 2;
}

/* A token that blinks without anybody having asked for something teaches people to touch whatever blinks. */
static void a_key_that_wants_a_finger_is_asked_only_when_a_certificate_is_wanted(void)
{
    g_autoptr(ScriptedPlatform) platform = scripted_platform_new();
    g_autoptr(Agent) agent = agent_new(platform, "fake:serial=F1,piv=1");
    const KeyOptions options = {.touch_policy = "always"};
    Authority *authority = agent_provision_with(agent, platform, "F1", "p256", &options, "One");
    lend_finger(agent); /* for the link's own */
    agent_wait_link(authority, AUTHORITY_CONNECTED);
    assert_nothing_begins(agent);
    Slot *slot = g_ptr_array_index(authority_slots(authority), 0);
    guint64 before = slot_signatures(slot);

    g_autoptr(EVP_PKEY) pkey = test_new_key("rsa2048");
    g_autoptr(ChannelKey) key = channel_key_new(authority, pkey);
    assert_nothing_begins(agent);
    Receipts receipts = {0};
    channel_key_certificate(key, on_certificate, &receipts);
    lend_finger(agent);
    test_wait_for(has_one, &receipts, 30);
    assert_nothing_begins(agent);
    channel_key_certificate(key, on_certificate, &receipts);
    test_wait_for(has_two, &receipts, 30);
    assert_nothing_begins(agent);
    g_assert_cmpuint(receipts.failed, ==, 0);
    g_assert_cmpuint(slot_signatures(slot) - before, ==, 1);
    X509_free(receipts.certificate);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/channel-key/" #name, name)
    TEST(renewal_is_due_below_five_minutes_and_before_the_beginning);
    TEST(one_signature_serves_all_who_wait);
    TEST(who_waits_is_told_when_the_token_goes);
    TEST(a_key_that_wants_a_finger_is_asked_only_when_a_certificate_is_wanted);
    return g_test_run();
}
