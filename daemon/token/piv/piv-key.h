/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keys as they lie in PIV's commands and answers. Pure. */

#include "daemon/token/piv/piv.h"

/* The public key of what GENERATE (inside 7F49) or metadata (tag 04) hold: 81 modulus, 82 exponent, or 86
 * point. NULL for what is none, or of an algorithm that OpenSSL does not have. Transfer full. */
EVP_PKEY *piv_public_key(guint8 algorithm, PivBytes tlvs);

/* The longest data of IMPORT: five halves of RSA-4096 and two policies. */
#define PIV_IMPORT_MAX (5 * (256 + 4) + 6)
/* What IMPORT wants for |key|'s private half; policy 0 is left out. UNSUPPORTED for an RSA key that a YubiKey
 * does not take (public exponent, number of primes), BAD_KEY where a part is missing. */
bool piv_write_import(PivWriter *writer, EVP_PKEY *key, KeyType type, guint8 pin_policy, guint8 touch_policy,
                      GError **error);
/* What GENERATE wants. */
void piv_write_generate(PivWriter *writer, KeyType type, guint8 pin_policy, guint8 touch_policy);

/* The key that stands for "no key" where the firmware can't delete any: its private half is known to everyone
 * who reads this program. Importing it destroys what was there before. Transfer full. */
EVP_PKEY *piv_tombstone(void);
bool piv_is_tombstone(const EVP_PKEY *public_key);

/* Input of a private operation: the block, digest or message of a signature. False: longer than |room|. */
bool piv_write_signature_input(PivWriter *writer, KeyType type, const guint8 *input, gsize size);
/* The signature in the answer. */
bool piv_signature(PivBytes answer, PivBytes *ret_signature);
