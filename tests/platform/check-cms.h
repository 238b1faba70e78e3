/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Whether a CMS that came back is what was asked for (protocol.md 3.3): form, content, signer, added
 * certificates, attributes and content type. Pure, any thread. */

#include "tests/platform/members.h"
#include "tests/platform/openssl-types.h"

typedef struct CmsCheck {
    X509 *authority;
    X509_STORE *anchors;
    JsonObject *options;
} CmsCheck;

bool check_cms(const CmsCheck *check, const char *text, GError **error);
