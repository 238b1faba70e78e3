/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The link: the connection to the platform with one channel per authority.
 *
 * It is told which authorities exist, bootstraps each of them by itself (bootstrap.c, at most 8 at once,
 * retried per W.4), shares one transport among all whose answers name the same url, and turns messages into
 * offers and requests (channel.c, request.c). It says where it stands through LinkEvents and
 * authority_set_link. Main thread; S/MIME runs on its crypto workers. */

#include "daemon/ca/authority.h"
#include "daemon/config.h"
#include "daemon/link/identity.h"
#include "daemon/link/journal/journal.h"
#include "daemon/link/link-files.h"
#include "daemon/metrics.h"

typedef struct Link Link;
typedef struct RouteTimes RouteTimes;

typedef enum LinkState {
    LINK_UNCONFIGURED, /* no trust anchor, or no authority */
    LINK_OFFLINE,
    LINK_BOOTSTRAPPING,
    LINK_CONNECTING,
    LINK_CONNECTED,
    LINK_BACKING_OFF,
} LinkState;

typedef struct LinkEvents {
    void (*changed)(Link *link, void *userdata); /* state, message, next attempt, transport */
    /* A request was answered with success. |kind|: "csr" "crl" "cms"; |result|: what was made, one line. */
    void (*signed_request)(Link *link, Authority *authority, const char *siguuid, const char *kind,
                           const char *result, void *userdata);
    /* A request was refused or failed, whether or not the platform gets an answer. */
    void (*denied_request)(Link *link, Authority *authority, const char *siguuid, const char *kind,
                           const char *reason, void *userdata);
    void *userdata;
} LinkEvents;

/* |config|, |identity| and |journal| outlive the link. Reads its files: before the main loop. */
Link *link_new(const Config *config, Identity *identity, Journal *journal, const LinkEvents *events);
/* With other times than ROUTE_TIMES, so that a test can live faster than the world. |times| outlives the
 * link. */
Link *link_new_with_times(const Config *config, Identity *identity, Journal *journal, const RouteTimes *times,
                          const LinkEvents *events);
void link_free(Link *link);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Link, link_free)

void link_add_authority(Link *link, Authority *authority);
void link_remove_authority(Link *link, Authority *authority);
/* Its slots, its token or its PIN changed: what failed for lack of a signature is tried again at once. */
void link_authority_changed(Link *link, Authority *authority);
/* |files| (transfer full) were read again, for |config|, which replaces the old one; everything that waits is
 * tried at once. */
void link_reload(Link *link, const Config *config, LinkFiles *files);

LinkState link_state(const Link *link);
const char *link_state_to_string(LinkState state);
const char *link_message(const Link *link);
const char *link_transport(const Link *link); /* "websocket", "pubnub", "websocket,pubnub" or "" */
gint64 link_next_attempt(const Link *link);   /* µs since the epoch, 0 = none */
guint link_connected(const Link *link);       /* authorities */
/* Messages for |authority| that wait or are being handled. */
guint link_queue_length(const Link *link, const Authority *authority);
const Metrics *link_metrics(const Link *link); /* transfer none */
