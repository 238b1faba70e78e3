/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Texts about certificates. All of them are made from the decoded certificate; nothing is scraped. */

#include "daemon/ca/name.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/pem.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/pem.h>
#include <string.h>

/* The longest certificate that we look at: far beyond any real one, far below what hurts. */
enum { CERTIFICATE_TEXT_MAX = 1024 * 1024 };

static char *to_hex(const unsigned char *bytes, gsize size)
{
    char *text = g_malloc(2 * size + 1);
    for (gsize i = 0; i < size; i++)
        g_snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[2 * size] = '\0';
    return text;
}

char *certificate_serial(const X509 *certificate)
{
    g_autoptr(BIGNUM) number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    int size = number ? BN_num_bytes(number) : 0;
    if (size == 0)
        return g_strdup("00");
    g_autofree unsigned char *bytes = g_malloc((gsize)size);
    BN_bn2bin(number, bytes);
    return to_hex(bytes, (gsize)size);
}

/* The original reads the line after "Serial Number:" of `openssl x509 -text`. Where the number stands on the
 * very line, which it does up to 2^63-1, the line after it is the one that names the signature algorithm. */
char *certificate_serial_original(const X509 *certificate)
{
    g_autoptr(BIGNUM) number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    if (!number || BN_num_bits(number) > 63)
        return certificate_serial(certificate);
    g_autofree char *algorithm = g_ascii_strdown(OBJ_nid2ln(X509_get_signature_nid(certificate)), -1);
    return g_strconcat("signature algorithm ", algorithm, NULL);
}

static char *digest(const X509 *certificate, const EVP_MD *type)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    return X509_digest(certificate, type, hash, &size) == 1 ? to_hex(hash, size) : NULL;
}

char *certificate_thumbprint(const X509 *certificate)
{
    return digest(certificate, EVP_sha1());
}

char *certificate_fingerprint(const X509 *certificate)
{
    return digest(certificate, EVP_sha256());
}

/* OpenSSL escapes ASCII's control characters; this does the rest, byte by byte in RFC 2253's \XX. */
static char *escape_controls(const char *text)
{
    GString *escaped = g_string_new(NULL);
    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        const char *end = g_utf8_next_char(at);
        if (!characters_is_control(g_utf8_get_char(at)))
            g_string_append_len(escaped, at, end - at);
        else
            for (const char *byte = at; byte < end; byte++)
                g_string_append_printf(escaped, "\\%02X", (guchar)*byte);
    }
    return g_string_free(escaped, FALSE);
}

static char *name_to_text(const X509_NAME *name)
{
    unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)XN_FLAG_DN_REV;
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());

    /* OpenSSL does not decode names whose strings break their own encoding, so this finds readable text. */
    X509_NAME_print_ex(bio, name, 0, flags & ~(unsigned long)ASN1_STRFLGS_ESC_MSB);
    g_autofree char *raw = bio_to_text(bio);
    g_autofree char *text = g_utf8_make_valid(raw, -1);
    return escape_controls(text);
}

char *certificate_subject(const X509 *certificate)
{
    return name_to_text(X509_get_subject_name(certificate));
}

char *certificate_issuer(const X509 *certificate)
{
    return name_to_text(X509_get_issuer_name(certificate));
}

static gint64 to_seconds(const ASN1_TIME *time)
{
    struct tm parts = {0};
    if (!time || ASN1_TIME_to_tm(time, &parts) != 1)
        return 0;
    g_autoptr(GDateTime) utc = g_date_time_new_utc(parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                                                   parts.tm_hour, parts.tm_min, parts.tm_sec);
    return utc ? g_date_time_to_unix(utc) : 0;
}

gint64 certificate_not_before(const X509 *certificate)
{
    return to_seconds(X509_get0_notBefore(certificate));
}

gint64 certificate_not_after(const X509 *certificate)
{
    return to_seconds(X509_get0_notAfter(certificate));
}

gboolean certificate_is_ca(const X509 *certificate)
{
    g_autoptr(BASIC_CONSTRAINTS) constraints =
        X509_get_ext_d2i(certificate, NID_basic_constraints, NULL, NULL);
    return constraints && constraints->ca;
}

X509 *certificate_from_pem(const char *pem, GError **error)
{
    g_autoptr(PemBlock) block = strlen(pem) <= CERTIFICATE_TEXT_MAX ? pem_read_block(pem) : NULL;
    if (!block || !pem_block_is(block, PEM_STRING_X509, PEM_STRING_X509_OLD)) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
            "This is not one certificate in PEM form; give the text from -----BEGIN CERTIFICATE----- to "
            "-----END CERTIFICATE-----, and nothing else");
        return NULL;
    }
    g_autoptr(X509) certificate = pem_block_certificate(block);
    if (!certificate || !X509_get0_pubkey(certificate)) {
        error_set_openssl(error, IOTHSM_ERROR_BAD_CERTIFICATE,
                          "The certificate is damaged, or its key is of a kind "
                          "that this machine does not know");
        return NULL;
    }
    return g_steal_pointer(&certificate);
}

char *certificate_to_pem(X509 *certificate)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    return PEM_write_bio_X509(bio, certificate) == 1 ? bio_to_text(bio) : NULL;
}
