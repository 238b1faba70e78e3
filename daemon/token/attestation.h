/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a YubiKey says about a key that it made, and whether to believe it.
 *
 * The certificate for the key carries the claims in extensions of Yubico's (1.3.6.1.4.1.41482.3); the second
 * certificate of the chain is that of the token's own attestation key (slot f9). Nothing here knows a token:
 * bytes in, judgement out. Thread safe. */

#include <glib.h>
#include <openssl/x509.h>
#include <stdbool.h>

typedef struct Attestation {
    char *firmware;           /* "5.7.1", or NULL */
    guint64 serial;           /* 0: the token does not tell */
    const char *pin_policy;   /* as in SlotInfo, or NULL */
    const char *touch_policy; /* the same */
    const char *form_factor;  /* in words, or NULL */
    bool fips;                /* a token of the FIPS series */
} Attestation;

/* The claims of |certificate|, whoever signed it. BAD_CERTIFICATE where one is not what it should be. */
Attestation *attestation_read(X509 *certificate, GError **error);
void attestation_free(Attestation *attestation);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Attestation, attestation_free)

/* Is |chain| (X509) a statement by a token that |roots| vouch for, about |public_key| and the token |serial|?
 * |roots| decides alone: no other place is looked at. False with BAD_CERTIFICATE and a sentence that goes on
 * after "not verified: ". */
bool attestation_verify(GPtrArray *chain, EVP_PKEY *public_key, const char *serial, X509_STORE *roots,
                        GError **error);
