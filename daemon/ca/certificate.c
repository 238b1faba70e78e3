/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* signtype `csr`: a certificate for the key of a CSR (protocol.md 3.2). */

#include "daemon/ca/issue.h"
#include "daemon/ca/name.h"
#include "daemon/ca/options.h"
#include "daemon/ca/pem.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/signing-kind.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/json.h"
#include <openssl/pem.h>
#include <string.h>

/* 112 bits are RSA-2048 and P-224 (SP 800-57 part 1, table 2): what is weaker could be forged by others, so a
 * certificate for it would be worth nothing. */
enum { REQUEST_LENGTH_MAX = 256 * 1024, SECURITY_BITS_MIN = 112 };

typedef struct CertificateWork {
    ASN1_INTEGER *serial;
    Validity validity;
    X509 *unsigned_certificate;
    EVP_PKEY *subject_key; /* of the CSR */
    const EVP_MD *digest;
    char *summary;
} CertificateWork;

static void certificate_work_free(void *data)
{
    CertificateWork *work = data;
    if (!work)
        return;
    ASN1_INTEGER_free(work->serial);
    X509_free(work->unsigned_certificate);
    EVP_PKEY_free(work->subject_key);
    g_free(work->summary);
    g_free(work);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CertificateWork, certificate_work_free)

static X509_REQ *decode_request(const char *pem)
{
    g_autoptr(PemBlock) block = strlen(pem) <= REQUEST_LENGTH_MAX ? pem_read_block(pem) : NULL;
    if (!block || !pem_block_is(block, PEM_STRING_X509_REQ, PEM_STRING_X509_REQ_OLD))
        return NULL;
    gsize size = 0;
    const unsigned char *data = g_bytes_get_data(block->data, &size);
    const unsigned char *end = data + size;
    g_autoptr(X509_REQ) request = d2i_X509_REQ(NULL, &data, (long)size);
    return data == end ? g_steal_pointer(&request) : NULL;
}

static bool check_request(X509_REQ *request, GError **error)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(request);
    if (!key)
        return refuse_as(error, IOTHSM_ERROR_UNSUPPORTED,
                         "Invalid csr: its public key is of an unsupported kind");
    if (EVP_PKEY_get_security_bits(key) < SECURITY_BITS_MIN)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid csr: a %s key of %d bits is too weak",
                         EVP_PKEY_get0_type_name(key), EVP_PKEY_get_bits(key));
    return X509_REQ_verify(request, key) == 1 ||
           refuse(error, "Invalid csr: its signature does not match its key");
}

/* Transfer full. */
static X509_REQ *read_request(JsonObject *object, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    const char *pem = json_get_string(object, "csr", &wrong);
    if (wrong || !pem)
        return refuse(error, "Invalid csr: %s", wrong ? "not a text" : "missing"), NULL;
    g_autoptr(X509_REQ) request = decode_request(pem);
    if (!request)
        return refuse(error, "Invalid csr: not a certificate request in PEM form"), NULL;
    return check_request(request, error) ? g_steal_pointer(&request) : NULL;
}

/* Transfer full. */
static ASN1_INTEGER *serial_from_intent(JsonObject *intent, GError **error)
{
    const char *hex = json_get_string(intent, "serial", NULL);
    BIGNUM *parsed = NULL;
    int digits = hex ? BN_hex2bn(&parsed, hex) : 0;
    g_autoptr(BIGNUM) number = parsed;
    if (digits == 0 || (gsize)digits != strlen(hex) || BN_is_zero(number) || BN_is_negative(number))
        return refuse_as(error, IOTHSM_ERROR_FAILED, "The recorded serial of this request is damaged"), NULL;
    return BN_to_ASN1_INTEGER(number, NULL);
}

static bool fix_intent(CertificateWork *work, const IssueOptions *options, JsonObject *intent, GError **error)
{
    work->validity = options->validity;
    work->serial = intent ? serial_from_intent(intent, error) : serial_random(error);
    return work->serial &&
           (!intent || validity_from_intent(intent, "notBefore", "notAfter", &work->validity, error));
}

static char *describe(const CertificateWork *work, const IssueOptions *options)
{
    g_autofree char *subject = certificate_subject(work->unsigned_certificate);
    g_autofree char *declined =
        options->declined_hash
            ? g_strdup_printf(" (hash %s was asked for and is not used)", options->declined_hash)
            : g_strdup("");
    return *subject ? g_strdup_printf("certificate for %s%s", subject, declined)
                    : g_strdup_printf("certificate without a subject%s", declined);
}

static void *certificate_work_new(JsonObject *request, X509 *ca, const SigningRules *rules, gint64 now,
                                  JsonObject *intent, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    JsonObject *members = json_get_object(request, "options", &wrong);
    if (wrong)
        return refuse(error, "Invalid options: not an object"), NULL;
    g_autoptr(X509_REQ) csr = read_request(request, error);
    g_autoptr(IssueOptions) options = csr ? issue_options_new(members, csr, now, error) : NULL;
    g_autoptr(CertificateWork) work = g_new0(CertificateWork, 1);
    if (!options || !fix_intent(work, options, intent, error))
        return NULL;

    const CertificatePlan plan = {
        .serial = work->serial,
        .validity = work->validity,
        .subject = options->subject,
        .public_key = X509_REQ_get0_pubkey(csr),
        .issuer = ca,
        .extensions = options->extensions,
    };
    work->unsigned_certificate = certificate_plan_build(&plan, error);
    if (!work->unsigned_certificate)
        return NULL;
    work->subject_key = X509_REQ_get_pubkey(csr);
    work->digest = rules->digest ? rules->digest : options->digest;
    work->summary = describe(work, options);
    return g_steal_pointer(&work);
}

static void certificate_work_intent(const void *data, JsonObject *to)
{
    const CertificateWork *work = data;
    g_autofree char *serial = certificate_serial(work->unsigned_certificate);
    json_object_set_string_member(to, "serial", serial);
    json_object_set_int_member(to, "notBefore", work->validity.from);
    json_object_set_int_member(to, "notAfter", work->validity.to);
}

static char *certificate_work_summary(const void *data)
{
    const CertificateWork *work = data;
    return g_strdup(work->summary);
}

static char *certificate_work_sign(void *data, X509 *ca, EVP_PKEY *key, GError **error)
{
    CertificateWork *work = data;
    g_autoptr(X509) certificate =
        certificate_sign(work->unsigned_certificate, key, ca, work->subject_key, work->digest, error);
    return certificate ? certificate_to_pem(certificate) : NULL;
}

const SigningKind certificate_signing = {
    .signtype = "csr",
    .new = certificate_work_new,
    .free = certificate_work_free,
    .intent = certificate_work_intent,
    .summary = certificate_work_summary,
    .sign = certificate_work_sign,
};
