/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Failures are assertions: nothing here depends on anything but OpenSSL. */

#include "daemon/token/fake/fake-attestation.h"
#include "daemon/openssl-cleanup.h"
#include <string.h>

#define DAYS 3650
#define SECONDS_A_DAY (24L * 60 * 60)

static void add_basic(X509 *certificate, const char *basic)
{
    g_autoptr(X509_EXTENSION) extension =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, (char *)basic);
    g_assert(extension && X509_add_ext(certificate, extension, -1) == 1);
}

static void add_claim(X509 *certificate, const FakeClaim *claim)
{
    g_autofree char *oid = g_strdup_printf("1.3.6.1.4.1.41482.3.%u", claim->number);
    g_autoptr(ASN1_OBJECT) object = OBJ_txt2obj(oid, 1);
    g_autoptr(ASN1_OCTET_STRING) octets = ASN1_OCTET_STRING_new();
    g_assert(ASN1_OCTET_STRING_set(octets, claim->data, (int)claim->size) == 1);
    g_autoptr(X509_EXTENSION) extension = X509_EXTENSION_create_by_OBJ(NULL, object, 0, octets);
    g_assert(extension && X509_add_ext(certificate, extension, -1) == 1);
}

X509 *fake_attestation_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                                   const char *basic, const FakeClaim *claims)
{
    X509 *certificate = X509_new();
    g_autoptr(X509_NAME) subject = X509_NAME_new();
    g_autoptr(BIGNUM) number = BN_new();
    g_assert(BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_version(certificate, X509_VERSION_3);
    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    X509_set_subject_name(certificate, subject);
    X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : subject);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -SECONDS_A_DAY);
    X509_gmtime_adj(X509_getm_notAfter(certificate), DAYS * SECONDS_A_DAY);
    g_assert(X509_set_pubkey(certificate, key) == 1);
    if (basic)
        add_basic(certificate, basic);
    for (; claims && claims->number > 0; claims++)
        add_claim(certificate, claims);
    g_assert(X509_sign(certificate, issuer_key, EVP_sha256()) > 0);
    return certificate;
}

FakeAttester *fake_attester_new(void)
{
    FakeAttester *attester = g_new0(FakeAttester, 1);
    attester->root_key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    attester->key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
    g_assert(attester->root_key && attester->key);
    attester->root = fake_attestation_certificate("Fake Attestation Root", attester->root_key, NULL,
                                                  attester->root_key, "critical,CA:TRUE", NULL);
    attester->certificate =
        fake_attestation_certificate("Fake PIV Attestation", attester->key, attester->root,
                                     attester->root_key, "critical,CA:TRUE,pathlen:0", NULL);
    return attester;
}

void fake_attester_free(FakeAttester *attester)
{
    if (!attester)
        return;
    X509_free(attester->root);
    EVP_PKEY_free(attester->root_key);
    X509_free(attester->certificate);
    EVP_PKEY_free(attester->key);
    g_free(attester);
}

static void free_certificate(void *certificate)
{
    X509_free(certificate);
}

GPtrArray *fake_attester_attest(const FakeAttester *attester, EVP_PKEY *key, guint64 serial,
                                const guint8 policies[2])
{
    static const guint8 firmware[] = {5, 7, 1};
    static const guint8 form_factor = 3;
    g_autoptr(ASN1_INTEGER) number = ASN1_INTEGER_new();
    unsigned char *der = NULL;
    g_assert(ASN1_INTEGER_set_uint64(number, serial) == 1);
    int size = i2d_ASN1_INTEGER(number, &der);
    const FakeClaim claims[] = {{3, firmware, sizeof firmware},
                                {8, policies, 2},
                                {9, &form_factor, 1},
                                {serial > 0 ? 7 : 0, der, (gsize)size},
                                {0, NULL, 0}};
    GPtrArray *chain = g_ptr_array_new_with_free_func(free_certificate);
    g_ptr_array_add(chain, fake_attestation_certificate("Fake PIV Attestation of a Key", key,
                                                        attester->certificate, attester->key, NULL, claims));
    X509_up_ref(attester->certificate);
    g_ptr_array_add(chain, attester->certificate);
    OPENSSL_free(der);
    return chain;
}
