/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the provider know of each other: key-provider.c is the provider and the way in,
 * key-provider-key.c its key managers, key-provider-signature.c its signature algorithms. */

#include "daemon/token/key-provider.h"
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>

#define PROVIDER_NAME "iothsm"
#define PARAM_KEY "iothsm-key" /* octet pointer to a KeyRequest */

#define fail(...) (ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, __VA_ARGS__), 0)

/* A row of a dispatch table, and its end. */
#define FUNCTION(id, function)                                                                               \
    {                                                                                                        \
        id, (void (*)(void))(function)                                                                       \
    }
#define LAST                                                                                                 \
    {                                                                                                        \
        0, NULL                                                                                              \
    }

typedef enum KeyKind { KIND_RSA, KIND_EC, KIND_ED25519, N_KINDS } KeyKind;

/* What key_provider_key() hands to the key manager's import function. */
typedef struct KeyRequest {
    EVP_PKEY *public_key;
    const KeyScheme *scheme; /* or NULL */
    KeySignFunc sign;
    void *userdata;
    void (*release)(void *userdata);
} KeyRequest;

/* Does not change after import, so signatures on all threads share it. */
typedef struct Key {
    gint references;
    KeyKind kind;
    KeyRequest at;        /* public_key is our own reference */
    size_t size;          /* the longest signature */
    KeyScheme scheme;     /* where |bound_digest| is not NULL */
    EVP_MD *bound_digest; /* NULL: the key signs with any digest */
} Key;

Key *key_ref(Key *key);
void key_unref(void *key); /* accepts NULL */

extern const OSSL_ALGORITHM key_provider_key_managers[];
extern const OSSL_ALGORITHM key_provider_signatures[];
