/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-type.h"
#include "tests/support/support.h"
#include <string.h>

static void test_names_are_read_back(void)
{
    for (int type = 0; type < N_KEY_TYPES; type++) {
        KeyType read = N_KEY_TYPES;
        g_assert_true(key_type_from_string(key_type_to_string((KeyType)type), &read, NULL));
        g_assert_cmpint(read, ==, type);
    }
}

static void test_spellings_of_pkcs11_tool_are_understood(void)
{
    static const struct {
        const char *text;
        KeyType type;
    } cases[] = {{"rsa:2048", KEY_TYPE_RSA2048},        {"RSA:4096", KEY_TYPE_RSA4096},
                 {"EC:prime256v1", KEY_TYPE_P256},      {"ec:secp384r1", KEY_TYPE_P384},
                 {"EC:edwards25519", KEY_TYPE_ED25519}, {"P521", KEY_TYPE_P521}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        KeyType read = N_KEY_TYPES;
        g_assert_true(key_type_from_string(cases[i].text, &read, NULL));
        g_assert_cmpint(read, ==, cases[i].type);
    }
}

static void test_other_names_are_refused_with_the_list(void)
{
    static const char *const names[] = {"",       "rsa",     "rsa1024", "rsa2048 ", "EC:secp256k1",
                                        "x25519", "\xff\xfe"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(GError) error = NULL;
        KeyType untouched = KEY_TYPE_P521;
        g_assert_false(key_type_from_string(names[i], &untouched, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
        g_assert_nonnull(strstr(error->message, "rsa2048, rsa3072"));
        g_assert_true(g_utf8_validate(error->message, -1, NULL));
        g_assert_cmpint(untouched, ==, KEY_TYPE_P521);
    }
}

static void test_keys_are_recognised(void)
{
    for (int type = 0; type < N_KEY_TYPES; type++) {
        KeyType found = N_KEY_TYPES;
        g_autoptr(GError) error = NULL;
        g_assert_true(key_type_of(test_key(key_type_to_string((KeyType)type)), &found, &error));
        g_assert_no_error(error);
        g_assert_cmpint(found, ==, type);
        g_assert_true(key_type_is_rsa(found) == g_str_has_prefix(key_type_to_string(found), "rsa"));
    }
}

static void test_other_keys_are_unsupported(void)
{
    g_autoptr(EVP_PKEY) koblitz = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1");
    g_autoptr(EVP_PKEY) agreement = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    EVP_PKEY *const keys[] = {koblitz, agreement, test_key("rsa1024")};
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(GError) error = NULL;
        KeyType type;
        g_assert_nonnull(keys[i]);
        g_assert_false(key_type_of(keys[i], &type, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/key-type/names-are-read-back", test_names_are_read_back);
    g_test_add_func("/key-type/spellings-of-pkcs11-tool-are-understood",
                    test_spellings_of_pkcs11_tool_are_understood);
    g_test_add_func("/key-type/other-names-are-refused-with-the-list",
                    test_other_names_are_refused_with_the_list);
    g_test_add_func("/key-type/keys-are-recognised", test_keys_are_recognised);
    g_test_add_func("/key-type/other-keys-are-unsupported", test_other_keys_are_unsupported);
    return g_test_run();
}
