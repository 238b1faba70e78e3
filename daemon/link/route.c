/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two ways, each with its connection while the channel is on it, and a set of parcels: what was published and
 * not yet told to be held. A parcel is always with one transport, or with the route while there is none. A
 * transport that the channel leaves gives its parcels back (LEFT), and they go on over the other one. */

#include "daemon/link/route.h"

#include "daemon/log.h"

const RouteTimes ROUTE_TIMES = {
    .attempts = 3,
    .probe_ms = 5 * 60 * 1000,
    .linger_ms = 5 * 1000,
};

typedef struct Way {
    Connection *connection; /* NULL: not on it */
    bool open;
} Way;

struct Route {
    const RouteTimes *times;
    RouteHub hub;
    RouteEvents events;
    void *userdata;
    BootstrapKeys *keys; /* NULL: nowhere */
    bool token_refused;
    Way websocket;
    Way pubnub;
    guint probe_timer;
    guint linger_timer;
    GHashTable *parcels; /* Parcel */
    guint64 generation;  /* counts the channels that this route had */
};

typedef struct Parcel {
    Route *route; /* NULL: it is gone */
    guint64 generation;
    bool is_sent; /* with a transport */
    GBytes *envelope;
    gint64 expires;
    TransportPublishedFunc done;
    void *userdata;
} Parcel;

/* --- parcels ----------------------------------------------------------------------------------------- */

static void parcel_finish(Parcel *parcel, TransportOutcome outcome, const char *reason)
{
    if (parcel->route)
        g_hash_table_remove(parcel->route->parcels, parcel);
    parcel->done(outcome, reason, parcel->userdata);
    g_bytes_unref(parcel->envelope);
    g_free(parcel);
}

static void send_parcel(Parcel *parcel);

static void on_parcel_published(TransportOutcome outcome, const char *reason, void *userdata)
{
    Parcel *parcel = userdata;
    Route *route = parcel->route;
    parcel->is_sent = false;
    if (outcome == TRANSPORT_LEFT && route && route->keys && parcel->generation == route->generation)
        send_parcel(parcel);
    else
        parcel_finish(parcel, outcome, reason);
}

/* Over what is open, else over what may open first; stays here where there is nothing. */
static void send_parcel(Parcel *parcel)
{
    const Route *route = parcel->route;
    const Way *way = route->websocket.open || (route->websocket.connection && !route->pubnub.open)
                         ? &route->websocket
                         : &route->pubnub;
    if (!way->connection)
        return;
    Transport *transport = connection_transport(way->connection);
    parcel->is_sent = true;
    transport->class->publish(transport, route->keys->channel, parcel->envelope, parcel->expires,
                              on_parcel_published, parcel);
}

static void send_parcels(Route *route)
{
    GHashTableIter iter;
    void *parcel;
    g_hash_table_iter_init(&iter, route->parcels);
    while (g_hash_table_iter_next(&iter, &parcel, NULL))
        if (!((Parcel *)parcel)->is_sent)
            send_parcel(parcel);
}

/* Those that are with no transport. */
static void finish_parcels(Route *route, const char *reason)
{
    g_autofree void **parcels = g_hash_table_get_keys_as_array(route->parcels, NULL);
    for (void **parcel = parcels; *parcel; parcel++)
        if (!((Parcel *)*parcel)->is_sent)
            parcel_finish(*parcel, TRANSPORT_LEFT, reason);
}

bool route_publish(Route *route, GBytes *envelope, gint64 expires, TransportPublishedFunc done,
                   void *userdata)
{
    if (!route->keys)
        return false;
    Parcel *parcel = g_new0(Parcel, 1);
    *parcel = (Parcel){route, route->generation, false, g_bytes_ref(envelope), expires, done, userdata};
    g_hash_table_add(route->parcels, parcel);
    send_parcel(parcel);
    return true;
}

/* --- ways -------------------------------------------------------------------------------------------- */

static Endpoint websocket_endpoint(const BootstrapKeys *keys)
{
    return (Endpoint){.url = keys->url};
}

static Endpoint pubnub_endpoint(const BootstrapKeys *keys)
{
    return (Endpoint){.pubnub = {keys->publish_key, keys->subscribe_key}};
}

static void leave_way(Route *route, Way *way)
{
    Connection *connection = g_steal_pointer(&way->connection);
    way->open = false;
    if (!connection)
        return;
    Transport *transport = connection_transport(connection);
    transport->class->unsubscribe(transport, route->keys->channel);
    route->hub.leave(route, connection, route->hub.userdata);
}

static bool take_way(Route *route, Way *way, const Endpoint *endpoint, const char *token, const char *since,
                     GError **error)
{
    if (way->connection && !connection_leads_to(way->connection, endpoint))
        leave_way(route, way);
    if (!way->connection)
        way->connection = route->hub.join(route, endpoint, route->keys->channel, error, route->hub.userdata);
    if (!way->connection)
        return false;
    Transport *transport = connection_transport(way->connection);
    way->open = false;
    transport->class->subscribe(transport, route->keys->channel, token, since);
    return true;
}

/* From now on where PubNub carries the channel: it has everything before. */
static bool take_websocket(Route *route, const char *since, GError **error)
{
    const Endpoint endpoint = websocket_endpoint(route->keys);
    return take_way(route, &route->websocket, &endpoint, route->keys->token,
                    route->pubnub.open ? NULL : since, error);
}

static bool take_pubnub(Route *route, GError **error)
{
    const Endpoint endpoint = pubnub_endpoint(route->keys);
    return take_way(route, &route->pubnub, &endpoint, NULL, NULL, error);
}

/* With the keys that the route has now. */
static bool is_on_pubnub(const Route *route)
{
    const Endpoint endpoint = pubnub_endpoint(route->keys);
    return route->pubnub.open && connection_leads_to(route->pubnub.connection, &endpoint);
}

/* --- between the two --------------------------------------------------------------------------------- */

static bool is_token_over(const Route *route)
{
    return route->token_refused || g_get_monotonic_time() >= route->keys->expires;
}

static gboolean on_probe_due(void *userdata)
{
    Route *route = userdata;
    if (route->websocket.connection)
        return G_SOURCE_CONTINUE;
    g_autoptr(GError) error = NULL;
    if (is_token_over(route))
        route->events.wants_keys(route->userdata);
    else if (!take_websocket(route, NULL, &error))
        log_debug("The WebSocket is not tried again: %s", error->message);
    return G_SOURCE_CONTINUE;
}

static void back_to_pubnub(Route *route)
{
    g_clear_handle_id(&route->linger_timer, g_source_remove);
    leave_way(route, &route->websocket);
    if (!route->probe_timer)
        route->probe_timer = g_timeout_add((guint)route->times->probe_ms, on_probe_due, route);
}

static gboolean on_lingered(void *userdata)
{
    Route *route = userdata;
    route->linger_timer = 0;
    leave_way(route, &route->pubnub);
    return G_SOURCE_REMOVE;
}

/* The WebSocket is up again: PubNub goes. */
static void settle_on_websocket(Route *route)
{
    g_clear_handle_id(&route->probe_timer, g_source_remove);
    if (route->pubnub.connection && !route->linger_timer)
        route->linger_timer = g_timeout_add((guint)route->times->linger_ms, on_lingered, route);
}

void route_on_subscribed(Route *route, Connection *connection, bool missed)
{
    bool is_websocket = connection == route->websocket.connection;
    Way *way = is_websocket ? &route->websocket : &route->pubnub;
    way->open = true;
    if (is_websocket)
        settle_on_websocket(route);
    send_parcels(route);
    route->events.subscribed(missed, route->userdata);
}

void route_on_refused(Route *route, Connection *connection, TransportRefusal refusal, const char *reason)
{
    if (connection == route->websocket.connection && route->pubnub.connection) {
        route->token_refused = true;
        back_to_pubnub(route);
        return;
    }
    if (connection == route->pubnub.connection && route->websocket.open) {
        g_clear_handle_id(&route->linger_timer, g_source_remove);
        leave_way(route, &route->pubnub);
        return;
    }
    *(connection == route->websocket.connection ? &route->websocket.open : &route->pubnub.open) = false;
    route->events.refused(refusal, reason, route->userdata);
}

static void websocket_is_down(Route *route, Connection *connection)
{
    g_autoptr(GError) error = NULL;
    route->websocket.open = false;
    if (route->pubnub.connection)
        back_to_pubnub(route);
    else if (route->keys->publish_key && connection_failures(connection) >= route->times->attempts) {
        if (take_pubnub(route, &error))
            back_to_pubnub(route);
        else
            log_warning("PubNub can't be used in place of the WebSocket: %s", error->message);
    }
}

void route_on_disconnected(Route *route, Connection *connection, const char *reason, gint64 next_attempt)
{
    if (connection == route->websocket.connection)
        websocket_is_down(route, connection);
    else
        route->pubnub.open = false;
    if (!route->websocket.open && !route->pubnub.open)
        route->events.disconnected(
            reason, route->probe_timer && connection != route->pubnub.connection ? 0 : next_attempt,
            route->userdata);
}

void route_on_message(Route *route, TransportMessage *message)
{
    route->events.message(message, route->userdata);
}

/* --- from outside ------------------------------------------------------------------------------------ */

Route *route_new(const RouteTimes *times, const RouteHub *hub, const RouteEvents *events, void *userdata)
{
    Route *route = g_new0(Route, 1);
    route->times = times;
    route->hub = *hub;
    route->events = *events;
    route->userdata = userdata;
    route->parcels = g_hash_table_new(NULL, NULL);
    return route;
}

void route_leave(Route *route)
{
    g_clear_handle_id(&route->probe_timer, g_source_remove);
    g_clear_handle_id(&route->linger_timer, g_source_remove);
    if (!route->keys)
        return;
    leave_way(route, &route->websocket);
    leave_way(route, &route->pubnub);
    g_clear_pointer(&route->keys, bootstrap_keys_free);
    route->generation++;
    finish_parcels(route, "its channel is gone");
}

void route_free(Route *route)
{
    if (!route)
        return;
    route_leave(route);
    GHashTableIter iter;
    void *parcel;
    g_hash_table_iter_init(&iter, route->parcels);
    while (g_hash_table_iter_next(&iter, &parcel, NULL))
        ((Parcel *)parcel)->route = NULL;
    g_hash_table_unref(route->parcels);
    g_free(route);
}

bool route_use(Route *route, BootstrapKeys *keys, const char *since, GError **error)
{
    if (route->keys && !g_str_equal(route->keys->channel, keys->channel))
        route_leave(route);
    g_clear_pointer(&route->keys, bootstrap_keys_free);
    route->keys = keys;
    route->token_refused = false;
    if (!keys->url)
        leave_way(route, &route->websocket);
    if (!keys->publish_key)
        leave_way(route, &route->pubnub);
    bool has_websocket = keys->url && take_websocket(route, since, error);
    bool wants_pubnub = keys->publish_key && (route->pubnub.connection || !has_websocket);
    if (has_websocket && wants_pubnub && is_on_pubnub(route))
        return true;
    bool has_pubnub = wants_pubnub && take_pubnub(route, has_websocket || (error && *error) ? NULL : error);
    if (has_websocket || has_pubnub) {
        g_clear_error(error);
        send_parcels(route);
        return true;
    }
    route_leave(route);
    return false;
}

const char *route_id(const Route *route)
{
    return route->keys ? route->keys->channel : NULL;
}

const char *route_carrier(const Route *route)
{
    const Way *way = route->websocket.open ? &route->websocket : &route->pubnub;
    return way->open ? connection_transport(way->connection)->class->name : "";
}

bool route_is_stale(const Route *route)
{
    return route->websocket.connection && !route->pubnub.connection && is_token_over(route);
}

void route_set_since(Route *route, const char *message_id)
{
    Transport *transport =
        route->websocket.connection ? connection_transport(route->websocket.connection) : NULL;
    if (transport)
        transport->class->set_since(transport, route->keys->channel, message_id);
}
