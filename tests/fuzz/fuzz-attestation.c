/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Three certificates in DER, one behind the other: of a key, of the token that attests it, and of the root
 * that was given. The key's own is believed only if its claims can be read. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/attestation.h"
#include "tests/fuzz/fuzz.h"
#include <openssl/err.h>

static void free_certificate(void *certificate)
{
    X509_free(certificate);
}

static void judge(GPtrArray *chain, X509 *root)
{
    X509 *certificate = chain->pdata[0];
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    g_autoptr(X509_STORE) roots = X509_STORE_new();
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) unreadable = NULL;
    X509_STORE_add_cert(roots, root);
    bool verified = key && attestation_verify(chain, key, "1234567", roots, &error);
    g_assert_true(!key || verified == (error == NULL));
    g_autoptr(Attestation) claims = attestation_read(certificate, &unreadable);
    g_assert_true((claims == NULL) == (unreadable != NULL));
    g_assert_true(!verified || claims);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > FUZZ_SIZE_MAX)
        return 0;
    g_autoptr(GPtrArray) chain = g_ptr_array_new_with_free_func(free_certificate);
    const unsigned char *at = data;
    for (int i = 0; i < 3; i++) {
        X509 *certificate = d2i_X509(NULL, &at, (long)(size - (size_t)(at - data)));
        if (certificate)
            g_ptr_array_add(chain, certificate);
    }
    if (chain->len == 3) {
        g_autoptr(X509) root = g_ptr_array_steal_index(chain, 2);
        judge(chain, root);
    }
    ERR_clear_error();
    return 0;
}
