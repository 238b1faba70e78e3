/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes a key whose signatures come from a token an EVP_PKEY: an in-process OpenSSL 3 provider in a library
 * context of its own, so that X509_sign, CMS_sign and EVP_DigestSign of the application work with it
 * unchanged. Hashing and everything public stays with OpenSSL's default provider; the private operation alone
 * reaches the callback. All tokens' keys sign through it (ARCHITECTURE.md says why libp11's own are not
 * used). */

#include <gio/gio.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum KeyOperation {
    KEY_OPERATION_RSA_BLOCK,     /* input: a padded block as long as the modulus */
    KEY_OPERATION_ECDSA_DIGEST,  /* input: the digest; output: DER ECDSA-Sig-Value */
    KEY_OPERATION_EDDSA_MESSAGE, /* input: the whole message; output: 64 bytes */
    KEY_OPERATION_RSA_DIGEST,    /* bound keys; input: the digest, which the token pads itself */
} KeyOperation;

/* Makes one signature, possibly on several threads at once. |*size| is the room at |signature| and becomes
 * the length. Says why it failed with key_provider_explain(). */
typedef bool (*KeySignFunc)(void *userdata, KeyOperation operation, const unsigned char *input,
                            size_t input_size, unsigned char *signature, size_t *size);

/* A private key for the public key |public_key| (RSA, EC or Ed25519). |release| runs on |userdata| with the
 * last reference. NULL with OpenSSL's error queue filled on failure, and |release| is not called then. */
EVP_PKEY *key_provider_key(EVP_PKEY *public_key, KeySignFunc sign, void *userdata, void (*release)(void *));

/* What a key is bound to whose token pads by itself and does nothing else. */
typedef struct KeyScheme {
    const char *digest; /* "SHA384"; not looked at for Ed25519 */
    bool pss;           /* RSA: PSS with MGF1 of that digest and a salt as long; else PKCS #1 v1.5 */
} KeyScheme;

/* The same for such a token. EVP_PKEY_get_default_digest_name() tells the digest as mandatory; another digest
 * or padding is refused before the callback sees it. NULL |scheme|: not bound. */
EVP_PKEY *key_provider_bound_key(EVP_PKEY *public_key, const KeyScheme *scheme, KeySignFunc sign,
                                 void *userdata, void (*release)(void *));

/* How long a callback, or a look at the token, may take. Who uses a key sets it for the thread, and takes it
 * back with NULL; |limits| stays the caller's. */
typedef struct KeyLimits {
    gint64 deadline;         /* µs of g_get_monotonic_time(), or G_MAXINT64 */
    GCancellable *cancelled; /* set when nobody waits any more; or NULL */
} KeyLimits;
void key_provider_limit(const KeyLimits *limits);
/* Never NULL. */
const KeyLimits *key_provider_limits(void);

/* For the callback: takes |error|, puts its text into OpenSSL's error queue, and keeps it for this thread.
 * Between the callback and whoever wanted a signature lies OpenSSL, which passes no GError on. */
void key_provider_explain(GError *error);
/* The last one on this thread since it was taken, or NULL. Transfer full. */
GError *key_provider_take_explanation(void);
