/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PEM blocks by OpenSSL's reader. */

#include "daemon/ca/pem.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

void pem_block_free(PemBlock *block)
{
    if (!block)
        return;
    g_free(block->name);
    g_bytes_unref(block->data);
    g_free(block);
}

/* NULL at the end (|*ret_damaged| false) or at something that is no PEM block. */
static PemBlock *read_next(BIO *bio, bool *ret_damaged)
{
    char *name = NULL;
    char *header = NULL;
    unsigned char *data = NULL;
    long size = 0;

    if (PEM_read_bio(bio, &name, &header, &data, &size) != 1) {
        *ret_damaged = ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE;
        ERR_clear_error();
        return NULL;
    }
    PemBlock *block = g_new0(PemBlock, 1);
    block->name = g_strdup(name);
    block->data = g_bytes_new(data, (gsize)size);
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    return block;
}

GPtrArray *pem_read_blocks(const char *text, guint limit)
{
    gsize size = strlen(text);
    if (size > G_MAXINT)
        return NULL;
    g_autoptr(BIO) bio = BIO_new_mem_buf(text, (int)size);
    g_autoptr(GPtrArray) blocks = g_ptr_array_new_with_free_func((GDestroyNotify)pem_block_free);
    bool damaged = false;

    for (PemBlock *block; (block = read_next(bio, &damaged));) {
        g_ptr_array_add(blocks, block);
        if (blocks->len > limit)
            return NULL;
    }
    return damaged ? NULL : g_steal_pointer(&blocks);
}

PemBlock *pem_read_block(const char *text)
{
    g_autoptr(GPtrArray) blocks = pem_read_blocks(text, 1);
    return blocks && blocks->len == 1 ? g_ptr_array_steal_index(blocks, 0) : NULL;
}

bool pem_block_is(const PemBlock *block, const char *name, const char *old_name)
{
    return g_str_equal(block->name, name) || (old_name && g_str_equal(block->name, old_name));
}

X509 *pem_block_certificate(const PemBlock *block)
{
    gsize size = 0;
    const unsigned char *data = g_bytes_get_data(block->data, &size);
    const unsigned char *end = data + size;
    if (!pem_block_is(block, PEM_STRING_X509, PEM_STRING_X509_OLD))
        return NULL;
    g_autoptr(X509) certificate = d2i_X509(NULL, &data, (long)size);
    return data == end ? g_steal_pointer(&certificate) : NULL;
}

char *bio_to_text(BIO *bio)
{
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    return g_strndup(data ? data : "", (gsize)size); /* nothing was written: there is no buffer */
}
