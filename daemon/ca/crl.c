/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* signtype `crl`: a revocation list from an OpenSSL CA index (protocol.md 3.4). By default as `openssl ca
 * -gencrl` makes it for the original; with crl_rfc5280 as RFC 5280 5 wants it, numbered by the time of its
 * making. */

#include "daemon/ca/crl-database.h"
#include "daemon/ca/issue.h"
#include "daemon/ca/pem.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/signing-kind.h"
#include "daemon/ca/verify.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/json.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

enum { UTC_LENGTH = 13, TEXT_LENGTH_MAX = 128 };

typedef struct CrlWork {
    X509_CRL *crl; /* unsigned until `sign` */
    Validity validity;
    const EVP_MD *digest;
    guint entries;
} CrlWork;

static void crl_work_free(void *data)
{
    CrlWork *work = data;
    if (!work)
        return;
    X509_CRL_free(work->crl);
    g_free(work);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CrlWork, crl_work_free)

static bool set_serial(X509_REVOKED *revoked, const Revocation *entry)
{
    unsigned char bytes[CRL_SERIAL_DIGITS_MAX / 2];
    int size = entry->digits / 2;
    g_autoptr(ASN1_INTEGER) serial = ASN1_INTEGER_new();

    for (int i = 0; i < size; i++)
        bytes[i] = (unsigned char)(g_ascii_xdigit_value(entry->serial[2 * i]) * 16 +
                                   g_ascii_xdigit_value(entry->serial[2 * i + 1]));
    return ASN1_STRING_set(serial, bytes, size) == 1 && X509_REVOKED_set_serialNumber(revoked, serial) == 1;
}

/* The text of the index is the text of the ASN.1 time, but for the years through 2049 written with four
 * digits. */
static bool set_time(X509_REVOKED *revoked, const Revocation *entry)
{
    bool utc = entry->time_length == UTC_LENGTH ||
               (strncmp(entry->time, "1950", 4) >= 0 && strncmp(entry->time, "2050", 4) < 0);
    int skip = utc && entry->time_length != UTC_LENGTH ? 2 : 0;
    ASN1_TIME *time = ASN1_STRING_type_new(utc ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME);
    bool good = ASN1_STRING_set(time, entry->time + skip, entry->time_length - skip) == 1 &&
                X509_REVOKED_set_revocationDate(revoked, time) == 1;
    ASN1_TIME_free(time);
    return good;
}

static bool set_reason(X509_REVOKED *revoked, const Revocation *entry)
{
    g_autoptr(ASN1_ENUMERATED) reason = ASN1_ENUMERATED_new();
    char text[TEXT_LENGTH_MAX];

    if (entry->reason == REVOCATION_NO_REASON)
        return true;
    if (ASN1_ENUMERATED_set(reason, entry->reason) != 1 ||
        X509_REVOKED_add1_ext_i2d(revoked, NID_crl_reason, reason, 0, X509V3_ADD_DEFAULT) != 1)
        return false;
    if (!entry->detail)
        return true;
    memcpy(text, entry->detail, entry->detail_length);
    text[entry->detail_length] = '\0';
    if (entry->reason == CRL_REASON_CERTIFICATE_HOLD) {
        g_autoptr(ASN1_OBJECT) instruction = OBJ_txt2obj(text, 0);
        return instruction && X509_REVOKED_add1_ext_i2d(revoked, NID_hold_instruction_code, instruction, 0,
                                                        X509V3_ADD_DEFAULT) == 1;
    }
    g_autoptr(ASN1_GENERALIZEDTIME) since = ASN1_GENERALIZEDTIME_new();
    return ASN1_GENERALIZEDTIME_set_string(since, text) == 1 &&
           X509_REVOKED_add1_ext_i2d(revoked, NID_invalidity_date, since, 0, X509V3_ADD_DEFAULT) == 1;
}

/* |*ret_reasons|: whether any entry has a reason. */
static bool add_entries(X509_CRL *crl, const GArray *entries, bool *ret_reasons, GError **error)
{
    for (guint i = 0; i < entries->len; i++) {
        const Revocation *entry = &g_array_index(entries, Revocation, i);
        X509_REVOKED *revoked = X509_REVOKED_new();
        if (!set_serial(revoked, entry) || !set_time(revoked, entry) || !set_reason(revoked, entry) ||
            X509_CRL_add0_revoked(crl, revoked) != 1) {
            X509_REVOKED_free(revoked);
            return refuse(error, "Invalid database: line %u: cannot be encoded", entry->line);
        }
        *ret_reasons = *ret_reasons || entry->reason != REVOCATION_NO_REASON;
    }
    return true;
}

static bool set_header(X509_CRL *crl, X509 *ca, Validity validity)
{
    g_autoptr(ASN1_TIME) from = time_to_asn1(validity.from);
    g_autoptr(ASN1_TIME) to = time_to_asn1(validity.to);
    return from && to && X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca)) == 1 &&
           X509_CRL_set1_lastUpdate(crl, from) == 1 && X509_CRL_set1_nextUpdate(crl, to) == 1;
}

/* RFC 5280 5.2.1 and 5.2.3; thisUpdate only ever rises, and so does the number. */
static bool add_rfc5280_extensions(X509_CRL *crl, X509 *ca, gint64 number, GError **error)
{
    g_autoptr(AUTHORITY_KEYID) authority = authority_key_identifier(ca, error);
    g_autoptr(ASN1_INTEGER) crl_number = ASN1_INTEGER_new();
    if (!authority)
        return false;
    return (X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, authority, 0, X509V3_ADD_DEFAULT) == 1 &&
            ASN1_INTEGER_set_int64(crl_number, number) == 1 &&
            X509_CRL_add1_ext_i2d(crl, NID_crl_number, crl_number, 0, X509V3_ADD_DEFAULT) == 1) ||
           refuse_as(error, IOTHSM_ERROR_FAILED, "The extensions of the CRL cannot be made");
}

static bool build(CrlWork *work, const GArray *entries, X509 *ca, bool rfc5280, GError **error)
{
    bool reasons = false;
    work->crl = X509_CRL_new();
    work->entries = entries->len;
    if (!set_header(work->crl, ca, work->validity))
        return refuse_as(error, IOTHSM_ERROR_FAILED, "The CRL cannot be put together");
    if (!add_entries(work->crl, entries, &reasons, error))
        return false;
    if (rfc5280 && !add_rfc5280_extensions(work->crl, ca, work->validity.from, error))
        return false;
    /* Version 1 has no extensions, and RFC 5280's form is always version 2. */
    if (reasons || rfc5280)
        X509_CRL_set_version(work->crl, X509_CRL_VERSION_2);
    X509_CRL_sort(work->crl);
    return true;
}

static void *crl_work_new(JsonObject *request, X509 *ca, const SigningRules *rules, gint64 now,
                          JsonObject *intent, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    const char *database = json_get_string(request, "database", &wrong);
    if (wrong || !database)
        return refuse(error, "Invalid database: %s", wrong ? "not a text" : "missing"), NULL;
    g_autoptr(CrlWork) work = g_new0(CrlWork, 1);
    work->validity.from = now;
    if (!validity_days(request, now, 0, &work->validity.to, error))
        return NULL;
    if (intent && !validity_from_intent(intent, "thisUpdate", "nextUpdate", &work->validity, error))
        return NULL;

    g_autoptr(GArray) entries = crl_database_read(database, error);
    if (!entries || !build(work, entries, ca, rules->crl_rfc5280, error))
        return NULL;
    work->digest = rules->digest;
    ERR_clear_error();
    return g_steal_pointer(&work);
}

static void crl_work_intent(const void *data, JsonObject *to)
{
    const CrlWork *work = data;
    json_object_set_int_member(to, "thisUpdate", work->validity.from);
    json_object_set_int_member(to, "nextUpdate", work->validity.to);
}

static char *crl_work_summary(const void *data)
{
    const CrlWork *work = data;
    return g_strdup_printf("CRL with %u %s", work->entries, work->entries == 1 ? "entry" : "entries");
}

static char *crl_work_sign(void *data, X509 *ca, EVP_PKEY *key, GError **error)
{
    CrlWork *work = data;
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());

    if (X509_CRL_sign(work->crl, key, digest_for_key(key, work->digest)) <= 0) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The CA key could not sign");
        return NULL;
    }
    if (!verify_crl(work->crl, ca, error))
        return NULL;
    if (PEM_write_bio_X509_CRL(bio, work->crl) != 1)
        return refuse_as(error, IOTHSM_ERROR_FAILED, "The CRL cannot be written"), NULL;
    return bio_to_text(bio);
}

const SigningKind crl_signing = {
    .signtype = "crl",
    .delivered = true,
    .new = crl_work_new,
    .free = crl_work_free,
    .intent = crl_work_intent,
    .summary = crl_work_summary,
    .sign = crl_work_sign,
};
