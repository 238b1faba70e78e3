/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What other programs and other people do to the card between and inside our calls: reset it, select
 * something else, keep it, pull it out, end pcscd. Each has its own outcome, and none costs a PIN try. */

#include "tests/yubikey/scene.h"
#include <dlfcn.h>
#include <winscard.h>

#define SELECT_MANAGEMENT "00A40400 08 A000000527471117"
#define SELECT_PIV "00A40400 05 A000000308"

static void a_reset_by_another_program_is_healed_silently(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    for (guint i = 0; i < 3; i++) {
        other_reset(other);
        reset_count(scene);
        assert_signs(scene, "9a", NULL);
        g_assert_cmpuint(seen(scene, "f8"), ==, 1); /* it is the same one, by its serial number */
    }
    other_reset(other);
    g_autoptr(TokenInfo) info = probe(scene);
    g_assert_cmpint(info->pin_state, ==, PIN_STATE_SET);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

static void another_application_is_healed_silently(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    g_assert_cmphex(other_send(other, SELECT_MANAGEMENT), ==, 0x9000);
    assert_signs(scene, "9a", NULL);
    g_assert_cmphex(other_send(other, SELECT_MANAGEMENT), ==, 0x9000);
    generate(scene, "82", KEY_TYPE_P256, NULL);
    g_assert_cmphex(other_send(other, SELECT_MANAGEMENT), ==, 0x9000);
    token_info_free(probe(scene));
}

static void a_card_that_another_program_has_for_itself_is_held(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    g_autofree char *serial = NULL;
    scene->backend->class->free(g_steal_pointer(&scene->backend));
    g_autoptr(Other) other = other_connect(true);
    g_assert_null(yubikey_new(pcsc_reader_name(0), &serial, &error));
    assert_code(error, IOTHSM_ERROR_TOKEN_HELD);
    g_assert_null(serial);
    g_clear_pointer(&other, other_free);
    scene->backend = scene_open(scene);
    generate(scene, "9a", KEY_TYPE_P256, NULL);
}

/* Before each of the commands of a signature, also between PIN and signature. */
static void a_reset_inside_a_signature_is_healed_silently(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    generate(scene, "9c", KEY_TYPE_P256, NULL); /* wants the PIN each time */
    for (guint at = 1; at <= 4; at++) {
        g_autofree char *request = g_strdup_printf("reset %u", at);
        static const char *const slots[] = {"9a", "9c"};
        for (gsize i = 0; i < G_N_ELEMENTS(slots); i++) {
            assert_signs(scene, slots[i], NULL);
            reset_count(scene);
            virtual_key_tell(scene->key, request);
            assert_signs(scene, slots[i], NULL);
            g_assert_cmpuint(seen(scene, "87"), <=, 2);
        }
    }
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

/* The other program, which lets go of the card when we have asked in vain |asked| times. */
static struct {
    Other *other;
    guint asked;
} lets_go;

LONG SCardGetAttrib(SCARDHANDLE card, DWORD attribute, LPBYTE value, LPDWORD size)
{
    __typeof__(&SCardGetAttrib) ask = (__typeof__(&SCardGetAttrib))dlsym(RTLD_NEXT, "SCardGetAttrib");
    LONG result = ask(card, attribute, value, size);
    if (result == SCARD_E_SHARING_VIOLATION && lets_go.asked > 0 && --lets_go.asked == 0)
        other_end(lets_go.other);
    return result;
}

static void a_transaction_of_another_program_is_waited_for(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    other_begin(other);
    lets_go.other = other;
    lets_go.asked = 3;
    assert_signs(scene, "9a", NULL);
    g_assert_cmpuint(lets_go.asked, ==, 0);
}

static void a_transaction_that_does_not_end_is_held(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(Other) other = other_connect(false);
    other_begin(other);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_TOKEN_HELD);
    other_end(other);
    assert_signs(scene, "9a", NULL);
}

static void a_key_that_was_pulled_out_is_gone_and_comes_back_with_its_pin(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    scene_unplug(scene);
    assert_sign_fails(scene, "9a", IOTHSM_ERROR_TOKEN_GONE);
    scene_plug(scene);
    assert_signs(scene, "9a", NULL);
    scene_unplug(scene);
    scene_plug(scene);
    assert_signs(scene, "9a", NULL);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

static void another_key_in_the_same_reader_gets_no_pin(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autofree char *directory = test_directory();
    const char *options[] = {"--serial=87654321", NULL};
    scene_unplug(scene);
    VirtualKey *first = scene->key;
    scene->key = virtual_key_start(directory, pcsc_port(scene->pcsc, 0), options);
    pcsc_wait_card(scene->pcsc, 0, true);
    g_autoptr(GError) error = NULL;
    g_assert_false(try_sign(scene, "9a", NULL, &error));
    assert_code(error, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_nonnull(strstr(error->message, "87654321"));
    g_assert_cmpuint(seen(scene, "compared"), ==, 0);
    virtual_key_free(scene->key);
    scene->key = first;
    pcsc_wait_card(scene->pcsc, 0, false);
    scene_plug(scene);
    assert_signs(scene, "9a", NULL);
}

static void without_pcscd_nothing_is_reached_and_that_is_said(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    scene_stop_pcscd(scene);
    for (guint i = 0; i < 2; i++) {
        g_assert_false(try_sign(scene, "9a", NULL, &error));
        assert_code(error, IOTHSM_ERROR_TOKEN_GONE);
        g_assert_nonnull(strstr(error->message, "pcscd"));
        g_clear_error(&error);
    }
    scene_start_pcscd(scene);
    assert_signs(scene, "9a", NULL);
}

static void a_restart_of_pcscd_is_healed_silently(void)
{
    g_autoptr(Scene) scene = scene_new_ready(FIRMWARE_5);
    scene_stop_pcscd(scene);
    scene_start_pcscd(scene);
    assert_signs(scene, "9a", NULL);
    scene_stop_pcscd(scene);
    scene_start_pcscd(scene);
    g_autoptr(TokenInfo) info = probe(scene);
    g_assert_cmpint(info->pin_state, ==, PIN_STATE_SET);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
#define TEST(name) g_test_add_func("/healing/" #name, name)
    TEST(a_reset_by_another_program_is_healed_silently);
    TEST(a_reset_inside_a_signature_is_healed_silently);
    TEST(another_application_is_healed_silently);
    TEST(a_card_that_another_program_has_for_itself_is_held);
    TEST(a_transaction_of_another_program_is_waited_for);
    TEST(a_transaction_that_does_not_end_is_held);
    TEST(a_key_that_was_pulled_out_is_gone_and_comes_back_with_its_pin);
    TEST(another_key_in_the_same_reader_gets_no_pin);
    TEST(without_pcscd_nothing_is_reached_and_that_is_said);
    TEST(a_restart_of_pcscd_is_healed_silently);
    return g_test_run();
}
