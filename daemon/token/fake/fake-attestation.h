/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A vendor's attestation, made in software for tests: a root, the certificate of a token's attestation key,
 * and certificates that this key signs for others, with whatever claims a test wants to see. */

#include <glib.h>
#include <openssl/x509.h>

typedef struct FakeAttester {
    X509 *root;
    EVP_PKEY *root_key;
    X509 *certificate; /* of |key|, signed by the root */
    EVP_PKEY *key;
} FakeAttester;

FakeAttester *fake_attester_new(void);
void fake_attester_free(FakeAttester *attester);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeAttester, fake_attester_free)

/* One extension of Yubico's: 1.3.6.1.4.1.41482.3.|number|. */
typedef struct FakeClaim {
    guint number;
    const void *data;
    gsize size;
} FakeClaim;

/* A certificate for |key|, signed by |issuer_key| in the name of |issuer| (NULL: by itself), with |basic| as
 * its basic constraints (NULL: none) and |claims| up to one of number 0 (NULL: none). Transfer full. */
X509 *fake_attestation_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                                   const char *basic, const FakeClaim *claims);

/* What a token of firmware 5.7.1 says of |key|; |serial| 0: it does not tell; |policies| are the two bytes
 * for PIN and touch. Transfer full: its certificate, then the attester's. */
GPtrArray *fake_attester_attest(const FakeAttester *attester, EVP_PKEY *key, guint64 serial,
                                const guint8 policies[2]);
