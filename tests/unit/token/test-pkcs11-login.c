/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The PIN of a PKCS#11 token, against SoftHSM2 itself: given, refused, changed here and elsewhere, and kept.
 */

#include "tests/unit/token/softhsm-fixture.h"
#include <string.h>

static void test_slots_are_seen_without_the_pin(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Locked");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_auto(Ending) forgotten = {0};
    token_forget_pin(token, NULL, ending_done, &forgotten);
    ending_ok(&forgotten);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    Slot *slot = token_find_slot(token, name);
    g_assert_true(slot_has_private_key(slot));
    g_assert_cmpstr(slot_key_type(slot), ==, "p256");

    Signed made = {0};
    g_auto(Ending) refused = {0};
    g_assert_true(
        slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done, &refused, NULL));
    ending_fails(&refused, IOTHSM_ERROR_PIN_REQUIRED);
    g_auto(Ending) not_made = {0};
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &not_made);
    ending_fails(&not_made, IOTHSM_ERROR_PIN_REQUIRED);
    set_pin(token, PIN);
    assert_signs(slot, NULL);
}

static void test_wrong_pin_is_tried_once_and_the_login_stays(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Wrong");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_autoptr(Secret) wrong = secret_of("000000");
    g_auto(Ending) first = {0};
    g_auto(Ending) second = {0};
    token_set_pin(token, wrong, false, NULL, ending_done, &first);
    ending_fails(&first, IOTHSM_ERROR_PIN_WRONG);
    assert_signs(token_find_slot(token, name), NULL);
    token_set_pin(token, wrong, false, NULL, ending_done, &second);
    ending_fails(&second, IOTHSM_ERROR_PIN_WRONG);
    g_assert_nonnull(strstr(second.error->message, "before"));
}

static void test_pin_is_changed_and_unblocked(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Change");
    g_autofree char *ed25519 = generate(token, "", KEY_TYPE_ED25519);
    g_autofree char *p256 = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, p256);
    assert_signs(slot, NULL);
    g_autoptr(Secret) old_pin = secret_of(PIN);
    g_autoptr(Secret) second = secret_of("second pin");
    g_autoptr(Secret) third = secret_of("third pin");
    g_autoptr(Secret) so_pin = secret_of(SO_PIN);
    g_auto(Ending) changed = {0};
    token_change_pin(token, old_pin, second, NULL, ending_done, &changed);
    ending_ok(&changed);
    assert_signs(slot, NULL);
    g_auto(Ending) not_changed = {0};
    token_change_pin(token, old_pin, third, NULL, ending_done, &not_changed);
    ending_fails(&not_changed, IOTHSM_ERROR_PIN_WRONG);
    g_auto(Ending) unblocked = {0};
    token_unblock_pin(token, so_pin, third, NULL, ending_done, &unblocked);
    ending_ok(&unblocked);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    assert_signs(slot, NULL);
    assert_signs(token_find_slot(token, ed25519), NULL);
    g_auto(Ending) wrong_officer = {0};
    token_unblock_pin(token, second, third, NULL, ending_done, &wrong_officer);
    ending_fails(&wrong_officer, IOTHSM_ERROR_PIN_WRONG);
    assert_signs(slot, NULL);
    fixture_reload(soft.fixture);
    assert_signs(slot, NULL);
}

static void test_sealed_pin_opens_the_token_at_the_next_start(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_new(&soft, "Sealed");
    keep_pin(token);
    token = soft_token_restart(&soft, true);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    assert_signs(token_find_slot(token, name), NULL);
}

/* The PIN that the token had accepted is presented once more when its sessions are lost. Changed elsewhere
 * meanwhile, it is refused, and then it counts as every refused PIN: not at the next start either. */
static void test_a_pin_changed_elsewhere_is_presented_once(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_new(&soft, "Elsewhere");
    keep_pin(token);
    g_autoptr(Secret) pin = secret_of(PIN);
    change_pin_elsewhere(&soft, "another pin");
    refresh(token);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_WRONG);
    g_auto(Ending) again = {0};
    token_set_pin(token, pin, false, NULL, ending_done, &again);
    ending_fails(&again, IOTHSM_ERROR_PIN_WRONG);
    g_assert_nonnull(strstr(again.error->message, "before"));
    token = soft_token_restart(&soft, true);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_WRONG);
    set_pin(token, "another pin");
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
}

static void test_tries_left_are_read_from_the_flags(void)
{
    Module *softhsm = module_new("unused", true);
    Module *other = module_new("unused", false);
    g_assert_cmpint(pkcs11_pin_retries(other, 0), ==, -1);
    g_assert_cmpint(pkcs11_pin_retries(other, CKF_USER_PIN_COUNT_LOW), ==, 2);
    g_assert_cmpint(pkcs11_pin_retries(other, CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY), ==, 1);
    g_assert_cmpint(pkcs11_pin_retries(other, CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY), ==, 0);
    g_assert_cmpint(pkcs11_pin_retries(softhsm, CKF_USER_PIN_COUNT_LOW), ==, -1);
    module_unref(softhsm);
    module_unref(other);
}

/* The same module as one of another kind, whose flags count: one wrong PIN, by another process, is enough. */
static void test_stored_pin_stays_back_when_the_flags_warn(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_new(&soft, "Warned");
    keep_pin(token);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_autofree char *wrong =
        test_run((const char *const[]){"pkcs11-tool", "--module", softhsm_module(), "--token-label", "Warned",
                                       "--login", "--pin", "000000", "-O", NULL},
                 NULL, -1);

    token = soft_token_restart(&soft, false);
    g_assert_cmpstr(token_kind(token), ==, "pkcs11");
    g_assert_cmpint(token_pin_retries(token), ==, 2);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    g_assert_nonnull(strstr(token_message(token), "few PIN tries"));
    set_pin(token, PIN);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    g_assert_cmpint(token_pin_retries(token), ==, -1);
    g_auto(Ending) created = {0};
    g_auto(Ending) deleted = {0};
    softhsm_create_token(soft.fixture->source, "x", pin, pin, ending_text, &created);
    softhsm_delete_token(soft.fixture->source, soft.serial, ending_done, &deleted);
    ending_fails(&created, IOTHSM_ERROR_UNSUPPORTED);
    ending_fails(&deleted, IOTHSM_ERROR_UNSUPPORTED);
    soft_token_restart(&soft, true); /* as what it is, so that it can be deleted */
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!softhsm_test_prepare())
        return 0;
    g_test_add_func("/pkcs11/slots-are-seen-without-the-pin", test_slots_are_seen_without_the_pin);
    g_test_add_func("/pkcs11/wrong-pin-is-tried-once-and-the-login-stays",
                    test_wrong_pin_is_tried_once_and_the_login_stays);
    g_test_add_func("/pkcs11/pin-is-changed-and-unblocked", test_pin_is_changed_and_unblocked);
    g_test_add_func("/pkcs11/sealed-pin-opens-the-token-at-the-next-start",
                    test_sealed_pin_opens_the_token_at_the_next_start);
    g_test_add_func("/pkcs11/a-pin-changed-elsewhere-is-presented-once",
                    test_a_pin_changed_elsewhere_is_presented_once);
    g_test_add_func("/pkcs11/tries-left-are-read-from-the-flags", test_tries_left_are_read_from_the_flags);
    g_test_add_func("/pkcs11/stored-pin-stays-back-when-the-flags-warn",
                    test_stored_pin_stays_back_when_the_flags_warn);
    return g_test_run();
}
