/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One bootstrap of one authority (protocol.md 1.4 to 1.8, W.1): a signed request by HTTPS, and an answer that
 * says where its channel is and opens it. It is tried once; when to try again depends on the outcome and is
 * the channel's business. */

#include "daemon/link/channel-key.h"
#include "daemon/link/link-context.h"
#include <json-glib/json-glib.h>

typedef enum BootstrapOutcome {
    BOOTSTRAP_KEYS,
    BOOTSTRAP_REFUSED,  /* the platform said no, in its own words */
    BOOTSTRAP_FAILED,   /* nothing that lasts: no connection, time out, 429, 5xx */
    BOOTSTRAP_OFFLINE,  /* as FAILED: no route to the platform */
    BOOTSTRAP_UNUSABLE, /* an answer that can't be believed or used */
    BOOTSTRAP_UNSIGNED, /* the token made no signature: no PIN, gone, no touch */
} BootstrapOutcome;

/* Where a channel is. At least one of the two ways is there; what Transport= excludes is not. */
typedef struct BootstrapKeys {
    char *channel;
    /* The WebSocket, or NULL and 0. */
    char *url;
    char *token;    /* secret */
    gint64 expires; /* µs of g_get_monotonic_time(): no subscription with this token after it */
    /* PubNub, or NULL. */
    char *publish_key;
    char *subscribe_key;
} BootstrapKeys;
void bootstrap_keys_free(BootstrapKeys *keys);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(BootstrapKeys, bootstrap_keys_free)

typedef struct Bootstrap Bootstrap;

/* |keys| (transfer full) is NULL unless the outcome is KEYS; |message| is one sentence for people otherwise.
 */
typedef void (*BootstrapDoneFunc)(BootstrapOutcome outcome, BootstrapKeys *keys, const char *message,
                                  void *userdata);

/* |done| runs once, later, unless the bootstrap is cancelled; it is gone after either. */
Bootstrap *bootstrap_start(LinkContext *context, Authority *authority, ChannelKey *key,
                           BootstrapDoneFunc done, void *userdata);
void bootstrap_cancel(Bootstrap *bootstrap);

/* The keys in the decrypted answer |inner|; INVALID in words. |now|: monotonic µs. Transfer full. */
BootstrapKeys *bootstrap_keys_parse(JsonObject *inner, TransportChoice choice, gint64 now, GError **error);
