/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A private key in a file that a person imports; "fuzz" opens the encrypted ones of the corpus. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-file.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > SECRET_SIZE_MAX)
        return 0;
    g_autoptr(Secret) pem = secret_new(data, size);
    g_autoptr(Secret) passphrase = secret_new("fuzz", 4);
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) key = key_file_parse(pem, passphrase, &error);
    g_assert_true((key == NULL) == (error != NULL));
    return 0;
}
