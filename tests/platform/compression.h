/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* zlib as the protocol wants it (RFC 1950, level 6), and as it doesn't. Pure functions, any thread. */

#include <gio/gio.h>

typedef enum CompressionFormat {
    COMPRESSION_ZLIB,
    COMPRESSION_RAW,
    COMPRESSION_GZIP,
} CompressionFormat;

/* Transfer full. */
GBytes *compress_content(GBytes *content, CompressionFormat format);
/* zlib format of 256 MiB of zeros: a quarter of a megabyte. Made once. Transfer full. */
GBytes *compress_bomb(void);
/* zlib format only, at most |limit| bytes. Transfer full; NULL with |error| set. */
GBytes *inflate_content(GBytes *deflated, gsize limit, GError **error);
