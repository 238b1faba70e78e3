/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A provisioning certificate as a person pastes it: described, and made into a certificate and a CSR. */

#include "daemon/ca/template.h"
#include "daemon/openssl-cleanup.h"
#include "tests/fuzz/fuzz-keys.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *pem = g_strndup((const char *)data, size);
    g_autoptr(GError) error = NULL;
    g_autoptr(Template) template = template_from_pem(pem, &error);
    g_assert_true((template == NULL) == (error != NULL));
    if (!template)
        return 0;
    g_autoptr(JsonObject) description = template_describe(template);
    g_autoptr(X509) certificate = template_self_sign(template, fuzz_key("ca"), NULL, 1800000000, 0, NULL);
    g_autoptr(X509_REQ) request = template_request(template, fuzz_key("ca"), NULL, NULL);
    return 0;
}
