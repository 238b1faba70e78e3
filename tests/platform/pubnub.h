/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PubNub's HTTP paths as protocol.md appendix A has them: subscribe (a long poll with a cursor), publish by
 * POST and by GET, time, leave and heartbeat. A channel exists within a key set; everybody who has the keys
 * hears everything that is published on it, own messages as well. Main thread. */

#include "tests/platform/platform.h"
#include <json-glib/json-glib.h>
#include <libsoup/soup.h>

typedef struct PubnubEvents {
    /* Somebody else than the platform published |envelope| on |channel|. */
    void (*published)(const char *channel, JsonObject *envelope, void *userdata);
    void *userdata;
} PubnubEvents;

/* Serves the paths on |server|. */
Pubnub *pubnub_new(Platform *platform, SoupServer *server, const PubnubEvents *events);
void pubnub_free(Pubnub *pubnub);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pubnub, pubnub_free)

/* The key set that authority number |index| is served under. Transfer full. */
char *pubnub_publish_key(const Platform *platform, guint index);
char *pubnub_subscribe_key(const Platform *platform, guint index);

/* The platform's own message. */
void pubnub_deliver(Pubnub *pubnub, const char *channel, const char *envelope);

/* Agents whose poll for |channel| (NULL: any) is open, or was a moment ago. */
guint pubnub_agents(const Pubnub *pubnub, const char *channel);
/* Cuts every poll that is open. */
void pubnub_cut(Pubnub *pubnub);
