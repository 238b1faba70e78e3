/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The times of the PubNub transport (protocol.md appendix A, W.4) in one place, so that a test can live
 * faster than the world. pubnub_transport_new (transport.h) uses PUBNUB_TIMES. */

#include "daemon/link/transport/transport.h"

typedef struct PubnubTimes {
    guint poll_s;      /* a long poll; its end is no error */
    guint call_s;      /* any other call */
    gint64 check_ms;   /* the time is asked for after that much silence */
    gint64 silence_ms; /* nothing was answered for so long: the connection is lost */
    gint64 hasty_ms;   /* an empty answer to a poll that came sooner is followed by a wait of the backoff's
                          floor */
    gint64 gather_ms;  /* channels that come or go within it change the subscription once */
    gint64 backoff_floor_ms;
    gint64 backoff_ceiling_ms;
    gint64
        settled_ms; /* a poll that is silent for so long is a good one: the next loss starts from the floor */
} PubnubTimes;

extern const PubnubTimes PUBNUB_TIMES;

/* What PubNub takes as one message. */
#define PUBNUB_MESSAGE_MAX (32U * 1024U)
/* Channels of one subscription: as many as an address of a few kilobytes can name. */
#define PUBNUB_CHANNELS_MAX 100

Transport *pubnub_transport_new_with_times(const char *origin, const PubnubKeys *keys, GTlsDatabase *roots,
                                           const char *uuid, const PubnubTimes *times,
                                           const TransportEvents *events, GError **error);
