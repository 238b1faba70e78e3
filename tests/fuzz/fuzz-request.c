/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the platform wants signed, one target for each SIGNTYPE ("csr", "crl", "cms"): the `request` object as
 * JSON, from there to the text of the answer. */

#include "daemon/ca/signing.h"
#include "daemon/json.h"
#include "tests/fuzz/fuzz-keys.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(JsonObject) request = json_object_parse((const char *)data, size, NULL);
    if (!request)
        return 0;
    g_autoptr(GError) error = NULL;
    const SigningRules rules = {.crl_rfc5280 = size % 2 == 1};
    g_autoptr(Signing) signing =
        signing_new(SIGNTYPE, request, fuzz_pinned(), &rules, 1800000000, NULL, &error);
    g_assert_true((signing == NULL) == (error != NULL));
    if (!signing) {
        g_assert_null(strchr(error->message, '\n'));
        return 0;
    }
    g_assert_nonnull(signing_intent(signing));
    g_assert_nonnull(signing_summary(signing));
    if (signing_sign(signing, fuzz_key("pinned"), &error))
        g_assert_nonnull(signing_text(signing));
    return 0;
}
