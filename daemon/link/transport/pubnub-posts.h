/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What goes out over PubNub: an outbox and the posts that carry it, several at once. A post that is not taken
 * is tried again behind the others, as it may be its channel alone that is not allowed, with a backoff of its
 * own, whatever becomes of the subscription. Main thread. */

#include "daemon/link/transport/pubnub-wire.h"
#include "daemon/link/transport/pubnub.h"
#include <libsoup/soup.h>

typedef struct PubnubPosts PubnubPosts;

/* |address|, |times| and |channels| (a table by channel: where a message may go) belong to the caller and
 * live as long; takes a reference of |session|. */
PubnubPosts *pubnub_posts_new(SoupSession *session, const PubnubAddress *address, const PubnubTimes *times,
                              GHashTable *channels);
/* Tells LEFT of what is not published yet; accepts NULL. */
void pubnub_posts_free(PubnubPosts *posts);

/* As TransportClass.publish. */
void pubnub_posts_add(PubnubPosts *posts, const char *channel, GBytes *envelope, gint64 expires,
                      TransportPublishedFunc done, void *userdata);
/* |channel| left |channels|. */
void pubnub_posts_leave(PubnubPosts *posts, const char *channel);
/* A post now instead of at the end of the backoff. */
void pubnub_posts_hurry(PubnubPosts *posts);
