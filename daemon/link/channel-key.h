/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The channel key of one authority (protocol.md 1.2) and the certificate that the CA issues to it (1.3).
 *
 * The key lives in memory and as long as the channel. The certificate is good for ten minutes and is made new
 * before a signature once less than five are left: one signature of the token per five minutes of activity.
 * Whoever needs it while it is being made waits for the same one. Messages are decrypted by key, so that an
 * older certificate never matters. Main thread, shared by reference. */

#include "daemon/ca/authority.h"

typedef struct ChannelKey ChannelKey;

/* RSA-2048. Blocks for as long as that takes: runs on a crypto thread. Transfer full. */
EVP_PKEY *channel_key_generate(GError **error);

ChannelKey *channel_key_new(Authority *authority, EVP_PKEY *key);
ChannelKey *channel_key_ref(ChannelKey *key);
void channel_key_unref(ChannelKey *key);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ChannelKey, channel_key_unref)

EVP_PKEY *channel_key_private(const ChannelKey *key); /* transfer none */

/* |certificate| belongs to the caller and is good for at least five minutes. |error|: the token's, in words.
 * Runs exactly once, never from inside channel_key_certificate. */
typedef void (*ChannelCertificateFunc)(X509 *certificate, const GError *error, void *userdata);
void channel_key_certificate(ChannelKey *key, ChannelCertificateFunc done, void *userdata);

/* Begun, and at least five minutes left: the rule for reuse. |now| in seconds since the epoch. */
bool channel_certificate_is_usable(const X509 *certificate, gint64 now);
