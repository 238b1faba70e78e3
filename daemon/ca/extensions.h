/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The `extensions` of a request (protocol.md 3.2.4) as X.509 extensions. Each kind has a function that reads
 * its JSON and builds OpenSSL's structure; no configuration text is written anywhere on the way. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

/* How many names, usages, policies or addresses one extension may list. */
enum { EXTENSION_LIST_MAX = 1000, URI_LENGTH_MAX = 2048 };

/* Everything that |extensions| asks for, in the order of its members with the SANs last. Transfer full. */
X509_EXTENSIONS *extensions_from_json(JsonObject *extensions, GError **error);

/* The extensions of a CSR that the original recognises, in their order with the SANs last. |from| may be
 * NULL. Transfer full. */
X509_EXTENSIONS *extensions_from_request(const X509_EXTENSIONS *from, GError **error);

/* For the files that build one kind. Each appends what it builds to |to|; absent, null and empty are nothing.
 */
typedef bool (*ExtensionBuilder)(JsonNode *node, X509_EXTENSIONS *to, GError **error);
bool extension_add(X509_EXTENSIONS *to, int nid, bool critical, void *structure, GError **error);
/* Transfer none: the elements are texts; |node| must be an array of them. NULL: |what| was refused. */
JsonArray *extension_texts(JsonNode *node, const char *what, GError **error);
/* A URI: ASCII without spaces, with a scheme. */
bool extension_check_uri(const char *uri, const char *what, GError **error);
/* Transfer full. */
ASN1_IA5STRING *extension_ia5(const char *text);
/* What OpenSSL knows under the extension's OID is what its value says; true for OIDs that it does not know.
 */
bool extension_is_readable(X509_EXTENSION *extension);
