/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One function a field of the certificate. */

#include "tests/platform/check-certificate.h"
#include "tests/platform/expected-extensions.h"
#include <string.h>

enum {
    DAY = 24 * 60 * 60,
    DEFAULT_DAYS = 365,
    CLOCK_SLACK = 600, /* seconds between notBefore and now; a stored answer may be a little older */
};

static bool wrong(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "The certificate %s", what);
    return false;
}

/* The order in which subjects come out (protocol.md 3.2.2). */
static const int subject_order[] = {
    NID_countryName,
    NID_stateOrProvinceName,
    NID_localityName,
    NID_postalCode,
    NID_streetAddress,
    NID_organizationName,
    NID_organizationalUnitName,
    NID_commonName,
    NID_pkcs9_emailAddress,
    NID_jurisdictionCountryName,
    NID_jurisdictionStateOrProvinceName,
    NID_jurisdictionLocalityName,
    NID_businessCategory,
    NID_serialNumber,
    NID_domainComponent,
    NID_surname,
    NID_title,
    NID_givenName,
    NID_userId,
    NID_initials,
    NID_generationQualifier,
    NID_dnQualifier,
    NID_pseudonym,
};

static int string_type(int nid)
{
    switch (nid) {
    case NID_countryName:
    case NID_jurisdictionCountryName:
    case NID_serialNumber:
    case NID_dnQualifier:
        return V_ASN1_PRINTABLESTRING;
    case NID_pkcs9_emailAddress:
    case NID_domainComponent:
        return V_ASN1_IA5STRING;
    default:
        return V_ASN1_UTF8STRING;
    }
}

static bool entry_is(const X509_NAME_ENTRY *entry, int nid, const char *value)
{
    const ASN1_STRING *data = X509_NAME_ENTRY_get_data(entry);
    return OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) == nid &&
           ASN1_STRING_type(data) == string_type(nid) && ASN1_STRING_length(data) == (int)strlen(value) &&
           memcmp(ASN1_STRING_get0_data(data), value, strlen(value)) == 0;
}

/* UID's long name in OpenSSL is userId, "DN" names of the protocol are OpenSSL's long or short ones. */
static int attribute_nid(const char *name)
{
    return OBJ_txt2nid(name);
}

/* The texts that the object |asked| has for attribute |nid| under whatever name. Transfer full. */
static char **asked_values(JsonObject *asked, int nid)
{
    g_autoptr(GList) names = json_object_get_members(asked);
    for (GList *name = names; name; name = name->next)
        if (attribute_nid(name->data) == nid)
            return member_texts(asked, name->data);
    return g_new0(char *, 1);
}

static bool check_asked_subject(const X509_NAME *subject, JsonObject *asked, GError **error)
{
    int at = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(subject_order); i++) {
        g_auto(GStrv) values = asked_values(asked, subject_order[i]);
        for (char **value = values; *value; value++) {
            if (!**value)
                continue;
            const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, at++);
            if (!entry || !entry_is(entry, subject_order[i], *value))
                return wrong(error,
                             "doesn't have the asked subject in the order and types of protocol.md 3.2.2");
        }
    }
    return at == X509_NAME_entry_count(subject) || wrong(error, "has subject attributes nobody asked for");
}

/* The request's own subject, sorted. */
static bool check_own_subject(const X509_NAME *subject, const X509_NAME *own, GError **error)
{
    int at = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(subject_order); i++)
        for (int from = X509_NAME_get_index_by_NID(own, subject_order[i], -1); from >= 0;
             from = X509_NAME_get_index_by_NID(own, subject_order[i], from)) {
            const X509_NAME_ENTRY *wanted = X509_NAME_get_entry(own, from);
            const X509_NAME_ENTRY *entry = X509_NAME_get_entry(subject, at++);
            unsigned char *a = NULL;
            unsigned char *b = NULL;
            int a_size = ASN1_STRING_to_UTF8(&a, X509_NAME_ENTRY_get_data(wanted));
            int b_size = entry ? ASN1_STRING_to_UTF8(&b, X509_NAME_ENTRY_get_data(entry)) : -1;
            bool same = entry && OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) == subject_order[i] &&
                        a_size == b_size && memcmp(a, b, (gsize)a_size) == 0;
            OPENSSL_free(a);
            OPENSSL_free(b);
            if (!same)
                return wrong(error, "doesn't have the request's subject in the order of protocol.md 3.2.2");
        }
    return at == X509_NAME_entry_count(subject) || wrong(error, "has subject attributes nobody asked for");
}

static bool check_subject(const CertificateCheck *check, X509 *certificate, GError **error)
{
    const X509_NAME *subject = X509_get_subject_name(certificate);
    JsonNode *asked = check->options ? json_object_get_member(check->options, "subject") : NULL;
    if (!asked)
        return check_own_subject(subject, X509_REQ_get_subject_name(check->request), error);
    if (JSON_NODE_HOLDS_OBJECT(asked))
        return check_asked_subject(subject, json_node_get_object(asked), error);
    return X509_NAME_entry_count(subject) == 0 || wrong(error, "has a subject although none was asked for");
}

static gint64 seconds_of(const ASN1_TIME *time)
{
    struct tm broken;
    return ASN1_TIME_to_tm(time, &broken) == 1 ? (gint64)timegm(&broken) : -1;
}

/* ISO 8601 or milliseconds since the epoch; -1: neither. */
static gint64 asked_time(JsonObject *options, const char *name)
{
    gint64 milliseconds;
    if (member_integer(options, name, &milliseconds))
        return milliseconds / 1000;
    const char *text = member_text(options, name);
    g_autoptr(GTimeZone) utc = g_time_zone_new_utc();
    g_autoptr(GDateTime) time = text ? g_date_time_new_from_iso8601(text, utc) : NULL;
    return time ? g_date_time_to_unix(time) : -1;
}

static bool check_dates(const CertificateCheck *check, X509 *certificate, GError **error)
{
    gint64 starts = seconds_of(X509_get0_notBefore(certificate));
    gint64 ends = seconds_of(X509_get0_notAfter(certificate));
    gint64 asked_start = asked_time(check->options, "startdate");
    if (asked_start >= 0)
        return (starts == asked_start && ends == asked_time(check->options, "enddate")) ||
               wrong(error, "doesn't have the asked start and end");
    gint64 days = member_integer_or(check->options, "days", DEFAULT_DAYS);
    if (ends - starts != days * DAY)
        return wrong(error, "is not valid for the asked number of days");
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    return ABS(now - starts) <= CLOCK_SLACK || wrong(error, "doesn't start now");
}

static bool check_chain(const CertificateCheck *check, X509 *certificate, GError **error)
{
    g_autoptr(X509_STORE_CTX) context = X509_STORE_CTX_new();
    g_assert(X509_STORE_CTX_init(context, check->anchors, certificate, NULL) == 1);
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(context),
                               (time_t)seconds_of(X509_get0_notBefore(certificate)));
    if (X509_verify(certificate, X509_get0_pubkey(check->authority)) != 1)
        return openssl_failed(error, "The certificate's signature doesn't verify with its authority's key");
    if (X509_verify_cert(context) != 1) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "The certificate doesn't chain to its authority: %s",
                    X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
        return false;
    }
    return true;
}

static bool check_number(X509 *certificate, GError **error)
{
    g_autoptr(BIGNUM) serial = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    return (!BN_is_negative(serial) && BN_num_bits(serial) >= 64 && BN_num_bits(serial) <= 159) ||
           wrong(error, "doesn't have a random positive serial number of up to 159 bits");
}

bool check_certificate(const CertificateCheck *check, const char *pem, GError **error)
{
    g_autoptr(X509) certificate = certificate_from_pem(pem, -1, error);
    if (!certificate)
        return false;
    g_autofree char *again = certificate_to_pem(certificate);
    if (!g_str_equal(again, pem))
        return wrong(error, "is not PEM alone, as `openssl x509` writes it");
    if (X509_get_version(certificate) != X509_VERSION_3)
        return wrong(error, "is not version 3");
    if (EVP_PKEY_eq(X509_get0_pubkey(certificate), X509_REQ_get0_pubkey(check->request)) != 1)
        return wrong(error, "is for another key than the request's");
    if (!check_number(certificate, error) || !check_chain(check, certificate, error) ||
        !check_subject(check, certificate, error) || !check_dates(check, certificate, error))
        return false;
    if (!check->options) /* which of the request's extensions count is the agent's business */
        return true;
    JsonObject *extensions = member_object(check->options, "extensions");
    g_autoptr(ExtensionList) expected = expected_extensions(extensions, certificate, check->authority, error);
    return expected && extension_list_matches(expected, certificate, error);
}
