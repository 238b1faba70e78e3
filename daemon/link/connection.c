/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A table from channel id to route. Telling all of them goes over a copy of the ids: a route that hears that
 * its connection is lost may leave it. */

#include "daemon/link/connection.h"

#include "daemon/error.h"
#include "daemon/link/route.h"
#include "daemon/link/transport/pubnub.h"

struct Connection {
    char *url; /* NULL: PubNub */
    char *publish_key;
    char *subscribe_key;
    Transport *transport;
    GHashTable *routes; /* id → Route */
    gint64 empty_since; /* µs of g_get_monotonic_time() */
    TransportState state;
    guint failures;
    char *message;
    gint64 next_attempt;
    void (*changed)(void *userdata);
    void *userdata;
};

static void tell_all(Connection *self, const char *reason, gint64 next_attempt)
{
    g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    void *id;
    g_hash_table_iter_init(&iter, self->routes);
    while (g_hash_table_iter_next(&iter, &id, NULL))
        g_ptr_array_add(ids, g_strdup(id));
    for (guint i = 0; i < ids->len; i++) {
        Route *route = g_hash_table_lookup(self->routes, g_ptr_array_index(ids, i));
        if (route)
            route_on_disconnected(route, self, reason, next_attempt);
    }
}

static void on_state(Transport *transport, TransportState state, const char *message, gint64 next_attempt,
                     void *userdata)
{
    Connection *self = userdata;
    bool waits = state == TRANSPORT_BACKING_OFF || state == TRANSPORT_OFFLINE;
    if (state == TRANSPORT_CONNECTED)
        self->failures = 0;
    else if (waits && self->state == TRANSPORT_CONNECTING)
        self->failures++;
    g_free(self->message);
    self->state = state;
    self->message = g_strdup(message);
    self->next_attempt = next_attempt;
    if (waits)
        tell_all(self, message, next_attempt);
    self->changed(self->userdata);
}

static void on_subscribed(Transport *transport, const char *id, bool missed, void *userdata)
{
    Connection *self = userdata;
    Route *route = g_hash_table_lookup(self->routes, id);
    if (route)
        route_on_subscribed(route, self, missed);
}

static void on_refused(Transport *transport, const char *id, TransportRefusal refusal, const char *reason,
                       void *userdata)
{
    Connection *self = userdata;
    Route *route = g_hash_table_lookup(self->routes, id);
    if (route)
        route_on_refused(route, self, refusal, reason);
}

static void on_lost(Transport *transport, const char *reason, void *userdata)
{
    tell_all(userdata, reason, 0);
}

static void on_message(Transport *transport, TransportMessage *message, void *userdata)
{
    Connection *self = userdata;
    Route *route = g_hash_table_lookup(self->routes, message->channel);
    if (route)
        route_on_message(route, message);
}

Connection *connection_new(const Endpoint *endpoint, const LinkContext *context,
                           void (*changed)(void *userdata), void *userdata, GError **error)
{
    const Config *config = context->config;
    const char *uuid = identity_uuid(context->identity);
    g_autoptr(Connection) self = g_new0(Connection, 1);
    self->url = g_strdup(endpoint->url);
    self->publish_key = g_strdup(endpoint->pubnub.publish);
    self->subscribe_key = g_strdup(endpoint->pubnub.subscribe);
    self->message = g_strdup("");
    self->routes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    self->empty_since = g_get_monotonic_time();
    self->changed = changed;
    self->userdata = userdata;
    const TransportEvents events = {
        .state = on_state,
        .subscribed = on_subscribed,
        .refused = on_refused,
        .lost = on_lost,
        .message = on_message,
        .userdata = self,
    };
    self->transport = endpoint->url ? websocket_transport_new(endpoint->url, context->roots, uuid,
                                                              config->message_size, &events, error)
                                    : pubnub_transport_new(config->pubnub_origin, &endpoint->pubnub,
                                                           context->roots, uuid, &events, error);
    return self->transport ? g_steal_pointer(&self) : NULL;
}

void connection_free(Connection *self)
{
    if (!self)
        return;
    if (self->transport)
        self->transport->class->free(self->transport);
    g_hash_table_unref(self->routes);
    g_free(self->message);
    g_free(self->url);
    g_free(self->publish_key);
    g_free(self->subscribe_key);
    g_free(self);
}

bool connection_leads_to(const Connection *self, const Endpoint *endpoint)
{
    return g_strcmp0(self->url, endpoint->url) == 0 &&
           (self->url || (g_strcmp0(self->publish_key, endpoint->pubnub.publish) == 0 &&
                          g_strcmp0(self->subscribe_key, endpoint->pubnub.subscribe) == 0));
}

bool connection_is_full(const Connection *self)
{
    return !self->url && g_hash_table_size(self->routes) >= PUBNUB_CHANNELS_MAX;
}

bool connection_add(Connection *self, const char *id, Route *route, GError **error)
{
    if (g_hash_table_contains(self->routes, id)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "The platform gave one channel to two authorities; remove one of them there");
        return false;
    }
    g_hash_table_insert(self->routes, g_strdup(id), route);
    return true;
}

static gboolean is_route(void *id, void *route, void *wanted)
{
    return route == wanted;
}

void connection_remove(Connection *self, Route *route)
{
    g_hash_table_foreach_remove(self->routes, is_route, route);
    self->empty_since = g_get_monotonic_time();
}

bool connection_is_empty(const Connection *self)
{
    return g_hash_table_size(self->routes) == 0;
}

gint64 connection_empty_since(const Connection *self)
{
    return self->empty_since;
}

void connection_hurry(Connection *self)
{
    self->transport->class->hurry(self->transport);
}

Transport *connection_transport(const Connection *self)
{
    return self->transport;
}

TransportState connection_state(const Connection *self)
{
    return self->state;
}

const char *connection_message(const Connection *self)
{
    return self->message;
}

gint64 connection_next_attempt(const Connection *self)
{
    return self->next_attempt;
}

guint connection_failures(const Connection *self)
{
    return self->failures;
}
