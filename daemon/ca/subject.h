/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Subjects of certificates as `openssl ca` with the original's policy makes them (protocol.md 3.2.2): a fixed
 * set of attributes in a fixed order, one RDN each. What that policy would drop without a word is refused
 * here. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <openssl/x509.h>

/* |subject| maps names to a text or a list of texts. Transfer full. */
X509_NAME *subject_from_json(JsonObject *subject, GError **error);

/* The attributes of |name|, a CSR's subject, with their ASN.1 types as they are. Transfer full. */
X509_NAME *subject_from_name(const X509_NAME *name, GError **error);
