/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a slot's key can do: be generated, imported, show its public half, and the private operations as the
 * card has them (RSA without padding, ECDSA over a digest, Ed25519 over a message, key agreement). Answers
 * are bytes as they stand in an APDU. False or NULL: the card says "wrong data". Any thread. */

#include "tests/virtual-yubikey/algorithm.h"
#include "tests/virtual-yubikey/openssl-types.h"
#include <stdbool.h>

/* Transfer full. */
EVP_PKEY *key_generate(const Algorithm *algorithm);
/* |bytes| is the TLV sequence of IMPORT ASYMMETRIC KEY. Transfer full. */
EVP_PKEY *key_import(const Algorithm *algorithm, const guint8 *bytes, gsize length);
/* Appends 81 and 82, or 86. */
void key_append_public(const Algorithm *algorithm, EVP_PKEY *key, GByteArray *to);

/* The private operation on |length| bytes of tag 81. */
bool key_sign(const Algorithm *algorithm, EVP_PKEY *key, const guint8 *bytes, gsize length, GByteArray *to);
/* The private operation on the other side's public key of tag 85. */
bool key_agree(const Algorithm *algorithm, EVP_PKEY *key, const guint8 *bytes, gsize length, GByteArray *to);
