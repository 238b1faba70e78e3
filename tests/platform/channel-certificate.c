/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One check a field, one sentence each. */

#include "tests/platform/channel-certificate.h"
#include <string.h>

#define CHANNEL_CN "IoT HSM SMIME Cert for PKIaaS.io Validation"

enum {
    LONGEST_LIFE = 15 * 60, /* seconds, protocol.md 1.3 */
    CHANNEL_KEY_BITS = 2048,
};

static bool wrong(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "The channel certificate %s", what);
    return false;
}

static bool check_subject(X509 *certificate, GError **error)
{
    const X509_NAME *name = X509_get_subject_name(certificate);
    const X509_NAME_ENTRY *entry = X509_NAME_entry_count(name) == 1 ? X509_NAME_get_entry(name, 0) : NULL;
    const ASN1_STRING *text = entry ? X509_NAME_ENTRY_get_data(entry) : NULL;
    if (!text || OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) != NID_commonName ||
        ASN1_STRING_type(text) != V_ASN1_UTF8STRING || ASN1_STRING_length(text) != (int)strlen(CHANNEL_CN) ||
        memcmp(ASN1_STRING_get0_data(text), CHANNEL_CN, strlen(CHANNEL_CN)) != 0)
        return wrong(error, "doesn't have the subject CN=" CHANNEL_CN);
    return true;
}

static bool check_life(X509 *certificate, GError **error)
{
    int days;
    int seconds;
    if (ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate), X509_get0_notAfter(certificate)) !=
            1 ||
        days != 0 || seconds <= 0 || seconds > LONGEST_LIFE)
        return wrong(error, "is valid for more than 15 minutes");
    return true;
}

static bool check_key(X509 *certificate, GError **error)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA || EVP_PKEY_get_bits(key) != CHANNEL_KEY_BITS)
        return wrong(error, "doesn't hold an RSA-2048 key");
    return true;
}

static bool check_extensions(X509 *certificate, X509 *authority, GError **error)
{
    static const struct {
        int nid;
        int critical;
    } expected[] = {{NID_subject_key_identifier, 0},
                    {NID_authority_key_identifier, 0},
                    {NID_key_usage, 1},
                    {NID_ext_key_usage, 1}};
    if (X509_get_ext_count(certificate) != (int)G_N_ELEMENTS(expected))
        return wrong(error, "doesn't have exactly SKI, AKI, key usage and extended key usage");
    for (gsize i = 0; i < G_N_ELEMENTS(expected); i++) {
        X509_EXTENSION *extension = X509_get_ext(certificate, (int)i);
        if (OBJ_obj2nid(X509_EXTENSION_get_object(extension)) != expected[i].nid ||
            (X509_EXTENSION_get_critical(extension) != 0) != expected[i].critical)
            return wrong(error, "has its extensions in another order or criticality than protocol.md 1.3");
    }
    if (X509_get_key_usage(certificate) !=
        (KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT | KU_DATA_ENCIPHERMENT))
        return wrong(error, "doesn't have the key usage digitalSignature, keyEncipherment, dataEncipherment");
    g_autoptr(EXTENDED_KEY_USAGE) usage = X509_get_ext_d2i(certificate, NID_ext_key_usage, NULL, NULL);
    if (sk_ASN1_OBJECT_num(usage) != 1 || OBJ_obj2nid(sk_ASN1_OBJECT_value(usage, 0)) != NID_email_protect)
        return wrong(error, "doesn't have the extended key usage emailProtection alone");
    const ASN1_OCTET_STRING *wanted = X509_get0_subject_key_id(authority);
    const ASN1_OCTET_STRING *named = X509_get0_authority_key_id(certificate);
    if (wanted && (!named || ASN1_OCTET_STRING_cmp(wanted, named) != 0))
        return wrong(error, "doesn't name its authority's key identifier");
    return true;
}

/* A key in Google Cloud signs with an algorithm of its own (protocol.md 6.7). A root's own signature shows
 * it; of an intermediate nothing is known but that it is a stronger one. */
static bool may_be_a_cloud_keys(X509 *certificate, X509 *authority)
{
    int used = X509_get_signature_nid(certificate);
    int digest = NID_undef;
    if (X509_self_signed(authority, 1) == 1)
        return used == X509_get_signature_nid(authority);
    return used == NID_rsassaPss ||
           (OBJ_find_sigid_algs(used, &digest, NULL) == 1 && (digest == NID_sha384 || digest == NID_sha512));
}

static bool check_signature_algorithm(X509 *certificate, X509 *authority, GError **error)
{
    EVP_PKEY *key = X509_get0_pubkey(authority);
    int expected = EVP_PKEY_get_base_id(key) == EVP_PKEY_EC        ? NID_ecdsa_with_SHA256
                   : EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519 ? NID_ED25519
                                                                   : NID_sha256WithRSAEncryption;
    if (X509_get_signature_nid(certificate) != expected && !may_be_a_cloud_keys(certificate, authority))
        return wrong(error, "is not signed with SHA-256, nor as a key in Google Cloud would");
    return true;
}

bool channel_certificate_check(X509 *certificate, X509 *authority, GError **error)
{
    if (X509_get_version(certificate) != X509_VERSION_3)
        return wrong(error, "is not version 3");
    g_autoptr(BIGNUM) serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    if (BN_is_negative(serial) || BN_num_bits(serial) > 159 || BN_num_bits(serial) < 64)
        return wrong(error, "doesn't have a random positive serial number of up to 159 bits");
    return check_subject(certificate, error) && check_life(certificate, error) &&
           check_key(certificate, error) && check_extensions(certificate, authority, error) &&
           check_signature_algorithm(certificate, authority, error);
}
