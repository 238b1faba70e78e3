/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The JSON around and inside the S/MIME of every message (protocol.md 1.4, 2.2 to 2.7, 4): reading the
 * unsigned envelope without believing it, and writing ours with the members in the platform's order. */

#include "daemon/link/transport/transport.h"

typedef enum WireType { WIRE_OTHER, WIRE_SOLICIT, WIRE_REQUEST } WireType;

WireType wire_type(JsonObject *envelope);
/* `uuid` null or absent (everybody), or |uuid|. */
bool wire_is_for(JsonObject *envelope, const char *uuid);
/* `caindex` absent, or exactly the integer |caindex|. */
bool wire_caindex_is(JsonObject *envelope, guint caindex);
/* When the message has waited too long: received − age + ttl, in µs of g_get_monotonic_time(). `ttl` in
 * seconds; what is absent, zero, negative or no number means |default_ttl|. */
gint64 wire_deadline(const TransportMessage *message, guint default_ttl);

/* Contents, to be signed. Transfer full. */
JsonObject *wire_bootstrap_content(const char *serial, const char *thumbprint);
JsonObject *wire_offer_content(const char *uuid, guint caindex, const char *siguuid);
JsonObject *wire_answer_content(bool success, const char *siguuid, const char *text);

/* What goes around them; `smime` is added as the last member. Transfer full. */
JsonObject *wire_bootstrap(const char *serial, const char *thumbprint);
JsonObject *wire_offer(const char *publisher, const char *siguuid);
JsonObject *wire_answer(const char *siguuid, const char *publisher);
JsonObject *wire_delivery(void);
