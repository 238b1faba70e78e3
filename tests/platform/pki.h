/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The platform's own keys and certificates, made once and kept in its folder:
 *
 *   verification-ca.pem   the synthetic 'IoT HSM Message Verification CA', which an agent pins (with its
 * .key.pem) signer-TYPE.pem       the message signer below it, directly or through an intermediate
 *   rogue-ca.pem          another root with a signer of its own, for messages that must not be believed; a
 * test may put it into the system's certificate folder tls-ca.pem            the root of the server's TLS
 * certificate, which has nothing to do with the others
 *
 * Everything is readable from any thread once opened. */

#include "tests/platform/openssl-types.h"

typedef struct Signer {
    X509 *certificate;
    EVP_PKEY *key;
    CertificateStack *chain; /* intermediates that go into the message; may be NULL */
} Signer;

typedef struct Pki {
    char *directory;
    X509 *anchor;
    EVP_PKEY *anchor_key;
    Signer signer;  /* what every true message is signed with, and what answers are encrypted to */
    Signer rogue;   /* chains to rogue-ca.pem */
    Signer expired; /* below the true anchor, but its time is over */
    Signer tls;     /* below the true anchor, but good for TLS servers only */
} Pki;

/* |key_type| "rsa2048" or "p256"; |intermediate|: the signer hangs below one. Transfer full. */
Pki *pki_open(const char *directory, const char *key_type, bool intermediate, GError **error);
void pki_free(Pki *pki);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pki, pki_free)

/* For 127.0.0.1, ::1 and localhost, below DIR/tls-ca.pem. Transfer full. */
GTlsCertificate *pki_tls_certificate(const Pki *pki, GError **error);

/* "rsa2048" "rsa3072" "rsa4096" "p256" "p384" "p521". Transfer full. */
EVP_PKEY *pki_new_key(const char *type, GError **error);

/* A certificate request whose only content is |common_name| (NULL: an empty subject). Transfer full. */
X509_REQ *pki_new_request(EVP_PKEY *key, const char *common_name, GError **error);

typedef struct CertificatePlan {
    const char *const *subject;    /* pairs "CN", "text", …, NULL; in this order */
    const char *const *extensions; /* pairs "basicConstraints", "critical,CA:TRUE", …, NULL */
    gint64 starts_in;              /* seconds from now, may be negative */
    gint64 lasts;                  /* seconds from now */
} CertificatePlan;

/* |issuer| NULL: self-signed with |key|. SHA-256, random 159-bit serial number. Transfer full. */
X509 *pki_issue(const CertificatePlan *plan, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                GError **error);

/* What was written by certificate_to_pem and private_key_to_pem, in one file of mode 0600. */
bool pki_save(const char *path, X509 *certificate, EVP_PKEY *key, GError **error);
