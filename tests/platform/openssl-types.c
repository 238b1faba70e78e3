/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PEM in and out, and OpenSSL's error queue as a GError. */

#include "tests/platform/openssl-types.h"
#include <openssl/err.h>
#include <openssl/pem.h>

bool openssl_failed(GError **error, const char *what)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    const char *data = NULL;
    int flags = 0;
    ERR_peek_last_error_all(NULL, NULL, NULL, &data, &flags);
    bool detailed = data && *data && (flags & ERR_TXT_STRING);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "%s: %s%s%s", what, reason ?: "no reason given",
                detailed ? ": " : "", detailed ? data : "");
    ERR_clear_error();
    return false;
}

static BIO *reader(const char *pem, gssize size)
{
    return BIO_new_mem_buf(pem, size < 0 ? -1 : (int)size);
}

X509 *certificate_from_pem(const char *pem, gssize size, GError **error)
{
    g_autoptr(BIO) in = reader(pem, size);
    X509 *certificate = PEM_read_bio_X509(in, NULL, NULL, NULL);
    if (!certificate)
        openssl_failed(error, "This is not a PEM certificate");
    return certificate;
}

X509_REQ *request_from_pem(const char *pem, gssize size, GError **error)
{
    g_autoptr(BIO) in = reader(pem, size);
    X509_REQ *request = PEM_read_bio_X509_REQ(in, NULL, NULL, NULL);
    if (!request)
        openssl_failed(error, "This is not a PEM certificate request");
    return request;
}

X509_CRL *crl_from_pem(const char *pem, gssize size, GError **error)
{
    g_autoptr(BIO) in = reader(pem, size);
    X509_CRL *crl = PEM_read_bio_X509_CRL(in, NULL, NULL, NULL);
    if (!crl)
        openssl_failed(error, "This is not a PEM CRL");
    return crl;
}

EVP_PKEY *private_key_from_pem(const char *pem, gssize size, GError **error)
{
    g_autoptr(BIO) in = reader(pem, size);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    if (!key)
        openssl_failed(error, "This is not a PEM private key");
    return key;
}

char *memory_text(BIO *memory)
{
    char *data = NULL;
    long size = BIO_get_mem_data(memory, &data);
    return g_strndup(data, (gsize)size);
}

GBytes *memory_bytes(BIO *memory)
{
    char *data = NULL;
    long size = BIO_get_mem_data(memory, &data);
    return g_bytes_new(data, (gsize)size);
}

char *certificate_to_pem(X509 *certificate)
{
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    g_assert(PEM_write_bio_X509(out, certificate) == 1);
    return memory_text(out);
}

char *request_to_pem(X509_REQ *request)
{
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    g_assert(PEM_write_bio_X509_REQ(out, request) == 1);
    return memory_text(out);
}

char *private_key_to_pem(EVP_PKEY *key)
{
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    g_assert(PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) == 1);
    return memory_text(out);
}
