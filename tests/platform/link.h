/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The platform's end of the WebSocket link (protocol.md W.2 to W.4): connections of agents, the channels that
 * each has subscribed, and what was published on each channel for those who come back. It moves envelopes and
 * knows nothing of what is in them. Main thread. */

#include "tests/platform/faults.h"
#include "tests/platform/platform.h"
#include <json-glib/json-glib.h>
#include <libsoup/soup.h>

typedef struct LinkEvents {
    /* An agent published |envelope| on |channel|. */
    void (*published)(const char *channel, JsonObject *envelope, void *userdata);
    void *userdata;
} LinkEvents;

/* Serves /api/public/iothsm/link on |server|. */
Link *link_new(Platform *platform, SoupServer *server, const LinkEvents *events);
void link_free(Link *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Link, link_free)

/* Publishes |envelope| (JSON) to everybody on |channel| and keeps it. |place| is where faults may strike. */
void link_publish(Link *link, const char *channel, const char *envelope, FaultPlace place);

/* Agents that have |channel| subscribed (NULL: any). */
guint link_agents(const Link *link, const char *channel);
/* Tells every agent `shutting-down` and closes with 1001; the loop must run on for a moment. */
void link_say_goodbye(Link *link);
/* Closes every connection with |code|. */
void link_close_all(Link *link, gint64 code);

/* [{uuid, agent, connected, channels:[…]}]. Transfer full. */
JsonArray *link_describe(const Link *link);
