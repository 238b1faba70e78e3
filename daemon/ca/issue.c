/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Fills in certificates by OpenSSL's X509 API, in the order of RFC 5280 4.1. */

#include "daemon/ca/issue.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/verify.h"
#include "daemon/ca/x509-cleanup.h"

enum { SERIAL_BITS = 159 };

ASN1_INTEGER *serial_random(GError **error)
{
    g_autoptr(BIGNUM) number = BN_new();
    do {
        if (BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1)
            return refuse_as(error, IOTHSM_ERROR_FAILED, "No random serial number could be made"), NULL;
    } while (BN_is_zero(number));
    return BN_to_ASN1_INTEGER(number, NULL);
}

AUTHORITY_KEYID *authority_key_identifier(X509 *issuer, GError **error)
{
    /* Not X509_get0_subject_key_id: that caches, and |issuer| may be a certificate in the making. */
    ASN1_OCTET_STRING *key_id = X509_get_ext_d2i(issuer, NID_subject_key_identifier, NULL, NULL);
    if (!key_id)
        return refuse(error, "The CA certificate has no subject key identifier"), NULL;
    AUTHORITY_KEYID *identifier = AUTHORITY_KEYID_new();
    identifier->keyid = key_id;
    return identifier;
}

static bool add_key_identifiers(X509 *certificate, X509 *issuer, GError **error)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    g_autoptr(ASN1_OCTET_STRING) key_id = ASN1_OCTET_STRING_new();

    if (X509_pubkey_digest(certificate, EVP_sha1(), hash, &size) != 1 ||
        ASN1_OCTET_STRING_set(key_id, hash, (int)size) != 1 ||
        X509_add1_ext_i2d(certificate, NID_subject_key_identifier, key_id, 0, X509V3_ADD_DEFAULT) != 1)
        return refuse_as(error, IOTHSM_ERROR_FAILED, "The subject key identifier cannot be made");
    g_autoptr(AUTHORITY_KEYID) authority = authority_key_identifier(issuer ? issuer : certificate, error);
    if (!authority)
        return false;
    return X509_add1_ext_i2d(certificate, NID_authority_key_identifier, authority, 0, X509V3_ADD_DEFAULT) ==
               1 ||
           refuse_as(error, IOTHSM_ERROR_FAILED, "The authority key identifier cannot be made");
}

static bool add_extensions(X509 *certificate, const X509_EXTENSIONS *extensions, GError **error)
{
    for (int i = 0; extensions && i < sk_X509_EXTENSION_num(extensions); i++)
        if (X509_add_ext(certificate, sk_X509_EXTENSION_value(extensions, i), -1) != 1)
            return refuse_as(error, IOTHSM_ERROR_FAILED, "The extensions cannot be copied");
    return true;
}

X509 *certificate_plan_build(const CertificatePlan *plan, GError **error)
{
    g_autoptr(X509) certificate = X509_new();
    g_autoptr(ASN1_TIME) from = time_to_asn1(plan->validity.from);
    g_autoptr(ASN1_TIME) to = time_to_asn1(plan->validity.to);
    const X509_NAME *issuer = plan->issuer ? X509_get_subject_name(plan->issuer) : plan->subject;

    if (!from || !to || X509_set_version(certificate, X509_VERSION_3) != 1 ||
        X509_set_serialNumber(certificate, (ASN1_INTEGER *)plan->serial) != 1 ||
        X509_set_issuer_name(certificate, issuer) != 1 || X509_set1_notBefore(certificate, from) != 1 ||
        X509_set1_notAfter(certificate, to) != 1 || X509_set_subject_name(certificate, plan->subject) != 1 ||
        X509_set_pubkey(certificate, plan->public_key) != 1)
        return refuse_as(error, IOTHSM_ERROR_FAILED, "The certificate cannot be put together"), NULL;
    if (!add_key_identifiers(certificate, plan->issuer, error) ||
        !add_extensions(certificate, plan->extensions, error))
        return NULL;
    return g_steal_pointer(&certificate);
}

const EVP_MD *digest_for_key(EVP_PKEY *key, const EVP_MD *wanted)
{
    enum { MANDATORY = 2 }; /* EVP_PKEY_get_default_digest_name(3) */
    char name[80];
    if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448"))
        return NULL;
    if (EVP_PKEY_get_default_digest_name(key, name, sizeof name) == MANDATORY)
        return EVP_get_digestbyname(name);
    return wanted ? wanted : EVP_sha256();
}

X509 *certificate_sign(X509 *certificate, EVP_PKEY *key, X509 *issuer, EVP_PKEY *subject_key,
                       const EVP_MD *digest, GError **error)
{
    if (X509_sign(certificate, key, digest_for_key(key, digest)) <= 0) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The CA key could not sign");
        return NULL;
    }
    unsigned char *encoded = NULL;
    int size = i2d_X509(certificate, &encoded);
    const unsigned char *at = encoded;
    g_autoptr(X509) result = size > 0 ? d2i_X509(NULL, &at, size) : NULL;
    OPENSSL_free(encoded);
    return verify_certificate(result, issuer ? issuer : result, subject_key, error) ? g_steal_pointer(&result)
                                                                                    : NULL;
}
