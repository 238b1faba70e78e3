/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* zlib streams under a limit of a megabyte. */

#include "daemon/link/message/envelope.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) deflated = g_bytes_new_static(data, size);
    g_autoptr(GBytes) inflated = envelope_inflate(deflated, 1 << 20, &error);
    g_assert_true((inflated == NULL) == (error != NULL));
    if (inflated)
        g_assert_cmpuint(g_bytes_get_size(inflated), <=, 1 << 20);
    return 0;
}
