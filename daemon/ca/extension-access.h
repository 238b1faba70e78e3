/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where to find more about the issuer: authorityInfoAccess and crlDistributionPoints. */

#include "daemon/ca/extensions.h"

bool authority_info_access_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
bool crl_distribution_points_build(JsonNode *node, X509_EXTENSIONS *to, GError **error);
