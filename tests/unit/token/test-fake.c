/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The knobs of the fake do what fake.h says: other tests build on them. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake/fake.h"
#include "tests/unit/token/fixture.h"
#include <string.h>

static Source *fake(const char *specs)
{
    g_autoptr(GError) error = NULL;
    Source *source = fake_source_new(specs, &error);
    g_assert_no_error(error);
    return source;
}

static void test_bad_descriptions_are_refused(void)
{
    static const char *const specs[] = {"fake:",
                                        "fake:label=x",
                                        "fake:serial=1,colour=red",
                                        "fake:serial",
                                        "fake:serial=1,threads=many",
                                        "fake:serial=1;fake:delay-ms=-1,serial=2"};
    for (gsize i = 0; i < G_N_ELEMENTS(specs); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(fake_source_new(specs[i], &error));
        g_assert_nonnull(error);
    }
}

static void test_several_tokens_are_described(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=A,label=One;fake:serial=B,pin=1\n\n"), false);
    g_assert_cmpuint(fixture->tokens->len, ==, 2);
    g_assert_cmpstr(token_label(fixture_token(fixture, "A")), ==, "One");
    g_assert_cmpint(token_pin_state(fixture_token(fixture, "A")), ==, PIN_STATE_NOT_NEEDED);
    g_assert_cmpint(token_pin_state(fixture_token(fixture, "B")), ==, PIN_STATE_MISSING);
    g_assert_cmpstr(token_kind(fixture_token(fixture, "B")), ==, "fake");
}

static void test_keys_survive_being_unplugged(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=A"), false);
    g_autofree char *name = generate(fixture_token(fixture, "A"), "", KEY_TYPE_ED25519);
    g_autoptr(EVP_PKEY) key = slot_public_key(token_find_slot(fixture_token(fixture, "A"), name));
    EVP_PKEY_up_ref(key);
    fake_source_unplug(fixture->source, "A");
    g_assert_cmpuint(fixture->tokens->len, ==, 0);
    g_assert_true(fake_source_plug(fixture->source, "fake:serial=A", NULL));
    assert_signs(token_find_slot(fixture_token(fixture, "A"), name), key);
    g_assert_true(fake_source_plug(fixture->source, "fake:serial=New", NULL));
    g_assert_cmpuint(fixture->tokens->len, ==, 2);
}

static void test_delay_is_felt(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=A,delay-ms=50"), false);
    Token *token = fixture_token(fixture, "A");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    gint64 begin = g_get_monotonic_time();
    assert_signs(token_find_slot(token, name), NULL);
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 50 * G_TIME_SPAN_MILLISECOND);
    fake_source_set_delay(fixture->source, "A", 0);
    assert_signs(token_find_slot(token, name), NULL);
}

static bool all_are_held(void *source)
{
    return fake_source_held(source, "A") == 3;
}

static void test_as_many_calls_run_as_there_are_threads(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=A,threads=3"), false);
    Token *token = fixture_token(fixture, "A");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, name);
    Signed made[5] = {0};
    Ending endings[5] = {0};
    fake_source_hold(fixture->source, "A", true);
    for (gsize i = 0; i < G_N_ELEMENTS(made); i++)
        g_assert_true(slot_use_key(slot, sign_message, &made[i], NULL, WORKER_NO_DEADLINE, NULL, ending_done,
                                   &endings[i], NULL));
    g_assert_cmpuint(token_load(token), ==, 5);
    test_wait_for(all_are_held, fixture->source, 20);
    fake_source_hold(fixture->source, "A", false);
    for (gsize i = 0; i < G_N_ELEMENTS(made); i++) {
        ending_ok(&endings[i]);
        g_assert_true(verifies(slot_public_key(slot), &made[i]));
    }
    g_assert_cmpuint(fake_source_most_at_once(fixture->source, "A"), ==, 3);
}

static void test_ordered_failures_end(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=A"), false);
    Token *token = fixture_token(fixture, "A");
    fake_source_fail_next(fixture->source, "A", 1, IOTHSM_ERROR_LIMITS_EXCEEDED);
    g_auto(Ending) failed = {0};
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &failed);
    ending_fails(&failed, IOTHSM_ERROR_LIMITS_EXCEEDED);
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_assert_cmpstr(name, ==, "01");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    secret_memory_init();
    g_test_add_func("/fake/bad-descriptions-are-refused", test_bad_descriptions_are_refused);
    g_test_add_func("/fake/several-tokens-are-described", test_several_tokens_are_described);
    g_test_add_func("/fake/keys-survive-being-unplugged", test_keys_survive_being_unplugged);
    g_test_add_func("/fake/delay-is-felt", test_delay_is_felt);
    g_test_add_func("/fake/as-many-calls-run-as-there-are-threads",
                    test_as_many_calls_run_as_there_are_threads);
    g_test_add_func("/fake/ordered-failures-end", test_ordered_failures_end);
    return g_test_run();
}
