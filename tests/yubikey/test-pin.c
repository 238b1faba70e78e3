/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A PIN can't be burnt: what the card compares is counted at the card. */

#include "tests/yubikey/scene.h"

#define NEW_PIN "7654321"
#define CHANGE_TO_NEW_PIN "00240080 10 313233343536FFFF 37363534333231FF"

static bool try_pin(Scene *scene, const char *text, bool insist, GError **error)
{
    g_autoptr(Secret) pin = secret_of(text);
    return scene->backend->class->login(scene->backend, pin, insist, error);
}

static void assert_pin_works(Scene *scene, const char *text)
{
    g_autoptr(GError) error = NULL;
    (void)try_pin(scene, text, true, &error);
    g_assert_no_error(error);
}

static void assert_pin_fails(Scene *scene, const char *text, bool insist, IothsmError code)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(try_pin(scene, text, insist, &error));
    assert_code(error, code);
}

static guint64 presented(Scene *scene)
{
    return seen(scene, "compared");
}

/* The refused PIN, to whoever keeps PINs in mind. */
static void assert_handed_over(Scene *scene, const char *pin)
{
    g_autoptr(Secret) refused = scene->backend->class->take_refused(scene->backend);
    g_assert_nonnull(refused);
    g_assert_cmpmem(secret_data(refused), secret_size(refused), pin, strlen(pin));
}

static void probing_and_opening_present_no_pin(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    generate(scene, "9a", KEY_TYPE_P256, NULL);
    token_info_free(probe(scene));
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_REQUIRED);
    assert_sign_fails(scene, "9c", IOTHSM_ERROR_SLOT_EMPTY);
    scene_unplug(scene);
    scene_plug(scene);
    token_info_free(probe(scene));
    g_assert_cmpuint(presented(scene), ==, 0);
}

static void an_accepted_pin_is_presented_once(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    log_in(scene);
    g_autoptr(TokenInfo) info = probe(scene);
    g_assert_cmpint(info->pin_state, ==, PIN_STATE_SET);
    for (guint i = 0; i < 5; i++)
        assert_signs(scene, "9a", NULL);
    g_assert_cmpuint(presented(scene), ==, 1);
}

static void a_key_that_always_wants_its_pin_gets_it_for_each_signature(void)
{
    static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        generate(scene, "9c", KEY_TYPE_P256, NULL);
        log_in(scene);
        assert_signs(scene, "9c", NULL);
        assert_signs(scene, "9c", NULL);
        g_assert_cmpuint(presented(scene), ==, 3);
        g_assert_cmpint(pin_tries(scene), ==, 3);
    }
}

static void a_key_that_never_wants_a_pin_signs_without(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    generate(scene, "9c", KEY_TYPE_P256, &(KeyOptions){.pin_policy = "never"});
    assert_signs(scene, "9c", NULL);
    log_in(scene);
    assert_signs(scene, "9c", NULL);
    g_assert_cmpuint(presented(scene), ==, 1);
}

static void a_wrong_pin_is_tried_once_and_then_only_a_person_may(void)
{
    static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5, FIRMWARE_57};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        assert_pin_fails(scene, WRONG_PIN, false, IOTHSM_ERROR_PIN_WRONG);
        for (guint k = 0; k < 5; k++) {
            assert_pin_fails(scene, WRONG_PIN, false, IOTHSM_ERROR_PIN_BLOCKED);
            assert_pin_fails(scene, PIN, false, IOTHSM_ERROR_PIN_BLOCKED);
        }
        g_assert_cmpuint(presented(scene), ==, 1);
        g_assert_cmpint(pin_tries(scene), ==, 2);
        assert_pin_works(scene, PIN);
        g_assert_cmpint(pin_tries(scene), ==, 3);
    }
}

static void a_blocked_pin_is_presented_by_nobody(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    for (guint i = 0; i < 3; i++)
        assert_pin_fails(scene, WRONG_PIN, true, IOTHSM_ERROR_PIN_WRONG);
    assert_pin_fails(scene, PIN, true, IOTHSM_ERROR_PIN_BLOCKED);
    assert_pin_fails(scene, PIN, false, IOTHSM_ERROR_PIN_BLOCKED);
    g_assert_cmpuint(presented(scene), ==, 3);
    g_autoptr(TokenInfo) info = probe(scene);
    g_assert_cmpint(info->pin_state, ==, PIN_STATE_BLOCKED);
    g_assert_cmpint(info->pin_retries, ==, 0);
}

static void what_can_be_no_pin_is_not_sent(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    assert_pin_fails(scene, "12345", true, IOTHSM_ERROR_INVALID);
    assert_pin_fails(scene, "123456789", true, IOTHSM_ERROR_INVALID);
    assert_pin_fails(scene, "12345\xff", true, IOTHSM_ERROR_INVALID);
    g_assert_cmpuint(presented(scene), ==, 0);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

static void a_mistyped_pin_does_not_stop_a_service_that_has_the_right_one(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    assert_pin_fails(scene, WRONG_PIN, true, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpint(pin_tries(scene), ==, 3);
    assert_signs(scene, "9a", NULL);
}

/* As above, but the card was reset by another program: it has forgotten that it accepted the right one. */
static void a_mistyped_pin_after_a_reset_does_not_stop_the_service(void)
{
    static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        g_autoptr(Other) other = other_connect(false);
        generate(scene, "9a", KEY_TYPE_P256, NULL);
        log_in(scene);
        other_reset(other);
        assert_pin_fails(scene, WRONG_PIN, true, IOTHSM_ERROR_PIN_WRONG);
        g_assert_cmpint(pin_tries(scene), ==, 3);
        g_assert_cmpuint(presented(scene), ==, 4);
        assert_signs(scene, "9a", NULL);
        g_assert_null(scene->backend->class->take_refused(scene->backend));
    }
}

static bool change_pin(Scene *scene, const char *old_text, const char *new_text, GError **error)
{
    g_autoptr(Secret) old_pin = secret_of(old_text);
    g_autoptr(Secret) new_pin = secret_of(new_text);
    return scene->backend->class->change_pin(scene->backend, old_pin, new_pin, error);
}

static void a_mistyped_old_pin_does_not_stop_the_service(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    for (guint i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(change_pin(scene, WRONG_PIN, NEW_PIN, &error));
        assert_code(error, IOTHSM_ERROR_PIN_WRONG);
        g_assert_cmpint(pin_tries(scene), ==, 3);
        assert_signs(scene, "9a", NULL);
        other_reset(other);
    }
}

/* Then the old one is not presented a second time, and both are remembered. */
static void a_mistyped_pin_after_a_change_elsewhere_costs_one_try_more(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    g_assert_cmphex(other_send(other, CHANGE_TO_NEW_PIN), ==, 0x9000);
    other_reset(other);
    reset_count(scene);
    assert_pin_fails(scene, WRONG_PIN, true, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(presented(scene), ==, 2);
    g_assert_cmpint(pin_tries(scene), ==, 1);
    assert_handed_over(scene, PIN);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_REQUIRED);
    assert_pin_works(scene, NEW_PIN);
    assert_signs(scene, "9a", NULL);
}

/* An accepted PIN that is the refused one now, typed again by a person. */
static void a_pin_that_a_person_gives_again_and_is_refused_is_dropped(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    g_assert_cmphex(other_send(other, CHANGE_TO_NEW_PIN), ==, 0x9000);
    other_reset(other);
    reset_count(scene);
    assert_pin_fails(scene, PIN, true, IOTHSM_ERROR_PIN_WRONG);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_REQUIRED);
    g_assert_cmpuint(presented(scene), ==, 1);
}

/* Whoever keeps PINs in mind goes by this code. */
static void the_last_wrong_pin_is_a_refused_one_too(void)
{
    static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        g_autoptr(GError) error = NULL;
        virtual_key_tell(scene->key, "block");
        assert_pin_fails(scene, WRONG_PIN, true, IOTHSM_ERROR_PIN_WRONG);
        assert_pin_fails(scene, "000001", true, IOTHSM_ERROR_PIN_WRONG);
        if (i == 0)
            assert_pin_fails(scene, "000002", true, IOTHSM_ERROR_PIN_WRONG);
        else
            g_assert_false(change_pin(scene, "000002", NEW_PIN, &error));
        if (i != 0)
            assert_code(error, IOTHSM_ERROR_PIN_WRONG);
        g_assert_cmpint(pin_tries(scene), ==, 0);
        assert_pin_fails(scene, "000003", true, IOTHSM_ERROR_PIN_BLOCKED);
        g_assert_cmpuint(presented(scene), ==, 3);
    }
}

static void a_pin_that_was_changed_elsewhere_is_presented_once_and_handed_over(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    assert_signs(scene, "9a", NULL);
    g_assert_cmphex(other_send(other, CHANGE_TO_NEW_PIN), ==, 0x9000);
    reset_count(scene);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_WRONG);
    for (guint i = 0; i < 5; i++)
        assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_REQUIRED);
    g_assert_cmpuint(presented(scene), ==, 1);
    assert_handed_over(scene, PIN);
    g_assert_null(scene->backend->class->take_refused(scene->backend));
    assert_pin_works(scene, NEW_PIN);
    assert_signs(scene, "9a", NULL);
}

static void an_accepted_pin_is_not_presented_again_when_tries_are_short(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    g_assert_cmphex(other_send(other, "00200080 08 303030303030FFFF"), ==, 0x63c2);
    reset_count(scene);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_BLOCKED);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_REQUIRED);
    g_assert_cmpuint(presented(scene), ==, 0);
    g_assert_cmpint(pin_tries(scene), ==, 2);
    assert_pin_works(scene, PIN);
    assert_signs(scene, "9a", NULL);
}

static void logging_out_takes_the_pin_from_the_card_too(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    g_autoptr(Other) other = other_connect(false);
    g_assert_cmphex(other_send(other, "0020008000"), ==, 0x9000);
    (void)scene->backend->class->logout(scene->backend, &error);
    g_assert_no_error(error);
    g_assert_cmphex(other_send(other, "0020008000"), ==, 0x63c3);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_PIN_REQUIRED);
}

static void a_changed_pin_is_the_one_that_is_presented(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    generate(scene, "9c", KEY_TYPE_P256, NULL);
    log_in(scene);
    g_assert_false(change_pin(scene, WRONG_PIN, NEW_PIN, &error));
    assert_code(error, IOTHSM_ERROR_PIN_WRONG);
    g_assert_nonnull(strstr(error->message, "2 tries"));
    g_clear_error(&error);
    g_assert_false(change_pin(scene, PIN, "1", &error));
    assert_code(error, IOTHSM_ERROR_INVALID);
    g_clear_error(&error);
    (void)change_pin(scene, PIN, NEW_PIN, &error);
    g_assert_no_error(error);
    assert_signs(scene, "9c", NULL);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

static bool unblock(Scene *scene, const char *puk_text, const char *new_text, GError **error)
{
    g_autoptr(Secret) puk = secret_of(puk_text);
    g_autoptr(Secret) new_pin = secret_of(new_text);
    return scene->backend->class->unblock_pin(scene->backend, puk, new_pin, error);
}

static void the_puk_gives_a_new_pin(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    for (guint i = 0; i < 3; i++)
        assert_pin_fails(scene, WRONG_PIN, true, IOTHSM_ERROR_PIN_WRONG);
    g_assert_false(unblock(scene, "00000000", NEW_PIN, &error));
    assert_code(error, IOTHSM_ERROR_PIN_WRONG);
    g_clear_error(&error);
    (void)unblock(scene, PUK, NEW_PIN, &error);
    g_assert_no_error(error);
    assert_pin_works(scene, NEW_PIN);
    for (guint i = 0; i < 3; i++) {
        g_assert_false(unblock(scene, "00000000", NEW_PIN, &error));
        g_clear_error(&error);
    }
    guint64 before = presented(scene);
    g_assert_false(unblock(scene, PUK, NEW_PIN, &error));
    assert_code(error, IOTHSM_ERROR_PIN_BLOCKED);
    g_assert_cmpuint(presented(scene), ==, before);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
#define TEST(name) g_test_add_func("/pin/" #name, name)
    TEST(probing_and_opening_present_no_pin);
    TEST(an_accepted_pin_is_presented_once);
    TEST(a_key_that_always_wants_its_pin_gets_it_for_each_signature);
    TEST(a_key_that_never_wants_a_pin_signs_without);
    TEST(a_wrong_pin_is_tried_once_and_then_only_a_person_may);
    TEST(a_blocked_pin_is_presented_by_nobody);
    TEST(what_can_be_no_pin_is_not_sent);
    TEST(a_mistyped_pin_does_not_stop_a_service_that_has_the_right_one);
    TEST(a_mistyped_pin_after_a_reset_does_not_stop_the_service);
    TEST(a_mistyped_old_pin_does_not_stop_the_service);
    TEST(a_mistyped_pin_after_a_change_elsewhere_costs_one_try_more);
    TEST(a_pin_that_a_person_gives_again_and_is_refused_is_dropped);
    TEST(the_last_wrong_pin_is_a_refused_one_too);
    TEST(a_pin_that_was_changed_elsewhere_is_presented_once_and_handed_over);
    TEST(an_accepted_pin_is_not_presented_again_when_tries_are_short);
    TEST(logging_out_takes_the_pin_from_the_card_too);
    TEST(a_changed_pin_is_the_one_that_is_presented);
    TEST(the_puk_gives_a_new_pin);
    return g_test_run();
}
