/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Everything that we say to the platform is made here: a JSON content, signed with the channel key under a
 * fresh enough channel certificate, deflated and encrypted to the recipient before that where there is one,
 * and put as `smime` into the JSON that goes on the wire. */

#include "daemon/link/channel-key.h"
#include "daemon/worker.h"
#include <json-glib/json-glib.h>

/* |wire| is compact JSON text and belongs to the caller. Runs exactly once, never from inside seal; CANCELLED
 * after |cancellable| was. */
typedef void (*SealedFunc)(GBytes *wire, const GError *error, void *userdata);

/* Takes |content| and |frame|. |recipient| NULL: signed only (bootstrap, offer). After |cancellable| is
 * cancelled |crypto| is not touched any more. */
void seal(Worker *crypto, ChannelKey *key, JsonObject *content, X509 *recipient, JsonObject *frame,
          GCancellable *cancellable, SealedFunc done, void *userdata);
