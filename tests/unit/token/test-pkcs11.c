/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PKCS#11 tokens, their keys and certificates, against SoftHSM2 itself. */

#include "daemon/openssl-cleanup.h"
#include "tests/unit/token/softhsm-fixture.h"
#include <openssl/cms.h>
#include <string.h>
#include <sys/stat.h>

static void test_new_token_is_reported_before_its_serial_is(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    guint before = fixture->tokens->len;
    g_autofree char *serial = create_token(fixture, "Näme");
    g_assert_cmpuint(fixture->tokens->len, ==, before + 1);
    Token *token = fixture_token(fixture, serial);
    g_assert_cmpstr(token_kind(token), ==, "softhsm2");
    g_assert_cmpstr(token_serial(token), ==, serial);
    g_assert_cmpstr(token_label(token), ==, "Näme");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    g_assert_cmpint(token_pin_retries(token), ==, -1);
    g_assert_cmpuint(g_strv_length((char **)token_free_slots(token)), ==, 32);
    g_assert_cmpstr(token_free_slots(token)[0], ==, "01");
    g_assert_cmpstr(token_free_slots(token)[31], ==, "20");
    for (int type = 0; type < N_KEY_TYPES; type++)
        g_assert_true(g_strv_contains(token_key_types(token), key_type_to_string((KeyType)type)));
    g_autofree char *other = create_token(fixture, "Second");
    g_assert_cmpstr(other, !=, serial);
    delete_token(fixture, serial);
    g_assert_cmpuint(fixture->tokens->len, ==, before + 1);
    g_assert_cmpstr(token_serial(fixture_token(fixture, other)), ==, other);
    delete_token(fixture, other);
}

static void test_bad_token_requests_are_refused(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autoptr(Secret) good = secret_of(SO_PIN);
    g_autoptr(Secret) short_pin = secret_of("123");
    g_auto(Ending) no_label = {0};
    g_auto(Ending) long_label = {0};
    g_auto(Ending) bad_pin = {0};
    g_auto(Ending) unknown = {0};
    softhsm_create_token(fixture->source, "", good, good, ending_text, &no_label);
    softhsm_create_token(fixture->source, "123456789012345678901234567890123", good, good, ending_text,
                         &long_label);
    softhsm_create_token(fixture->source, "x", good, short_pin, ending_text, &bad_pin);
    softhsm_delete_token(fixture->source, "0123456789abcdef", ending_done, &unknown);
    ending_fails(&no_label, IOTHSM_ERROR_INVALID);
    ending_fails(&long_label, IOTHSM_ERROR_INVALID);
    ending_fails(&bad_pin, IOTHSM_ERROR_INVALID);
    ending_fails(&unknown, IOTHSM_ERROR_FAILED);
}

static void test_broken_module_is_an_error_in_words(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *file = test_write(directory, "module.so", "no library");
    Source *source = pkcs11_source_new(file, false);
    const SourceEvents events = {0};
    g_auto(Ending) started = {0};
    source->class->start(source, &events, ending_done, &started);
    ending_fails(&started, IOTHSM_ERROR_FAILED);
    g_assert_nonnull(strstr(started.error->message, file));
    source->class->free(source);
}

static void test_tokens_are_kept_where_nobody_else_reads(void)
{
    struct stat status;
    const char *file = g_getenv("SOFTHSM2_CONF");
    g_autofree char *directory = g_path_get_dirname(file);
    g_autofree char *tokens = g_build_filename(directory, "softhsm", NULL);
    g_assert_cmpint(stat(tokens, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0700);
    g_assert_cmpint(stat(file, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);
    /* What is set is left alone. */
    g_autoptr(GError) error = NULL;
    g_assert_true(softhsm_prepare("/nonexistent", &error));
    g_assert_no_error(error);
    g_assert_cmpstr(g_getenv("SOFTHSM2_CONF"), ==, file);
}

/* Each key signs; private keys never show. */
static void test_every_type_is_generated_and_signs(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Types");
    for (int type = 0; type < N_KEY_TYPES; type++) {
        soft.fixture->busy_seen = false;
        g_autofree char *name = generate(token, "", (KeyType)type);
        Slot *slot = token_find_slot(token, name);
        g_assert_true(soft.fixture->busy_seen);
        g_assert_cmpstr(slot_key_type(slot), ==, key_type_to_string((KeyType)type));
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
        g_assert_cmpint(slot_origin(slot), ==, KEY_ORIGIN_GENERATED);
        assert_signs(slot, NULL);
        assert_signs(slot, NULL);
        g_assert_cmpuint(slot_signatures(slot), ==, 2);
    }
    g_assert_cmpuint(token_slots(token)->len, ==, N_KEY_TYPES);
    g_assert_cmpuint(soft.fixture->slots_added, ==, N_KEY_TYPES);
    g_assert_cmpstr(token_free_slots(token)[0], ==, "08");

    g_autofree char *listed =
        test_run((const char *const[]){"pkcs11-tool", "--module", softhsm_module(), "--token-label", "Types",
                                       "-O", "--login", "--pin", PIN, NULL},
                 NULL, 0);
    g_assert_nonnull(strstr(listed, "sensitive, always sensitive, never extractable, local"));
    g_assert_null(strstr(listed, "decrypt,"));
}

static void test_occupied_slot_is_kept(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Occupied");
    g_autofree char *name = generate(token, "0a", KEY_TYPE_P256);
    g_assert_cmpstr(name, ==, "0a");
    g_autoptr(EVP_PKEY) key = slot_public_key(token_find_slot(token, "0a"));
    EVP_PKEY_up_ref(key);
    g_auto(Ending) again = {0};
    token_generate_key(token, "0a", KEY_TYPE_P384, NULL, NULL, ending_text, &again);
    ending_fails(&again, IOTHSM_ERROR_SLOT_OCCUPIED);
    static const char *const bad_names[] = {"0A", "1", "9c1", "slot", "label=", "../01"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad_names); i++) {
        g_auto(Ending) bad = {0};
        token_generate_key(token, bad_names[i], KEY_TYPE_P256, NULL, NULL, ending_text, &bad);
        ending_fails(&bad, IOTHSM_ERROR_INVALID);
    }
    g_assert_true(EVP_PKEY_eq(key, slot_public_key(token_find_slot(token, "0a"))) == 1);
    assert_signs(token_find_slot(token, "0a"), key);
}

/* A slot that was cleared and filled again signs with the new key. */
static void test_cleared_slot_is_free_and_forgets_its_key(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Clear");
    for (int round = 0; round < 4; round++) {
        g_autofree char *name = generate(token, "01", round % 2 ? KEY_TYPE_P256 : KEY_TYPE_ED25519);
        Slot *slot = token_find_slot(token, name);
        assert_signs(slot, NULL);
        g_autoptr(X509) certificate = test_ca("Clear", test_key("p256"));
        clear(slot);
        g_assert_null(token_find_slot(token, "01"));
        g_assert_cmpstr(token_free_slots(token)[0], ==, "01");
    }
    g_assert_cmpuint(soft.fixture->slots_removed, ==, 4);
}

static void import(Token *token, const char *pem, const char *passphrase, const char *slot, Ending *imported)
{
    g_autoptr(Secret) key = secret_of(pem);
    g_autoptr(Secret) phrase = passphrase ? secret_of(passphrase) : NULL;
    const KeyOptions options = {.label = "Imported key"};
    token_import_key(token, slot, key, phrase, &options, NULL, ending_text, imported);
}

static void test_keys_of_every_type_are_imported_and_sign(void)
{
    static const char *const types[] = {"rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521", "ed25519"};
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Import");
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        EVP_PKEY *key = test_key(types[i]);
        g_autofree char *pem = test_key_pem(key, i % 2 ? "open sesame" : NULL);
        g_auto(Ending) imported = {0};
        import(token, pem, i % 2 ? "open sesame" : NULL, "", &imported);
        ending_ok(&imported);
        Slot *slot = token_find_slot(token, imported.text);
        g_assert_cmpstr(slot_key_type(slot), ==, types[i]);
        g_assert_cmpstr(slot_label(slot), ==, "Imported key");
        g_assert_cmpint(slot_origin(slot), ==, KEY_ORIGIN_IMPORTED);
        assert_signs(slot, key);
    }
    g_auto(Ending) occupied = {0};
    g_autofree char *pem = test_key_pem(test_key("p256"), NULL);
    import(token, pem, NULL, "01", &occupied);
    ending_fails(&occupied, IOTHSM_ERROR_SLOT_OCCUPIED);
}

static void test_certificate_replaces_the_old_one(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Certificate");
    g_autofree char *pem = test_key_pem(test_key("rsa2048"), NULL);
    g_auto(Ending) imported = {0};
    import(token, pem, NULL, "05", &imported);
    ending_ok(&imported);
    g_autoptr(Slot) slot = slot_ref(token_find_slot(token, "05"));
    static const char *const names[] = {"First CA", "Second CA"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(X509) certificate = test_ca(names[i], test_key("rsa2048"));
        g_auto(Ending) written = {0};
        guint changes = soft.fixture->slots_changed;
        slot_write_certificate(slot, certificate, NULL, ending_done, &written);
        ending_ok(&written);
        g_assert_cmpint(X509_cmp(slot_certificate(slot), certificate), ==, 0);
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_PROVISIONED);
        g_assert_cmpuint(soft.fixture->slots_changed, ==, changes + 1);
    }
    g_autofree char *listed =
        TEST_RUN("pkcs11-tool", "--module", softhsm_module(), "--token-label", "Certificate", "-O");
    char *first = strstr(listed, "Certificate Object");
    g_assert_nonnull(first);
    g_assert_null(strstr(first + 1, "Certificate Object"));

    g_autoptr(X509) foreign = test_ca("Other", test_key("p256"));
    g_auto(Ending) refused = {0};
    slot_write_certificate(slot, foreign, NULL, ending_done, &refused);
    ending_fails(&refused, IOTHSM_ERROR_KEY_MISMATCH);
    soft_token_delete(&soft);
    g_auto(Ending) gone = {0};
    slot_write_certificate(slot, slot_certificate(slot), NULL, ending_done, &gone);
    ending_fails(&gone, IOTHSM_ERROR_TOKEN_GONE);
}

static bool certificate_and_cms(EVP_PKEY *key, void *data, GError **error)
{
    X509 *certificate = data;
    g_autoptr(BIO) content = BIO_new_mem_buf("data", 4);
    if (X509_sign(certificate, key, EVP_sha384()) <= 0) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "X509_sign");
        return false;
    }
    g_autoptr(CMS_ContentInfo) cms = CMS_sign(certificate, key, NULL, content, CMS_BINARY);
    if (!cms)
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "CMS_sign");
    return cms != NULL;
}

static void test_certificates_and_cms_are_signed(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Documents");
    static const KeyType types[] = {KEY_TYPE_RSA2048, KEY_TYPE_P384};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autofree char *name = generate(token, "", types[i]);
        Slot *slot = token_find_slot(token, name);
        g_autoptr(X509) certificate = test_ca("Documents", test_key("p256"));
        g_assert_true(X509_set_pubkey(certificate, slot_public_key(slot)));
        g_auto(Ending) signed_ = {0};
        g_assert_true(slot_use_key(slot, certificate_and_cms, certificate, NULL, WORKER_NO_DEADLINE, NULL,
                                   ending_done, &signed_, NULL));
        ending_ok(&signed_);
        g_assert_cmpint(X509_verify(certificate, slot_public_key(slot)), ==, 1);
        g_autofree char *pem = test_certificate_pem(certificate);
        g_autofree char *file = test_write(soft.fixture->directory, "certificate.pem", pem);
        g_autofree char *verified = TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", file, file);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!softhsm_test_prepare())
        return 0;
    g_test_add_func("/pkcs11/new-token-is-reported-before-its-serial-is",
                    test_new_token_is_reported_before_its_serial_is);
    g_test_add_func("/pkcs11/bad-token-requests-are-refused", test_bad_token_requests_are_refused);
    g_test_add_func("/pkcs11/broken-module-is-an-error-in-words", test_broken_module_is_an_error_in_words);
    g_test_add_func("/pkcs11/tokens-are-kept-where-nobody-else-reads",
                    test_tokens_are_kept_where_nobody_else_reads);
    g_test_add_func("/pkcs11/every-type-is-generated-and-signs", test_every_type_is_generated_and_signs);
    g_test_add_func("/pkcs11/occupied-slot-is-kept", test_occupied_slot_is_kept);
    g_test_add_func("/pkcs11/cleared-slot-is-free-and-forgets-its-key",
                    test_cleared_slot_is_free_and_forgets_its_key);
    g_test_add_func("/pkcs11/keys-of-every-type-are-imported-and-sign",
                    test_keys_of_every_type_are_imported_and_sign);
    g_test_add_func("/pkcs11/certificate-replaces-the-old-one", test_certificate_replaces_the_old_one);
    g_test_add_func("/pkcs11/certificates-and-cms-are-signed", test_certificates_and_cms_are_signed);
    return g_test_run();
}
