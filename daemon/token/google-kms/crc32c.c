/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A table of 256 entries made at the first use: what is summed up here has some hundred bytes. */

#include "daemon/token/google-kms/crc32c.h"

#define POLYNOMIAL 0x82f63b78U /* 0x1edc6f41 with its bits reversed (RFC 3720, appendix B.4) */

static const guint32 *table(void)
{
    static guint32 entries[256];
    static gsize once;
    if (g_once_init_enter(&once)) {
        for (guint32 byte = 0; byte < 256; byte++) {
            guint32 entry = byte;
            for (int bit = 0; bit < 8; bit++)
                entry = entry >> 1 ^ (entry & 1 ? POLYNOMIAL : 0);
            entries[byte] = entry;
        }
        g_once_init_leave(&once, 1);
    }
    return entries;
}

guint32 crc32c(const void *data, gsize size)
{
    const guint32 *entries = table();
    const guint8 *bytes = data;
    guint32 sum = G_MAXUINT32;
    for (gsize i = 0; i < size; i++)
        sum = sum >> 8 ^ entries[(sum ^ bytes[i]) & 0xff];
    return ~sum;
}
