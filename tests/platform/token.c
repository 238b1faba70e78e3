/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Layout before base64url: 32 random bytes, 8 bytes expiry (seconds since the epoch, big-endian), 32 bytes
 * HMAC-SHA-256 of both and the channel. */

#include "tests/platform/token.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <string.h>

enum {
    NONCE_SIZE = 32,
    EXPIRY_SIZE = 8,
    MAC_SIZE = 32,
    MAC_AT = NONCE_SIZE + EXPIRY_SIZE,
    TOKEN_SIZE = MAC_AT + MAC_SIZE,
};

bool token_key_open(const char *directory, TokenKey *ret_key, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "token.key", NULL);
    g_autofree char *contents = NULL;
    gsize size;
    if (g_file_get_contents(path, &contents, &size, NULL) && size == sizeof ret_key->bytes) {
        memcpy(ret_key->bytes, contents, size);
        return true;
    }
    g_assert(RAND_bytes(ret_key->bytes, sizeof ret_key->bytes) == 1);
    return g_file_set_contents_full(path, (const char *)ret_key->bytes, sizeof ret_key->bytes,
                                    G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

static void authenticate(const TokenKey *key, const char *channel, const guint8 *token, guint8 mac[MAC_SIZE])
{
    g_autoptr(GByteArray) text = g_byte_array_new();
    g_byte_array_append(text, token, MAC_AT);
    g_byte_array_append(text, (const guint8 *)channel, (guint)strlen(channel));
    unsigned size = MAC_SIZE;
    g_assert(HMAC(EVP_sha256(), key->bytes, sizeof key->bytes, text->data, text->len, mac, &size));
}

char *token_make(const TokenKey *key, const char *channel, gint64 life)
{
    guint8 token[TOKEN_SIZE];
    g_assert(RAND_bytes(token, NONCE_SIZE) == 1);
    gint64 expiry = GINT64_TO_BE(g_get_real_time() / G_USEC_PER_SEC + life);
    memcpy(token + NONCE_SIZE, &expiry, EXPIRY_SIZE);
    authenticate(key, channel, token, token + MAC_AT);
    char *text = g_base64_encode(token, sizeof token); /* 72 bytes: no padding */
    return g_strdelimit(g_strdelimit(text, "+", '-'), "/", '_');
}

const char *token_refusal(const TokenKey *key, const char *channel, const char *token)
{
    g_autofree char *base64 = g_strdelimit(g_strdelimit(g_strdup(token), "-", '+'), "_", '/');
    gsize size;
    g_autofree guint8 *bytes = g_base64_decode(base64, &size);
    guint8 mac[MAC_SIZE];
    if (size != TOKEN_SIZE)
        return "bad-token";
    authenticate(key, channel, bytes, mac);
    gint64 expiry;
    memcpy(&expiry, bytes + NONCE_SIZE, EXPIRY_SIZE);
    if (CRYPTO_memcmp(mac, bytes + MAC_AT, MAC_SIZE) != 0 ||
        GINT64_FROM_BE(expiry) < g_get_real_time() / G_USEC_PER_SEC)
        return "bad-token";
    return NULL;
}
