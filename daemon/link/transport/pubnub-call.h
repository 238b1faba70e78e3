/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One HTTP call to PubNub. Its socket has TCP keepalives, so that a peer that is gone without a word is
 * noticed within 50 s also while a long poll is silent. Main thread. */

#include <libsoup/soup.h>

typedef struct PubnubCall PubnubCall;

/* |text| is the answer's body, as it came. |error| as in https.h, never CANCELLED. */
typedef void (*PubnubAnsweredFunc)(guint status, const char *text, gsize size, const GError *error,
                                   void *userdata);

/* GET |url|, or POST |body| (JSON) where it is not NULL. |answered| runs once, later, unless the call is
 * cancelled; it is gone after either. */
PubnubCall *pubnub_call_start(SoupSession *session, const char *url, GBytes *body, guint timeout_seconds,
                              PubnubAnsweredFunc answered, void *userdata);
/* Accepts NULL. */
void pubnub_call_cancel(PubnubCall *call);
/* A call whose answer nobody waits for. */
void pubnub_call_forget(SoupSession *session, const char *url, guint timeout_seconds);
