/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the state directory holds of key rings: STATE/google-kms/SERIAL.json says which ring it is and where
 * its credentials come from, SERIAL.sealed beside it are these, certificates/SERIAL/SLOT.pem the CA
 * certificates. Each file is replaced as a whole. Everything blocks; any thread. */

#include "daemon/sealing.h"
#include <openssl/x509.h>

typedef struct KmsStore {
    Sealing *sealing; /* outlives the store */
} KmsStore;

/* More key rings are not read. */
#define KMS_RINGS_MAX 256

typedef struct KmsStored {
    char *key_ring; /* checked */
    char *serial;
    Secret *credentials; /* NULL: the metadata server, or |failure| */
    GError *failure;     /* why the credentials can't be read */
} KmsStored;

void kms_stored_free(KmsStored *stored);

/* KmsStored, owned, by serial number. A file that is none is set aside, as the journal then says. Transfer
 * full. */
GPtrArray *kms_store_load(const KmsStore *store, GError **error);
/* Seals |credentials| (or NULL) first. */
bool kms_store_save(const KmsStore *store, const char *key_ring, const Secret *credentials, GError **error);
/* The ring, its credentials and certificates. */
bool kms_store_remove(const KmsStore *store, const char *serial, GError **error);

/* NULL without an error: there is none, or none that can be read, which was set aside then. Transfer full. */
X509 *kms_store_certificate(const KmsStore *store, const char *serial, const char *slot, GError **error);
bool kms_store_set_certificate(const KmsStore *store, const char *serial, const char *slot, X509 *certificate,
                               GError **error);
/* SLOT_EMPTY where there is none. */
bool kms_store_clear_certificate(const KmsStore *store, const char *serial, const char *slot, GError **error);
