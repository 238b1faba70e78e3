/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What Google Cloud answers, read with limits: pages of lists, public keys, signatures, permissions, access
 * tokens and errors (REST v1). Bytes in, plain values out; nothing here talks to anybody. */

#include "daemon/error.h"
#include "daemon/secret.h"
#include "daemon/token/key-provider.h"
#include "daemon/token/key-type.h"

/* How a key version signs. The digest is part of it: Google signs no other with that version. */
typedef struct KmsAlgorithm {
    const char *name; /* "EC_SIGN_P384_SHA384" */
    KeyType type;
    KeyScheme scheme;   /* digest NULL: signs whole messages (Ed25519) */
    const char *member; /* of the request's digest: "sha384"; or NULL */
} KmsAlgorithm;

/* NULL: not one that can sign certificates here. Static. */
const KmsAlgorithm *kms_algorithm_find(const char *name);

/* One version of one key. */
typedef struct KmsVersion {
    char *resource;   /* projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V */
    char *slot;       /* K:V */
    char *algorithm;  /* as Google names it */
    char *state;      /* "ENABLED" */
    char *protection; /* "HSM" */
    bool imported;
    const KmsAlgorithm *signs; /* NULL: |reason| says why it can't be used */
    char *reason;
} KmsVersion;

void kms_version_free(KmsVersion *version);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KmsVersion, kms_version_free)

/* One child of a list: a project, location, key ring or key. */
typedef struct KmsEntry {
    char *name;  /* resource name */
    char *label; /* what people call it */
    bool signs;  /* a key with the purpose ASYMMETRIC_SIGN */
} KmsEntry;

void kms_entry_free(KmsEntry *entry);

/* projects/P/locations/L/keyRings/R, each part as Google allows it. INVALID in words otherwise. */
bool kms_key_ring_check(const char *key_ring, GError **error);
/* "P:L:R". Transfer full. |key_ring| was checked. */
char *kms_key_ring_serial(const char *key_ring);
/* "", "projects/P", "projects/P/locations/L" or a key ring. */
bool kms_parent_check(const char *parent, GError **error);

/* Appends to |entries| what the page lists under |member| ("keyRings") and gives the next page's token, or
 * NULL. Every name must be one below |parent|. */
bool kms_read_entries(const char *text, gsize size, const char *member, const char *parent,
                      GPtrArray *entries, char **ret_next, GError **error);
/* The same for the versions of the key |key|. */
bool kms_read_versions(const char *text, gsize size, const char *key, GPtrArray *versions, char **ret_next,
                       GError **error);

/* How an answer is bad that was damaged on the way: it may be asked for again. */
#define KMS_DAMAGED IOTHSM_ERROR_TOKEN_SUSPECT

/* The PEM of |version|, its checksum, name and algorithm checked. Transfer full. */
EVP_PKEY *kms_read_public_key(const char *text, gsize size, const KmsVersion *version, GError **error);

/* The signature by |resource|, with all of Google's checks: that it got the digest (or, |data|, the message)
 * undamaged, that it was that version, and that the signature is undamaged. Transfer full. */
GBytes *kms_read_signature(const char *text, gsize size, const char *resource, bool data, GError **error);

/* Those of |wanted| that the answer has not. Transfer full. */
GStrv kms_read_missing(const char *text, gsize size, const char *const *wanted, GError **error);

/* An access token and how many seconds it is good for. Transfer full. */
Secret *kms_read_access_token(const char *text, gsize size, gint64 *ret_seconds, GError **error);

/* Google's own words about why not: one line, at most 300 characters, never empty. |ret_status| is its short
 * name ("PERMISSION_DENIED"), or "". Transfer full, both. */
char *kms_read_error(const char *text, gsize size, char **ret_status);
