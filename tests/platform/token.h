/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tokens that open a channel of the link (protocol.md W.1): 32 random bytes and the time they expire, under
 * an HMAC with a key kept in the platform's folder. Nothing about them is stored, so they stay good across a
 * restart. */

#include <gio/gio.h>
#include <stdbool.h>

typedef struct TokenKey {
    guint8 bytes[32];
} TokenKey;

bool token_key_open(const char *directory, TokenKey *ret_key, GError **error);

/* For |channel|, good for |life| seconds. base64url. Transfer full. */
char *token_make(const TokenKey *key, const char *channel, gint64 life);

/* Why |token| doesn't open |channel|, or NULL if it does. */
const char *token_refusal(const TokenKey *key, const char *channel, const char *token);
