/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* `customOIDs` of a request: extensions that the requester encodes. [{OID: "1.2.3", value: TEXT}], where TEXT
 * is [critical,](DER:hex | ASN1:TYPE[:value]) with a simple TYPE. */

#include "daemon/ca/extensions.h"

bool custom_extension_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
