/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The S/MIME layers around every message (protocol.md 1.5, 1.6, 1.8, 2.6, 2.7), as pure functions: text in,
 * bytes out, no state. All of it is RSA work and belongs on a crypto thread.
 *
 * Order: open = verify, decrypt, inflate; seal = deflate, encrypt, sign. Nothing is decrypted before it was
 * verified against the pinned CA. Errors that a sender could learn from (wrong key, bad padding, not zlib)
 * are one and the same sentence. */

#include "daemon/config.h"
#include <glib.h>
#include <openssl/x509.h>
#include <stdbool.h>

typedef struct EnvelopeTrust EnvelopeTrust; /* whom to believe; shared by reference, thread safe */
EnvelopeTrust *envelope_trust_new(X509_STORE *pinned,
                                  SignerPurpose purpose); /* takes a reference of |pinned| */
EnvelopeTrust *envelope_trust_ref(EnvelopeTrust *trust);
void envelope_trust_unref(EnvelopeTrust *trust);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EnvelopeTrust, envelope_trust_unref)

/* What a verified message is. */
typedef struct EnvelopeSigned {
    GBytes *content;
    X509 *signer;
    gint64 signing_time; /* seconds since the epoch; 0: the attribute is absent */
} EnvelopeSigned;
void envelope_signed_free(EnvelopeSigned *message);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(EnvelopeSigned, envelope_signed_free)

/* Opaque-signed S/MIME text of exactly protocol.md 1.5. Transfer full. */
char *envelope_sign(GBytes *content, X509 *certificate, EVP_PKEY *key, GError **error);

/* One SignerInfo, opaque, SHA-256 or better, signer RSA >= 2048 or EC >= P-256, chain to the pinned CA alone.
 */
EnvelopeSigned *envelope_verify(const char *smime, gsize size, const EnvelopeTrust *trust, GError **error);

/* AES-256-CBC, one recipient (protocol.md 1.6). Transfer full. */
char *envelope_encrypt(GBytes *content, X509 *recipient, GError **error);
/* By key, not by certificate: messages to the previous channel certificate still open. Transfer full. */
GBytes *envelope_decrypt(GBytes *smime, EVP_PKEY *key, GError **error);

/* zlib, RFC 1950. LIMITS_EXCEEDED above |limit|. Transfer full. */
GBytes *envelope_deflate(GBytes *content, GError **error);
GBytes *envelope_inflate(GBytes *deflated, guint64 limit, GError **error);

/* deflate, encrypt, sign. Transfer full. */
char *envelope_seal(GBytes *content, X509 *recipient, X509 *certificate, EVP_PKEY *key, GError **error);
