/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The PINs at rest, one file a token: STATE/pins/SERIAL, AES-256-GCM under the sealing key that systemd hands
 * to the service as $CREDENTIALS_DIRECTORY/iothsm.key, with the token's serial as associated data so that a
 * file moved to another token does not open. Without a sealing key nothing is written and PINs live in memory
 * only. Beside it stand the fingerprints (HMAC-SHA-256 under the same key) of PINs that a token has refused,
 * so that none is tried twice.
 *
 * All calls that read or write files block; they run on a worker. Thread safe. */

#include "daemon/secret.h"

typedef struct PinStore PinStore;

/* |credentials_directory| may be NULL. A sealing key of the wrong size is an error in words. */
PinStore *pin_store_new(const char *state_directory, const char *credentials_directory, GError **error);
void pin_store_free(PinStore *store);

/* False where there is no sealing key. */
bool pin_store_can_persist(const PinStore *store);

bool pin_store_save(PinStore *store, const char *serial, const Secret *pin, GError **error);

/* Transfer full. NULL without an error: there is none. A file that does not open is set aside as
 * SERIAL.unreadable and reported as IOTHSM_ERROR_PIN_REQUIRED. */
Secret *pin_store_load(PinStore *store, const char *serial, GError **error);

/* Forgetting what is not there is success. */
bool pin_store_forget(PinStore *store, const char *serial, GError **error);

/* Remembers that the token |serial| refused |pin|; kept for the process where there is no sealing key. */
bool pin_store_note_refused(PinStore *store, const char *serial, const Secret *pin, GError **error);
bool pin_store_was_refused(PinStore *store, const char *serial, const Secret *pin);

/* The token |serial| accepted |pin|: that one was not refused. The others stay wrong. */
bool pin_store_note_accepted(PinStore *store, const char *serial, const Secret *pin, GError **error);
/* A person says so: any of them may have become the right one meanwhile. */
bool pin_store_clear_refused(PinStore *store, const char *serial, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PinStore, pin_store_free)
