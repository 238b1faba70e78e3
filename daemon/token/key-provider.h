/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes a key whose signatures come from a token an EVP_PKEY: an in-process OpenSSL 3 provider in a library
 * context of its own, so that X509_sign, CMS_sign and EVP_DigestSign of the application work with it
 * unchanged. Hashing and everything public stays with OpenSSL's default provider; the private operation alone
 * reaches the callback. Every PKCS#11 key signs through it
 * (ARCHITECTURE.md says why libp11's own are not used); YubiKey and Cloud KMS are next. */

#include <glib.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>

typedef enum KeyOperation {
    KEY_OPERATION_RSA_BLOCK,     /* input: a padded block as long as the modulus */
    KEY_OPERATION_ECDSA_DIGEST,  /* input: the digest; output: DER ECDSA-Sig-Value */
    KEY_OPERATION_EDDSA_MESSAGE, /* input: the whole message; output: 64 bytes */
} KeyOperation;

/* Makes one signature, possibly on several threads at once. |*size| is the room at |signature| and becomes
 * the length. Says why it failed with key_provider_explain(). */
typedef bool (*KeySignFunc)(void *userdata, KeyOperation operation, const unsigned char *input,
                            size_t input_size, unsigned char *signature, size_t *size);

/* A private key for the public key |public_key| (RSA, EC or Ed25519). |release| runs on |userdata| with the
 * last reference. NULL with OpenSSL's error queue filled on failure, and |release| is not called then. */
EVP_PKEY *key_provider_key(EVP_PKEY *public_key, KeySignFunc sign, void *userdata, void (*release)(void *));

/* For the callback: takes |error|, puts its text into OpenSSL's error queue, and keeps it for this thread.
 * Between the callback and whoever wanted a signature lies OpenSSL, which passes no GError on. */
void key_provider_explain(GError *error);
/* The last one on this thread since it was taken, or NULL. Transfer full. */
GError *key_provider_take_explanation(void);
