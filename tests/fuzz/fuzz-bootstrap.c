/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The decrypted answer of a bootstrap: where the channel is. */

#include "daemon/json.h"
#include "daemon/link/bootstrap.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(JsonObject) inner = json_object_parse((const char *)data, size, NULL);
    if (!inner)
        return 0;
    g_autoptr(GError) error = NULL;
    g_autoptr(BootstrapKeys) keys =
        bootstrap_keys_parse(inner, TRANSPORT_CHOICE_AUTO, G_USEC_PER_SEC, &error);
    g_assert_true((keys == NULL) == (error != NULL));
    return 0;
}
