/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a certificate that came back is what was asked for (protocol.md 3.2): chain, key, subject in policy
 * order, dates, and the extensions byte for byte, in their order, and no others. What is expected is made
 * from an OpenSSL configuration text, the way of the original and of the openssl command. Pure, any thread.
 */

#include "tests/platform/members.h"
#include "tests/platform/openssl-types.h"

typedef struct CertificateCheck {
    X509 *authority;
    X509_STORE *anchors;
    X509_REQ *request;
    JsonObject *options; /* NULL: none were sent */
} CertificateCheck;

bool check_certificate(const CertificateCheck *check, const char *pem, GError **error);
