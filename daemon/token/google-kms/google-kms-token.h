/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A key ring as a Backend. What Google lists is read once and kept: a probe asks again only after a Reload,
 * and after Google said that a key version is not there, so that signatures cost no read quota. While Google
 * can't be asked, what it said last holds. A public key never changes and is fetched once. */

#include "daemon/token/backend.h"
#include "daemon/token/google-kms/google-kms-client.h"
#include "daemon/token/google-kms/google-kms-store.h"

/* How many signatures and other requests a key ring may have under way. */
#define KMS_REQUESTS_MAX 16

/* Raised by the source, taken down by the backend: what is known is old. Shared, atomic. */
typedef struct KmsStale KmsStale;
KmsStale *kms_stale_new(void);
KmsStale *kms_stale_ref(KmsStale *stale);
void kms_stale_unref(KmsStale *stale);
void kms_stale_raise(KmsStale *stale);

/* |client| is taken, NULL where |failure| (copied) says why there is none; |store| and |stale| are kept. */
Backend *kms_token_new(KmsClient *client, const GError *failure, const char *key_ring, const KmsStore *store,
                       KmsStale *stale);
