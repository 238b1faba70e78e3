/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One table, and OpenSSL. A key that OpenSSL refuses to make or to use is a broken installation: it ends the
 * program. */

#include "tests/google-kms/algorithm.h"
#include "tests/google-kms/openssl-types.h"
#include <openssl/ec.h>
#include <openssl/rsa.h>

#define PKCS1 RSA_PKCS1_PADDING
#define PSS RSA_PKCS1_PSS_PADDING

static const Algorithm algorithms[] = {
    {"EC_SIGN_P256_SHA256", "P-256", 0, "sha256", 0, true},
    {"EC_SIGN_P384_SHA384", "P-384", 0, "sha384", 0, true},
    {"EC_SIGN_P521_SHA512", "P-521", 0, "sha512", 0, true},
    {"EC_SIGN_SECP256K1_SHA256", "secp256k1", 0, "sha256", 0, true},
    {"EC_SIGN_ED25519", "ED25519", 0, NULL, 0, true},
    {"RSA_SIGN_PKCS1_2048_SHA256", NULL, 2048, "sha256", PKCS1, true},
    {"RSA_SIGN_PKCS1_3072_SHA256", NULL, 3072, "sha256", PKCS1, true},
    {"RSA_SIGN_PKCS1_4096_SHA256", NULL, 4096, "sha256", PKCS1, true},
    {"RSA_SIGN_PKCS1_4096_SHA512", NULL, 4096, "sha512", PKCS1, true},
    {"RSA_SIGN_PSS_2048_SHA256", NULL, 2048, "sha256", PSS, true},
    {"RSA_SIGN_PSS_3072_SHA256", NULL, 3072, "sha256", PSS, true},
    {"RSA_SIGN_PSS_4096_SHA256", NULL, 4096, "sha256", PSS, true},
    {"RSA_SIGN_PSS_4096_SHA512", NULL, 4096, "sha512", PSS, true},
    {"RSA_SIGN_RAW_PKCS1_2048", NULL, 2048, NULL, PKCS1, true},
    {"RSA_SIGN_RAW_PKCS1_3072", NULL, 3072, NULL, PKCS1, true},
    {"RSA_SIGN_RAW_PKCS1_4096", NULL, 4096, NULL, PKCS1, true},
    {"RSA_DECRYPT_OAEP_2048_SHA256", NULL, 2048, "sha256", 0, false},
    {"GOOGLE_SYMMETRIC_ENCRYPTION", NULL, 0, NULL, 0, false},
};

const Algorithm *algorithm_by_name(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(algorithms); i++)
        if (g_strcmp0(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

EVP_PKEY *algorithm_new_key(const Algorithm *algorithm)
{
    EVP_PKEY *key;
    if (algorithm->bits)
        key = EVP_RSA_gen(algorithm->bits);
    else if (g_strcmp0(algorithm->curve, "ED25519") == 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else
        key = EVP_EC_gen(algorithm->curve);
    g_assert_nonnull(key);
    return key;
}

gsize algorithm_digest_size(const Algorithm *algorithm)
{
    return algorithm->digest ? (gsize)EVP_MD_get_size(EVP_get_digestbyname(algorithm->digest)) : 0;
}

/* Ed25519 takes the data whole. */
static GBytes *sign_data_whole(EVP_PKEY *key, GBytes *data)
{
    guint8 signature[64];
    gsize size = sizeof signature;
    gsize data_size;
    const guint8 *bytes = g_bytes_get_data(data, &data_size);
    g_autoptr(EVP_MD_CTX) context = EVP_MD_CTX_new();
    g_assert_true(EVP_DigestSignInit(context, NULL, NULL, NULL, key) == 1 &&
                  EVP_DigestSign(context, signature, &size, bytes, data_size) == 1);
    return g_bytes_new(signature, size);
}

static GBytes *hash(const Algorithm *algorithm, GBytes *data)
{
    guint8 digest[EVP_MAX_MD_SIZE];
    guint size;
    gsize data_size;
    const guint8 *bytes = g_bytes_get_data(data, &data_size);
    g_assert_true(
        EVP_Digest(bytes, data_size, digest, &size, EVP_get_digestbyname(algorithm->digest), NULL) == 1);
    return g_bytes_new(digest, size);
}

GBytes *algorithm_sign(const Algorithm *algorithm, EVP_PKEY *key, GBytes *input, bool input_is_data)
{
    if (g_strcmp0(algorithm->curve, "ED25519") == 0)
        return sign_data_whole(key, input);
    g_autoptr(GBytes) digest =
        algorithm->digest && input_is_data ? hash(algorithm, input) : g_bytes_ref(input);
    g_autoptr(EVP_PKEY_CTX) context = EVP_PKEY_CTX_new(key, NULL);
    g_assert_cmpint(EVP_PKEY_sign_init(context), ==, 1);
    if (algorithm->bits)
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_padding(context, algorithm->padding), ==, 1);
    if (algorithm->digest)
        g_assert_cmpint(EVP_PKEY_CTX_set_signature_md(context, EVP_get_digestbyname(algorithm->digest)), ==,
                        1);
    if (algorithm->padding == PSS)
        g_assert_cmpint(EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST), ==, 1);
    gsize size;
    gsize digest_size;
    const guint8 *bytes = g_bytes_get_data(digest, &digest_size);
    g_assert_cmpint(EVP_PKEY_sign(context, NULL, &size, bytes, digest_size), ==, 1);
    g_autofree guint8 *signature = g_malloc(size);
    g_assert_cmpint(EVP_PKEY_sign(context, signature, &size, bytes, digest_size), ==, 1);
    return g_bytes_new(signature, size);
}
