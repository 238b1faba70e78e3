/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* OpenSSL has no call for "the key of this private number", so the public point is computed here. */

#include "tests/fuzz/fuzz-keys.h"
#include "tests/support/support.h"
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/sha.h>
#include <string.h>

static EVP_PKEY *key_of(const char *name)
{
    unsigned char number[SHA256_DIGEST_LENGTH];
    unsigned char point[65];
    SHA256((const unsigned char *)name, strlen(name), number);
    BIGNUM *private = BN_bin2bn(number, sizeof number, NULL);
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    EC_POINT *public = EC_POINT_new(group);
    g_assert_true(EC_POINT_mul(group, public, private, NULL, NULL, NULL));
    g_assert_cmpuint(
        EC_POINT_point2oct(group, public, POINT_CONVERSION_UNCOMPRESSED, point, sizeof point, NULL), ==,
        sizeof point);

    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0);
    OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_PRIV_KEY, private);
    OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    g_assert_cmpint(EVP_PKEY_fromdata_init(context), ==, 1);
    g_assert_cmpint(EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters), ==, 1);

    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(builder);
    EC_POINT_free(public);
    EC_GROUP_free(group);
    BN_free(private);
    return key;
}

EVP_PKEY *fuzz_key(const char *name)
{
    static struct {
        const char *name;
        EVP_PKEY *key;
    } made[8];
    gsize i = 0;
    while (made[i].name && !g_str_equal(made[i].name, name))
        i++;
    if (!made[i].name) {
        made[i].name = g_intern_string(name);
        made[i].key = key_of(name);
    }
    return made[i].key;
}

X509 *fuzz_pinned(void)
{
    static X509 *pinned;
    if (!pinned)
        pinned = test_ca("pinned", fuzz_key("pinned"));
    return pinned;
}

X509 *fuzz_certificate(const char *name)
{
    static const char *const extensions[] = {
        "subjectKeyIdentifier",
        "hash",
        "authorityKeyIdentifier",
        "keyid:always",
        "keyUsage",
        "critical,digitalSignature,keyAgreement",
        "extendedKeyUsage",
        "emailProtection",
        NULL,
    };
    g_autofree char *subject = g_strdup_printf("C=US,O=Example,CN=%s", name);
    const TestCertificate what = {
        .subject = subject, .not_before = 1577836800, .not_after = 4733510400, .extensions = extensions};
    return test_certificate(&what, fuzz_key(name), fuzz_pinned(), fuzz_key("pinned"));
}
