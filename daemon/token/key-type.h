/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kinds of key that a slot can hold, under the names users type: rsa2048 rsa3072 rsa4096 p256 p384 p521
 * ed25519. pkcs11-tool's spellings (rsa:2048, EC:prime256v1, EC:secp384r1, EC:edwards25519) are understood.
 */

#include <glib.h>
#include <openssl/evp.h>
#include <stdbool.h>

typedef enum KeyType {
    KEY_TYPE_RSA2048,
    KEY_TYPE_RSA3072,
    KEY_TYPE_RSA4096,
    KEY_TYPE_P256,
    KEY_TYPE_P384,
    KEY_TYPE_P521,
    KEY_TYPE_ED25519,
    N_KEY_TYPES
} KeyType;

const char *key_type_to_string(KeyType type);
/* IOTHSM_ERROR_INVALID lists the names that are understood. */
bool key_type_from_string(const char *text, KeyType *ret_type, GError **error);
/* IOTHSM_ERROR_UNSUPPORTED for a key that is none of these (RSA-1024, secp256k1, X25519). */
bool key_type_of(const EVP_PKEY *key, KeyType *ret_type, GError **error);
bool key_type_is_rsa(KeyType type);
