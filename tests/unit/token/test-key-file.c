/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-file.h"
#include "tests/support/support.h"
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <string.h>

static Secret *secret_of(const char *text)
{
    return secret_new(text, strlen(text));
}

static EVP_PKEY *parse(const char *pem, const char *passphrase, GError **error)
{
    g_autoptr(Secret) file = secret_of(pem);
    g_autoptr(Secret) phrase = passphrase ? secret_of(passphrase) : NULL;
    return key_file_parse(file, phrase, error);
}

static void assert_refused(const char *pem, const char *passphrase, IothsmError code)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) key = parse(pem, passphrase, &error);
    g_assert_null(key);
    g_assert_error(error, IOTHSM_ERROR, (int)code);
    g_assert_null(strchr(error->message, '\n'));
}

/* "Traditional": what OpenSSL wrote before PKCS#8, with its own encryption. Transfer full. */
static char *traditional_pem(EVP_PKEY *key, const char *passphrase)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    g_assert_true(PEM_write_bio_PrivateKey_traditional(bio, key, passphrase ? EVP_aes_256_cbc() : NULL,
                                                       (const unsigned char *)passphrase,
                                                       passphrase ? (int)strlen(passphrase) : 0, NULL, NULL));
    long size = BIO_get_mem_data(bio, &text);
    return g_strndup(text, (gsize)size);
}

static void test_every_form_of_every_type_is_read(void)
{
    static const char *const types[] = {"rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        EVP_PKEY *key = test_key(types[i]);
        for (int form = 0; form < 4; form++) {
            const char *passphrase = form % 2 ? "pass phrase" : NULL;
            if (form >= 2 && g_str_equal(types[i], "ed25519"))
                continue; /* has no traditional form */
            g_autofree char *pem =
                form < 2 ? test_key_pem(key, passphrase) : traditional_pem(key, passphrase);
            g_autoptr(GError) error = NULL;
            g_autoptr(EVP_PKEY) read = parse(pem, passphrase, &error);
            g_assert_no_error(error);
            g_assert_cmpint(EVP_PKEY_eq(read, key), ==, 1);
        }
    }
}

static void test_what_the_openssl_command_writes_is_read(void)
{
    g_autofree char *ec = TEST_RUN("openssl", "ecparam", "-name", "prime256v1", "-genkey");
    g_autofree char *rsa = TEST_RUN("openssl", "genrsa", "-traditional", "2048");
    g_assert_nonnull(strstr(ec, "EC PARAMETERS"));
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) ec_key = parse(ec, NULL, &error);
    g_assert_no_error(error);
    g_autoptr(EVP_PKEY) rsa_key = parse(rsa, NULL, &error);
    g_assert_no_error(error);
}

static void test_passphrases_missing_and_wrong_are_told_apart(void)
{
    g_autofree char *pkcs8 = test_key_pem(test_key("p256"), "right");
    g_autofree char *traditional = traditional_pem(test_key("rsa2048"), "right");
    const char *const files[] = {pkcs8, traditional};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(EVP_PKEY) key = parse(files[i], NULL, &error);
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PASSPHRASE_WRONG);
        g_assert_nonnull(strstr(error->message, "give it"));
        g_assert_null(key);
        assert_refused(files[i], "wrong", IOTHSM_ERROR_PASSPHRASE_WRONG);
    }
    g_autofree char *enormous = g_strnfill(60000, 'x');
    assert_refused(pkcs8, enormous, IOTHSM_ERROR_PASSPHRASE_WRONG);
}

static void test_a_needless_passphrase_does_no_harm(void)
{
    g_autofree char *pem = test_key_pem(test_key("p256"), NULL);
    g_autoptr(EVP_PKEY) key = parse(pem, "not asked for", NULL);
    g_assert_nonnull(key);
}

static void test_what_is_no_key_is_refused(void)
{
    g_autofree char *public_key = test_public_key_pem(test_key("p256"));
    g_autofree char *good = test_key_pem(test_key("p256"), NULL);
    g_autofree char *cut = g_strndup(good, strlen(good) / 2);
    g_autoptr(X509) certificate = test_ca("Test", test_key("p256"));
    g_autofree char *certificate_pem = test_certificate_pem(certificate);
    static const char garbage[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_refused(" ", NULL, IOTHSM_ERROR_BAD_KEY);
    assert_refused("no key", NULL, IOTHSM_ERROR_BAD_KEY);
    assert_refused(garbage, NULL, IOTHSM_ERROR_BAD_KEY);
    assert_refused(public_key, NULL, IOTHSM_ERROR_BAD_KEY);
    assert_refused(certificate_pem, NULL, IOTHSM_ERROR_BAD_KEY);
    assert_refused(cut, NULL, IOTHSM_ERROR_BAD_KEY);
}

static void test_other_kinds_of_key_are_unsupported(void)
{
    g_autofree char *short_rsa = test_key_pem(test_key("rsa1024"), NULL);
    g_autofree char *koblitz = TEST_RUN("openssl", "ecparam", "-name", "secp256k1", "-genkey", "-noout");
    g_autofree char *agreement = TEST_RUN("openssl", "genpkey", "-algorithm", "X25519");
    assert_refused(short_rsa, NULL, IOTHSM_ERROR_UNSUPPORTED);
    assert_refused(koblitz, NULL, IOTHSM_ERROR_UNSUPPORTED);
    assert_refused(agreement, NULL, IOTHSM_ERROR_UNSUPPORTED);
}

/* An RSA key whose private exponent belongs to another key. */
static void test_parts_that_do_not_fit_are_refused(void)
{
    g_autoptr(EVP_PKEY) other = test_new_key("rsa2048");
    OSSL_PARAM *mine = NULL;
    OSSL_PARAM *theirs = NULL;
    g_assert_true(EVP_PKEY_todata(test_key("rsa2048"), EVP_PKEY_KEYPAIR, &mine));
    g_assert_true(EVP_PKEY_todata(other, EVP_PKEY_KEYPAIR, &theirs));
    OSSL_PARAM *private_mine = OSSL_PARAM_locate(mine, OSSL_PKEY_PARAM_RSA_D);
    OSSL_PARAM *private_theirs = OSSL_PARAM_locate(theirs, OSSL_PKEY_PARAM_RSA_D);
    OSSL_PARAM kept = *private_mine;
    *private_mine = *private_theirs;
    g_autoptr(EVP_PKEY_CTX) maker = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    g_autoptr(EVP_PKEY) broken = NULL;
    g_assert_true(EVP_PKEY_fromdata_init(maker) > 0);
    g_assert_true(EVP_PKEY_fromdata(maker, &broken, EVP_PKEY_KEYPAIR, mine) > 0);
    *private_mine = kept;
    OSSL_PARAM_free(mine);
    OSSL_PARAM_free(theirs);
    g_autofree char *pem = test_key_pem(broken, NULL);
    assert_refused(pem, NULL, IOTHSM_ERROR_BAD_KEY);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    secret_memory_init();
    g_test_add_func("/key-file/every-form-of-every-type-is-read", test_every_form_of_every_type_is_read);
    g_test_add_func("/key-file/what-the-openssl-command-writes-is-read",
                    test_what_the_openssl_command_writes_is_read);
    g_test_add_func("/key-file/passphrases-missing-and-wrong-are-told-apart",
                    test_passphrases_missing_and_wrong_are_told_apart);
    g_test_add_func("/key-file/a-needless-passphrase-does-no-harm", test_a_needless_passphrase_does_no_harm);
    g_test_add_func("/key-file/what-is-no-key-is-refused", test_what_is_no_key_is_refused);
    g_test_add_func("/key-file/other-kinds-of-key-are-unsupported", test_other_kinds_of_key_are_unsupported);
    g_test_add_func("/key-file/parts-that-do-not-fit-are-refused", test_parts_that_do_not_fit_are_refused);
    return g_test_run();
}
