/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A table whose keys belong to its values. */

#include "daemon/link/transport/subscriptions.h"

#include <string.h>

static void subscription_free(void *data)
{
    Subscription *subscription = data;
    g_free(subscription->channel);
    g_free(subscription->token);
    g_free(subscription->since);
    g_free(subscription);
}

GHashTable *subscriptions_new(void)
{
    return g_hash_table_new_full(g_str_hash, g_str_equal, NULL, subscription_free);
}

void subscriptions_give(GHashTable *subscriptions, const char *channel, const char *token, const char *since)
{
    Subscription *subscription = g_new0(Subscription, 1);
    *subscription = (Subscription){g_strdup(channel), g_strdup(token), g_strdup(since), false, false, false};
    g_hash_table_replace(subscriptions, subscription->channel, subscription);
}

bool subscriptions_refuse(GHashTable *subscriptions, const char *channel)
{
    Subscription *subscription = g_hash_table_lookup(subscriptions, channel);
    if (!subscription || subscription->refused)
        return false;
    subscription->refused = true;
    subscription->open = false;
    return true;
}

void subscriptions_lose(GHashTable *subscriptions)
{
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, subscriptions);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Subscription *subscription = value;
        subscription->asked = false;
        subscription->open = false;
    }
}

bool subscription_is_wanted(const Subscription *subscription)
{
    return !subscription->refused;
}

bool subscription_is_open(const Subscription *subscription)
{
    return subscription->open;
}

bool subscriptions_have(GHashTable *subscriptions, SubscriptionTest test)
{
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, subscriptions);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (test(value))
            return true;
    return false;
}

static gint compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

GStrv subscriptions_that(GHashTable *subscriptions, SubscriptionTest test)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, subscriptions);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (test(value))
            g_ptr_array_add(names, g_strdup(((Subscription *)value)->channel));
    if (names->len == 0)
        return NULL;
    g_ptr_array_sort(names, compare_names);
    g_ptr_array_add(names, NULL);
    return (GStrv)g_ptr_array_steal(names, NULL);
}
