/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Everything that the platform says to us is read here, on a crypto thread: verified against the pinned CA
 * first, then decrypted and inflated where that kind of message is, then parsed. What was verified is known
 * (signer, signing time) even where the rest fails, so that there is somebody to answer. */

#include "daemon/link/message/envelope.h"
#include "daemon/worker.h"
#include <json-glib/json-glib.h>
#include <stdbool.h>

typedef enum OpeningForm {
    OPENING_SIGNED,    /* sign(JSON): solicit signature */
    OPENING_BOOTSTRAP, /* sign(encrypt(JSON)) */
    OPENING_REQUEST,   /* sign(encrypt(deflate(JSON))) */
} OpeningForm;

typedef struct Opened {
    X509 *signer; /* NULL: not verified, and nothing else is known */
    gint64 signing_time;
    guint8 digest[32];   /* SHA-256 of signtype, NUL and the JSON: which request it is */
    JsonObject *content; /* NULL where decrypting, inflating or parsing failed */
    bool unopenable;     /* decrypting or inflating failed: not made for this key, or damaged */
} Opened;

/* |opened| belongs to the caller and is NULL where the job never ran to its end. |error| is one stable line
 * that a sender may see; CANCELLED after |cancellable| was, TIMED_OUT where the job started after |deadline|.
 * Never runs from inside opening_start. */
typedef void (*OpenedFunc)(const Opened *opened, const GError *error, void *userdata);

/* |message| holds the S/MIME text as its member |member|. |key| may be NULL for OPENING_SIGNED. |deadline| in
 * µs of g_get_monotonic_time(). */
void opening_start(Worker *crypto, EnvelopeTrust *trust, OpeningForm form, JsonObject *message,
                   const char *member, EVP_PKEY *key, guint64 inflated_size, gint64 deadline,
                   GCancellable *cancellable, OpenedFunc done, void *userdata);
