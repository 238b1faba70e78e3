/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An encrypted message as DER, opened with an EC key, which the corpus is for, and an RSA key, which it
 * isn't: OpenSSL then goes on with a random content key. What comes out is inflated. */

#include "daemon/link/message/envelope.h"
#include "daemon/link/message/smime.h"
#include "tests/fuzz/fuzz-keys.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static void open_with(GBytes *message, EVP_PKEY *key)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) opened = envelope_decrypt(message, key, &error);
    g_assert_true((opened == NULL) == (error != NULL));
    if (opened)
        g_bytes_unref(envelope_inflate(opened, 1 << 20, NULL) ?: g_bytes_new_static("", 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static EVP_PKEY *rsa;
    if (!rsa)
        rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    char *smime = smime_write(data, size, SMIME_ENVELOPED_DATA);
    g_autoptr(GBytes) message = g_bytes_new_take(smime, strlen(smime));
    open_with(message, fuzz_key("channel"));
    open_with(message, rsa);
    return 0;
}
