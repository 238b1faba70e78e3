/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The channel certificate of protocol.md 1.3: issued by the CA's key to the channel key, good for ten
 * minutes, field by field as the original makes it. */

#include <glib.h>
#include <openssl/x509.h>

/* |now| in seconds since the epoch. Verified before it is returned. Transfer full. */
X509 *channel_certificate_issue(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *channel_key, const EVP_MD *digest,
                                gint64 now, GError **error);
