/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Takes a certificate or a CSR apart and makes new ones from the parts. Subject and extensions are never
 * looked at as text on the way, so nothing can be lost or mangled. */

#include "daemon/ca/template.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/extensions.h"
#include "daemon/ca/issue.h"
#include "daemon/ca/name.h"
#include "daemon/ca/pem.h"
#include "daemon/ca/verify.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/error.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

enum { TEMPLATE_LENGTH_MAX = 1024 * 1024, EXTENSIONS_MAX = 100, DAYS_MAX = 3652059 };
#define SECONDS_PER_DAY G_GINT64_CONSTANT(86400)

struct Template {
    X509 *certificate; /* a certificate with the template's subject, whatever it was made from */
    X509_EXTENSIONS *extensions;
    bool is_request;
};

void template_free(Template *template)
{
    if (!template)
        return;
    X509_free(template->certificate);
    extensions_free(template->extensions);
    g_free(template);
}

static bool is_key_identifier(X509_EXTENSION *extension)
{
    int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
    return nid == NID_subject_key_identifier || nid == NID_authority_key_identifier;
}

static bool copy_extensions(Template *template, const X509_EXTENSIONS *from, GError **error)
{
    template->extensions = sk_X509_EXTENSION_new_null();
    if (from && sk_X509_EXTENSION_num(from) > EXTENSIONS_MAX) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                    "The template has %d extensions, and no CA needs more than %d; get the template again",
                    sk_X509_EXTENSION_num(from), EXTENSIONS_MAX);
        return false;
    }
    for (int i = 0; from && i < sk_X509_EXTENSION_num(from); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(from, i);
        ASN1_OBJECT *object = X509_EXTENSION_get_object(extension);
        if (is_key_identifier(extension))
            continue;
        if (!extension_is_readable(extension) ||
            X509v3_get_ext_by_OBJ(template->extensions, object, -1) >= 0) {
            char text[128];
            OBJ_obj2txt(text, sizeof text, object, 0);
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                        "The template's extension %s is damaged or there twice; get the template again",
                        text);
            ERR_clear_error();
            return false;
        }
        sk_X509_EXTENSION_push(template->extensions, X509_EXTENSION_dup(extension));
    }
    return true;
}

static bool take_certificate(Template *template, const unsigned char *data, gsize size)
{
    const unsigned char *end = data + size;
    template->certificate = d2i_X509(NULL, &data, (long)size);
    return template->certificate && data == end;
}

static bool take_request(Template *template, const unsigned char *data, gsize size,
                         X509_EXTENSIONS **ret_extensions)
{
    const unsigned char *end = data + size;
    g_autoptr(X509_REQ) request = d2i_X509_REQ(NULL, &data, (long)size);
    if (!request || data != end)
        return false;
    template->is_request = true;
    template->certificate = X509_new();
    *ret_extensions = X509_REQ_get_extensions(request);
    return X509_set_subject_name(template->certificate, X509_REQ_get_subject_name(request)) == 1;
}

Template *template_from_pem(const char *pem, GError **error)
{
    g_autoptr(PemBlock) block = strlen(pem) <= TEMPLATE_LENGTH_MAX ? pem_read_block(pem) : NULL;
    g_autoptr(Template) template = g_new0(Template, 1);
    g_autoptr(X509_EXTENSIONS) requested = NULL;
    gsize size = 0;
    const unsigned char *data = block ? g_bytes_get_data(block->data, &size) : NULL;
    bool good = false;

    if (block && pem_block_is(block, PEM_STRING_X509, PEM_STRING_X509_OLD))
        good = take_certificate(template, data, size);
    else if (block && pem_block_is(block, PEM_STRING_X509_REQ, PEM_STRING_X509_REQ_OLD))
        good = take_request(template, data, size, &requested);
    if (!good) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
            "The template is not one certificate or certificate request in PEM form; copy the provisioning "
            "certificate again, from -----BEGIN to END-----");
        ERR_clear_error();
        return NULL;
    }
    const X509_EXTENSIONS *from =
        template->is_request ? requested : X509_get0_extensions(template->certificate);
    return copy_extensions(template, from, error) ? g_steal_pointer(&template) : NULL;
}

static BASIC_CONSTRAINTS *basic_constraints(const Template *template)
{
    return X509V3_get_d2i(template->extensions, NID_basic_constraints, NULL, NULL);
}

/* Lines for a terminal: whatever else in them could move its cursor is a '?'. Transfer full. */
static char *printable_lines(const char *raw)
{
    g_autofree char *text = g_utf8_make_valid(raw, -1);
    g_autoptr(GString) lines = g_string_new(NULL);
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        g_string_append_unichar(lines, c != '\n' && characters_is_control(c) ? '?' : c);
    }
    return g_strdup(g_strchomp(lines->str));
}

static JsonObject *describe_extension(X509_EXTENSION *extension)
{
    ASN1_OBJECT *object = X509_EXTENSION_get_object(extension);
    JsonObject *description = json_object_new();
    char oid[128], name[128];
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());

    OBJ_obj2txt(oid, sizeof oid, object, 1);
    OBJ_obj2txt(name, sizeof name, object, 0);
    X509V3_EXT_print(bio, extension, X509V3_EXT_DUMP_UNKNOWN, 0);
    g_autofree char *raw = bio_to_text(bio);
    g_autofree char *text = printable_lines(raw);
    json_object_set_string_member(description, "oid", oid);
    json_object_set_string_member(description, "name", name);
    json_object_set_boolean_member(description, "critical", X509_EXTENSION_get_critical(extension) == 1);
    json_object_set_string_member(description, "text", text);
    return description;
}

JsonObject *template_describe(const Template *template)
{
    g_autofree char *subject = certificate_subject(template->certificate);
    g_autoptr(BASIC_CONSTRAINTS) constraints = basic_constraints(template);
    bool ca = constraints && constraints->ca;
    JsonObject *description = json_object_new();
    JsonArray *extensions = json_array_new();

    json_object_set_string_member(description, "kind", template->is_request ? "request" : "certificate");
    json_object_set_string_member(description, "subject", subject);
    if (!template->is_request)
        json_object_set_int_member(description, "notAfter", certificate_not_after(template->certificate));
    json_object_set_boolean_member(description, "ca", ca);
    if (ca && constraints->pathlen)
        json_object_set_int_member(description, "pathlen", ASN1_INTEGER_get(constraints->pathlen));
    for (int i = 0; i < sk_X509_EXTENSION_num(template->extensions); i++)
        json_array_add_object_element(extensions,
                                      describe_extension(sk_X509_EXTENSION_value(template->extensions, i)));
    json_object_set_array_member(description, "extensions", extensions);
    return description;
}

static bool choose_validity(const Template *template, gint64 now, int days, Validity *ret_validity,
                            GError **error)
{
    gint64 end = certificate_not_after(template->certificate);

    if (days < 0 || days > DAYS_MAX || !time_is_sane(now + days * SECONDS_PER_DAY)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "%d days is not a validity that a certificate can have", days);
        return false;
    }
    if (days > 0)
        end = now + days * SECONDS_PER_DAY;
    else if (template->is_request) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
            "A certificate request as the template has no Not After; say for how many days the CA is to be "
            "valid");
        return false;
    } else if (end <= now) {
        g_autoptr(GDateTime) date = g_date_time_new_from_unix_utc(end);
        g_autofree char *text = date ? g_date_time_format(date, "%Y-%m-%d") : g_strdup("long ago");
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_TEMPLATE_EXPIRED,
            "The template's Not After has passed (%s); get a new provisioning certificate, or say for how "
            "many days the CA is to be valid",
            text);
        return false;
    }
    *ret_validity = (Validity){now, end};
    return true;
}

X509 *template_self_sign(const Template *template, EVP_PKEY *key, const EVP_MD *digest, gint64 now, int days,
                         GError **error)
{
    Validity validity;
    if (!choose_validity(template, now, days, &validity, error))
        return NULL;
    g_autoptr(ASN1_INTEGER) serial = serial_random(error);
    if (!serial)
        return NULL;
    const CertificatePlan plan = {
        .serial = serial,
        .validity = validity,
        .subject = X509_get_subject_name(template->certificate),
        .public_key = key,
        .extensions = template->extensions,
    };
    g_autoptr(X509) certificate = certificate_plan_build(&plan, error);
    return certificate ? certificate_sign(certificate, key, NULL, NULL, digest, error) : NULL;
}

X509_REQ *template_request(const Template *template, EVP_PKEY *key, const EVP_MD *digest, GError **error)
{
    g_autoptr(X509_REQ) request = X509_REQ_new();

    if (X509_REQ_set_version(request, X509_REQ_VERSION_1) != 1 ||
        X509_REQ_set_subject_name(request, X509_get_subject_name(template->certificate)) != 1 ||
        X509_REQ_set_pubkey(request, key) != 1 ||
        (sk_X509_EXTENSION_num(template->extensions) > 0 &&
         X509_REQ_add_extensions(request, template->extensions) != 1)) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The certificate request cannot be put together");
        return NULL;
    }
    if (X509_REQ_sign(request, key, digest_for_key(key, digest)) <= 0) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The key could not sign the certificate request");
        return NULL;
    }
    return verify_request(request, error) ? g_steal_pointer(&request) : NULL;
}
