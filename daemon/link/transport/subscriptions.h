/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The channels that a transport is to carry, and how far each of them is on the connection of the moment. A
 * channel that was refused stays, so that its answers are kept, and is not asked for before it is given
 * again. Main thread. */

#include <glib.h>
#include <stdbool.h>

typedef struct Subscription {
    char *channel;
    char *token;  /* or NULL */
    char *since;  /* or NULL */
    bool asked;   /* on this connection */
    bool open;    /* confirmed on this connection */
    bool refused; /* wants a bootstrap first */
} Subscription;

/* Channel → Subscription. */
GHashTable *subscriptions_new(void);

/* |channel|, there or made, to be asked for (again). |token| and |since| may be NULL. */
void subscriptions_give(GHashTable *subscriptions, const char *channel, const char *token, const char *since);
/* False where it is not there, or refused already. */
bool subscriptions_refuse(GHashTable *subscriptions, const char *channel);
/* The connection is lost: nothing is asked for or open on the next one. */
void subscriptions_lose(GHashTable *subscriptions);

typedef bool (*SubscriptionTest)(const Subscription *subscription);
bool subscription_is_wanted(const Subscription *subscription); /* not refused */
bool subscription_is_open(const Subscription *subscription);

bool subscriptions_have(GHashTable *subscriptions, SubscriptionTest test);
/* Their channels, sorted; NULL where there are none. A copy, so that an event may change the table. Transfer
 * full. */
GStrv subscriptions_that(GHashTable *subscriptions, SubscriptionTest test);
