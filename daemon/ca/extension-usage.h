/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the certificate's key may be used for: basicConstraints, keyUsage, extendedKeyUsage, tlsfeature. */

#include "daemon/ca/extensions.h"

bool basic_constraints_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
bool key_usage_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
bool extended_key_usage_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
bool tls_feature_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
