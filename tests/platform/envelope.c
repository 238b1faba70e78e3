/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The envelope: what the platform signs and encrypts, flaws included, and the strict reading of what agents
 * send. Every reading step is one function with one sentence for what is wrong. */

#include "tests/platform/envelope.h"
#include "tests/platform/compression.h"
#include <string.h>

enum {
    INFLATED_LIMIT = 512 * 1024 * 1024,
    SHORT_BY = 200, /* bytes that a truncated message lacks */
    BASE64_LINE = 64,
};

#define FRAME(TYPE)                                                                                          \
    "MIME-Version: 1.0\n"                                                                                    \
    "Content-Disposition: attachment; filename=\"smime.p7m\"\n"                                              \
    "Content-Type: application/pkcs7-mime; smime-type=" TYPE "; name=\"smime.p7m\"\n"                        \
    "Content-Transfer-Encoding: base64\n\n"

/* ---- making ---- */

static BIO *bytes_reader(GBytes *bytes)
{
    gsize size;
    const void *data = g_bytes_get_data(bytes, &size);
    return BIO_new_mem_buf(data ?: "", (int)size);
}

static char *frame_text(CMS_ContentInfo *cms, BIO *detached_content, int flags)
{
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    g_assert(SMIME_write_CMS(out, cms, detached_content, flags) == 1);
    return memory_text(out);
}

static bool set_signing_time(CMS_SignerInfo *signer, gint64 signing_time)
{
    g_autoptr(ASN1_TIME) time = ASN1_TIME_set(NULL, (time_t)signing_time);
    return time && CMS_signed_add1_attr_by_NID(signer, NID_pkcs9_signingTime, time->type, time, -1) == 1;
}

static CMS_SignerInfo *add_signer(CMS_ContentInfo *cms, const Signer *signer, EVP_PKEY *key,
                                  const EVP_MD *digest, gint64 signing_time, int flags)
{
    CMS_SignerInfo *added = CMS_add1_signer(cms, signer->certificate, key, digest, (unsigned)flags);
    for (int i = 0; added && i < sk_X509_num(signer->chain); i++)
        CMS_add1_cert(cms, sk_X509_value(signer->chain, i));
    if (added && signing_time > 0 && !(flags & CMS_NOATTR) && !set_signing_time(added, signing_time))
        return NULL;
    return added;
}

static bool add_signers(CMS_ContentInfo *cms, const Pki *pki, gint64 signing_time, Flaw flaw, int flags)
{
    const EVP_MD *digest = flaw == FLAW_SHA1 ? EVP_sha1() : EVP_sha256();
    const Signer *signer = flaw == FLAW_ROGUE_SIGNER     ? &pki->rogue
                           : flaw == FLAW_EXPIRED_SIGNER ? &pki->expired
                           : flaw == FLAW_TLS_SIGNER     ? &pki->tls
                                                         : &pki->signer;
    if (!add_signer(cms, signer, signer->key, digest, signing_time, flags))
        return false;
    return flaw != FLAW_TWO_SIGNERS ||
           add_signer(cms, &pki->rogue, pki->rogue.key, digest, signing_time, flags) != NULL;
}

/* DER with one byte of |needle| changed, as S/MIME text again. */
static char *frame_altered(CMS_ContentInfo *cms, GBytes *needle)
{
    unsigned char *der = NULL;
    int size = i2d_CMS_ContentInfo(cms, &der);
    gsize length;
    const guint8 *bytes = g_bytes_get_data(needle, &length);
    guint8 *found = memmem(der, (gsize)size, bytes, length);
    if (found && length > 0)
        found[length / 2] ^= 0x01;
    const unsigned char *at = der;
    g_autoptr(CMS_ContentInfo) altered = d2i_CMS_ContentInfo(NULL, &at, size);
    OPENSSL_free(der);
    return frame_text(altered, NULL, CMS_BINARY);
}

/* Swaps the signature for one of the same content by another key, under the true signer's certificate: the
 * SignerInfo of a CMS made with a certificate that has the same issuer and serial number but the rogue's key.
 */
static char *sign_with_other_key(GBytes *content, const Pki *pki, GError **error)
{
    g_autoptr(X509) twin = X509_dup(pki->signer.certificate);
    if (X509_set_pubkey(twin, pki->rogue.key) != 1 || X509_sign(twin, pki->rogue.key, EVP_sha256()) <= 0) {
        openssl_failed(error, "Making the twin certificate failed");
        return NULL;
    }
    g_autoptr(BIO) in = bytes_reader(content);
    g_autoptr(CMS_ContentInfo) cms = CMS_sign(twin, pki->rogue.key, NULL, in, CMS_BINARY | CMS_NOCERTS);
    if (!cms || CMS_add1_cert(cms, pki->signer.certificate) != 1) {
        openssl_failed(error, "Signing with another key failed");
        return NULL;
    }
    return frame_text(cms, NULL, CMS_BINARY);
}

static char *cut_short(char *smime)
{
    gsize size = strlen(smime);
    if (size > 2 * SHORT_BY)
        strcpy(smime + size - SHORT_BY, "\n\n");
    return smime;
}

/* OpenSSL neither makes signed data without signers nor frees a SignerInfo by itself: a finished one is moved
 * from |cms| into another message, which is thrown away. */
static bool remove_signer(CMS_ContentInfo *cms, const Pki *pki)
{
    g_autoptr(CMS_ContentInfo) bin = CMS_sign(NULL, NULL, NULL, NULL, CMS_PARTIAL);
    if (!bin || !add_signer(bin, &pki->signer, pki->signer.key, EVP_sha256(), 0, CMS_BINARY))
        return false;
    CMS_SignerInfo *signer = sk_CMS_SignerInfo_pop(CMS_get0_SignerInfos(cms));
    return sk_CMS_SignerInfo_push(CMS_get0_SignerInfos(bin), signer) > 0;
}

char *envelope_sign(GBytes *content, const Pki *pki, gint64 signing_time, Flaw flaw, GError **error)
{
    if (flaw == FLAW_NOT_SMIME)
        return g_strdup("This is not an S/MIME message.\n");
    if (flaw == FLAW_WRONG_SIGNER)
        return sign_with_other_key(content, pki, error);
    int flags = CMS_BINARY | CMS_PARTIAL | (flaw == FLAW_DETACHED ? CMS_DETACHED : 0) |
                (flaw == FLAW_NO_ATTRIBUTES ? CMS_NOATTR : 0);
    g_autoptr(BIO) in = bytes_reader(content);
    g_autoptr(CMS_ContentInfo) cms = CMS_sign(NULL, NULL, NULL, in, (unsigned)flags);
    bool detached = flaw == FLAW_DETACHED; /* is finished while it is written */
    if (!cms || !add_signers(cms, pki, signing_time, flaw, flags & (CMS_BINARY | CMS_NOATTR)) ||
        (!detached && CMS_final(cms, in, NULL, CMS_BINARY) != 1) ||
        (flaw == FLAW_NO_SIGNER && !remove_signer(cms, pki))) {
        openssl_failed(error, "Signing the platform's message failed");
        return NULL;
    }
    if (flaw == FLAW_ALTERED)
        return frame_altered(cms, content);
    if (detached)
        return frame_text(cms, in, CMS_BINARY | CMS_DETACHED);
    char *smime = frame_text(cms, NULL, CMS_BINARY);
    return flaw == FLAW_TRUNCATED ? cut_short(smime) : smime;
}

/* A last block that doesn't end in PKCS#7 padding: one byte of the ciphertext's second last block is changed.
 */
static char *spoil_padding(char *smime)
{
    char *body = strstr(smime, "\n\n");
    char *end = body ? strstr(body + 2, "\n\n") : NULL;
    if (!end)
        return smime;
    *end = '\0';
    gsize size;
    g_autofree guchar *der = g_base64_decode(body + 2, &size);
    der[size - 17] ^= 0x5a;
    g_autoptr(GString) spoilt = g_string_new(FRAME("enveloped-data"));
    g_autofree char *base64 = g_base64_encode(der, size);
    for (const char *at = base64; *at; at += strnlen(at, BASE64_LINE)) /* OpenSSL reads no longer lines */
        g_string_append_printf(spoilt, "%.*s\n", BASE64_LINE, at);
    g_string_append_c(spoilt, '\n');
    g_free(smime);
    return g_string_free(g_steal_pointer(&spoilt), FALSE);
}

static char *encrypt_text(GBytes *content, X509 *recipient, Flaw flaw, GError **error)
{
    g_autoptr(BIO) in = bytes_reader(content);
    STACK_OF(X509) *recipients = sk_X509_new_null();
    sk_X509_push(recipients, recipient);
    const EVP_CIPHER *cipher = flaw == FLAW_GCM ? EVP_aes_256_gcm() : EVP_aes_256_cbc();
    g_autoptr(CMS_ContentInfo) cms = CMS_encrypt(recipients, in, cipher, CMS_BINARY);
    sk_X509_free(recipients);
    if (!cms) {
        openssl_failed(error, "Encrypting the platform's message failed");
        return NULL;
    }
    char *smime = frame_text(cms, NULL, CMS_BINARY);
    if (flaw == FLAW_TRUNCATED_INNER)
        return cut_short(smime);
    return flaw == FLAW_BAD_PADDING ? spoil_padding(smime) : smime;
}

char *envelope_sign_encrypted(GBytes *content, X509 *recipient, const Pki *pki, gint64 signing_time,
                              Flaw flaw, GError **error)
{
    if (flaw == FLAW_NOT_ENCRYPTED)
        return envelope_sign(content, pki, signing_time, FLAW_NONE, error);
    X509 *to = flaw == FLAW_WRONG_RECIPIENT ? pki->rogue.certificate : recipient;
    g_autofree char *encrypted = encrypt_text(content, to, flaw, error);
    if (!encrypted)
        return NULL;
    g_autoptr(GBytes) nested = g_bytes_new(encrypted, strlen(encrypted));
    return envelope_sign(nested, pki, signing_time, flaw, error);
}

static GBytes *deflate_with(GBytes *content, Flaw flaw)
{
    switch (flaw) {
    case FLAW_BAD_ZLIB:
        return g_bytes_ref(content);
    case FLAW_RAW_DEFLATE:
        return compress_content(content, COMPRESSION_RAW);
    case FLAW_GZIP:
        return compress_content(content, COMPRESSION_GZIP);
    case FLAW_ZIP_BOMB:
        return compress_bomb();
    case FLAW_EMPTY:
        return g_bytes_new(NULL, 0);
    default:
        return compress_content(content, COMPRESSION_ZLIB);
    }
}

char *envelope_seal(GBytes *content, X509 *recipient, const Pki *pki, gint64 signing_time, Flaw flaw,
                    GError **error)
{
    g_autoptr(GBytes) deflated = deflate_with(content, flaw);
    return envelope_sign_encrypted(deflated, recipient, pki, signing_time, flaw, error);
}

/* ---- reading ---- */

static bool wrong(GError **error, const char *what)
{
    g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, what);
    return false;
}

/* |frame| is the header block that the text must open with, to the byte. */
static CMS_ContentInfo *read_frame(const char *text, gsize size, const char *frame, GError **error)
{
    if (size < strlen(frame) || memcmp(text, frame, strlen(frame)) != 0) {
        wrong(error, "The agent's S/MIME text doesn't open with the header lines of protocol.md 1.5 or 1.6");
        return NULL;
    }
    if (memchr(text, '\r', size) || memchr(text, '\0', size) || memcmp(text + size - 2, "\n\n", 2) != 0) {
        wrong(error, "The agent's S/MIME text has a CR or NUL, or doesn't end in an empty line");
        return NULL;
    }
    g_autoptr(BIO) in = BIO_new_mem_buf(text, (int)size);
    BIO *detached = NULL;
    CMS_ContentInfo *cms = SMIME_read_CMS(in, &detached);
    BIO_free(detached);
    if (!cms)
        openssl_failed(error, "The agent's S/MIME text can't be parsed");
    return cms;
}

static bool has_attribute(CMS_SignerInfo *signer, int nid)
{
    return CMS_signed_get_attr_by_NID(signer, nid, -1) >= 0;
}

static bool check_signer_info(CMS_SignerInfo *signer, GError **error)
{
    X509_ALGOR *digest;
    X509_ALGOR *signature;
    CMS_SignerInfo_get0_algs(signer, NULL, NULL, &digest, &signature);
    const ASN1_OBJECT *digest_oid;
    const ASN1_OBJECT *signature_oid;
    int digest_parameter;
    X509_ALGOR_get0(&digest_oid, &digest_parameter, NULL, digest);
    X509_ALGOR_get0(&signature_oid, NULL, NULL, signature);
    if (OBJ_obj2nid(digest_oid) != NID_sha256 || digest_parameter != V_ASN1_UNDEF)
        return wrong(error, "The agent's message is not digested with SHA-256 without parameters");
    if (OBJ_obj2nid(signature_oid) != NID_rsaEncryption)
        return wrong(error, "The agent's message is not signed with the algorithm rsaEncryption");
    if (CMS_signed_get_attr_count(signer) != 4 || !has_attribute(signer, NID_pkcs9_contentType) ||
        !has_attribute(signer, NID_pkcs9_signingTime) || !has_attribute(signer, NID_pkcs9_messageDigest) ||
        !has_attribute(signer, NID_SMIMECapabilities))
        return wrong(error, "The agent's message doesn't have the four signed attributes of protocol.md 1.5");
    if (CMS_unsigned_get_attr_count(signer) > 0)
        return wrong(error, "The agent's message has unsigned attributes");
    ASN1_OCTET_STRING *key_id;
    X509_NAME *issuer;
    ASN1_INTEGER *serial;
    if (CMS_SignerInfo_get0_signer_id(signer, &key_id, &issuer, &serial) != 1 || !issuer)
        return wrong(error, "The agent's message doesn't name its signer by issuer and serial number");
    return true;
}

static bool check_signed_shape(CMS_ContentInfo *cms, GError **error)
{
    if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_signed || CMS_is_detached(cms) ||
        OBJ_obj2nid(CMS_get0_eContentType(cms)) != NID_pkcs7_data)
        return wrong(error, "The agent's message is not opaque signed data");
    STACK_OF(X509_CRL) *crls = CMS_get1_crls(cms);
    int crl_count = sk_X509_CRL_num(crls);
    sk_X509_CRL_pop_free(crls, X509_CRL_free);
    g_autoptr(CertificateStack) certificates = CMS_get1_certs(cms);
    if (sk_X509_num(certificates) != 1 || crl_count > 0)
        return wrong(error, "The agent's message must carry its signer's certificate and nothing else");
    STACK_OF(CMS_SignerInfo) *signers = CMS_get0_SignerInfos(cms);
    if (sk_CMS_SignerInfo_num(signers) != 1)
        return wrong(error, "The agent's message must have exactly one signer");
    return check_signer_info(sk_CMS_SignerInfo_value(signers, 0), error);
}

GBytes *envelope_verify(const char *smime, X509_STORE *anchors, X509 **ret_signer, GError **error)
{
    g_autoptr(CMS_ContentInfo) cms = read_frame(smime, strlen(smime), FRAME("signed-data"), error);
    if (!cms || !check_signed_shape(cms, error))
        return NULL;
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    if (CMS_verify(cms, NULL, anchors, NULL, out, CMS_BINARY) != 1) {
        openssl_failed(error, "The agent's message doesn't verify against its authority");
        return NULL;
    }
    STACK_OF(X509) *signers = CMS_get0_signers(cms);
    X509 *signer = sk_X509_value(signers, 0);
    X509_up_ref(signer);
    sk_X509_free(signers);
    *ret_signer = signer;
    return memory_bytes(out);
}

static bool check_recipient(CMS_RecipientInfo *recipient, X509 *ours, GError **error)
{
    int type = CMS_RecipientInfo_type(recipient);
    if (type == CMS_RECIPINFO_AGREE) /* an EC signer: the key identifies itself when decrypting */
        return true;
    X509_NAME *issuer = NULL;
    ASN1_INTEGER *serial = NULL;
    if (type != CMS_RECIPINFO_TRANS ||
        CMS_RecipientInfo_ktri_get0_signer_id(recipient, NULL, &issuer, &serial) != 1 || !issuer ||
        CMS_RecipientInfo_ktri_cert_cmp(recipient, ours) != 0)
        return wrong(error, "The agent's answer is not encrypted to the certificate that signed the request");
    X509_ALGOR *algorithm;
    const ASN1_OBJECT *oid;
    CMS_RecipientInfo_ktri_get0_algs(recipient, NULL, NULL, &algorithm);
    X509_ALGOR_get0(&oid, NULL, NULL, algorithm);
    if (OBJ_obj2nid(oid) != NID_rsaEncryption)
        return wrong(error, "The agent's answer is not encrypted with the key transport rsaEncryption");
    return true;
}

/* The content encryption algorithm can't be asked for before decrypting: its OID is looked up in the DER. */
static bool is_aes256_cbc(CMS_ContentInfo *cms)
{
    static const guint8 oid[] = {0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a};
    unsigned char *der = NULL;
    int size = i2d_CMS_ContentInfo(cms, &der);
    bool found = size > 0 && memmem(der, (gsize)size, oid, sizeof oid);
    OPENSSL_free(der);
    return found;
}

GBytes *envelope_open(GBytes *verified, const Pki *pki, GError **error)
{
    gsize size;
    const char *text = g_bytes_get_data(verified, &size);
    g_autoptr(CMS_ContentInfo) cms = read_frame(text, size, FRAME("enveloped-data"), error);
    if (!cms)
        return NULL;
    STACK_OF(CMS_RecipientInfo) *recipients = CMS_get0_RecipientInfos(cms);
    if (OBJ_obj2nid(CMS_get0_type(cms)) != NID_pkcs7_enveloped || sk_CMS_RecipientInfo_num(recipients) != 1 ||
        !is_aes256_cbc(cms)) {
        wrong(error, "The agent's answer is not AES-256-CBC enveloped data for one recipient");
        return NULL;
    }
    if (!check_recipient(sk_CMS_RecipientInfo_value(recipients, 0), pki->signer.certificate, error))
        return NULL;
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    if (CMS_decrypt(cms, pki->signer.key, pki->signer.certificate, NULL, out, CMS_BINARY) != 1) {
        openssl_failed(error, "The agent's answer can't be decrypted");
        return NULL;
    }
    g_autoptr(GBytes) deflated = memory_bytes(out);
    return inflate_content(deflated, INFLATED_LIMIT, error);
}
