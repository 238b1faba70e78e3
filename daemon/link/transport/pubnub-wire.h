/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PubNub's requests and answers as text (protocol.md appendix A): the addresses of its calls, and reading
 * what comes back. Pure functions, any thread.
 *
 * Whoever has the keys can publish anything on a channel. One message that makes no sense therefore never
 * spoils the others that came with it: it is counted and left out. */

#include "daemon/link/transport/transport.h"

/* Where a stream of messages goes on. */
typedef struct PubnubCursor {
    char timetoken[24]; /* digits */
    gint64 region;
} PubnubCursor;
/* The first call of a subscription: from now on. */
#define PUBNUB_CURSOR_NOW ((PubnubCursor){.timetoken = "0"})

typedef struct PubnubAddress {
    const char *origin; /* without a slash at its end */
    PubnubKeys keys;
    const char *uuid;
} PubnubAddress;

/* Addresses of calls. |channels| is NULL-terminated. Transfer full. */
char *pubnub_time_url(const PubnubAddress *address);
char *pubnub_subscribe_url(const PubnubAddress *address, const char *const *channels,
                           const PubnubCursor *cursor);
char *pubnub_publish_url(const PubnubAddress *address, const char *channel);
char *pubnub_leave_url(const PubnubAddress *address, const char *const *channels);

/* 100 ns units since the epoch, from the answer to a time call. */
bool pubnub_read_time(const char *text, gsize size, gint64 *ret_timetoken, GError **error);

/* The answer to a subscribe. */
typedef struct PubnubBatch {
    PubnubCursor cursor;
    GPtrArray *messages; /* TransportMessage, in order; not our own */
    guint size;          /* all that came, also what was left out */
    guint senseless;     /* left out because they make no sense */
} PubnubBatch;
void pubnub_batch_free(PubnubBatch *batch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PubnubBatch, pubnub_batch_free)

typedef struct PubnubReader {
    const char *uuid;     /* ours */
    gint64 received;      /* µs of g_get_monotonic_time() */
    gint64 now_timetoken; /* PubNub's clock at that moment; 0: unknown, and every age is 0 */
} PubnubReader;

/* INVALID in one line where it is no such answer. Transfer full. */
PubnubBatch *pubnub_read_batch(const char *text, gsize size, const PubnubReader *reader, GError **error);

typedef enum PubnubVerdict {
    PUBNUB_SENT,
    PUBNUB_TOO_LARGE,
    PUBNUB_REFUSED, /* it will never be taken */
    PUBNUB_LATER,   /* it may be taken another time */
} PubnubVerdict;

/* The answer to a publish. |ret_reason|: one line for people, transfer full. */
PubnubVerdict pubnub_read_verdict(guint status, const char *text, gsize size, char **ret_reason);

/* "403 Forbidden", with the words of an answer that has some. Transfer full. */
char *pubnub_describe_status(guint status, const char *text, gsize size);
