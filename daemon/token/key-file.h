/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A private key as people keep it in a file: one PEM block, PKCS#8 or traditional, with or without
 * passphrase. */

#include "daemon/secret.h"
#include <openssl/evp.h>

/* |passphrase| may be NULL; nobody is ever asked for one. PASSPHRASE_WRONG where one is missing or does not
 * open it, BAD_KEY for what is no private key or is inconsistent, UNSUPPORTED for a kind that no slot takes.
 * Transfer full. Takes up to a second (RSA primes are tested): for a worker. */
EVP_PKEY *key_file_parse(const Secret *pem, const Secret *passphrase, GError **error);
