/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A YubiKey's backend against the virtual key, on each firmware: what it reads, and what its keys sign. */

#include "tests/yubikey/scene.h"

static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5, FIRMWARE_57};

static void a_new_key_is_read_without_its_pin(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        g_autoptr(TokenInfo) info = probe(scene);
        bool old = i == 0;
        g_assert_cmpstr(info->serial, ==, SERIAL);
        g_assert_cmpstr(info->label, ==, "YubiKey " SERIAL);
        g_assert_cmpstr(info->model, ==, old ? "YubiKey 4" : "YubiKey 5");
        g_assert_cmpstr(info->firmware, ==, firmwares[i]);
        g_assert_cmpint(info->pin_state, ==, old ? PIN_STATE_MISSING : PIN_STATE_FACTORY);
        g_assert_cmpint(info->pin_retries, ==, 3);
        g_assert_cmpint(info->puk_retries, ==, old ? -1 : 3);
        g_assert_cmpstr(info->management_key, ==, "factory");
        g_assert_cmpuint(g_strv_length(info->free_slots), ==, 24);
        g_assert_cmpstr(info->free_slots[0], ==, "9c");
        g_assert_cmpstr(info->free_slots[23], ==, "9e");
        g_assert_cmpuint(info->slots->len, ==, 1);
        const SlotInfo *f9 = find_slot(info, "f9");
        g_assert_true(f9->attestation && f9->has_private_key && f9->certificate && f9->public_key);
        g_assert_cmpint(g_strv_contains((const char *const *)info->key_types, "ed25519"), ==, i == 2);
        g_assert_true(g_strv_contains((const char *const *)info->key_types, "rsa2048"));
        g_assert_false(g_strv_contains((const char *const *)info->key_types, "p521"));
        g_assert_cmpint(pin_tries(scene), ==, 3);
    }
}

static void generated_keys_of_all_types_sign(void)
{
    static const struct {
        const char *slot;
        KeyType type;
    } old[] = {{"9c", KEY_TYPE_P256}, {"82", KEY_TYPE_P384}, {"95", KEY_TYPE_RSA2048}},
      new[] = {{"9c", KEY_TYPE_ED25519}, {"9a", KEY_TYPE_RSA3072}, {"9d", KEY_TYPE_P256}};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        log_in(scene);
        for (gsize k = 0; k < G_N_ELEMENTS(old); k++) {
            const char *slot = i == 2 ? new[k].slot : old[k].slot;
            KeyType type = i == 2 ? new[k].type : old[k].type;
            generate(scene, slot, type, NULL);
            g_autoptr(TokenInfo) info = probe(scene);
            const SlotInfo *made = find_slot(info, slot);
            KeyType read;
            g_assert_nonnull(made);
            g_assert_true(made->has_private_key);
            g_assert_false(is_free(info, slot));
            g_assert_cmpint(made->origin, ==, KEY_ORIGIN_GENERATED);
            g_assert_cmpstr(made->pin_policy, ==, k == 0 ? "always" : "once");
            g_assert_cmpstr(made->touch_policy, ==, "never");
            g_assert_true(key_type_of(made->public_key, &read, NULL));
            g_assert_cmpint(read, ==, type);
            assert_signs(scene, slot, made->public_key);
            assert_signs(scene, slot, made->public_key);
        }
        g_assert_cmpint(pin_tries(scene), ==, 3);
    }
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (!pcsc_is_possible()) {
        g_print("1..0 # SKIP pcscd or its virtual reader is not installed\n");
        return 0;
    }
#define TEST(name) g_test_add_func("/backend/" #name, name)
    TEST(a_new_key_is_read_without_its_pin);
    TEST(generated_keys_of_all_types_sign);
    return g_test_run();
}
