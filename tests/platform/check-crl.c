/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The database is read again here, by splitting lines at tabs, and compared entry by entry. */

#include "tests/platform/check-crl.h"
#include <string.h>

enum {
    DAY = 24 * 60 * 60,
    CLOCK_SLACK = 600,
    NO_REASON = -1,
};

static bool wrong(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "The CRL %s", what);
    return false;
}

static int reason_code(const char *text)
{
    static const struct {
        const char *name;
        int code;
    } reasons[] = {{"unspecified", 0},     {"keyCompromise", 1},
                   {"CACompromise", 2},    {"affiliationChanged", 3},
                   {"superseded", 4},      {"cessationOfOperation", 5},
                   {"certificateHold", 6}, {"holdInstruction", 6},
                   {"removeFromCRL", 8},   {"keyTime", 1},
                   {"CAkeyTime", 2}};
    gsize length = strcspn(text, ",");
    for (gsize i = 0; i < G_N_ELEMENTS(reasons); i++)
        if (strlen(reasons[i].name) == length && g_ascii_strncasecmp(reasons[i].name, text, length) == 0)
            return reasons[i].code;
    return NO_REASON;
}

static int found_reason(const X509_REVOKED *entry)
{
    ASN1_ENUMERATED *code = X509_REVOKED_get_ext_d2i(entry, NID_crl_reason, NULL, NULL);
    int reason = code ? (int)ASN1_ENUMERATED_get(code) : NO_REASON;
    ASN1_ENUMERATED_free(code);
    return reason;
}

/* YYMMDDHHmmSSZ or YYYYMMDDHHmmSSZ, up to a comma. */
static bool same_time(const char *text, const ASN1_TIME *time)
{
    g_autofree char *alone = g_strndup(text, strcspn(text, ","));
    g_autoptr(ASN1_TIME) wanted = ASN1_TIME_new();
    return ASN1_TIME_set_string(wanted, alone) == 1 && ASN1_TIME_compare(wanted, time) == 0;
}

static bool check_entry(X509_CRL *crl, char **fields, GError **error)
{
    BIGNUM *number = NULL;
    if (!BN_hex2bn(&number, fields[3]))
        return wrong(error, "was made although a serial number of its database is not hex");
    g_autoptr(ASN1_INTEGER) serial = BN_to_ASN1_INTEGER(number, NULL);
    BN_free(number);
    X509_REVOKED *entry = NULL;
    if (X509_CRL_get0_by_serial(crl, &entry, serial) == 0 || !entry)
        return wrong(error, "lacks a revoked serial number");
    if (!same_time(fields[2], X509_REVOKED_get0_revocationDate(entry)))
        return wrong(error, "has another revocation date than the database");
    const char *comma = strchr(fields[2], ',');
    if (found_reason(entry) != (comma ? reason_code(comma + 1) : NO_REASON))
        return wrong(error, "has another reason than the database");
    return true;
}

static bool check_entries(X509_CRL *crl, const char *database, bool *ret_reasons, GError **error)
{
    g_auto(GStrv) lines = g_strsplit(database, "\n", -1);
    int revoked = 0;
    *ret_reasons = false;
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, "\t", -1);
        if (g_strv_length(fields) != 6 || fields[0][0] != 'R')
            continue;
        revoked++;
        *ret_reasons |= strchr(fields[2], ',') != NULL;
        if (!check_entry(crl, fields, error))
            return false;
    }
    return revoked == MAX(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), 0) ||
           wrong(error, "has entries that are not revoked in the database");
}

static bool sorted_by_serial(X509_CRL *crl)
{
    STACK_OF(X509_REVOKED) *entries = X509_CRL_get_REVOKED(crl);
    for (int i = 1; i < sk_X509_REVOKED_num(entries); i++)
        if (ASN1_INTEGER_cmp(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i - 1)),
                             X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(entries, i))) > 0)
            return false;
    return true;
}

static bool check_form(X509_CRL *crl, bool reasons, GError **error)
{
    int extensions = X509_CRL_get_ext_count(crl);
    if (extensions > 0) /* the RFC's form */
        return (X509_CRL_get_version(crl) == X509_CRL_VERSION_2 &&
                X509_CRL_get_ext_by_NID(crl, NID_crl_number, -1) >= 0 &&
                X509_CRL_get_ext_by_NID(crl, NID_authority_key_identifier, -1) >= 0) ||
               wrong(error, "has extensions, but not version 2 with CRL number and authority key identifier");
    return X509_CRL_get_version(crl) == (reasons ? X509_CRL_VERSION_2 : X509_CRL_VERSION_1) ||
           wrong(error, "doesn't have the version of protocol.md 3.4");
}

static bool check_times(X509_CRL *crl, gint64 wanted_days, GError **error)
{
    int days;
    int seconds;
    if (ASN1_TIME_diff(&days, &seconds, X509_CRL_get0_lastUpdate(crl), X509_CRL_get0_nextUpdate(crl)) != 1 ||
        days != wanted_days || seconds != 0)
        return wrong(error, "doesn't end after the asked number of days");
    if (ASN1_TIME_diff(&days, &seconds, X509_CRL_get0_lastUpdate(crl), NULL) != 1 || days != 0 ||
        ABS(seconds) > CLOCK_SLACK)
        return wrong(error, "wasn't made now");
    return true;
}

bool check_crl(const CrlCheck *check, const char *pem, GError **error)
{
    g_autoptr(X509_CRL) crl = crl_from_pem(pem, -1, error);
    if (!crl)
        return false;
    if (X509_CRL_verify(crl, X509_get0_pubkey(check->authority)) != 1)
        return openssl_failed(error, "The CRL's signature doesn't verify with its authority's key");
    if (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_get_subject_name(check->authority)) != 0)
        return wrong(error, "names another issuer");
    if (!sorted_by_serial(crl)) /* before lookups, which sort it */
        return wrong(error, "isn't sorted by serial number");
    bool reasons;
    return check_entries(crl, check->database, &reasons, error) && check_form(crl, reasons, error) &&
           check_times(crl, check->days, error);
}
