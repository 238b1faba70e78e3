/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One 'signature request' from message to answer (protocol.md 2.6, 2.7; design: exactly once).
 *
 *   open      verify, decrypt, inflate, parse                     crypto thread
 *   check     siguuid, addressee CA, caindex
 *   look up   seen before? the stored answer, or the same intent   journal
 *   prepare   build what is to be signed, fix serial and dates    crypto thread
 *   intend    durable before the token is asked                   journal
 *   proceed   in order of arrival                                  lane
 *   sign      with the CA's key                                   the token's worker
 *   deliver   a CRL, by HTTPS
 *   record    the answer, durable before it leaves                journal
 *   answer    seal anew, publish until the platform holds it      crypto thread, transport
 *
 * A verified request always gets an answer, success:false with one stable line where it can't be done, unless
 * its time ran out before it was the token's turn, or it can't be decrypted or inflated: after a restart such
 * a one comes again that was made for the last channel key, and the platform may already have its answer (it
 * asks again if not). A failure is not recorded: the platform may ask again, and the intent makes sure that
 * it gets the same serial number and dates. Main thread. */

#include "daemon/link/channel-context.h"
#include "daemon/link/lane.h"

typedef struct Request Request;

/* |lane|: the channel's, lives until it is closed; |deadline|: the message's, in µs of
 * g_get_monotonic_time(); what starts before it is brought to its end. |done| runs once, later, unless
 * abandoned. */
Request *request_start(ChannelContext *channel, Lane *lane, TransportMessage *message, gint64 deadline,
                       DealtWithFunc done, void *userdata);
/* The channel goes away, and its lane is closed: a signature under way is still recorded and counted, nothing
 * is published. A CRL is not recorded before it is delivered; it is made again, from the same intent. */
void request_abandon(Request *request);
