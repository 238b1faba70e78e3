/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PEM from outside, read block by block; nothing is ever decrypted and nobody is asked for a passphrase. */

#include <glib.h>
#include <openssl/bio.h>
#include <openssl/x509.h>
#include <stdbool.h>

/* One block: |name| as between the dashes, |data| the bytes. */
typedef struct PemBlock {
    char *name;
    GBytes *data;
} PemBlock;

void pem_block_free(PemBlock *block);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PemBlock, pem_block_free)

/* The blocks of |text|, at most |limit|; NULL when there are more or when one is damaged. Transfer full. */
GPtrArray *pem_read_blocks(const char *text, guint limit);
/* The block if |text| holds exactly one, or NULL. Transfer full. */
PemBlock *pem_read_block(const char *text);
/* The block is called |name| or |old_name| (or NULL). */
bool pem_block_is(const PemBlock *block, const char *name, const char *old_name);

/* The certificate that the block is, and nothing behind it; else NULL. Transfer full. */
X509 *pem_block_certificate(const PemBlock *block);

/* Everything that was written to memory BIO |bio|, as text. Transfer full. */
char *bio_to_text(BIO *bio);
