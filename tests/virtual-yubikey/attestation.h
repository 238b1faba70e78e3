/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The chain that says a key was generated here: a root that stands in for Yubico's, the key's own
 * intermediate in slot F9, whose certificate is object 5FFF01, and a certificate made afresh for each
 * question. The root lies beside the state, or in a folder that several keys share, as attestation-root.pem
 * (what a test trusts) and attestation-root.key. */

#include "tests/virtual-yubikey/memory.h"

/* Gives a key fresh from the factory its intermediate, and makes the root in |directory| if it isn't there.
 */
bool attestation_install(Memory *memory, const char *directory, GError **error);

/* A DER certificate for the generated key in |slot|; false: F9 holds nothing that could sign it. */
bool attestation_certificate(Memory *memory, guint8 slot, GByteArray *to);
