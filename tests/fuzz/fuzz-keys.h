/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Keys and certificates that are the same in every run, so that messages in the corpus stay readable: P-256
 * keys whose private number is the SHA-256 of their name. They protect nothing. */

#include <openssl/x509.h>

/* Made once a process. Transfer none. */
EVP_PKEY *fuzz_key(const char *name);

/* The CA "pinned"; its certificate is made anew in each process, over the same name and key. Transfer none.
 */
X509 *fuzz_pinned(void);

/* A certificate of |name| below the pinned CA, good from 2020 to 2120. Transfer full. */
X509 *fuzz_certificate(const char *name);
