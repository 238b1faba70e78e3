/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One 'solicit signature' and what comes of it (protocol.md 2.4, 2.5): a signed offer when the platform asks
 * for this channel's authority, silence otherwise. */

#include "daemon/link/channel-context.h"

typedef struct Offer Offer;

/* |deadline|: the message's, in µs of g_get_monotonic_time(). |done| runs once, later, unless abandoned. */
Offer *offer_start(ChannelContext *channel, TransportMessage *message, gint64 deadline, DealtWithFunc done,
                   void *userdata);
void offer_abandon(Offer *offer);
