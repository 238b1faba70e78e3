/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The `options` of a csr request (protocol.md 3.2.1), read completely: everything about the certificate to be
 * issued apart from its key, serial number and issuer. */

#include "daemon/ca/validity.h"
#include <json-glib/json-glib.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

typedef struct IssueOptions {
    Validity validity;
    X509_NAME *subject;
    X509_EXTENSIONS *extensions; /* without SKI and AKI, which every certificate gets */
    const EVP_MD *digest;
    char *declined_hash; /* the hash that was asked for and is not used, or NULL: for the log */
} IssueOptions;

/* |options| NULL: subject and recognised extensions of |request|, 365 days. Transfer full. */
IssueOptions *issue_options_new(JsonObject *options, X509_REQ *request, gint64 now, GError **error);
void issue_options_free(IssueOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(IssueOptions, issue_options_free)

/* "sha256", "sha384", "sha512", in either case; NULL for anything weaker or unknown. */
const EVP_MD *digest_from_name(const char *name);
