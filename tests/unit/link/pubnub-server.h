/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PubNub inside the test program, doing what the test tells it. A message is put on a channel by the test or
 * by a publish, and is given to the poll whose cursor is before it. */

#include <json-glib/json-glib.h>
#include <libsoup/soup.h>
#include <stdbool.h>

typedef struct PubnubServer {
    SoupServer *server;
    char *origin;
    GPtrArray *items;   /* PubnubItem, in order; its time token is its index + 1 */
    GPtrArray *waiting; /* polls that wait */

    /* What came. */
    guint times;
    guint joins; /* subscribes with time token 0 */
    guint polls; /* all others */
    guint posts;
    guint leaves;
    char *left;     /* the channels of the last leave */
    char *channels; /* of the last poll */
    char *cursor;   /* of the last poll */

    /* The script: how many of the next calls are answered with |status| (0: not at all). */
    guint fail_times;
    guint fail_joins;
    guint fail_polls;
    guint fail_posts;
    const char *denied; /* no post on this channel is taken, or NULL */
    guint status;
    const char *body; /* or NULL: a refusal of PubNub's kind */
} PubnubServer;

typedef struct PubnubItem {
    char *channel;
    char *publisher;
    char *payload;
} PubnubItem;

PubnubServer *pubnub_server_new(void);
void pubnub_server_free(PubnubServer *server);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PubnubServer, pubnub_server_free)

/* |payload|: JSON, ' for ". */
void pubnub_server_say(PubnubServer *server, const char *channel, const char *publisher, const char *payload);
/* Ends every poll that waits, with whatever |status| and |body| say. */
void pubnub_server_end_polls(PubnubServer *server);
/* Waits until |*counter| (one of the above) is |wanted|. */
void pubnub_server_wait(const guint *counter, guint wanted);
