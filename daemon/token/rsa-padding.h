/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What an RSA key is applied to when it signs: PKCS #1 v1.5 and PSS blocks (RFC 8017, 9.1 and 9.2), made from
 * the settings of an operation on the public key. For tokens that do the bare RSA operation. */

#include <glib.h>
#include <openssl/evp.h>
#include <stdbool.h>

/* The block of |size| bytes, as long as the modulus. |digest| NULL: with PKCS #1 |input| is the DigestInfo.
 * False with OpenSSL's error queue filled. */
bool rsa_padding_block(EVP_PKEY_CTX *settings, EVP_PKEY *public_key, const EVP_MD *digest,
                       const unsigned char *input, size_t input_size, unsigned char *block, size_t size);

/* The bytes of salt that PSS takes with |digest| (RFC 8017, 8.1.1); -1 when they don't fit. */
int rsa_padding_salt_size(EVP_PKEY_CTX *settings, const EVP_PKEY *public_key, const EVP_MD *digest);
