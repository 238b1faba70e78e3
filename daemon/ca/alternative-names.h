/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* `SANs` of a request: the subject's alternative names (RFC 5280 4.2.1.6). A dirName is an object as in
 * `subject`. */

#include "daemon/ca/extensions.h"

bool alternative_names_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
