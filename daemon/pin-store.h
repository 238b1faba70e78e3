/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is known of tokens' PINs: the sealed ones (STATE/pins/SERIAL.sealed, see sealing.h), and beside them
 * the fingerprints (HMAC-SHA-256 under a key derived from the sealing key) of PINs that a token has refused,
 * so that none is tried twice. Without a sealing key both live in memory only.
 *
 * All calls that read or write files block; they run on a worker. Thread safe. */

#include "daemon/sealing.h"

typedef struct PinStore PinStore;

/* Keeps a reference to |sealing|. A thread that is still inside a call to its token when the service ends has
 * one to the store. */
PinStore *pin_store_new(Sealing *sealing, GError **error);
PinStore *pin_store_ref(PinStore *store);
void pin_store_unref(PinStore *store); /* accepts NULL */

const Sealing *pin_store_sealing(const PinStore *store);

bool pin_store_save(PinStore *store, const char *serial, const Secret *pin, GError **error);

/* Transfer full. NULL without an error: there is none. One that does not open is set aside and reported as
 * IOTHSM_ERROR_PIN_REQUIRED. */
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

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PinStore, pin_store_unref)
