/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a slot says of itself, and the use of its key, on fakes. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake/fake.h"
#include "tests/unit/token/fixture.h"

static Source *fake(const char *specs)
{
    g_autoptr(GError) error = NULL;
    Source *source = fake_source_new(specs, &error);
    g_assert_no_error(error);
    return source;
}

static void write_certificate(Slot *slot, X509 *certificate)
{
    g_auto(Ending) written = {0};
    slot_write_certificate(slot, certificate, NULL, ending_done, &written);
    ending_ok(&written);
}

/* |subject| on the slot's own key, signed by somebody else: the slot looks at the key alone. */
static X509 *certificate_for(Slot *slot, const char *subject)
{
    g_autoptr(X509) issuer = test_ca("Issuer", test_key("p384"));
    const TestCertificate what = {.subject = subject};
    return test_certificate(&what, slot_public_key(slot), issuer, test_key("p384"));
}

static void test_state_follows_key_and_certificate(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, name);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
    g_assert_cmpstr(slot_state_to_string(slot_state(slot)), ==, "key-only");
    g_assert_cmpstr(key_origin_to_string(slot_origin(slot)), ==, "generated");
    g_assert_cmpstr(slot_touch_policy(slot), ==, "");
    g_autoptr(X509) temporary = certificate_for(slot, "C=US, CN=" SLOT_TEMPORARY_SUBJECT);
    write_certificate(slot, temporary);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
    g_autoptr(X509) alike = certificate_for(slot, "CN=" SLOT_TEMPORARY_SUBJECT " 2");
    write_certificate(slot, alike);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_PROVISIONED);
    g_assert_cmpuint(fixture->slots_changed, ==, 2);
    g_assert_cmpuint(fixture->slots_added, ==, 1);
}

/* Reads that find nothing new tell nothing. */
static void test_unchanged_slots_are_not_reported(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *name = generate(token, "", KEY_TYPE_RSA2048);
    Slot *slot = token_find_slot(token, name);
    for (int i = 0; i < 3; i++) {
        g_auto(Ending) refreshed = {0};
        token_refresh(token, ending_done, &refreshed);
        ending_ok(&refreshed);
    }
    g_assert_true(token_find_slot(token, name) == slot);
    g_assert_cmpuint(fixture->slots_added + fixture->slots_removed + fixture->slots_changed, ==, 1);
}

static void test_foreign_certificate_is_a_mismatch(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_autoptr(X509) foreign = test_ca("Foreign", test_key("p256"));
    g_auto(Ending) refused = {0};
    slot_write_certificate(token_find_slot(token, name), foreign, NULL, ending_done, &refused);
    g_assert_false(refused.done);
    ending_fails(&refused, IOTHSM_ERROR_KEY_MISMATCH);
    g_assert_null(slot_certificate(token_find_slot(token, name)));
}

static void test_cleared_slot_refuses_and_outlives(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_autoptr(Slot) slot = slot_ref(token_find_slot(token, name));
    g_auto(Ending) cleared = {0};
    slot_clear(slot, NULL, ending_done, &cleared);
    ending_ok(&cleared);
    g_assert_null(token_find_slot(token, name));
    g_assert_cmpstr(slot_name(slot), ==, name);
    g_autoptr(GError) error = NULL;
    Signed made;
    Ending unused = {0};
    g_assert_false(slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done,
                                &unused, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY);
}

static bool is_held(void *source)
{
    return fake_source_held(source, "F1") > 0;
}

static void count_free(void *data)
{
    (*(guint *)data)++;
}

static bool never_run(EVP_PKEY *key, void *data, GError **error)
{
    g_assert_not_reached();
}

static void test_full_queue_and_deadline_are_answers(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, name);
    Signed made = {0};
    g_auto(Ending) first = {0};
    g_auto(Ending) late = {0};
    guint freed = 0;
    fake_source_hold(fixture->source, "F1", true);
    g_assert_true(
        slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done, &first, NULL));
    test_wait_for(is_held, fixture->source, 20);
    g_assert_true(slot_use_key(slot, never_run, &freed, count_free, g_get_monotonic_time() + 1000, NULL,
                               ending_done, &late, NULL));
    ending_fails(&late, IOTHSM_ERROR_TIMED_OUT);
    g_assert_cmpuint(freed, ==, 1);

    g_autoptr(GError) error = NULL;
    g_autoptr(GCancellable) all = g_cancellable_new();
    Ending *waiting = g_new0(Ending, 5000);
    guint accepted = 0;
    while (accepted < 5000 && slot_use_key(slot, never_run, &freed, count_free, WORKER_NO_DEADLINE, all,
                                           ending_done, &waiting[accepted], &error))
        accepted++;
    g_assert_cmpuint(accepted, ==, 4096);
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_BUSY);
    g_assert_cmpuint(freed, ==, 2);
    g_cancellable_cancel(all);
    for (guint i = 0; i < accepted; i++) {
        ending_fails(&waiting[i], IOTHSM_ERROR_CANCELLED);
        ending_clear(&waiting[i]);
    }
    g_free(waiting);
    g_assert_cmpuint(freed, ==, 2 + 4096);
    fake_source_hold(fixture->source, "F1", false);
    ending_ok(&first);
    g_assert_cmpuint(slot_signatures(slot), ==, 1);
}

/* OpenSSL stands between the token and the work; its own words would be "EVP lib". */
static void test_the_tokens_reason_reaches_who_wanted_the_signature(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *name = generate(token, "", KEY_TYPE_RSA2048);
    Slot *slot = token_find_slot(token, name);
    Signed made = {0};
    g_auto(Ending) refused = {0};
    fake_source_fail_next(fixture->source, "F1", 1, IOTHSM_ERROR_TOUCH_TIMEOUT);
    g_assert_true(
        slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done, &refused, NULL));
    ending_fails(&refused, IOTHSM_ERROR_TOUCH_TIMEOUT);
    assert_signs(slot, NULL);
}

static void test_pin_lost_meanwhile_is_noticed(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,pin=1234"), false);
    Token *token = fixture_token(fixture, "F1");
    set_pin(token, "1234");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_auto(Ending) forgotten = {0};
    token_forget_pin(token, NULL, ending_done, &forgotten);
    ending_ok(&forgotten);
    Signed made = {0};
    g_auto(Ending) refused = {0};
    g_assert_true(slot_use_key(token_find_slot(token, name), sign_message, &made, NULL, WORKER_NO_DEADLINE,
                               NULL, ending_done, &refused, NULL));
    ending_fails(&refused, IOTHSM_ERROR_PIN_REQUIRED);
    g_assert_cmpuint(slot_signatures(token_find_slot(token, name)), ==, 0);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    secret_memory_init();
    g_test_add_func("/slot/state-follows-key-and-certificate", test_state_follows_key_and_certificate);
    g_test_add_func("/slot/unchanged-slots-are-not-reported", test_unchanged_slots_are_not_reported);
    g_test_add_func("/slot/foreign-certificate-is-a-mismatch", test_foreign_certificate_is_a_mismatch);
    g_test_add_func("/slot/cleared-slot-refuses-and-outlives", test_cleared_slot_refuses_and_outlives);
    g_test_add_func("/slot/full-queue-and-deadline-are-answers", test_full_queue_and_deadline_are_answers);
    g_test_add_func("/slot/the-tokens-reason-reaches-who-wanted-the-signature",
                    test_the_tokens_reason_reaches_who_wanted_the_signature);
    g_test_add_func("/slot/pin-lost-meanwhile-is-noticed", test_pin_lost_meanwhile_is_noticed);
    return g_test_run();
}
