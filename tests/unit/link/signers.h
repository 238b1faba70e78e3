/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who signs and receives in the envelope tests: a pinned CA, a platform signer below it (RSA), the channel,
 * and an outsider with a root of its own. Made once a process. */

#include "daemon/link/message/envelope.h"
#include "daemon/openssl-cleanup.h"
#include "tests/support/support.h"

typedef struct Signer {
    X509 *certificate;
    EVP_PKEY *key;
} Signer;

/* "pinned" (CA), "platform" (signed by it, RSA-2048), "platform-ec" (P-256), "channel" (self-signed,
 * RSA-2048), "outsider-ca" and "outsider" (signed by that). Transfer none. */
const Signer *signer(const char *name);

/* A certificate of |subject| for |key| below |issuer| with the usual S/MIME extensions, |eku| NULL:
 * emailProtection. Transfer full. */
X509 *signer_certificate(const char *subject, EVP_PKEY *key, const Signer *issuer, const char *eku);

/* Trusts "pinned" alone. Transfer full. */
EnvelopeTrust *signer_trust(SignerPurpose purpose);

/* Files of |directory|: NAME.pem and NAME.key, for the openssl command. Transfer full: the path of NAME.pem.
 */
char *signer_write(const char *directory, const char *name);

/* Asserts that `openssl cms -cmsout -print` says each of |expected| (NULL-terminated) of |smime|; white space
 * counts as one blank. */
void signer_assert_printed(const char *smime, const char *const *expected);
