/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* OpenSSL's objects as g_autoptr types, and the one way in which its failures become a GError. The stand-in
 * has its own copy of this, because it shares nothing with the daemon. */

#include <gio/gio.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

#include <openssl/pem.h>

#include <openssl/cms.h> /* declares its PEM functions only after pem.h */

typedef STACK_OF(X509) CertificateStack;

static inline void certificate_stack_free(CertificateStack *stack)
{
    sk_X509_pop_free(stack, X509_free);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(ASN1_INTEGER, ASN1_INTEGER_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ASN1_OBJECT, ASN1_OBJECT_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ASN1_TIME, ASN1_TIME_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AUTHORITY_INFO_ACCESS, AUTHORITY_INFO_ACCESS_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(AUTHORITY_KEYID, AUTHORITY_KEYID_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BASIC_CONSTRAINTS, BASIC_CONSTRAINTS_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIGNUM, BN_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BIO, BIO_free_all)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CERTIFICATEPOLICIES, CERTIFICATEPOLICIES_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CMS_ContentInfo, CMS_ContentInfo_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CRL_DIST_POINTS, CRL_DIST_POINTS_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(CertificateStack, certificate_stack_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY, EVP_PKEY_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EXTENDED_KEY_USAGE, EXTENDED_KEY_USAGE_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GENERAL_NAMES, GENERAL_NAMES_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509, X509_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_CRL, X509_CRL_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_EXTENSION, X509_EXTENSION_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_NAME, X509_NAME_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_REQ, X509_REQ_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_STORE, X509_STORE_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_STORE_CTX, X509_STORE_CTX_free)

/* Sets |error| to |what| and OpenSSL's newest reason, empties OpenSSL's queue, returns false. */
bool openssl_failed(GError **error, const char *what);

/* PEM text of |size| bytes (-1: up to NUL) to objects and back. Transfer full; NULL with |error| set. */
X509 *certificate_from_pem(const char *pem, gssize size, GError **error);
X509_REQ *request_from_pem(const char *pem, gssize size, GError **error);
X509_CRL *crl_from_pem(const char *pem, gssize size, GError **error);
EVP_PKEY *private_key_from_pem(const char *pem, gssize size, GError **error);
char *certificate_to_pem(X509 *certificate);
char *request_to_pem(X509_REQ *request);
char *private_key_to_pem(EVP_PKEY *key);

/* Everything written to a memory BIO, NUL-terminated. Transfer full. */
char *memory_text(BIO *memory);
GBytes *memory_bytes(BIO *memory);
