/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Bytes in and out of OpenSSL's CMS functions, which want BIOs: no copies where none are needed, and no
 * message that is longer than an int can say. */

#include "daemon/link/message/smime.h"
#include <glib.h>
#include <openssl/cms.h>

/* A BIO that reads |content|, which outlives it. LIMITS_EXCEEDED from 2 GiB on. Transfer full. */
BIO *cms_content_source(GBytes *content, GError **error);

/* What was written into the memory BIO |sink|, which it takes. Transfer full. */
GBytes *cms_content_take(BIO *sink);

/* Definite-length DER in its frame. Transfer full. */
char *cms_content_to_smime(CMS_ContentInfo *cms, SmimeType type, GError **error);

/* INVALID on anything that is not exactly one CMS message in a frame. Transfer full. */
CMS_ContentInfo *cms_content_from_smime(const char *smime, gsize size, GError **error);
