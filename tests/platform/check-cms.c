/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading by form, then one function a property. */

#include "tests/platform/check-cms.h"
#include <openssl/pem.h>
#include <string.h>

static bool wrong(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "The CMS %s", what);
    return false;
}

static CMS_ContentInfo *read_cms(const char *form, const char *text, GError **error)
{
    CMS_ContentInfo *cms = NULL;
    if (g_str_equal(form, "DER")) { /* base64 of it: protocol.md 3.3 */
        gsize size;
        g_autofree guchar *der = g_base64_decode(text, &size);
        const unsigned char *at = der;
        cms = d2i_CMS_ContentInfo(NULL, &at, (long)size);
    } else {
        g_autoptr(BIO) in = BIO_new_mem_buf(text, -1);
        BIO *detached = NULL;
        cms = g_str_equal(form, "SMIME") ? SMIME_read_CMS(in, &detached)
                                         : PEM_read_bio_CMS(in, NULL, NULL, NULL);
        BIO_free(detached);
    }
    if (!cms)
        openssl_failed(error, "The CMS can't be parsed in the asked form");
    return cms;
}

/* The bytes that were to be signed. */
static GBytes *asked_content(JsonObject *options)
{
    const char *data = member_text(options, "data") ?: "";
    if (g_strcmp0(member_text(options, "encoding"), "binary") != 0)
        return g_bytes_new(data, strlen(data));
    g_autofree char *plain = g_strdelimit(g_strdelimit(g_strdup(data), "-", '+'), "_", '/');
    gsize length = strcspn(plain, "=");
    plain[length] = '\0';
    g_autofree char *padded = g_strconcat(plain, &"==="[3 - (4 - length % 4) % 4], NULL);
    gsize size;
    guchar *bytes = g_base64_decode(padded, &size);
    return g_bytes_new_take(bytes, size);
}

static guint count_pem_certificates(const char *text)
{
    guint count = 0;
    for (const char *at = text; at && (at = strstr(at, "-----BEGIN CERTIFICATE-----")); at++)
        count++;
    return count;
}

static bool check_certificates(const CmsCheck *check, CMS_ContentInfo *cms, GError **error)
{
    g_autoptr(CertificateStack) certificates = CMS_get1_certs(cms);
    guint expected = 1 + count_pem_certificates(member_text(check->options, "addcerts"));
    if (sk_X509_num(certificates) != (int)expected)
        return wrong(error, "doesn't carry its signer's and the added certificates alone");
    STACK_OF(X509) *signers = CMS_get0_signers(cms);
    bool ours = sk_X509_num(signers) == 1 && X509_cmp(sk_X509_value(signers, 0), check->authority) == 0;
    sk_X509_free(signers);
    return ours || wrong(error, "is not signed with the authority's certificate");
}

static bool check_attributes(const CmsCheck *check, CMS_ContentInfo *cms, GError **error)
{
    STACK_OF(CMS_SignerInfo) *infos = CMS_get0_SignerInfos(cms);
    if (sk_CMS_SignerInfo_num(infos) != 1)
        return wrong(error, "doesn't have exactly one signer");
    CMS_SignerInfo *signer = sk_CMS_SignerInfo_value(infos, 0);
    JsonNode *capabilities = json_object_get_member(check->options, "smimecap");
    bool wanted = !capabilities || JSON_NODE_HOLDS_NULL(capabilities) || json_node_get_boolean(capabilities);
    bool found = CMS_signed_get_attr_by_NID(signer, NID_SMIMECapabilities, -1) >= 0;
    if (wanted != found)
        return wrong(error, wanted ? "lacks the attribute sMIMECapabilities"
                                   : "has the attribute sMIMECapabilities although it wasn't wanted");
    if (CMS_signed_get_attr_by_NID(signer, NID_pkcs9_signingTime, -1) < 0)
        return wrong(error, "lacks the attribute signingTime");
    const char *type = member_text(check->options, "contenttype") ?: "1.2.840.113549.1.7.1";
    g_autoptr(ASN1_OBJECT) oid = OBJ_txt2obj(type, 1);
    return (oid && OBJ_cmp(oid, CMS_get0_eContentType(cms)) == 0) || wrong(error, "has another content type");
}

bool check_cms(const CmsCheck *check, const char *text, GError **error)
{
    const char *form = member_text(check->options, "outform") ?: "PEM";
    g_autoptr(CMS_ContentInfo) cms = read_cms(form, text, error);
    if (!cms || OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed || CMS_is_detached(cms))
        return cms ? wrong(error, "is not opaque signed data") : false;
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    if (CMS_verify(cms, NULL, check->anchors, NULL, out, CMS_BINARY) != 1)
        return openssl_failed(error, "The CMS doesn't verify against its authority");
    g_autoptr(GBytes) content = memory_bytes(out);
    g_autoptr(GBytes) asked = asked_content(check->options);
    if (!g_bytes_equal(content, asked))
        return wrong(error, "holds other bytes than were to be signed");
    return check_certificates(check, cms, error) && check_attributes(check, cms, error);
}
