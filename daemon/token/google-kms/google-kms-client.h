/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Google Cloud KMS by its public REST API v1, for threads that wait. One client is one account's way to it,
 * with so many requests at once; it keeps nothing but connections.
 *
 * |limits| without a deadline give each request of a list ten seconds.
 *
 * What may be repeated is repeated inside the time that there is: a request that was answered 429 or 5xx, one
 * whose access token was refused (once, with a new one), and one whose answer came damaged. Errors tell what
 * Google said and what to do: CLOUD_REFUSED, SLOT_EMPTY (there is no such key version), LINK_DOWN,
 * LIMITS_EXCEEDED, TIMED_OUT, CANCELLED, and KMS_DAMAGED. */

#include "daemon/token/google-kms/google-credentials.h"
#include "daemon/token/google-kms/google-kms-answer.h"
#include "daemon/token/google-kms/google-kms.h"

typedef struct KmsClient KmsClient;

/* |endpoints|: no member is NULL; kept by reference, as long as the client lives. */
KmsClient *kms_client_new(GoogleHttp *http, const GoogleEndpoints *endpoints, GoogleCredentials *credentials,
                          guint requests);
void kms_client_free(KmsClient *client); /* accepts NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(KmsClient, kms_client_free)

const GoogleCredentials *kms_client_credentials(const KmsClient *client);

/* The children of |parent| that are |member| ("projects", "locations", "keyRings", "cryptoKeys"), all pages:
 * KmsEntry. Transfer full. */
GPtrArray *kms_client_list(KmsClient *client, const char *parent, const char *member, const KeyLimits *limits,
                           GError **error);
/* All versions of all signing keys of the key ring, usable or not: KmsVersion, owned. Transfer full. */
GPtrArray *kms_client_list_versions(KmsClient *client, const char *key_ring, const KeyLimits *limits,
                                    GError **error);
/* Of a usable version. Transfer full. */
EVP_PKEY *kms_client_public_key(KmsClient *client, const KmsVersion *version, const KeyLimits *limits,
                                GError **error);
/* By |resource|, called |slot| in sentences: |input| is the digest, or with Ed25519 the message. Transfer
 * full. */
GBytes *kms_client_sign(KmsClient *client, const char *resource, const char *slot,
                        const KmsAlgorithm *algorithm, const void *input, gsize size, const KeyLimits *limits,
                        GError **error);

/* What an account needs on a key ring, and the role that has it. Ends with NULL. */
typedef struct KmsPermission {
    const char *name;
    const char *role;  /* "roles/cloudkms.viewer" */
    const char *title; /* "Cloud KMS Viewer" */
} KmsPermission;
extern const KmsPermission kms_permissions[];

/* Those of kms_permissions that the account lacks, by name. Transfer full. */
GStrv kms_client_missing_permissions(KmsClient *client, const char *key_ring, const KeyLimits *limits,
                                     GError **error);
