/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The MIME frame that carries CMS as text (protocol.md 1.5, 1.6; RFC 8551 3.2), and no cryptography.
 *
 * What is written is byte for byte what `openssl cms -outform SMIME` writes: four header lines, LF ends,
 * base64 in lines of 64. What is read may have CRLF ends, folded, reordered and further headers and the older
 * x-pkcs7-mime, but the body is exactly one base64 text: nothing behind it, no characters that a decoder
 * would have to skip. */

#include <glib.h>

typedef enum SmimeType { SMIME_SIGNED_DATA, SMIME_ENVELOPED_DATA } SmimeType;

/* The headers of one message together; more is refused. */
#define SMIME_HEADERS_MAX (16U * 1024U)

/* Transfer full. */
char *smime_write(const guint8 *der, gsize size, SmimeType type);

/* The CMS inside, BER as it was sent. INVALID otherwise, in words. Transfer full. */
GBytes *smime_read(const char *text, gsize size, GError **error);
