/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The last look at what a token signed, with the CA's public key, before it leaves. A signature that went
 * wrong (a glitch in RSA-CRT) would give the private key away; it is thrown away here. */

#include <glib.h>
#include <openssl/cms.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* |certificate| (NULL: it could not even be read) is signed by the key in |issuer| and, where |subject_key|
 * is given, for that key. */
bool verify_certificate(X509 *certificate, X509 *issuer, EVP_PKEY *subject_key, GError **error);
/* By its own key, as read from its encoding and never the token's object. */
bool verify_request(X509_REQ *request, GError **error);
bool verify_crl(X509_CRL *crl, X509 *ca, GError **error);
/* |cms| is opaque, signed by |ca| alone, over exactly |content|. */
bool verify_cms(CMS_ContentInfo *cms, X509 *ca, GBytes *content, GError **error);
