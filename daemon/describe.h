/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Everything there is to see, as one JSON document: what Describe() answers and `iothsmctl --json` prints.
 * Built from the manager, the tokens, slots and authorities alone; it knows no bus. A value is here under the
 * name and in the spelling that the property of the bus has (KeyType: "keyType"), so that the two never
 * differ in words:
 *
 * {"version", "platformUrl", "linkState", "linkTransport", "linkMessage", "nextAttempt",
 * "connectedAuthorities", "connectedSlots", "signatures", "denied", "pinsSealed", "troubles": [], "tokens":
 * [{"kind", "serial", "label", "model", "firmware", "state", "message", "operation", "operationSince",
 * "pinState", "pinRetries", "pukRetries", "managementKeyState", "freeSlots": [], "keyTypes": [], "slots":
 * [{"name", "otherName", "label", "keyType", "state", "certificate", "subject", "issuer", "serialNumber",
 * "thumbprint", "fingerprint", "notBefore", "notAfter", "touchPolicy", "pinPolicy", "origin", "authority",
 * "linkState", "linkMessage", "signatures"}]}], "authorities": [{"thumbprint", "subject", "certificate",
 * "serialNumber", "notAfter", "slots": ["SERIAL/NAME"], "linkState", "linkMessage", "nextAttempt",
 * "signatures", "denied", "lastSignature"}]}
 *
 * Times are numbers: notBefore and notAfter in seconds, nextAttempt, lastSignature and operationSince in µs
 * since the epoch, 0 for never. Texts are "" where there is nothing to say; a slot's "authority" is a
 * thumbprint. pinRetries and pukRetries are -1 where unknown. */

#include "daemon/manager.h"
#include <json-glib/json-glib.h>

/* Transfer full. Never blocks. */
JsonObject *describe(const Manager *manager);

/* What an attestation says, and whether to believe it: {"verified", "reason", "firmware", "serial",
 * "pinPolicy", "touchPolicy", "formFactor", "fips"}. |chain| and |public_key| as slot_attest and
 * slot_public_key give them. BAD_CERTIFICATE where its claims can't even be read. Thread safe; reads the
 * roots' file. Transfer full. */
JsonObject *describe_attestation(GPtrArray *chain, EVP_PKEY *public_key, const char *serial,
                                 const char *state_directory, GError **error);

/* How many slots have their authority's channel confirmed by the platform. */
guint describe_connected_slots(const Manager *manager);
/* "connected", "not-connected", "unregistered" of |slot|'s authority, "" where it has none; |ret_authority|
 * and |ret_message| (transfer none, "" for none) may be NULL. */
const char *describe_slot_link(const Manager *manager, const Slot *slot, Authority **ret_authority,
                               const char **ret_message);
/* |text| as it may go out: NULL becomes "", bytes that are no UTF-8 (labels of foreign tokens) are replaced.
 * Transfer full. */
char *describe_text(const char *text);
