/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The algorithms of Cloud KMS (CryptoKeyVersionAlgorithm): what kind of key each has, and how it signs. */

#include <gio/gio.h>
#include <openssl/evp.h>
#include <stdbool.h>

typedef struct Algorithm {
    const char *name;   /* "EC_SIGN_P256_SHA256" */
    const char *curve;  /* or NULL: RSA, or none */
    guint bits;         /* RSA's; 0: not RSA */
    const char *digest; /* "sha256", or NULL: it signs data, not a digest */
    int padding;        /* RSA's */
    bool signs;         /* false: made for something else than signing */
} Algorithm;

/* NULL where Cloud KMS has none of that name. */
const Algorithm *algorithm_by_name(const char *name);
/* Transfer full. */
EVP_PKEY *algorithm_new_key(const Algorithm *algorithm);
/* Bytes of its digest, 0 where it signs data. */
gsize algorithm_digest_size(const Algorithm *algorithm);
/* Signs |input|: the digest, or the data where |input_is_data|. Transfer full. */
GBytes *algorithm_sign(const Algorithm *algorithm, EVP_PKEY *key, GBytes *input, bool input_is_data);
