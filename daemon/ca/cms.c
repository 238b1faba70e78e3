/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* signtype `cms`: an opaque signed message over bytes that the platform gives (protocol.md 3.3, in the
 * meaning that was intended there). The signer is the CA certificate itself. */

#include "daemon/ca/asn1-value.h"
#include "daemon/ca/issue.h"
#include "daemon/ca/pem.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/signing-kind.h"
#include "daemon/ca/validity.h"
#include "daemon/ca/verify.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/json.h"
#include <openssl/pem.h>
#include <string.h>

enum { ADDED_CERTIFICATES_MAX = 64, ADDED_LENGTH_MAX = 1024 * 1024, DATA_LENGTH_MAX = 64 * 1024 * 1024 };

typedef enum OutputForm { FORM_PEM, FORM_SMIME, FORM_DER } OutputForm;

typedef struct CmsWork {
    GBytes *content;
    CertificateStack *added;   /* or NULL */
    ASN1_OBJECT *content_type; /* or NULL: id-data */
    OutputForm form;
    bool capabilities;
    gint64 signing_time;
    const EVP_MD *digest;
} CmsWork;

static void cms_work_free(void *data)
{
    CmsWork *work = data;
    if (!work)
        return;
    g_clear_pointer(&work->content, g_bytes_unref);
    certificate_stack_free(work->added);
    ASN1_OBJECT_free(work->content_type);
    g_free(work);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(CmsWork, cms_work_free)

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Strict base64url (RFC 4648 5), padding optional; the usual alphabet is understood as well. Transfer full or
 * NULL. */
static GBytes *decode_base64url(const char *text)
{
    gsize length = strlen(text);
    gsize padding = 0;
    while (padding < 2 && length > padding && text[length - 1 - padding] == '=')
        padding++;
    gsize digits = length - padding;
    if (digits % 4 == 1 || (padding > 0 && length % 4 != 0))
        return NULL;

    g_autoptr(GString) plain = g_string_new_len(text, (gssize)digits);
    g_strdelimit(plain->str, "-", '+');
    g_strdelimit(plain->str, "_", '/');
    if (strspn(plain->str, base64_alphabet) != digits)
        return NULL;
    while (plain->len % 4)
        g_string_append_c(plain, '=');
    gsize size = 0;
    guchar *bytes = g_base64_decode(plain->str, &size);
    return g_bytes_new_take(bytes, size);
}

static bool read_content(CmsWork *work, JsonObject *options, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    const char *data = json_get_string(options, "data", &wrong);
    const char *encoding = wrong ? NULL : json_get_string(options, "encoding", &wrong);
    if (wrong)
        return refuse(error, "Invalid cms: %s", wrong->message);
    if (!data)
        return refuse(error, "Invalid data: missing");
    if (strlen(data) > DATA_LENGTH_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid data: more than %d bytes",
                         DATA_LENGTH_MAX);
    /* Any other encoding is Node's name for a way to write text; the text arrived as UTF-8 and stays it. */
    work->content =
        g_strcmp0(encoding, "binary") == 0 ? decode_base64url(data) : g_bytes_new(data, strlen(data));
    return work->content || refuse(error, "Invalid data: not base64url");
}

static bool read_added(CmsWork *work, JsonObject *options, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    const char *pem = json_get_string(options, "addcerts", &wrong);
    if (wrong)
        return refuse(error, "Invalid addcerts: not a text");
    if (!pem || !*pem)
        return true;
    g_autoptr(GPtrArray) blocks =
        strlen(pem) <= ADDED_LENGTH_MAX ? pem_read_blocks(pem, ADDED_CERTIFICATES_MAX) : NULL;
    if (!blocks || blocks->len == 0)
        return refuse(error, "Invalid addcerts: not 1 to %d certificates in PEM form",
                      ADDED_CERTIFICATES_MAX);
    work->added = sk_X509_new_null();
    for (guint i = 0; i < blocks->len; i++) {
        X509 *certificate = pem_block_certificate(blocks->pdata[i]);
        if (!certificate)
            return refuse(error, "Invalid addcerts: block %u is not a certificate", i + 1);
        sk_X509_push(work->added, certificate);
    }
    return true;
}

static bool read_form(CmsWork *work, JsonObject *options, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    const char *form = json_get_string(options, "outform", &wrong);
    const char *type = wrong ? NULL : json_get_string(options, "contenttype", &wrong);
    work->capabilities = true;
    if (wrong || !json_get_bool(options, "smimecap", &work->capabilities, &wrong))
        return refuse(error, "Invalid cms: %s", wrong->message);

    if (!form || !*form || g_ascii_strcasecmp(form, "PEM") == 0)
        work->form = FORM_PEM;
    else if (g_ascii_strcasecmp(form, "SMIME") == 0)
        work->form = FORM_SMIME;
    else if (g_ascii_strcasecmp(form, "DER") == 0)
        work->form = FORM_DER;
    else
        return refuse(error, "Invalid outform: %s", form);
    if (type && *type && !(work->content_type = asn1_object_from_dotted(type)))
        return refuse(error, "Invalid contenttype: %s", type);
    return true;
}

static bool fix_time(CmsWork *work, gint64 now, JsonObject *intent, GError **error)
{
    work->signing_time = intent ? G_MININT64 : now;
    if (intent && !json_get_integer(intent, "signingTime", &work->signing_time, error))
        return false;
    return time_is_sane(work->signing_time) ||
           refuse_as(error, IOTHSM_ERROR_FAILED, "The recorded signing time of this request is damaged");
}

static void *cms_work_new(JsonObject *request, X509 *ca, const SigningRules *rules, gint64 now,
                          JsonObject *intent, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    JsonObject *options = json_get_object(request, "options", &wrong);
    if (wrong || !options)
        return refuse(error, "Invalid options: %s", wrong ? "not an object" : "missing"), NULL;
    g_autoptr(CmsWork) work = g_new0(CmsWork, 1);
    work->digest = rules->digest;
    if (!digest_for_key(X509_get0_pubkey(ca), NULL)) /* RFC 8419 is not in OpenSSL 3.0 */
        return refuse_as(error, IOTHSM_ERROR_UNSUPPORTED, "This CA's key type cannot sign CMS here"), NULL;
    if (!read_content(work, options, error) || !read_added(work, options, error) ||
        !read_form(work, options, error) || !fix_time(work, now, intent, error))
        return NULL;
    return g_steal_pointer(&work);
}

static void cms_work_intent(const void *data, JsonObject *to)
{
    const CmsWork *work = data;
    json_object_set_int_member(to, "signingTime", work->signing_time);
}

static char *cms_work_summary(const void *data)
{
    const CmsWork *work = data;
    return g_strdup_printf("CMS message of %" G_GSIZE_FORMAT " bytes", g_bytes_get_size(work->content));
}

static bool set_signing_time(CMS_SignerInfo *signer, gint64 seconds)
{
    g_autoptr(ASN1_TIME) time = time_to_asn1(seconds);
    return time &&
           CMS_signed_add1_attr_by_NID(signer, NID_pkcs9_signingTime, ASN1_STRING_type(time), time, -1) == 1;
}

/* What will be read elsewhere: the object that was built still holds what it was built from. Transfer full.
 */
static CMS_ContentInfo *read_again(CMS_ContentInfo *cms)
{
    unsigned char *encoded = NULL;
    int size = i2d_CMS_ContentInfo(cms, &encoded);
    const unsigned char *at = encoded;
    CMS_ContentInfo *again = size > 0 ? d2i_CMS_ContentInfo(NULL, &at, size) : NULL;
    OPENSSL_free(encoded);
    return again;
}

/* Transfer full; NULL with OpenSSL's queue filled. */
static CMS_ContentInfo *sign_content(const CmsWork *work, X509 *ca, EVP_PKEY *key)
{
    unsigned flags = CMS_BINARY | CMS_PARTIAL | (work->capabilities ? 0 : CMS_NOSMIMECAP);
    gsize size = 0;
    const void *data = g_bytes_get_data(work->content, &size);
    g_autoptr(BIO) content = BIO_new_mem_buf(size ? data : "", (int)size);
    g_autoptr(CMS_ContentInfo) cms = CMS_sign(NULL, NULL, work->added, NULL, flags);

    if (!cms || (work->content_type && CMS_set1_eContentType(cms, work->content_type) != 1))
        return NULL;
    CMS_SignerInfo *signer =
        CMS_add1_signer(cms, ca, key, digest_for_key(key, work->digest), flags | CMS_KEY_PARAM);
    if (!signer || !set_signing_time(signer, work->signing_time) || CMS_final(cms, content, NULL, flags) != 1)
        return NULL;
    return read_again(cms);
}

static char *write_form(CMS_ContentInfo *cms, OutputForm form)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    if (form == FORM_PEM)
        return PEM_write_bio_CMS_stream(bio, cms, NULL, 0) == 1 ? bio_to_text(bio) : NULL;
    if (form == FORM_SMIME)
        return SMIME_write_CMS(bio, cms, NULL, CMS_BINARY) == 1 ? bio_to_text(bio) : NULL;
    if (i2d_CMS_bio(bio, cms) != 1)
        return NULL;
    guchar *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    return g_base64_encode(data, (gsize)size);
}

static char *cms_work_sign(void *data, X509 *ca, EVP_PKEY *key, GError **error)
{
    CmsWork *work = data;
    g_autoptr(CMS_ContentInfo) cms = sign_content(work, ca, key);
    if (!cms) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The CA key could not sign");
        return NULL;
    }
    if (!verify_cms(cms, ca, work->content, error))
        return NULL;
    char *text = write_form(cms, work->form);
    if (!text)
        refuse_as(error, IOTHSM_ERROR_FAILED, "The CMS message cannot be written");
    return text;
}

const SigningKind cms_signing = {
    .signtype = "cms",
    .new = cms_work_new,
    .free = cms_work_free,
    .intent = cms_work_intent,
    .summary = cms_work_summary,
    .sign = cms_work_sign,
};
