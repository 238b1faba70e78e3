/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* `policies` of a request: certificatePolicies with CPS addresses and user notices (RFC 5280 4.2.1.4). */

#include "daemon/ca/extensions.h"

bool certificate_policies_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
