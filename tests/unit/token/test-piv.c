/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What only PIV tokens have, on fakes: touch, management keys, a factory PIN, attestation, policies. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/attestation.h"
#include "daemon/token/fake/fake.h"
#include "tests/unit/token/fixture.h"
#include <string.h>

#define FACTORY_KEY "010203040506070801020304050607080102030405060708"
#define OWN_KEY "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7"
#define OTHER_KEY "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7"

static Source *fake(const char *specs)
{
    g_autoptr(GError) error = NULL;
    Source *source = fake_source_new(specs, &error);
    g_assert_no_error(error);
    return source;
}

static Slot *make_key(Token *token, const char *name, const char *touch)
{
    const KeyOptions options = {.touch_policy = touch};
    g_auto(Ending) made = {0};
    token_generate_key(token, name, KEY_TYPE_P256, &options, NULL, ending_text, &made);
    ending_ok(&made);
    return token_find_slot(token, name);
}

/* --- touch ------------------------------------------------------------------------------------------- */

/* One signature under way. */
typedef struct Signing {
    Signed made;
    Ending ending;
} Signing;

static void begin(Signing *signing, Slot *slot)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(slot_use_key(slot, sign_message, &signing->made, NULL, WORKER_NO_DEADLINE, NULL,
                               ending_done, &signing->ending, &error));
}

typedef struct Wanted {
    Token *token;
    TokenState state;
} Wanted;

static bool is_in_state(void *data)
{
    const Wanted *wanted = data;
    return token_state(wanted->token) == wanted->state;
}

static void wait_for_state(Token *token, TokenState state)
{
    Wanted wanted = {token, state};
    test_wait_for(is_in_state, &wanted, 60);
}

static void test_a_wait_for_a_finger_is_shown_and_holds_up_that_token_alone(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1;fake:serial=F2,piv=1"), false);
    Token *token = fixture_token(fixture, "F1");
    Slot *wanting = make_key(token, "01", "always");
    Slot *other = make_key(token, "02", "never");
    Slot *elsewhere = make_key(fixture_token(fixture, "F2"), "01", "never");
    Signing waits = {0};
    Signing queued = {0};
    begin(&waits, wanting);
    begin(&queued, other);
    wait_for_state(token, TOKEN_STATE_TOUCH_NEEDED);
    g_assert_cmpstr(token_touch_slot(token), ==, "01");
    g_assert_nonnull(strstr(token_message(token), "F1"));
    g_assert_nonnull(strstr(token_message(token), "slot 01"));

    assert_signs(elsewhere, NULL);
    g_assert_false(waits.ending.done);
    g_assert_false(queued.ending.done);

    fake_source_touch(fixture->source, "F1");
    ending_ok(&waits.ending);
    ending_ok(&queued.ending);
    g_assert_true(verifies(slot_public_key(wanting), &waits.made));
    wait_for_state(token, TOKEN_STATE_READY);
    g_assert_cmpstr(token_touch_slot(token), ==, "");
    g_assert_cmpstr(token_message(token), ==, "");
}

static bool is_waiting(void *data)
{
    const Fixture *fixture = data;
    return fake_source_waits_for_touch(fixture->source, "F1") > 0;
}

static void test_a_key_that_was_touched_a_moment_ago_does_not_flicker(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1"), false);
    Slot *slot = make_key(fixture_token(fixture, "F1"), "01", "cached");
    Signing first = {0};
    begin(&first, slot);
    test_wait_for(is_waiting, fixture, 60);
    fake_source_touch(fixture->source, "F1");
    ending_ok(&first.ending);
    wait_for_state(fixture_token(fixture, "F1"), TOKEN_STATE_READY);
    guint changed = fixture->changed;
    for (int i = 0; i < 20; i++)
        assert_signs(slot, NULL);
    g_assert_cmpuint(fixture->changed, ==, changed);
}

static void test_a_finger_that_does_not_come_is_told_in_words(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1,touch-limit-ms=800"), false);
    Token *token = fixture_token(fixture, "F1");
    Signing signing = {0};
    begin(&signing, make_key(token, "01", "always"));
    wait_for_state(token, TOKEN_STATE_TOUCH_NEEDED);
    ending_fails(&signing.ending, IOTHSM_ERROR_TOUCH_TIMEOUT);
    wait_for_state(token, TOKEN_STATE_READY);
    ending_clear(&signing.ending);
}

static void test_a_token_pulled_out_while_it_waits_is_gone(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1"), false);
    g_autoptr(Token) token = token_ref(fixture_token(fixture, "F1"));
    Signing signing = {0};
    begin(&signing, make_key(token, "01", "always"));
    wait_for_state(token, TOKEN_STATE_TOUCH_NEEDED);
    fake_source_unplug(fixture->source, "F1");
    ending_fails(&signing.ending, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_GONE);
    g_assert_cmpstr(token_touch_slot(token), ==, "");
    ending_clear(&signing.ending);
}

/* --- policies ---------------------------------------------------------------------------------------- */

static void test_policies_are_kept_and_refused_where_there_are_none(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1;fake:serial=P2"), false);
    const KeyOptions options = {.pin_policy = "always", .touch_policy = "cached"};
    for (int with = 0; with < 2; with++) {
        g_auto(Ending) made = {0};
        Token *token = fixture_token(fixture, with ? "F1" : "P2");
        token_generate_key(token, "", KEY_TYPE_P256, &options, NULL, ending_text, &made);
        if (with) {
            ending_ok(&made);
            g_assert_cmpstr(slot_pin_policy(token_find_slot(token, "01")), ==, "always");
            g_assert_cmpstr(slot_touch_policy(token_find_slot(token, "01")), ==, "cached");
        } else {
            ending_fails(&made, IOTHSM_ERROR_UNSUPPORTED);
            g_assert_cmpuint(token_slots(token)->len, ==, 0);
        }
    }
}

/* --- the factory PIN --------------------------------------------------------------------------------- */

static void use_factory_pin(Fixture *fixture, Ending *ending)
{
    token_use_factory_pin(fixture_token(fixture, "F1"), false, NULL, ending_done, ending);
}

static void test_the_factory_pin_is_used_where_the_token_says_so(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1,pin=123456"), false);
    Token *token = fixture_token(fixture, "F1");
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_FACTORY);
    g_assert_cmpuint(fake_source_pins_presented(fixture->source, "F1"), ==, 0);
    g_auto(Ending) used = {0};
    use_factory_pin(fixture, &used);
    ending_ok(&used);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
}

static void test_the_factory_pin_is_tried_nowhere_else(void)
{
    static const char *const specs[] = {"fake:serial=F1,piv=1,pin=654321", "fake:serial=F1,pin=123456"};
    for (gsize i = 0; i < G_N_ELEMENTS(specs); i++) {
        g_autoptr(Fixture) fixture = fixture_new(fake(specs[i]), false);
        g_auto(Ending) refused = {0};
        use_factory_pin(fixture, &refused);
        ending_fails(&refused, IOTHSM_ERROR_PIN_WRONG);
        g_assert_cmpuint(fake_source_pins_presented(fixture->source, "F1"), ==, 0);
    }
}

static void test_a_kept_pin_is_not_tried_on_a_token_that_was_reset(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) first = fixture_new_in(fake("fake:serial=F1,piv=1,pin=654321"), directory, true);
    g_autoptr(Secret) pin = secret_of("654321");
    g_auto(Ending) set = {0};
    token_set_pin(fixture_token(first, "F1"), pin, true, NULL, ending_done, &set);
    ending_ok(&set);
    fixture_free(g_steal_pointer(&first));

    g_autoptr(Fixture) reset = fixture_new_in(fake("fake:serial=F1,piv=1,pin=123456"), directory, true);
    Token *token = fixture_token(reset, "F1");
    g_assert_cmpuint(fake_source_pins_presented(reset->source, "F1"), ==, 0);
    g_assert_nonnull(strstr(token_message(token), "factory PIN"));
    g_assert_true(g_str_has_suffix(token_message(token), "iothsmctl pin set F1"));
}

/* --- the management key ------------------------------------------------------------------------------ */

static void set_key(Token *token, const char *digits, bool persist, Ending *ending)
{
    g_autoptr(Secret) key = secret_of(digits);
    token_set_management_key(token, key, persist, NULL, ending_done, ending);
}

static void change_key(Token *token, const char *current, const char *replacement, const char *algorithm,
                       bool protect, bool persist, Ending *ending)
{
    g_autoptr(Secret) old = current ? secret_of(current) : NULL;
    g_autoptr(Secret) new = replacement ? secret_of(replacement) : NULL;
    const ManagementKeyChange change = {
        .current = old, .replacement = new, .algorithm = algorithm, .protect = protect};
    token_change_management_key(token, &change, persist, NULL, ending_done, ending);
}

static void expect_state(Token *token, const char *state)
{
    g_assert_cmpstr(token_management_key_state(token), ==, state);
}

static void test_a_management_key_of_ones_own_is_wanted_and_given(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1,management-key=" OWN_KEY), false);
    Token *token = fixture_token(fixture, "F1");
    g_auto(Ending) refused = {0};
    expect_state(token, "missing");
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &refused);
    ending_fails(&refused, IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED);

    g_auto(Ending) wrong = {0};
    set_key(token, OTHER_KEY, false, &wrong);
    ending_fails(&wrong, IOTHSM_ERROR_MANAGEMENT_KEY_WRONG);
    expect_state(token, "missing");
    g_auto(Ending) right = {0};
    set_key(token, OWN_KEY, false, &right);
    ending_ok(&right);
    expect_state(token, "set");
    g_free(generate(token, "01", KEY_TYPE_P256));
}

static void test_what_is_no_management_key_does_not_reach_the_token(void)
{
    static const char *const texts[] = {"12",         "",
                                        OWN_KEY "0",  OWN_KEY "00",
                                        "zz" OWN_KEY, "g0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7"};
    g_autoptr(Fixture) fixture =
        fixture_new(fake("fake:serial=F1,piv=1,management-key=" OWN_KEY ";fake:serial=P2"), false);
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_auto(Ending) refused = {0};
        set_key(fixture_token(fixture, "F1"), texts[i], false, &refused);
        ending_fails(&refused, IOTHSM_ERROR_INVALID);
    }
    g_auto(Ending) size = {0};
    change_key(fixture_token(fixture, "F1"), OWN_KEY, OTHER_KEY, "aes256", false, false, &size);
    ending_fails(&size, IOTHSM_ERROR_INVALID);
    g_auto(Ending) unknown = {0};
    change_key(fixture_token(fixture, "F1"), OWN_KEY, OTHER_KEY, "rot13", false, false, &unknown);
    ending_fails(&unknown, IOTHSM_ERROR_INVALID);
    g_auto(Ending) nothing = {0};
    change_key(fixture_token(fixture, "F1"), OWN_KEY, NULL, NULL, false, false, &nothing);
    ending_fails(&nothing, IOTHSM_ERROR_INVALID);
    g_auto(Ending) both = {0};
    change_key(fixture_token(fixture, "F1"), OWN_KEY, OTHER_KEY, NULL, true, false, &both);
    ending_fails(&both, IOTHSM_ERROR_INVALID);
    g_auto(Ending) none = {0};
    set_key(fixture_token(fixture, "P2"), OWN_KEY, false, &none);
    ending_fails(&none, IOTHSM_ERROR_UNSUPPORTED);
    g_auto(Ending) unsealed = {0};
    set_key(fixture_token(fixture, "F1"), OWN_KEY, true, &unsealed);
    ending_fails(&unsealed, IOTHSM_ERROR_INVALID);
    expect_state(fixture_token(fixture, "F1"), "missing");
}

static void replug(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    fake_source_unplug(fixture->source, "F1");
    g_assert_true(fake_source_plug(fixture->source, "fake:serial=F1", &error));
    (void)fixture_token(fixture, "F1");
}

static void test_a_kept_management_key_is_there_again_after_a_replug(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1,management-key=" OWN_KEY), true);
    g_auto(Ending) given = {0};
    set_key(fixture_token(fixture, "F1"), OWN_KEY, false, &given);
    ending_ok(&given);
    replug(fixture);
    expect_state(fixture_token(fixture, "F1"), "missing");

    g_auto(Ending) kept = {0};
    set_key(fixture_token(fixture, "F1"), OWN_KEY, true, &kept);
    ending_ok(&kept);
    replug(fixture);
    expect_state(fixture_token(fixture, "F1"), "set");
    g_free(generate(fixture_token(fixture, "F1"), "01", KEY_TYPE_P256));

    /* What is changed is kept as what it replaces was. */
    g_auto(Ending) changed = {0};
    change_key(fixture_token(fixture, "F1"), NULL, OTHER_KEY, "3des", false, false, &changed);
    ending_ok(&changed);
    replug(fixture);
    expect_state(fixture_token(fixture, "F1"), "set");

    g_auto(Ending) forgotten = {0};
    token_forget_management_key(fixture_token(fixture, "F1"), NULL, ending_done, &forgotten);
    ending_ok(&forgotten);
    expect_state(fixture_token(fixture, "F1"), "missing"); /* in memory, too */
    replug(fixture);
    expect_state(fixture_token(fixture, "F1"), "missing");
}

static void test_a_kept_management_key_that_is_the_wrong_one_is_told_in_words(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) first =
        fixture_new_in(fake("fake:serial=F1,piv=1,management-key=" OWN_KEY), directory, true);
    g_auto(Ending) kept = {0};
    set_key(fixture_token(first, "F1"), OWN_KEY, true, &kept);
    ending_ok(&kept);
    fixture_free(g_steal_pointer(&first));
    g_autoptr(Fixture) changed =
        fixture_new_in(fake("fake:serial=F1,piv=1,management-key=" OTHER_KEY), directory, true);
    Token *token = fixture_token(changed, "F1");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    expect_state(token, "missing");
    g_assert_nonnull(strstr(token_message(token), "iothsmctl management-key set"));
}

static void test_a_protected_management_key_lies_on_the_token_alone(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1,pin=123456"), true);
    Token *token = fixture_token(fixture, "F1");
    expect_state(token, "factory");
    g_auto(Ending) early = {0};
    change_key(token, NULL, NULL, NULL, true, false, &early);
    ending_fails(&early, IOTHSM_ERROR_PIN_REQUIRED);

    set_pin(token, "123456");
    g_auto(Ending) changed = {0};
    change_key(token, FACTORY_KEY, OWN_KEY, NULL, false, true, &changed);
    ending_ok(&changed);
    expect_state(token, "set");
    g_auto(Ending) protected = {0};
    change_key(token, NULL, NULL, NULL, true, false, &protected);
    ending_ok(&protected);
    expect_state(token, "protected");
    g_autofree char *path = g_build_filename(fixture->directory, "management-keys", "F1.sealed", NULL);
    g_assert_false(g_file_test(path, G_FILE_TEST_EXISTS));
    replug(fixture);
    token = fixture_token(fixture, "F1");
    set_pin(token, "123456");
    g_free(generate(token, "01", KEY_TYPE_P256));
}

/* --- attestation ------------------------------------------------------------------------------------- */

typedef struct Attested {
    GPtrArray *chain;
    Ending ending;
} Attested;

static void on_attested(GPtrArray *chain, const GError *error, void *userdata)
{
    Attested *attested = userdata;
    attested->chain = chain ? g_ptr_array_ref(chain) : NULL;
    ending_done(error, &attested->ending);
}

static void attested_clear(Attested *attested)
{
    g_clear_pointer(&attested->chain, g_ptr_array_unref);
    ending_clear(&attested->ending);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Attested, attested_clear)

static void test_a_key_is_attested_once_however_often_it_is_asked_for(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=1001,piv=1"), false);
    Slot *slot = make_key(fixture_token(fixture, "1001"), "01", "cached");
    Attested attested[5] = {0};
    g_autoptr(X509_STORE) roots = X509_STORE_new();
    X509_STORE_add_cert(roots, fake_source_attestation_root(fixture->source, "1001"));
    for (gsize i = 0; i < G_N_ELEMENTS(attested); i++) {
        g_autoptr(GError) error = NULL;
        slot_attest(slot, on_attested, &attested[i]);
        g_assert_false(attested[i].ending.done);
        if (i >= 2)
            ending_ok(&attested[i].ending); /* the first two at the same time */
        g_assert_true(i < 2 ||
                      attestation_verify(attested[i].chain, slot_public_key(slot), "1001", roots, &error));
    }
    g_assert_true(attested[0].ending.done && attested[1].ending.done);
    g_assert_cmpuint(fake_source_attestations(fixture->source, "1001"), ==, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(attested); i++)
        attested_clear(&attested[i]);
}

static void attest_fails(Slot *slot, IothsmError code)
{
    g_auto(Attested) attested = {0};
    slot_attest(slot, on_attested, &attested);
    ending_fails(&attested.ending, code);
}

static void test_another_key_in_the_slot_is_attested_anew(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=1001,piv=1"), false);
    Token *token = fixture_token(fixture, "1001");
    for (guint round = 1; round <= 2; round++) {
        g_autoptr(Slot) slot = slot_ref(make_key(token, "01", "never"));
        g_auto(Attested) attested = {0};
        slot_attest(slot, on_attested, &attested);
        ending_ok(&attested.ending);
        g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(attested.chain->pdata[0]), slot_public_key(slot)), ==,
                        1);
        g_assert_cmpuint(fake_source_attestations(fixture->source, "1001"), ==, round);
        g_auto(Ending) cleared = {0};
        slot_clear(slot, NULL, ending_done, &cleared);
        ending_ok(&cleared);
        attest_fails(slot, IOTHSM_ERROR_TOKEN_GONE);
    }
}

static void test_what_cannot_be_attested_is_refused_without_asking_the_token(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=1001,piv=1;fake:serial=P2"), false);
    g_free(generate(fixture_token(fixture, "P2"), "01", KEY_TYPE_P256));
    attest_fails(token_find_slot(fixture_token(fixture, "P2"), "01"), IOTHSM_ERROR_UNSUPPORTED);

    g_autofree char *text = test_key_pem(test_key("p256"), NULL);
    g_autoptr(Secret) pem = secret_of(text);
    g_auto(Ending) imported = {0};
    token_import_key(fixture_token(fixture, "1001"), "02", pem, NULL, NULL, NULL, ending_text, &imported);
    ending_ok(&imported);
    attest_fails(token_find_slot(fixture_token(fixture, "1001"), "02"), IOTHSM_ERROR_UNSUPPORTED);
    g_assert_cmpuint(fake_source_attestations(fixture->source, "1001"), ==, 0);
}

static void test_a_failure_is_not_remembered_as_a_refusal(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=1001,piv=1"), false);
    Slot *slot = make_key(fixture_token(fixture, "1001"), "01", "never");
    fake_source_fail_next(fixture->source, "1001", 1, IOTHSM_ERROR_TOKEN_HELD);
    attest_fails(slot, IOTHSM_ERROR_TOKEN_HELD);
    g_auto(Attested) attested = {0};
    slot_attest(slot, on_attested, &attested);
    ending_ok(&attested.ending);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)secret_memory_init();
    g_test_add_func("/piv/a-wait-for-a-finger-is-shown-and-holds-up-that-token-alone",
                    test_a_wait_for_a_finger_is_shown_and_holds_up_that_token_alone);
    g_test_add_func("/piv/a-key-that-was-touched-a-moment-ago-does-not-flicker",
                    test_a_key_that_was_touched_a_moment_ago_does_not_flicker);
    g_test_add_func("/piv/a-finger-that-does-not-come-is-told-in-words",
                    test_a_finger_that_does_not_come_is_told_in_words);
    g_test_add_func("/piv/a-token-pulled-out-while-it-waits-is-gone",
                    test_a_token_pulled_out_while_it_waits_is_gone);
    g_test_add_func("/piv/policies-are-kept-and-refused-where-there-are-none",
                    test_policies_are_kept_and_refused_where_there_are_none);
    g_test_add_func("/piv/the-factory-pin-is-used-where-the-token-says-so",
                    test_the_factory_pin_is_used_where_the_token_says_so);
    g_test_add_func("/piv/the-factory-pin-is-tried-nowhere-else", test_the_factory_pin_is_tried_nowhere_else);
    g_test_add_func("/piv/a-kept-pin-is-not-tried-on-a-token-that-was-reset",
                    test_a_kept_pin_is_not_tried_on_a_token_that_was_reset);
    g_test_add_func("/piv/a-management-key-of-ones-own-is-wanted-and-given",
                    test_a_management_key_of_ones_own_is_wanted_and_given);
    g_test_add_func("/piv/what-is-no-management-key-does-not-reach-the-token",
                    test_what_is_no_management_key_does_not_reach_the_token);
    g_test_add_func("/piv/a-kept-management-key-is-there-again-after-a-replug",
                    test_a_kept_management_key_is_there_again_after_a_replug);
    g_test_add_func("/piv/a-kept-management-key-that-is-the-wrong-one-is-told-in-words",
                    test_a_kept_management_key_that_is_the_wrong_one_is_told_in_words);
    g_test_add_func("/piv/a-protected-management-key-lies-on-the-token-alone",
                    test_a_protected_management_key_lies_on_the_token_alone);
    g_test_add_func("/piv/a-key-is-attested-once-however-often-it-is-asked-for",
                    test_a_key_is_attested_once_however_often_it_is_asked_for);
    g_test_add_func("/piv/another-key-in-the-slot-is-attested-anew",
                    test_another_key_in_the_slot_is_attested_anew);
    g_test_add_func("/piv/what-cannot-be-attested-is-refused-without-asking-the-token",
                    test_what_cannot_be_attested_is_refused_without_asking_the_token);
    g_test_add_func("/piv/a-failure-is-not-remembered-as-a-refusal",
                    test_a_failure_is_not_remembered_as_a_refusal);
    return g_test_run();
}
