/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Signed messages. Anybody who knows a channel can send one, so the cheap questions come first: the frame,
 * the number of certificates and signers, then the chain to the pinned CA; content is hashed and signatures
 * are checked only for a signer that the pinned CA vouches for.
 *
 * The chain is built by hand here and not by CMS_verify: in a context that knows the pinned store and the
 * message's own certificates (as intermediates, never as anchors), with the purpose that the operator chose,
 * at OpenSSL's security level 2 (RSA 2048, nothing weaker than SHA-224 in a chain) and at the current time.
 * CRLs in the message are ignored: there is nobody to fetch a newer one from.
 *
 * A message without signed attributes is refused: it could be the signed attributes of another message, read
 * as content, and it has no signing time. */

#include "daemon/link/message/envelope.h"
#include "daemon/error.h"
#include "daemon/link/message/cms-content.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/err.h>
#include <string.h>
#include <time.h>

/* A platform signer, its intermediates, and room. Each costs the verifier time before anything is believed.
 */
enum { CERTIFICATES_MAX = 16, CHAIN_DEPTH_MAX = 8, SECURITY_LEVEL = 2 };
enum { RSA_BITS_MIN = 2048, EC_BITS_MIN = 256 };

struct EnvelopeTrust {
    gint references;
    X509_STORE *pinned;
    SignerPurpose purpose;
};

EnvelopeTrust *envelope_trust_new(X509_STORE *pinned, SignerPurpose purpose)
{
    EnvelopeTrust *trust = g_new0(EnvelopeTrust, 1);
    X509_STORE_up_ref(pinned);
    trust->references = 1;
    trust->pinned = pinned;
    trust->purpose = purpose;
    return trust;
}

EnvelopeTrust *envelope_trust_ref(EnvelopeTrust *trust)
{
    g_atomic_int_inc(&trust->references);
    return trust;
}

void envelope_trust_unref(EnvelopeTrust *trust)
{
    if (!trust || !g_atomic_int_dec_and_test(&trust->references))
        return;
    X509_STORE_free(trust->pinned);
    g_free(trust);
}

void envelope_signed_free(EnvelopeSigned *message)
{
    if (!message)
        return;
    g_clear_pointer(&message->content, g_bytes_unref);
    X509_free(message->signer);
    g_free(message);
}

static bool refuse(GError **error, IothsmError code, const char *text)
{
    ERR_clear_error();
    g_set_error_literal(error, IOTHSM_ERROR, code, text);
    return false;
}

char *envelope_sign(GBytes *content, X509 *certificate, EVP_PKEY *key, GError **error)
{
    g_autoptr(BIO) in = cms_content_source(content, error);
    if (!in)
        return NULL;
    g_autoptr(CMS_ContentInfo) cms = CMS_sign(certificate, key, NULL, in, CMS_BINARY);
    if (!cms) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "Can't sign a message with the channel key");
        return NULL;
    }
    return cms_content_to_smime(cms, SMIME_SIGNED_DATA, error);
}

/* Signed-data of type data that carries its content: protocol.md 1.5. */
static bool check_form(CMS_ContentInfo *cms, GError **error)
{
    if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed)
        return refuse(error, IOTHSM_ERROR_INVALID, "The message is not signed");
    if (OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
        return refuse(error, IOTHSM_ERROR_INVALID, "The signed message does not hold plain data");
    ASN1_OCTET_STRING **content = CMS_get0_content(cms);
    if (!content || !*content)
        return refuse(error, IOTHSM_ERROR_INVALID, "The signed message has no content (detached signature)");
    return true;
}

/* The only SignerInfo, once it is one that we could believe. */
static CMS_SignerInfo *only_signer(CMS_ContentInfo *cms, GError **error)
{
    STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);
    if (sk_CMS_SignerInfo_num(signers) != 1) {
        refuse(error, IOTHSM_ERROR_INVALID, "The message does not have exactly one signer");
        return NULL;
    }
    CMS_SignerInfo *signer = sk_CMS_SignerInfo_value(signers, 0);
    if (CMS_signed_get_attr_count(signer) <= 0) {
        refuse(error, IOTHSM_ERROR_INVALID, "The message is signed without signed attributes");
        return NULL;
    }
    X509_ALGOR *digest = NULL;
    CMS_SignerInfo_get0_algs(signer, NULL, NULL, &digest, NULL);
    switch (OBJ_obj2nid(digest->algorithm)) {
    case NID_sha256:
    case NID_sha384:
    case NID_sha512:
    case NID_sha3_256:
    case NID_sha3_384:
    case NID_sha3_512:
        return signer;
    default:
        refuse(error, IOTHSM_ERROR_INVALID, "The message is signed with a digest weaker than SHA-256");
        return NULL;
    }
}

static bool check_key(X509 *certificate, GError **error)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    if (key && (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS")) &&
        EVP_PKEY_get_bits(key) >= RSA_BITS_MIN)
        return true;
    if (key && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_bits(key) >= EC_BITS_MIN)
        return true;
    return refuse(error, IOTHSM_ERROR_BAD_CERTIFICATE,
                  "The message's signer has a key that is not RSA of 2048 bits or EC of 256 bits or more");
}

static bool chain_verifies(const EnvelopeTrust *trust, X509 *signer, STACK_OF(X509) * certificates,
                           int *ret_code)
{
    g_autoptr(X509_STORE_CTX) context = X509_STORE_CTX_new();
    if (!context || X509_STORE_CTX_init(context, trust->pinned, signer, certificates) != 1) {
        *ret_code = X509_V_ERR_OUT_OF_MEM;
        return false;
    }
    X509_VERIFY_PARAM *parameters = X509_STORE_CTX_get0_param(context);
    bool smime = trust->purpose == SIGNER_PURPOSE_SMIMESIGN;
    X509_VERIFY_PARAM_set_purpose(parameters, smime ? X509_PURPOSE_SMIME_SIGN : X509_PURPOSE_ANY);
    if (smime)
        X509_VERIFY_PARAM_set_trust(parameters, X509_TRUST_EMAIL);
    X509_VERIFY_PARAM_set_depth(parameters, CHAIN_DEPTH_MAX);
    X509_VERIFY_PARAM_set_auth_level(parameters, SECURITY_LEVEL);
    bool verified = X509_verify_cert(context) == 1;
    *ret_code = X509_STORE_CTX_get_error(context);
    return verified;
}

static void free_certificates(STACK_OF(X509) * certificates)
{
    sk_X509_pop_free(certificates, X509_free);
}

/* The certificate of |info| among those of the message, chained to the pinned CA. Transfer full. */
static X509 *find_signer(CMS_ContentInfo *cms, CMS_SignerInfo *info, const EnvelopeTrust *trust,
                         GError **error)
{
    STACK_OF(X509) *certificates = CMS_get1_certs(cms);
    g_autoptr(X509) signer = NULL;
    int code = X509_V_OK;

    if (sk_X509_num(certificates) > CERTIFICATES_MAX)
        refuse(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "The message carries too many certificates");
    else if (CMS_set1_signers_certs(cms, certificates, CMS_NOINTERN) != 1) {
        refuse(error, IOTHSM_ERROR_BAD_CERTIFICATE, "The message does not carry its signer's certificate");
    } else {
        X509 *found = NULL;
        CMS_SignerInfo_get0_algs(info, NULL, &found, NULL, NULL);
        if (check_key(found, error) && chain_verifies(trust, found, certificates, &code)) {
            X509_up_ref(found);
            signer = found;
        }
    }
    free_certificates(certificates);
    ERR_clear_error();
    if (code != X509_V_OK)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                    "The message's signer is not trusted by the pinned message verification CA: %s",
                    X509_verify_cert_error_string(code));
    return g_steal_pointer(&signer);
}

/* RFC 5652 11.3: at most one, with one value. */
static bool read_signing_time(CMS_SignerInfo *signer, gint64 *ret_time, GError **error)
{
    int at = CMS_signed_get_attr_by_NID(signer, NID_pkcs9_signingTime, -1);
    if (at < 0) {
        *ret_time = 0;
        return true;
    }
    X509_ATTRIBUTE *attribute = CMS_signed_get_attr(signer, at);
    const ASN1_TYPE *value =
        X509_ATTRIBUTE_count(attribute) == 1 ? X509_ATTRIBUTE_get0_type(attribute, 0) : NULL;
    bool unique = CMS_signed_get_attr_by_NID(signer, NID_pkcs9_signingTime, at) < 0;
    struct tm when = {0};
    if (!unique || !value || (value->type != V_ASN1_UTCTIME && value->type != V_ASN1_GENERALIZEDTIME) ||
        ASN1_TIME_to_tm(value->value.asn1_string, &when) != 1)
        return refuse(error, IOTHSM_ERROR_INVALID, "The message's signing time can't be read");
    *ret_time = (gint64)timegm(&when);
    return true;
}

EnvelopeSigned *envelope_verify(const char *smime, gsize size, const EnvelopeTrust *trust, GError **error)
{
    g_autoptr(CMS_ContentInfo) cms = cms_content_from_smime(smime, size, error);
    if (!cms || !check_form(cms, error))
        return NULL;
    CMS_SignerInfo *info = only_signer(cms, error);
    if (!info)
        return NULL;

    g_autoptr(EnvelopeSigned) message = g_new0(EnvelopeSigned, 1);
    message->signer = find_signer(cms, info, trust, error);
    if (!message->signer || !read_signing_time(info, &message->signing_time, error))
        return NULL;
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    if (CMS_verify(cms, NULL, NULL, NULL, out, CMS_BINARY | CMS_NOINTERN | CMS_NO_SIGNER_CERT_VERIFY) != 1) {
        refuse(error, IOTHSM_ERROR_INVALID, "The message's signature is wrong");
        return NULL;
    }
    message->content = cms_content_take(g_steal_pointer(&out));
    return g_steal_pointer(&message);
}

char *envelope_seal(GBytes *content, X509 *recipient, X509 *certificate, EVP_PKEY *key, GError **error)
{
    g_autoptr(GBytes) deflated = envelope_deflate(content, error);
    if (!deflated)
        return NULL;
    char *encrypted = envelope_encrypt(deflated, recipient, error);
    if (!encrypted)
        return NULL;
    g_autoptr(GBytes) text = g_bytes_new_take(encrypted, strlen(encrypted));
    return envelope_sign(text, certificate, key, error);
}
