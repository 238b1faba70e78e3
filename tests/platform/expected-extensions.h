/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The extensions that a certificate must have for an `extensions` object of protocol.md 3.2.4. */

#include "tests/platform/members.h"
#include "tests/platform/openssl-types.h"

typedef struct ExtensionList ExtensionList;

/* |extensions| may be NULL. |subject| and |issuer| give the key identifiers. Transfer full; NULL with |error|
 * set where such an object should never have led to a certificate. */
ExtensionList *expected_extensions(JsonObject *extensions, X509 *subject, X509 *issuer, GError **error);
void extension_list_free(ExtensionList *list);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ExtensionList, extension_list_free)

/* Whether |certificate| has exactly these, in this order. */
bool extension_list_matches(const ExtensionList *list, X509 *certificate, GError **error);
