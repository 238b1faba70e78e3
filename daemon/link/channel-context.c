/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The two records that strangers and floods can cause, each within a limit. */

#include "daemon/link/channel-context.h"

#include "daemon/log.h"
#include "daemon/message-ids.h"

static char *left_out_text(guint left_out)
{
    return left_out ? g_strdup_printf(" (%u more like it were not recorded)", left_out) : g_strdup("");
}

void channel_context_log_foreign(ChannelContext *channel, const TransportMessage *message,
                                 const GError *error)
{
    guint left_out = 0;
    metrics_count(channel->link->metrics, METRICS_FOREIGN);
    if (!log_limit_pass(&channel->foreign, &left_out))
        return;
    g_autofree char *more = left_out_text(left_out);
    log_event(LOG_WARNING, MESSAGE_FOREIGN_MESSAGE,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(channel->authority)},
                         {"IOTHSM_PUBLISHER", message->publisher}),
              "A message for %s is not from the platform and was ignored: %s%s",
              authority_subject(channel->authority), error->message, more);
}

void channel_context_log_dropped(ChannelContext *channel, const char *siguuid, const char *kind,
                                 const char *reason)
{
    metrics_count(channel->link->metrics, METRICS_DROP);
    if (kind) {
        metrics_count_denied(channel->link->metrics, kind);
        authority_count_denied(channel->authority);
        channel->denied_request(siguuid, kind, reason, channel->owner);
    }
    guint left_out = 0;
    if (!log_limit_pass(&channel->dropped, &left_out))
        return;
    g_autofree char *more = left_out_text(left_out);
    log_event(LOG_WARNING, MESSAGE_REQUEST_DROPPED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(channel->authority)},
                         {"IOTHSM_REQUEST", siguuid}, {"IOTHSM_KIND", kind}, {"IOTHSM_RESULT", reason}),
              "A %s for %s was dropped without an answer: %s%s", kind ? "request" : "solicitation",
              authority_subject(channel->authority), reason, more);
}
