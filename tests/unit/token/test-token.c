/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A token's life and its PIN, on fakes. */

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

static void try_pin(Token *token, const char *pin, bool persist, Ending *ending)
{
    g_autoptr(Secret) secret = secret_of(pin);
    token_set_pin(token, secret, persist, NULL, ending_done, ending);
}

/* Of a daemon that was told to keep F1's PIN, 123456. Transfer full. */
static char *directory_with_kept_pin(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) fixture = fixture_new_in(fake("fake:serial=F1,pin=123456"), directory, true);
    g_auto(Ending) set = {0};
    try_pin(fixture_token(fixture, "F1"), "123456", true, &set);
    ending_ok(&set);
    return g_steal_pointer(&directory);
}

static guint presented(Fixture *fixture)
{
    return fake_source_pins_presented(fixture->source, "F1");
}

static void test_a_refused_pin_is_not_tried_again(void)
{
    g_autofree char *directory = test_directory();
    for (int start = 0; start < 2; start++) {
        /* The second round is after a restart: the note is on disk. */
        g_autoptr(Fixture) fixture =
            fixture_new_in(fake("fake:serial=F1,pin=123456,retries=8"), directory, true);
        Token *token = fixture_token(fixture, "F1");
        for (int round = 0; round < 3; round++) {
            g_auto(Ending) refused = {0};
            try_pin(token, "000000", false, &refused);
            ending_fails(&refused, IOTHSM_ERROR_PIN_WRONG);
        }
        g_assert_cmpuint(presented(fixture), ==, start == 0 ? 1 : 0);
        g_assert_cmpint(token_pin_retries(token), ==, start == 0 ? 7 : 8);
        if (start == 0) {
            g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_WRONG);
            g_assert_cmpstr(token_message(token), !=, "");
        }
    }
}

static void test_a_right_pin_does_not_bring_a_refused_one_back(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) fixture = fixture_new_in(fake("fake:serial=F1,pin=123456,retries=8"), directory, true);
    Token *token = fixture_token(fixture, "F1");
    g_auto(Ending) first = {0};
    try_pin(token, "000000", false, &first);
    ending_fails(&first, IOTHSM_ERROR_PIN_WRONG);
    set_pin(token, "123456");
    guint before = presented(fixture);
    g_auto(Ending) again = {0};
    try_pin(token, "000000", false, &again);
    ending_fails(&again, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(presented(fixture), ==, before);

    /* It may have become the right one elsewhere: then a person has the notes forgotten. */
    g_auto(Ending) forgotten = {0};
    token_forget_pin(token, NULL, ending_done, &forgotten);
    ending_ok(&forgotten);
    g_auto(Ending) tried = {0};
    try_pin(token, "000000", false, &tried);
    ending_fails(&tried, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(presented(fixture), ==, before + 1);
}

static void test_the_stored_pin_is_presented_once_at_the_start(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) first = fixture_new_in(fake("fake:serial=F1,pin=123456"), directory, true);
    g_auto(Ending) set = {0};
    try_pin(fixture_token(first, "F1"), "123456", true, &set);
    ending_ok(&set);
    g_assert_cmpint(token_pin_state(fixture_token(first, "F1")), ==, PIN_STATE_SET);
    fixture_free(g_steal_pointer(&first));

    g_autoptr(Fixture) second = fixture_new_in(fake("fake:serial=F1,pin=123456"), directory, true);
    g_assert_cmpint(token_pin_state(fixture_token(second, "F1")), ==, PIN_STATE_SET);
    g_assert_cmpuint(presented(second), ==, 1);
    fixture_free(g_steal_pointer(&second));

    /* Somebody changed the PIN elsewhere: one try, and none at all at the next start. */
    for (guint start = 0; start < 2; start++) {
        g_autoptr(Fixture) changed = fixture_new_in(fake("fake:serial=F1,pin=654321"), directory, true);
        Token *token = fixture_token(changed, "F1");
        g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
        g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_WRONG);
        g_assert_cmpuint(presented(changed), ==, start == 0 ? 1 : 0);
    }
}

/* The daemon's end and its next start: other objects, the same files, the same hardware. */
static void restart(Fixture *fixture)
{
    g_autoptr(GError) error = NULL;
    fake_source_unplug(fixture->source, "F1");
    pin_store_unref(fixture->store);
    sealing_unref(fixture->sealing);
    fixture->sealing = sealing_new(fixture->directory, fixture->directory, &error);
    fixture->store = pin_store_new(fixture->sealing, &error);
    g_assert_no_error(error);
}

/* A PIN that was right when it was kept, and is not any more: with a token that would count 200 tries. */
static void test_a_wrong_kept_pin_costs_one_try_in_200_restarts_and_replugs(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) fixture =
        fixture_new_in(fake("fake:serial=F1,pin=654321,retries=250"), directory, true);
    g_autoptr(Secret) kept = secret_of("123456");
    g_autoptr(GError) error = NULL;
    (void)fixture_token(fixture, "F1");
    g_assert_true(pin_store_save(fixture->store, "F1", kept, &error));
    for (guint round = 0; round < 200; round++) {
        if (round % 4 == 0)
            restart(fixture);
        else
            fake_source_unplug(fixture->source, "F1");
        g_assert_true(fake_source_plug(fixture->source, "fake:serial=F1", &error));
        Token *token = fixture_token(fixture, "F1");
        g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_WRONG);
        g_assert_cmpint(token_pin_retries(token), ==, 249);
    }
    g_assert_cmpuint(presented(fixture), ==, 1);
}

static void test_the_stored_pin_stays_back_when_tries_are_short(void)
{
    g_autofree char *directory = directory_with_kept_pin();

    g_autoptr(Fixture) second = fixture_new_in(fake("fake:serial=F1,pin=123456,retries=2"), directory, true);
    Token *token = fixture_token(second, "F1");
    g_assert_cmpuint(presented(second), ==, 0);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    g_assert_nonnull(strstr(token_message(token), "tries left"));
    /* A person may. */
    set_pin(token, "123456");
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
}

static void test_a_pin_is_not_kept_without_a_sealing_key(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,pin=123456"), false);
    g_auto(Ending) refused = {0};
    try_pin(fixture_token(fixture, "F1"), "123456", true, &refused);
    ending_fails(&refused, IOTHSM_ERROR_INVALID);
    g_assert_cmpuint(presented(fixture), ==, 0);
    set_pin(fixture_token(fixture, "F1"), "123456");
}

static void test_impossible_pins_do_not_reach_the_token(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,pin=123456"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *long_pin = g_strnfill(256, '1');
    g_autoptr(Secret) too_long = secret_of(long_pin);
    g_autoptr(Secret) zero = secret_new("12\00034", 5);
    g_auto(Ending) first = {0};
    g_auto(Ending) second = {0};
    token_set_pin(token, too_long, false, NULL, ending_done, &first);
    token_set_pin(token, zero, false, NULL, ending_done, &second);
    ending_fails(&first, IOTHSM_ERROR_INVALID);
    ending_fails(&second, IOTHSM_ERROR_INVALID);
    g_assert_cmpuint(presented(fixture), ==, 0);
}

static void test_a_changed_pin_replaces_the_sealed_one(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) fixture = fixture_new_in(fake("fake:serial=F1,pin=123456"), directory, true);
    Token *token = fixture_token(fixture, "F1");
    g_auto(Ending) set = {0};
    try_pin(token, "123456", true, &set);
    ending_ok(&set);
    g_autoptr(Secret) old_pin = secret_of("123456");
    g_autoptr(Secret) new_pin = secret_of("the new one");
    g_autoptr(Secret) puk = secret_of("00000000");
    g_auto(Ending) changed = {0};
    token_change_pin(token, old_pin, new_pin, NULL, ending_done, &changed);
    ending_ok(&changed);
    fixture_free(g_steal_pointer(&fixture));

    g_autoptr(Fixture) next = fixture_new_in(fake("fake:serial=F1,pin=the new one"), directory, true);
    token = fixture_token(next, "F1");
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    g_auto(Ending) wrong = {0};
    token_unblock_pin(token, old_pin, new_pin, NULL, ending_done, &wrong);
    ending_fails(&wrong, IOTHSM_ERROR_PIN_WRONG);
    guint before = presented(next);
    g_auto(Ending) again = {0};
    token_unblock_pin(token, old_pin, new_pin, NULL, ending_done, &again);
    ending_fails(&again, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(presented(next), ==, before);
    g_auto(Ending) unblocked = {0};
    token_unblock_pin(token, puk, old_pin, NULL, ending_done, &unblocked);
    ending_ok(&unblocked);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    g_auto(Ending) forgotten = {0};
    token_forget_pin(token, NULL, ending_done, &forgotten);
    ending_ok(&forgotten);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    g_autoptr(Secret) stored = pin_store_load(next->store, "F1", NULL);
    g_assert_null(stored);
}

static void test_a_token_that_cannot_be_read_is_failed_and_heals(void)
{
    Source *source = fake("fake:serial=F1");
    fake_source_fail_next(source, "F1", 1, IOTHSM_ERROR_FAILED);
    g_autoptr(Fixture) fixture = fixture_new(source, false);
    Token *token = fixture_token(fixture, "F1");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_FAILED);
    g_assert_nonnull(strstr(token_message(token), "told to fail"));
    g_auto(Ending) refreshed = {0};
    token_refresh(token, ending_done, &refreshed);
    ending_ok(&refreshed);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    g_assert_cmpstr(token_message(token), ==, "");
}

/* And comes back by itself when the other program lets go. */
static void test_a_token_that_another_program_has_is_held(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, name);
    fake_source_fail_next(fixture->source, "F1", 2, IOTHSM_ERROR_TOKEN_HELD); /* and the look after it */
    Signed made = {0};
    g_auto(Ending) signed_now = {0};
    g_autoptr(GError) error = NULL;
    g_assert_true(slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done,
                               &signed_now, &error));
    ending_fails(&signed_now, IOTHSM_ERROR_TOKEN_HELD);
    while (token_state(token) != TOKEN_STATE_HELD)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(token_state_to_string(token_state(token)), ==, "held");
    g_assert_cmpstr(token_message(token), !=, "");
    while (token_state(token) != TOKEN_STATE_READY)
        g_main_context_iteration(NULL, TRUE);
    assert_signs(slot, NULL);
}

static void test_a_token_that_could_not_be_read_comes_up_by_itself(void)
{
    g_autofree char *directory = directory_with_kept_pin();

    Source *source = fake("fake:serial=F1,pin=123456");
    fake_source_fail_next(source, "F1", 1, IOTHSM_ERROR_FAILED);
    g_autoptr(Fixture) fixture = fixture_new_in(source, directory, true);
    Token *token = fixture_token(fixture, "F1");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_FAILED);
    while (token_state(token) != TOKEN_STATE_READY)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    g_assert_cmpuint(fake_source_pins_presented(source, "F1"), ==, 1);
}

static void test_a_gone_token_answers_everything(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    g_autoptr(Token) token = token_ref(fixture_token(fixture, "F1"));
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_autoptr(Slot) slot = slot_ref(token_find_slot(token, name));
    fake_source_hold(fixture->source, "F1", true);
    static Signed made; /* the thread may write there after the token has gone */
    g_auto(Ending) running = {0};
    g_auto(Ending) generating = {0};
    g_assert_true(
        slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done, &running, NULL));
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &generating);
    fake_source_unplug(fixture->source, "F1");
    ending_fails(&running, IOTHSM_ERROR_TOKEN_GONE);
    ending_fails(&generating, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_GONE);
    g_assert_cmpuint(token_slots(token)->len, ==, 0);
    g_assert_cmpuint(fixture->slots_removed, ==, 1);
    g_assert_cmpstr(slot_name(slot), ==, name);
    g_assert_true(slot_token(slot) == token);

    g_autoptr(GError) error = NULL;
    Ending unused = {0};
    g_assert_false(slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done,
                                &unused, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
    g_autoptr(Secret) secret = secret_of("1234");
    Ending endings[9] = {0};
    token_start(token, ending_done, &endings[0]);
    token_refresh(token, ending_done, &endings[1]);
    token_set_pin(token, secret, false, NULL, ending_done, &endings[2]);
    token_forget_pin(token, NULL, ending_done, &endings[3]);
    token_change_pin(token, secret, secret, NULL, ending_done, &endings[4]);
    token_unblock_pin(token, secret, secret, NULL, ending_done, &endings[5]);
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &endings[6]);
    token_import_key(token, "", secret, NULL, NULL, NULL, ending_text, &endings[7]);
    slot_clear(slot, NULL, ending_done, &endings[8]);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++)
        g_assert_false(endings[i].done);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        ending_fails(&endings[i], IOTHSM_ERROR_TOKEN_GONE);
        ending_clear(&endings[i]);
    }
    g_assert_cmpuint(token_load(token), ==, 0);
}

/* Its owner may be gone as well. */
static void test_a_draining_token_that_is_gone_reports_no_more(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    g_autoptr(Token) token = token_ref(fixture_token(fixture, "F1"));
    token_set_draining(token, true);
    fake_source_unplug(fixture->source, "F1");
    guint reported = fixture->changed;
    g_auto(Ending) drained = {0};
    token_wait_drained(token, NULL, ending_done, &drained);
    ending_fails(&drained, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_cmpuint(fixture->changed, ==, reported);
    g_assert_false(token_is_drained(token));
}

static bool is_held(void *source)
{
    return fake_source_held(source, "F1") > 0;
}

static bool has_slot(void *token)
{
    return token_slots(token)->len > 0;
}

static bool is_noted(void *directory)
{
    g_autofree char *path = g_build_filename(directory, "pins", "refused", NULL);
    return g_file_test(path, G_FILE_TEST_EXISTS);
}

/* A card that hangs keeps its thread inside a call, which comes back when the service is already ending. */
static void test_a_pin_refused_after_the_end_is_remembered(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(Fixture) fixture = fixture_new_in(fake("fake:serial=F1,pin=123456"), directory, true);
    g_autoptr(Secret) wrong = secret_of("999999");
    g_auto(Ending) tried = {0};
    fake_source_hold(fixture->source, "F1", true);
    try_pin(fixture_token(fixture, "F1"), "999999", false, &tried);
    test_wait_for(is_held, fixture->source, 10);
    token_gone(fixture_token(fixture, "F1"));
    ending_fails(&tried, IOTHSM_ERROR_TOKEN_GONE);
    g_ptr_array_set_size(fixture->tokens, 0);
    g_clear_pointer(&fixture->store, pin_store_unref);
    g_clear_pointer(&fixture->sealing, sealing_unref);
    fake_source_hold(fixture->source, "F1", false);
    test_wait_for(is_noted, directory, 10);
    g_autoptr(GError) error = NULL;
    g_autoptr(Sealing) sealing = sealing_new(directory, directory, &error);
    g_assert_no_error(error);
    g_autoptr(PinStore) store = pin_store_new(sealing, &error);
    g_assert_no_error(error);
    g_assert_true(pin_store_was_refused(store, "F1", wrong));
}

/* What the token holds in the end is shown, whoever gave up waiting for it. */
static void test_a_cancelled_operation_that_happened_is_seen(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_autofree char *pem = test_key_pem(test_key("p256"), NULL);
    g_autoptr(Secret) file = secret_of(pem);
    fake_source_hold(fixture->source, "F1", true);
    g_auto(Ending) cancelled = {0};
    token_import_key(token, "", file, NULL, NULL, cancellable, ending_text, &cancelled);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_BUSY);
    g_assert_cmpstr(token_operation(token), ==, "importing a key into slot 01");
    test_wait_for(is_held, fixture->source, 20);
    g_cancellable_cancel(cancellable);
    ending_fails(&cancelled, IOTHSM_ERROR_CANCELLED);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_BUSY);
    fake_source_hold(fixture->source, "F1", false);
    test_wait_for(has_slot, token, 20);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    g_assert_cmpstr(token_operation(token), ==, "");
}

static void test_two_new_keys_get_two_slots(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,threads=2,slots=2"), false);
    Token *token = fixture_token(fixture, "F1");
    g_auto(Ending) first = {0};
    g_auto(Ending) second = {0};
    g_auto(Ending) third = {0};
    g_auto(Ending) same = {0};
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &first);
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &second);
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &third);
    token_generate_key(token, "02", KEY_TYPE_P256, NULL, NULL, ending_text, &same);
    ending_fails(&third, IOTHSM_ERROR_SLOT_OCCUPIED);
    ending_fails(&same, IOTHSM_ERROR_TOKEN_BUSY);
    ending_ok(&first);
    ending_ok(&second);
    g_assert_cmpstr(first.text, ==, "01");
    g_assert_cmpstr(second.text, ==, "02");
    g_assert_cmpuint(token_slots(token)->len, ==, 2);
    g_assert_cmpstr(slot_name(token_slots(token)->pdata[0]), ==, "01");
    g_assert_null(token_free_slots(token)[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    secret_memory_init();
    g_test_add_func("/token/a-refused-pin-is-not-tried-again", test_a_refused_pin_is_not_tried_again);
    g_test_add_func("/token/a-right-pin-does-not-bring-a-refused-one-back",
                    test_a_right_pin_does_not_bring_a_refused_one_back);
    g_test_add_func("/token/the-stored-pin-is-presented-once-at-the-start",
                    test_the_stored_pin_is_presented_once_at_the_start);
    g_test_add_func("/token/a-wrong-kept-pin-costs-one-try-in-200-restarts-and-replugs",
                    test_a_wrong_kept_pin_costs_one_try_in_200_restarts_and_replugs);
    g_test_add_func("/token/the-stored-pin-stays-back-when-tries-are-short",
                    test_the_stored_pin_stays_back_when_tries_are_short);
    g_test_add_func("/token/a-pin-is-not-kept-without-a-sealing-key",
                    test_a_pin_is_not_kept_without_a_sealing_key);
    g_test_add_func("/token/impossible-pins-do-not-reach-the-token",
                    test_impossible_pins_do_not_reach_the_token);
    g_test_add_func("/token/a-changed-pin-replaces-the-sealed-one",
                    test_a_changed_pin_replaces_the_sealed_one);
    g_test_add_func("/token/a-token-that-cannot-be-read-is-failed-and-heals",
                    test_a_token_that_cannot_be_read_is_failed_and_heals);
    g_test_add_func("/token/a-token-that-another-program-has-is-held",
                    test_a_token_that_another_program_has_is_held);
    g_test_add_func("/token/a-token-that-could-not-be-read-comes-up-by-itself",
                    test_a_token_that_could_not_be_read_comes_up_by_itself);
    g_test_add_func("/token/a-gone-token-answers-everything", test_a_gone_token_answers_everything);
    g_test_add_func("/token/a-draining-token-that-is-gone-reports-no-more",
                    test_a_draining_token_that_is_gone_reports_no_more);
    g_test_add_func("/token/a-pin-refused-after-the-end-is-remembered",
                    test_a_pin_refused_after_the_end_is_remembered);
    g_test_add_func("/token/a-cancelled-operation-that-happened-is-seen",
                    test_a_cancelled_operation_that_happened_is_seen);
    g_test_add_func("/token/two-new-keys-get-two-slots", test_two_new_keys_get_two_slots);
    return g_test_run();
}
