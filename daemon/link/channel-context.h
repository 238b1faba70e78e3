/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the handling of one message needs of the channel that it came in on. The channel owns it; an offer or
 * a request that was abandoned does not look at it any more. */

#include "daemon/link/channel-key.h"
#include "daemon/link/link-context.h"
#include "daemon/link/log-limit.h"
#include "daemon/link/transport/transport.h"

typedef struct ChannelContext {
    LinkContext *link;
    Authority *authority;
    ChannelKey *key;
    guint caindex;
    guint64 requests; /* that came, by their order */
    LogLimit foreign; /* messages that are not the platform's */
    LogLimit dropped; /* messages that came too late, or too many */

    /* Onto the channel; |done| runs exactly once, later. */
    void (*publish)(GBytes *envelope, gint64 expires, TransportPublishedFunc done, void *userdata,
                    void *owner);
    void (*signed_request)(const char *siguuid, const char *kind, const char *result, void *owner);
    void (*denied_request)(const char *siguuid, const char *kind, const char *reason, void *owner);
    void *owner;
} ChannelContext;

/* The message is dealt with, whatever became of it; what was handling it is gone. */
typedef void (*DealtWithFunc)(void *userdata);

/* A message whose signature is not the platform's: silence towards the sender, a record for the
 * administrator. */
void channel_context_log_foreign(ChannelContext *channel, const TransportMessage *message,
                                 const GError *error);
/* A message that gets no answer: recorded, and counted where it was a request; |kind| NULL: a solicitation.
 */
void channel_context_log_dropped(ChannelContext *channel, const char *siguuid, const char *kind,
                                 const char *reason);
