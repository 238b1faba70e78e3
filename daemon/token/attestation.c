/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Claims are read from DER by hand, as three of the four are bare bytes and no DER. The chain is checked in
 * two steps, since early YubiKeys have an attestation certificate without basic constraints, which OpenSSL
 * takes for no CA: the token's certificate against the roots, then the key's certificate against the token's.
 */

#include "daemon/token/attestation.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/piv/piv.h"
#include <openssl/x509v3.h>
#include <string.h>

#define OID_FIRMWARE "1.3.6.1.4.1.41482.3.3"
#define OID_SERIAL "1.3.6.1.4.1.41482.3.7"
#define OID_POLICIES "1.3.6.1.4.1.41482.3.8"
#define OID_FORM_FACTOR "1.3.6.1.4.1.41482.3.9"

#define FORM_FACTOR_FIPS 0x80
#define FORM_FACTOR_MASK 0x1f

/* The value of the extension |oid|; empty where there is none. False where there are two. */
typedef struct Claim {
    const unsigned char *data;
    gsize size;
    bool there;
} Claim;

static bool find_claim(const X509 *certificate, const char *oid, Claim *ret_claim, GError **error)
{
    g_autoptr(ASN1_OBJECT) object = OBJ_txt2obj(oid, 1);
    int at = X509_get_ext_by_OBJ(certificate, object, -1);
    *ret_claim = (Claim){0};
    if (at < 0)
        return true;
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(X509_get_ext(certificate, at));
    *ret_claim = (Claim){ASN1_STRING_get0_data(value), (gsize)ASN1_STRING_length(value), true};
    if (X509_get_ext_by_OBJ(certificate, object, at) < 0)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                "the attestation has the extension %s twice", oid);
    return false;
}

static bool set_malformed(const char *oid, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                "the attestation's extension %s is not what a YubiKey writes", oid);
    return false;
}

static bool read_firmware(Attestation *to, const X509 *certificate, GError **error)
{
    Claim claim;
    if (!find_claim(certificate, OID_FIRMWARE, &claim, error))
        return false;
    if (claim.there && claim.size != 3)
        return set_malformed(OID_FIRMWARE, error);
    if (claim.there)
        to->firmware = g_strdup_printf("%u.%u.%u", claim.data[0], claim.data[1], claim.data[2]);
    return true;
}

static bool read_serial(Attestation *to, const X509 *certificate, GError **error)
{
    Claim claim;
    if (!find_claim(certificate, OID_SERIAL, &claim, error))
        return false;
    if (!claim.there)
        return true;
    const unsigned char *at = claim.data;
    ASN1_INTEGER *number = d2i_ASN1_INTEGER(NULL, &at, (long)claim.size);
    uint64_t serial = 0;
    bool right = number && at == claim.data + claim.size && ASN1_INTEGER_get_uint64(&serial, number) == 1 &&
                 serial > 0;
    ASN1_INTEGER_free(number);
    to->serial = serial;
    return right || set_malformed(OID_SERIAL, error);
}

static bool read_policies(Attestation *to, const X509 *certificate, GError **error)
{
    Claim claim;
    if (!find_claim(certificate, OID_POLICIES, &claim, error))
        return false;
    if (!claim.there)
        return true;
    if (claim.size != 2)
        return set_malformed(OID_POLICIES, error);
    to->pin_policy = piv_pin_policy_to_string(claim.data[0]);
    to->touch_policy = piv_touch_policy_to_string(claim.data[1]);
    return true;
}

static bool read_form_factor(Attestation *to, const X509 *certificate, GError **error)
{
    static const char *const names[] = {
        [1] = "USB-A keychain",      [2] = "USB-A nano",        [3] = "USB-C keychain",    [4] = "USB-C nano",
        [5] = "USB-C and Lightning", [6] = "USB-A fingerprint", [7] = "USB-C fingerprint",
    };
    Claim claim;
    if (!find_claim(certificate, OID_FORM_FACTOR, &claim, error))
        return false;
    if (!claim.there)
        return true;
    if (claim.size != 1)
        return set_malformed(OID_FORM_FACTOR, error);
    guint8 number = claim.data[0] & FORM_FACTOR_MASK;
    to->form_factor = number < G_N_ELEMENTS(names) ? names[number] : NULL;
    to->fips = claim.data[0] & FORM_FACTOR_FIPS;
    return true;
}

Attestation *attestation_read(X509 *certificate, GError **error)
{
    g_autoptr(Attestation) attestation = g_new0(Attestation, 1);
    bool read =
        read_firmware(attestation, certificate, error) && read_serial(attestation, certificate, error) &&
        read_policies(attestation, certificate, error) && read_form_factor(attestation, certificate, error);
    return read ? g_steal_pointer(&attestation) : NULL;
}

void attestation_free(Attestation *attestation)
{
    if (!attestation)
        return;
    g_free(attestation->firmware);
    g_free(attestation);
}

static bool is_not(GError **error, const char *sentence)
{
    g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE, sentence);
    return false;
}

/* A CA, or one of the early certificates that do not say. The certificate of an attested key says neither,
 * and its key signs whatever its owner likes: it must not pass for a token's. */
static bool is_attestation_key(X509 *certificate, GError **error)
{
    Claim serial;
    Claim policies;
    if (!find_claim(certificate, OID_SERIAL, &serial, error) ||
        !find_claim(certificate, OID_POLICIES, &policies, error))
        return false;
    bool silent = X509_get_ext_by_NID(certificate, NID_basic_constraints, -1) < 0;
    if (!serial.there && !policies.there && (silent || X509_check_ca(certificate) == 1))
        return true;
    return is_not(error, "the attestation is not signed by a token's attestation key");
}

static bool is_vouched_for(X509 *token, X509_STORE *roots, GError **error)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *parameters = NULL;
    bool verified = context && X509_STORE_CTX_init(context, roots, token, NULL) == 1 &&
                    (parameters = X509_STORE_CTX_get0_param(context)) &&
                    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN) == 1 &&
                    X509_verify_cert(context) == 1;
    if (!verified)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                    "none of the Yubico roots that were given vouches for this token (%s)",
                    context ? X509_verify_cert_error_string(X509_STORE_CTX_get_error(context))
                            : "no memory is left");
    X509_STORE_CTX_free(context);
    return verified;
}

static bool is_about(X509 *certificate, EVP_PKEY *public_key, const char *serial, GError **error)
{
    g_autoptr(Attestation) claims = attestation_read(certificate, error);
    g_autofree char *claimed = claims ? g_strdup_printf("%" G_GUINT64_FORMAT, claims->serial) : NULL;
    EVP_PKEY *attested = X509_get0_pubkey(certificate);
    if (!claims)
        return false;
    if (!attested || EVP_PKEY_eq(attested, public_key) != 1)
        return is_not(error, "the attestation is about another key than the one in the slot");
    if (claims->serial > 0 && strcmp(claimed, serial) != 0)
        return is_not(error, "the attestation is about a key of another token");
    return true;
}

bool attestation_verify(GPtrArray *chain, EVP_PKEY *public_key, const char *serial, X509_STORE *roots,
                        GError **error)
{
    if (chain->len != 2)
        return is_not(error, "the token did not give both certificates of the attestation");
    X509 *key = g_ptr_array_index(chain, 0);
    X509 *token = g_ptr_array_index(chain, 1);
    if (!is_about(key, public_key, serial, error) || !is_attestation_key(token, error) ||
        !is_vouched_for(token, roots, error))
        return false;
    EVP_PKEY *signer = X509_get0_pubkey(token);
    bool by_token = X509_NAME_cmp(X509_get_issuer_name(key), X509_get_subject_name(token)) == 0 && signer &&
                    X509_verify(key, signer) == 1;
    return by_token || is_not(error, "the attestation is not signed by this token's attestation key");
}
