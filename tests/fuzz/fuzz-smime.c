/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The frame as text. What is read once is written and read again as the same. */

#include "daemon/link/message/smime.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) der = smime_read((const char *)data, size, &error);
    g_assert_true((der == NULL) == (error != NULL));
    if (!der)
        return 0;
    g_autofree char *text =
        smime_write(g_bytes_get_data(der, NULL), g_bytes_get_size(der), SMIME_SIGNED_DATA);
    g_autoptr(GBytes) again = smime_read(text, strlen(text), NULL);
    g_assert_nonnull(again);
    g_assert_true(g_bytes_equal(der, again));
    return 0;
}
