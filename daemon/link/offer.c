/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Open, compare, seal, publish. An offer that came too late means nothing, so it is not kept beyond its
 * deadline. */

#include "daemon/link/offer.h"

#include "daemon/json.h"
#include "daemon/link/message/wire.h"
#include "daemon/link/opening.h"
#include "daemon/link/sealing.h"
#include "daemon/log.h"

/* How far the clocks of a platform and of this machine may be apart; a solicitation says when it was signed,
 * and an older one comes from somebody who recorded it. */
#define CLOCKS_APART_MAX 300

struct Offer {
    ChannelContext *channel; /* NULL: abandoned */
    TransportMessage *message;
    gint64 deadline;
    GCancellable *cancellable;
    DealtWithFunc done;
    void *userdata;
};

static void finish(Offer *offer)
{
    if (offer->channel)
        offer->done(offer->userdata);
    transport_message_unref(offer->message);
    g_object_unref(offer->cancellable);
    g_free(offer);
}

static void on_published(TransportOutcome outcome, const char *reason, void *userdata)
{
    finish(userdata);
}

static void on_sealed(GBytes *wire, const GError *error, void *userdata)
{
    Offer *offer = userdata;
    if (!offer->channel) {
        finish(offer);
        return;
    }
    if (error) {
        channel_context_log_dropped(offer->channel, "", NULL, error->message);
        finish(offer);
        return;
    }
    metrics_count(offer->channel->link->metrics, METRICS_OFFER);
    offer->channel->publish(wire, offer->deadline, on_published, offer, offer->channel->owner);
}

/* NULL: it is of now. */
static const char *staleness(gint64 signing_time)
{
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - signing_time;
    if (signing_time == 0)
        return "It does not say when it was signed";
    if (age > CLOCKS_APART_MAX)
        return "It was signed more than five minutes ago, or a clock is wrong";
    return age < -CLOCKS_APART_MAX ? "It was signed in the future, or a clock is wrong" : NULL;
}

static void on_opened(const Opened *opened, const GError *error, void *userdata)
{
    Offer *offer = userdata;
    ChannelContext *channel = offer->channel;
    if (!channel) {
        finish(offer);
        return;
    }
    if (error) {
        if (!opened)
            log_debug("A solicitation was not looked at: %s", error->message);
        else if (!opened->signer)
            channel_context_log_foreign(channel, offer->message, error);
        else
            log_warning("A solicitation of the platform could not be read: %s", error->message);
        finish(offer);
        return;
    }
    const char *stale = staleness(opened->signing_time);
    if (stale) {
        channel_context_log_dropped(channel, "", NULL, stale);
        finish(offer);
        return;
    }
    const char *siguuid = json_get_string(opened->content, "siguuid", NULL);
    if (!siguuid ||
        !authority_answers_to(channel->authority, json_get_string(opened->content, "serial", NULL),
                              json_get_string(opened->content, "thumbprint", NULL))) {
        finish(offer); /* another agent may serve it */
        return;
    }
    if (!authority_is_served(channel->authority)) {
        log_debug("No offer for %s: no token with its key takes work", authority_subject(channel->authority));
        finish(offer);
        return;
    }
    seal(channel->link->crypto, channel->key,
         wire_offer_content(identity_uuid(channel->link->identity), channel->caindex, siguuid), NULL,
         wire_offer(offer->message->publisher, siguuid), offer->cancellable, on_sealed, offer);
}

Offer *offer_start(ChannelContext *channel, TransportMessage *message, gint64 deadline, DealtWithFunc done,
                   void *userdata)
{
    Offer *offer = g_new0(Offer, 1);
    *offer = (Offer){channel, transport_message_ref(message), deadline, g_cancellable_new(), done, userdata};
    opening_start(channel->link->crypto, channel->link->trust, OPENING_SIGNED, message->envelope, "smime",
                  NULL, 0, deadline, offer->cancellable, on_opened, offer);
    return offer;
}

void offer_abandon(Offer *offer)
{
    if (!offer)
        return;
    offer->channel = NULL;
    g_cancellable_cancel(offer->cancellable);
}
