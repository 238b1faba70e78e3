/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One X.509 version 3 certificate being made: filled in, signed by a CA's key, verified. The one path for
 * certificates of requests, channel certificates and self-signed CA certificates. */

#include "daemon/ca/validity.h"
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

typedef struct CertificatePlan {
    const ASN1_INTEGER *serial;
    Validity validity;
    const X509_NAME *subject;
    EVP_PKEY *public_key;
    X509 *issuer;                      /* NULL: self-signed */
    const X509_EXTENSIONS *extensions; /* go behind SKI and AKI, in this order; may be NULL */
} CertificatePlan;

/* 159 random bits, positive (protocol.md 3.2.1). Transfer full. */
ASN1_INTEGER *serial_random(GError **error);

/* SKI is the SHA-1 of the key, AKI the issuer's SKI as key id; an issuer without one is refused. Transfer
 * full. */
X509 *certificate_plan_build(const CertificatePlan *plan, GError **error);

/* The authority key identifier that points to |issuer|'s SKI. Transfer full. */
AUTHORITY_KEYID *authority_key_identifier(X509 *issuer, GError **error);

/* What |key| signs with: NULL for Ed25519 and Ed448, which take no digest; the one that the key is bound to,
 * as keys in Google Cloud KMS are; else |wanted| or, where that is NULL, SHA-256. Only the private key tells
 * that it is bound, so this is asked when signing. */
const EVP_MD *digest_for_key(EVP_PKEY *key, const EVP_MD *wanted);

/* Signs with |key| and digest_for_key(|digest|), reads the DER again and verifies that: what comes back is
 * what leaves. |issuer| NULL: self-signed. |subject_key|: the key that the certificate must be for, or NULL.
 * Transfer full. */
X509 *certificate_sign(X509 *certificate, EVP_PKEY *key, X509 *issuer, EVP_PKEY *subject_key,
                       const EVP_MD *digest, GError **error);
