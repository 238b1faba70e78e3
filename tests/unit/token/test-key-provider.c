/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The token behind the callback is a software key, so each signature can be checked with what OpenSSL itself,
 * and the openssl command, think of it. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider.h"
#include "tests/support/support.h"
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

static const char *const types[] = {"rsa2048", "rsa3072", "p256", "p384", "p521", "ed25519"};

typedef struct SoftToken {
    EVP_PKEY *key;
    gint calls;    /* atomic */
    gint released; /* atomic */
    bool fail;
    size_t pretend; /* != 0: the length to claim */
} SoftToken;

static bool soft_sign(void *data, KeyOperation operation, const unsigned char *input, size_t input_size,
                      unsigned char *signature, size_t *size)
{
    SoftToken *token = data;
    g_atomic_int_inc(&token->calls);
    if (token->fail) {
        key_provider_explain(
            g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE, "the token was unplugged"));
        return false;
    }
    if (token->pretend) {
        *size = token->pretend;
        return true;
    }
    if (operation == KEY_OPERATION_EDDSA_MESSAGE) {
        g_autoptr(EVP_MD_CTX) message = EVP_MD_CTX_new();
        return EVP_DigestSignInit(message, NULL, NULL, NULL, token->key) > 0 &&
               EVP_DigestSign(message, signature, size, input, input_size) > 0;
    }
    g_autoptr(EVP_PKEY_CTX) signer = EVP_PKEY_CTX_new_from_pkey(NULL, token->key, NULL);
    return EVP_PKEY_sign_init(signer) > 0 &&
           (operation != KEY_OPERATION_RSA_BLOCK ||
            EVP_PKEY_CTX_set_rsa_padding(signer, RSA_NO_PADDING) > 0) &&
           EVP_PKEY_sign(signer, signature, size, input, input_size) > 0;
}

static void soft_release(void *data)
{
    g_atomic_int_inc(&((SoftToken *)data)->released);
}

static EVP_PKEY *token_key(SoftToken *token, const char *type)
{
    *token = (SoftToken){.key = test_key(type)};
    EVP_PKEY *key = key_provider_key(token->key, soft_sign, token, soft_release);
    g_assert_nonnull(key);
    return key;
}

static const EVP_MD *digest_of(const char *type)
{
    return g_str_equal(type, "ed25519") ? NULL : g_str_equal(type, "p521") ? EVP_sha512() : EVP_sha256();
}

static void test_release_runs_once_with_the_last_reference(void)
{
    SoftToken token;
    EVP_PKEY *key = token_key(&token, "p256");
    EVP_PKEY_up_ref(key);
    EVP_PKEY_free(key);
    g_assert_cmpint(token.released, ==, 0);
    EVP_PKEY_free(key);
    g_assert_cmpint(token.released, ==, 1);
    g_autoptr(EVP_PKEY) agreement = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    g_assert_null(key_provider_key(agreement, soft_sign, &token, soft_release));
    g_assert_cmpint(token.released, ==, 1);
    g_assert_cmpuint(ERR_get_error(), !=, 0);
    ERR_clear_error();
}

static void test_certificates_requests_and_crls_are_signed(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        SoftToken token;
        g_autoptr(EVP_PKEY) key = token_key(&token, types[i]);
        g_autoptr(X509) certificate = test_ca("Provider", token.key);
        g_assert_cmpint(X509_set_pubkey(certificate, key), ==, 1);
        g_assert_cmpint(X509_sign(certificate, key, digest_of(types[i])), >, 0);
        g_assert_cmpint(X509_verify(certificate, token.key), ==, 1);
        g_assert_cmpint(X509_verify(certificate, key), ==, 1);
        g_assert_cmpint(X509_check_private_key(certificate, key), ==, 1);

        g_autoptr(X509_REQ) request = X509_REQ_new();
        g_assert_true(X509_REQ_set_pubkey(request, key));
        g_assert_cmpint(X509_REQ_sign(request, key, digest_of(types[i])), >, 0);
        g_assert_cmpint(X509_REQ_verify(request, token.key), ==, 1);

        g_autoptr(X509_CRL) crl = X509_CRL_new();
        g_autoptr(ASN1_TIME) now = ASN1_TIME_set(NULL, 1700000000);
        g_assert_true(X509_CRL_set_issuer_name(crl, X509_get_subject_name(certificate)));
        g_assert_true(X509_CRL_set1_lastUpdate(crl, now));
        g_assert_cmpint(X509_CRL_sign(crl, key, digest_of(types[i])), >, 0);
        g_assert_cmpint(X509_CRL_verify(crl, token.key), ==, 1);
        g_assert_cmpint(token.calls, ==, 3);

        g_autofree char *directory = test_directory();
        g_autofree char *pem = test_certificate_pem(certificate);
        g_autofree char *file = test_write(directory, "certificate.pem", pem);
        g_autofree char *verified = TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", file, file);
        g_assert_nonnull(strstr(verified, "OK"));
    }
}

static void test_cms_is_signed(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        if (g_str_equal(types[i], "ed25519"))
            continue; /* OpenSSL 3.0 makes no CMS with it, whoever holds the key */
        for (unsigned int flags = CMS_BINARY; flags <= (CMS_BINARY | CMS_NOATTR); flags += CMS_NOATTR) {
            SoftToken token;
            g_autoptr(EVP_PKEY) key = token_key(&token, types[i]);
            g_autoptr(X509) certificate = test_ca("Provider", token.key);
            g_autoptr(BIO) content = BIO_new_mem_buf("content", 7);
            g_autoptr(CMS_ContentInfo) cms = CMS_sign(certificate, key, NULL, content, flags);
            g_assert_nonnull(cms);
            g_assert_cmpint(CMS_verify(cms, NULL, NULL, NULL, NULL, CMS_BINARY | CMS_NO_SIGNER_CERT_VERIFY),
                            ==, 1);
            g_assert_cmpint(token.calls, ==, 1);
        }
    }
}

static bool sign_pss(EVP_PKEY *key, const EVP_MD *digest, const EVP_MD *mgf1, int salt,
                     unsigned char *signature, size_t *size)
{
    g_autoptr(EVP_MD_CTX) signer = EVP_MD_CTX_new();
    EVP_PKEY_CTX *settings = NULL;
    return EVP_DigestSignInit(signer, &settings, digest, NULL, key) > 0 &&
           EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(settings, mgf1) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, salt) > 0 &&
           EVP_DigestSign(signer, signature, size, (const unsigned char *)"text", 4) > 0;
}

static bool verify_pss(EVP_PKEY *key, const EVP_MD *digest, const EVP_MD *mgf1, int salt,
                       const unsigned char *signature, size_t size)
{
    g_autoptr(EVP_MD_CTX) check = EVP_MD_CTX_new();
    EVP_PKEY_CTX *settings = NULL;
    return EVP_DigestVerifyInit(check, &settings, digest, NULL, key) > 0 &&
           EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) > 0 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(settings, mgf1) > 0 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, salt) > 0 &&
           EVP_DigestVerify(check, signature, size, (const unsigned char *)"text", 4) > 0;
}

static void test_pss_has_the_salt_that_was_asked_for(void)
{
    static const int salts[] = {0, 20, 32, RSA_PSS_SALTLEN_DIGEST, RSA_PSS_SALTLEN_MAX};
    const EVP_MD *const digests[] = {EVP_sha256(), EVP_sha384(), EVP_sha512()};
    SoftToken token;
    g_autoptr(EVP_PKEY) key = token_key(&token, "rsa2048");
    for (gsize i = 0; i < G_N_ELEMENTS(salts); i++) {
        for (gsize j = 0; j < G_N_ELEMENTS(digests); j++) {
            const EVP_MD *mgf1 = digests[(i + j) % G_N_ELEMENTS(digests)];
            unsigned char signature[512];
            size_t size = sizeof signature;
            g_assert_true(sign_pss(key, digests[j], mgf1, salts[i], signature, &size));
            g_assert_true(verify_pss(token.key, digests[j], mgf1, salts[i], signature, size));
        }
    }
    unsigned char signature[512];
    size_t size = sizeof signature;
    g_assert_false(sign_pss(key, EVP_sha256(), EVP_sha256(), 300, signature, &size));
    ERR_clear_error();
}

static void test_asking_for_the_length_does_not_sign(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        SoftToken token;
        g_autoptr(EVP_PKEY) key = token_key(&token, types[i]);
        g_autoptr(EVP_MD_CTX) signer = EVP_MD_CTX_new();
        size_t size = 0;
        g_assert_cmpint(EVP_DigestSignInit(signer, NULL, digest_of(types[i]), NULL, key), >, 0);
        g_assert_cmpint(EVP_DigestSign(signer, NULL, &size, (const unsigned char *)"x", 1), >, 0);
        g_assert_cmpuint(size, ==, EVP_PKEY_get_size(token.key));
        g_assert_cmpint(token.calls, ==, 0);
        unsigned char small[16];
        size = sizeof small;
        g_assert_cmpint(EVP_DigestSign(signer, small, &size, (const unsigned char *)"x", 1), <=, 0);
        g_assert_cmpint(token.calls, ==, 0);
        ERR_clear_error();
    }
}

static void test_a_refusal_keeps_the_tokens_words(void)
{
    SoftToken token;
    g_autoptr(EVP_PKEY) key = token_key(&token, "rsa2048");
    g_autoptr(X509) certificate = test_ca("Provider", token.key);
    token.fail = true;
    ERR_clear_error();
    g_assert_cmpint(X509_sign(certificate, key, EVP_sha256()), <=, 0);
    bool told = false;
    const char *data = NULL;
    int flags = 0;
    while (ERR_get_error_all(NULL, NULL, NULL, &data, &flags))
        told = told || ((flags & ERR_TXT_STRING) && strstr(data, "the token was unplugged"));
    g_assert_true(told);
    g_autoptr(GError) explanation = key_provider_take_explanation();
    g_assert_error(explanation, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_null(key_provider_take_explanation());
}

static void test_a_signature_of_impossible_length_is_refused(void)
{
    static const size_t lengths[] = {1, 255, 257, 100000};
    SoftToken token;
    g_autoptr(EVP_PKEY) key = token_key(&token, "rsa2048");
    for (gsize i = 0; i < G_N_ELEMENTS(lengths); i++) {
        g_autoptr(EVP_MD_CTX) signer = EVP_MD_CTX_new();
        unsigned char signature[256];
        size_t size = sizeof signature;
        token.pretend = lengths[i];
        g_assert_cmpint(EVP_DigestSignInit(signer, NULL, EVP_sha256(), NULL, key), >, 0);
        g_assert_cmpint(EVP_DigestSign(signer, signature, &size, (const unsigned char *)"x", 1), <=, 0);
    }
    ERR_clear_error();
}

static void test_the_private_key_does_not_leave(void)
{
    SoftToken token;
    g_autoptr(EVP_PKEY) key = token_key(&token, "rsa2048");
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    g_assert_cmpint(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), ==, 0);
    ERR_clear_error();
    g_assert_cmpint(EVP_PKEY_eq(key, token.key), ==, 1);
    SoftToken second;
    g_autoptr(EVP_PKEY) same = token_key(&second, "rsa2048");
    SoftToken third;
    g_autoptr(EVP_PKEY) other = token_key(&third, "rsa3072");
    g_assert_cmpint(EVP_PKEY_eq(key, same), ==, 1);
    g_assert_cmpint(EVP_PKEY_eq(key, other), !=, 1);
}

/* A token that pads by itself: it is handed digests of one kind only. */
typedef struct PaddingToken {
    EVP_PKEY *key;
    const EVP_MD *digest;
    bool pss;
    gint calls; /* atomic */
} PaddingToken;

static bool padding_sign(void *data, KeyOperation operation, const unsigned char *input, size_t input_size,
                         unsigned char *signature, size_t *size)
{
    PaddingToken *token = data;
    bool rsa = EVP_PKEY_is_a(token->key, "RSA");
    g_atomic_int_inc(&token->calls);
    g_assert_cmpint(operation, ==, rsa ? KEY_OPERATION_RSA_DIGEST : KEY_OPERATION_ECDSA_DIGEST);
    g_assert_cmpuint(input_size, ==, (size_t)EVP_MD_get_size(token->digest));
    g_autoptr(EVP_PKEY_CTX) signer = EVP_PKEY_CTX_new_from_pkey(NULL, token->key, NULL);
    return EVP_PKEY_sign_init(signer) > 0 && EVP_PKEY_CTX_set_signature_md(signer, token->digest) > 0 &&
           (!token->pss || (EVP_PKEY_CTX_set_rsa_padding(signer, RSA_PKCS1_PSS_PADDING) > 0 &&
                            EVP_PKEY_CTX_set_rsa_pss_saltlen(signer, RSA_PSS_SALTLEN_DIGEST) > 0)) &&
           EVP_PKEY_sign(signer, signature, size, input, input_size) > 0;
}

static const struct {
    const char *type;
    const char *digest;
    bool pss;
} bound[] = {
    {"p256", "SHA256", false},    {"p384", "SHA384", false},    {"p521", "SHA512", false},
    {"rsa2048", "SHA256", false}, {"rsa3072", "SHA512", false}, {"rsa2048", "SHA256", true},
    {"rsa3072", "SHA512", true},
};

static EVP_PKEY *bound_key(PaddingToken *token, gsize i)
{
    *token = (PaddingToken){
        .key = test_key(bound[i].type), .digest = EVP_get_digestbyname(bound[i].digest), .pss = bound[i].pss};
    const KeyScheme scheme = {bound[i].digest, bound[i].pss};
    EVP_PKEY *key = key_provider_bound_key(token->key, &scheme, padding_sign, token, NULL);
    g_assert_nonnull(key);
    return key;
}

static void test_a_bound_key_names_its_digest_and_signs_with_no_other(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(bound); i++) {
        PaddingToken token;
        g_autoptr(EVP_PKEY) key = bound_key(&token, i);
        char name[80];
        g_assert_cmpint(EVP_PKEY_get_default_digest_name(key, name, sizeof name), ==, 2);
        g_assert_true(EVP_MD_is_a(token.digest, name));

        const EVP_MD *other = EVP_MD_is_a(token.digest, "SHA384") ? EVP_sha256() : EVP_sha384();
        g_autoptr(X509) certificate = test_ca("Bound", token.key);
        g_assert_cmpint(X509_sign(certificate, key, other), <=, 0);
        g_assert_cmpint(token.calls, ==, 0);
        ERR_clear_error();
    }
}

static void test_a_bound_key_signs_certificates_and_cms(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(bound); i++) {
        PaddingToken token;
        g_autoptr(EVP_PKEY) key = bound_key(&token, i);
        g_autoptr(X509) certificate = test_ca("Bound", token.key);
        g_assert_cmpint(X509_sign(certificate, key, token.digest), >, 0);
        g_assert_cmpint(X509_verify(certificate, token.key), ==, 1);
        g_assert_cmpint(X509_get_signature_nid(certificate) == NID_rsassaPss, ==, bound[i].pss);

        g_autoptr(BIO) content = BIO_new_mem_buf("content", 7);
        unsigned int flags = CMS_BINARY | CMS_PARTIAL;
        g_autoptr(CMS_ContentInfo) cms = CMS_sign(NULL, NULL, NULL, NULL, flags);
        g_assert_nonnull(CMS_add1_signer(cms, certificate, key, token.digest, flags | CMS_KEY_PARAM));
        g_assert_cmpint(CMS_final(cms, content, NULL, flags), ==, 1);
        g_assert_cmpint(token.calls, ==, 2);

        g_autofree char *directory = test_directory();
        g_autofree char *pem = test_certificate_pem(certificate);
        g_autofree char *ca = test_write(directory, "certificate.pem", pem);
        g_autofree char *message = g_build_filename(directory, "message.pem", NULL);
        g_autoptr(BIO) out = BIO_new_file(message, "w");
        g_assert_cmpint(PEM_write_bio_CMS_stream(out, cms, NULL, 0), ==, 1);
        g_clear_pointer(&out, BIO_free);
        g_autofree char *verified = TEST_RUN("openssl", "cms", "-verify", "-inform", "PEM", "-in", message,
                                             "-CAfile", ca, "-purpose", "any");
        g_assert_nonnull(strstr(verified, "content"));
    }
}

static void test_a_bound_keys_padding_can_not_be_changed(void)
{
    for (gsize i = 3; i < G_N_ELEMENTS(bound); i++) {
        PaddingToken token;
        g_autoptr(EVP_PKEY) key = bound_key(&token, i);
        int paddings[] = {RSA_PKCS1_PADDING, RSA_PKCS1_PSS_PADDING};
        for (int j = 0; j < 2; j++) {
            g_autoptr(EVP_MD_CTX) signer = EVP_MD_CTX_new();
            EVP_PKEY_CTX *settings = NULL;
            unsigned char signature[512];
            size_t size = sizeof signature;
            g_assert_cmpint(EVP_DigestSignInit(signer, &settings, token.digest, NULL, key), >, 0);
            g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(settings, paddings[j]), >, 0);
            if (paddings[j] == RSA_PKCS1_PSS_PADDING)
                g_assert_cmpint(EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, RSA_PSS_SALTLEN_DIGEST), >, 0);
            int made = EVP_DigestSign(signer, signature, &size, (const unsigned char *)"x", 1);
            g_assert_cmpint(made > 0, ==, (paddings[j] == RSA_PKCS1_PSS_PADDING) == bound[i].pss);
            ERR_clear_error();
        }
        g_assert_cmpint(token.calls, ==, 1);
    }
}

static gpointer sign_many(gpointer data)
{
    EVP_PKEY *key = data;
    for (int i = 0; i < 50; i++) {
        g_autoptr(EVP_MD_CTX) signer = EVP_MD_CTX_new();
        unsigned char signature[256];
        size_t size = sizeof signature;
        g_assert_cmpint(EVP_DigestSignInit(signer, NULL, EVP_sha256(), NULL, key), >, 0);
        g_assert_cmpint(EVP_DigestSign(signer, signature, &size, (const unsigned char *)&i, sizeof i), >, 0);
    }
    return NULL;
}

static void test_threads_share_one_key(void)
{
    SoftToken token;
    EVP_PKEY *key = token_key(&token, "p256");
    GThread *threads[4];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("sign", sign_many, key);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
    EVP_PKEY_free(key);
    g_assert_cmpint(token.calls, ==, 200);
    g_assert_cmpint(token.released, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/key-provider/release-runs-once-with-the-last-reference",
                    test_release_runs_once_with_the_last_reference);
    g_test_add_func("/key-provider/certificates-requests-and-crls-are-signed",
                    test_certificates_requests_and_crls_are_signed);
    g_test_add_func("/key-provider/cms-is-signed", test_cms_is_signed);
    g_test_add_func("/key-provider/pss-has-the-salt-that-was-asked-for",
                    test_pss_has_the_salt_that_was_asked_for);
    g_test_add_func("/key-provider/asking-for-the-length-does-not-sign",
                    test_asking_for_the_length_does_not_sign);
    g_test_add_func("/key-provider/a-refusal-keeps-the-tokens-words", test_a_refusal_keeps_the_tokens_words);
    g_test_add_func("/key-provider/a-signature-of-impossible-length-is-refused",
                    test_a_signature_of_impossible_length_is_refused);
    g_test_add_func("/key-provider/the-private-key-does-not-leave", test_the_private_key_does_not_leave);
    g_test_add_func("/key-provider/a-bound-key-names-its-digest-and-signs-with-no-other",
                    test_a_bound_key_names_its_digest_and_signs_with_no_other);
    g_test_add_func("/key-provider/a-bound-key-signs-certificates-and-cms",
                    test_a_bound_key_signs_certificates_and_cms);
    g_test_add_func("/key-provider/a-bound-keys-padding-can-not-be-changed",
                    test_a_bound_keys_padding_can_not_be_changed);
    g_test_add_func("/key-provider/threads-share-one-key", test_threads_share_one_key);
    return g_test_run();
}
