/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The delivery of a CRL (protocol.md 4): too large for a message, it goes by HTTPS, sealed like an answer,
 * before the answer that confirms it. It counts as delivered only after a 2xx status without `success`:false.
 */

#include "daemon/link/channel-key.h"
#include "daemon/link/link-context.h"

/* |error| is what the platform may see: its own `message`, or "connection failure"; CANCELLED after
 * |cancellable| was. Runs exactly once, later. */
typedef void (*DeliveredFunc)(const GError *error, void *userdata);

/* |crl|: PEM. |recipient|: the request's signer. |cancellable| belongs to this delivery alone. */
void delivery_start(LinkContext *context, Authority *authority, ChannelKey *key, const char *siguuid,
                    const char *crl, X509 *recipient, GCancellable *cancellable, DeliveredFunc done,
                    void *userdata);
