/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Secrets at rest: one sealed file each, AES-256-GCM under the sealing key that systemd hands to the service
 * as $CREDENTIALS_DIRECTORY/iothsm.key. What kind of secret it is and whose (a token's serial, an account's
 * name) is bound to it, so that a file moved to another place does not open. Without a sealing key nothing is
 * written: sealing_available() says so beforehand.
 *
 * The reading and writing calls block; they run on a worker. Thread safe, since nothing in it changes. */

#include "daemon/error.h"
#include "daemon/secret.h"

typedef struct Sealing Sealing;

/* A kind of secret; static data of the module that keeps such secrets. */
typedef struct SealingKind {
    const char *directory; /* below the state directory: STATE/DIRECTORY/OWNER.sealed */
    const char *what;      /* in sentences: "PIN" */
    IothsmError lost;      /* the code for one that does not open any more */
    const char *remedy;    /* in that sentence: "give it again with iothsmctl pin set" */
} SealingKind;

/* |credentials_directory| may be NULL, and may lack the key. A key of the wrong size is an error in words. */
Sealing *sealing_new(const char *state_directory, const char *credentials_directory, GError **error);
Sealing *sealing_ref(Sealing *sealing);
void sealing_unref(Sealing *sealing); /* accepts NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Sealing, sealing_unref)

const char *sealing_state_directory(const Sealing *sealing);

/* False where there is no sealing key: what is given then lives in memory only. */
bool sealing_available(const Sealing *sealing);

/* Another key for another job, by HKDF-SHA-256; NULL where there is no sealing key. Transfer full. */
Secret *sealing_derive(const Sealing *sealing, const char *purpose);

/* Secrets of up to SECRET_SIZE_MAX bytes. UNSUPPORTED without a sealing key. */
bool sealing_write(const Sealing *sealing, const SealingKind *kind, const char *owner, const Secret *secret,
                   GError **error);

/* Transfer full. NULL without an error: there is none. A file that does not open is set aside and reported
 * with the kind's code and remedy; the next call finds none. */
Secret *sealing_read(const Sealing *sealing, const SealingKind *kind, const char *owner, GError **error);

/* Forgetting what is not there is success. */
bool sealing_forget(const Sealing *sealing, const SealingKind *kind, const char *owner, GError **error);
