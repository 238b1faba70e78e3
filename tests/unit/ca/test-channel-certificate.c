/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The channel certificate, field by field (protocol.md 1.3; vector 2). */

#include "daemon/ca/channel-certificate.h"
#include "daemon/ca/name.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <string.h>

static X509 *make(const TestAuthority *ca, const EVP_MD *digest)
{
    g_autoptr(EVP_PKEY) channel = test_key("rsa2048");
    g_autoptr(GError) error = NULL;
    X509 *certificate = channel_certificate_issue(ca->certificate, ca->key, channel, digest, NOW, &error);
    g_assert_no_error(error);
    g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(certificate), channel), ==, 1);
    return certificate;
}

static void test_fields(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("rsa4096");
    g_autoptr(X509) certificate = make(ca, NULL);
    const X509_NAME *subject = X509_get_subject_name(certificate);
    g_assert_cmpint(X509_get_version(certificate), ==, X509_VERSION_3);
    g_assert_cmpint(X509_get_signature_nid(certificate), ==, NID_sha256WithRSAEncryption);
    g_assert_cmpint(X509_NAME_cmp(X509_get_issuer_name(certificate), X509_get_subject_name(ca->certificate)),
                    ==, 0);
    g_assert_cmpint(certificate_not_before(certificate), ==, NOW - 300);
    g_assert_cmpint(certificate_not_after(certificate), ==, NOW + 600);
    g_assert_cmpint(X509_NAME_entry_count(subject), ==, 1);
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, 0));
    g_assert_cmpint(ASN1_STRING_type(value), ==, V_ASN1_UTF8STRING);
    g_autofree char *text = certificate_subject(certificate);
    g_assert_cmpstr(text, ==, "CN=IoT HSM SMIME Cert for PKIaaS.io Validation");
}

static void test_extensions(void)
{
    static const struct {
        int nid, critical;
    } expected[] = {{NID_subject_key_identifier, 0},
                    {NID_authority_key_identifier, 0},
                    {NID_key_usage, 1},
                    {NID_ext_key_usage, 1}};
    g_autoptr(TestAuthority) ca = test_authority_new("p384");
    g_autoptr(X509) certificate = make(ca, NULL);
    g_assert_cmpint(X509_get_ext_count(certificate), ==, G_N_ELEMENTS(expected));
    for (int i = 0; i < (int)G_N_ELEMENTS(expected); i++) {
        X509_EXTENSION *extension = X509_get_ext(certificate, i);
        g_assert_cmpint(OBJ_obj2nid(X509_EXTENSION_get_object(extension)), ==, expected[i].nid);
        g_assert_cmpint(X509_EXTENSION_get_critical(extension), ==, expected[i].critical);
    }
    g_autofree char *usage = extension_text(certificate, "X509v3 Key Usage: critical");
    g_autofree char *extended = extension_text(certificate, "X509v3 Extended Key Usage: critical");
    g_assert_cmpstr(usage, ==, "Digital Signature, Key Encipherment, Data Encipherment");
    g_assert_cmpstr(extended, ==, "E-mail Protection");
    g_autoptr(AUTHORITY_KEYID) authority =
        X509_get_ext_d2i(certificate, NID_authority_key_identifier, NULL, NULL);
    g_assert_null(authority->issuer);
    g_assert_null(authority->serial);
    g_assert_cmpint(ASN1_OCTET_STRING_cmp(authority->keyid, X509_get0_subject_key_id(ca->certificate)), ==,
                    0);
}

static void test_every_ca_key(void)
{
    static const struct {
        const char *key;
        int signature;
    } cases[] = {{"rsa2048", NID_sha256WithRSAEncryption},
                 {"p256", NID_ecdsa_with_SHA256},
                 {"p384", NID_ecdsa_with_SHA256},
                 {"p521", NID_ecdsa_with_SHA256},
                 {"ed25519", NID_ED25519}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(TestAuthority) ca = test_authority_new(cases[i].key);
        g_autoptr(X509) certificate = make(ca, NULL);
        g_autofree char *pem = test_certificate_pem(certificate);
        assert_chains(ca, pem);
        g_assert_cmpint(X509_get_signature_nid(certificate), ==, cases[i].signature);
    }
}

static void test_the_keys_digest_is_used(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p384");
    g_autoptr(X509) certificate = make(ca, EVP_sha384());
    g_assert_cmpint(X509_get_signature_nid(certificate), ==, NID_ecdsa_with_SHA384);
}

static void test_a_ca_without_key_identifier(void)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    const TestCertificate what = {.subject = "CN=CA"};
    g_autoptr(X509) ca = test_certificate(&what, key, NULL, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_null(channel_certificate_issue(ca, key, key, NULL, NOW, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
}

static void test_a_wrong_signature_does_not_leave(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) other = test_new_key("p256");
    g_autoptr(GError) error = NULL;
    g_assert_null(channel_certificate_issue(ca->certificate, other, other, NULL, NOW, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/channel-certificate/fields", test_fields);
    g_test_add_func("/channel-certificate/extensions", test_extensions);
    g_test_add_func("/channel-certificate/every-ca-key", test_every_ca_key);
    g_test_add_func("/channel-certificate/the-keys-digest-is-used", test_the_keys_digest_is_used);
    g_test_add_func("/channel-certificate/a-ca-without-key-identifier-is-refused",
                    test_a_ca_without_key_identifier);
    g_test_add_func("/channel-certificate/a-wrong-signature-does-not-leave",
                    test_a_wrong_signature_does_not_leave);
    return g_test_run();
}
