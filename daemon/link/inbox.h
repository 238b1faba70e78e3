/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The messages of one channel: those that wait, in order of arrival, and the few that are being handled. What
 * is not for us, or makes no sense, ends here; a solicitation becomes an Offer, a request a Request. A
 * message that waited longer than its ttl is dropped when its turn comes. */

#include "daemon/link/channel-context.h"

typedef struct Inbox Inbox;

/* |dealt_with| runs for each message given to inbox_add, in any order, once nothing more will come of it:
 * answered and held by the platform, ignored or dropped. |id| belongs to the caller. */
typedef void (*InboxDealtWithFunc)(const char *id, void *userdata);

/* |channel| outlives the inbox. */
Inbox *inbox_new(ChannelContext *channel, InboxDealtWithFunc dealt_with, void *userdata);
/* Abandons what is being handled. */
void inbox_free(Inbox *inbox);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Inbox, inbox_free)

/* Messages that wait or are being handled. */
guint inbox_length(const Inbox *inbox);
void inbox_add(Inbox *inbox, TransportMessage *message);
