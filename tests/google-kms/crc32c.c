/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Bit by bit: what is summed here is small. */

#include "tests/google-kms/crc32c.h"

#define POLYNOMIAL 0x82f63b78u /* reflected */

guint32 crc32c(const void *data, gsize size)
{
    const guint8 *bytes = data;
    guint32 sum = 0xffffffffu;
    for (gsize i = 0; i < size; i++) {
        sum ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            sum = sum >> 1 ^ (sum & 1 ? POLYNOMIAL : 0);
    }
    return ~sum;
}
