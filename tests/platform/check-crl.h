/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a CRL that came back is what was asked for (protocol.md 3.4): signature, issuer, dates, and exactly
 * the R lines of the database with their reasons. Both forms, the original's and RFC 5280's, are right. Pure,
 * any thread. */

#include "tests/platform/openssl-types.h"

typedef struct CrlCheck {
    X509 *authority;
    const char *database;
    gint64 days;
} CrlCheck;

bool check_crl(const CrlCheck *check, const char *pem, GError **error);
