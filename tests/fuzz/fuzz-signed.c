/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A signed message as DER: past the frame, into CMS, the chain and the signature. */

#include "daemon/link/message/envelope.h"
#include "daemon/link/message/smime.h"
#include "tests/fuzz/fuzz-keys.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

static EnvelopeTrust *trust(void)
{
    static EnvelopeTrust *made;
    if (made)
        return made;
    X509_STORE *store = X509_STORE_new();
    X509_STORE_add_cert(store, fuzz_pinned());
    made = envelope_trust_new(store, SIGNER_PURPOSE_SMIMESIGN);
    X509_STORE_free(store);
    return made;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *smime = smime_write(data, size, SMIME_SIGNED_DATA);
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), trust(), &error);
    g_assert_true((message == NULL) == (error != NULL));
    return 0;
}
