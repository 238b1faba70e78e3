/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of contents of the link: which authorities there are, the channel of each, the connections that
 * the channels share, and where all of that stands in one word.
 *
 * Whatever changes asks for a refresh, which runs once from the main loop: it starts bootstraps that are due,
 * frees connections that nobody uses, and says what became of the whole. */

#include "daemon/link/link.h"

#include "daemon/link/channel.h"
#include "daemon/link/connection.h"
#include "daemon/link/transport/https.h"
#include "daemon/log.h"
#include "daemon/message-ids.h"
#include "daemon/openssl-cleanup.h"

/* protocol.md W.1: an agent may have a thousand CAs. */
#define BOOTSTRAPS_AT_ONCE 8
/* Those that make their key and wait for their token as well. */
#define BOOTSTRAPS_BEGUN_AT_ONCE 64
#define NETWORK_SETTLES_MS 500
/* A token that is pulled out comes back: its channels are opened again on the connection that is still there.
 */
#define EMPTY_CONNECTION_SECONDS 300

struct Link {
    LinkContext context;
    LinkEvents events;
    GPtrArray *authorities; /* Authority, in order of appearance */
    GHashTable *channels;   /* Authority → Channel; empty while unconfigured */
    GPtrArray *connections; /* Connection */
    GNetworkMonitor *network;
    gulong network_handler;
    guint network_settling; /* timer */
    guint refresh;
    guint tidying;  /* timer */
    char *obstacle; /* why nothing can be tried at all, or NULL */

    LinkState state;
    char *message;
    const char *transport;
    gint64 next_attempt;
};

static const char *const state_names[] = {
    [LINK_UNCONFIGURED] = "unconfigured",   [LINK_OFFLINE] = "offline",
    [LINK_BOOTSTRAPPING] = "bootstrapping", [LINK_CONNECTING] = "connecting",
    [LINK_CONNECTED] = "connected",         [LINK_BACKING_OFF] = "backing-off",
};

/* --- where it stands --------------------------------------------------------------------------------- */

typedef struct Census {
    guint of[CHANNEL_SUBSCRIBED + 1]; /* by ChannelState */
    bool offline;
    bool reconnecting;   /* a connection waits for its next attempt */
    gint64 next_attempt; /* the earliest, 0 = none */
    const char *message; /* what that one waits for */
} Census;

static void note_attempt(Census *census, gint64 next_attempt, const char *message)
{
    if (next_attempt && (!census->next_attempt || next_attempt < census->next_attempt)) {
        census->next_attempt = next_attempt;
        census->message = message;
    }
}

static Census take_census(const Link *link)
{
    Census census = {.message = ""};
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, link->channels);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Channel *channel = value;
        census.of[channel_state(channel)]++;
        census.offline = census.offline || channel_is_offline(channel);
        if (channel_state(channel) == CHANNEL_WAITING)
            note_attempt(&census, channel_next_attempt(channel), channel_message(channel));
    }
    for (guint i = 0; i < link->connections->len; i++) {
        const Connection *connection = g_ptr_array_index(link->connections, i);
        TransportState state = connection_state(connection);
        census.offline = census.offline || state == TRANSPORT_OFFLINE;
        if (state == TRANSPORT_BACKING_OFF || state == TRANSPORT_OFFLINE) {
            census.reconnecting = true;
            note_attempt(&census, connection_next_attempt(connection), connection_message(connection));
        }
    }
    return census;
}

static LinkState state_of(const Link *link, const Census *census)
{
    if (link->obstacle || link->authorities->len == 0)
        return LINK_UNCONFIGURED;
    if (census->of[CHANNEL_SUBSCRIBED] > 0)
        return LINK_CONNECTED;
    if (census->of[CHANNEL_PREPARING] + census->of[CHANNEL_DUE] + census->of[CHANNEL_BOOTSTRAPPING] > 0)
        return LINK_BOOTSTRAPPING;
    if (census->of[CHANNEL_SUBSCRIBING] > 0 && !census->reconnecting)
        return LINK_CONNECTING;
    return census->offline ? LINK_OFFLINE : LINK_BACKING_OFF;
}

/* Transfer full. */
static char *message_of(const Link *link, LinkState state, const Census *census)
{
    guint connected = census->of[CHANNEL_SUBSCRIBED];
    switch (state) {
    case LINK_UNCONFIGURED:
        return g_strdup(link->obstacle ? link->obstacle
                                       : "There is no CA certificate on any token yet; provision a slot "
                                         "(iothsmctl provision)");
    case LINK_CONNECTED:
        return connected == link->authorities->len
                   ? g_strdup("")
                   : g_strdup_printf("%u of %u authorities are connected", connected, link->authorities->len);
    case LINK_BOOTSTRAPPING:
    case LINK_CONNECTING:
        return g_strdup("");
    case LINK_OFFLINE:
    case LINK_BACKING_OFF:
        return g_strdup(census->message);
    }
    return g_strdup("");
}

static const char *transport_of(const Link *link)
{
    bool websocket = false;
    bool pubnub = false;
    GHashTableIter iter;
    void *channel;
    g_hash_table_iter_init(&iter, link->channels);
    while (g_hash_table_iter_next(&iter, NULL, &channel)) {
        websocket = websocket || g_str_equal(channel_carrier(channel), "websocket");
        pubnub = pubnub || g_str_equal(channel_carrier(channel), "pubnub");
    }
    return websocket && pubnub ? "websocket,pubnub" : websocket ? "websocket" : pubnub ? "pubnub" : "";
}

static void update_state(Link *link)
{
    Census census = take_census(link);
    LinkState state = state_of(link, &census);
    g_autofree char *message = message_of(link, state, &census);
    bool waits = state == LINK_OFFLINE || state == LINK_BACKING_OFF;
    gint64 next_attempt = waits ? census.next_attempt : 0;
    const char *transport = transport_of(link);
    if (state == link->state && next_attempt == link->next_attempt && g_str_equal(message, link->message) &&
        g_str_equal(transport, link->transport))
        return;
    link->state = state;
    link->transport = transport;
    link->next_attempt = next_attempt;
    g_free(link->message);
    link->message = g_steal_pointer(&message);
    if (link->events.changed)
        link->events.changed(link, link->events.userdata);
}

/* --- the refresh ------------------------------------------------------------------------------------- */

/* The one that failed least: what fails again and again never holds up what was not tried yet. */
static Channel *next_to_bootstrap(const Link *link)
{
    Channel *best = NULL;
    for (guint i = 0; i < link->authorities->len; i++) {
        Channel *channel = g_hash_table_lookup(link->channels, g_ptr_array_index(link->authorities, i));
        if (channel && channel_wants_bootstrap(channel) &&
            (!best || channel_failures(channel) < channel_failures(best)))
            best = channel;
    }
    return best;
}

static void start_bootstraps(Link *link)
{
    guint running = 0;
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, link->channels);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        running += channel_has_bootstrap(value);
    for (Channel *next; running < BOOTSTRAPS_BEGUN_AT_ONCE && (next = next_to_bootstrap(link)); running++)
        channel_bootstrap(next);
}

static gboolean on_tidying(void *userdata);

static void free_unused_connections(Link *link)
{
    gint64 long_ago = g_get_monotonic_time() - EMPTY_CONNECTION_SECONDS * G_USEC_PER_SEC;
    for (guint i = link->connections->len; i-- > 0;) {
        const Connection *connection = g_ptr_array_index(link->connections, i);
        if (!connection_is_empty(connection))
            continue;
        if (connection_state(connection) != TRANSPORT_CONNECTED ||
            connection_empty_since(connection) <= long_ago)
            g_ptr_array_remove_index(link->connections, i);
        else if (!link->tidying)
            link->tidying = g_timeout_add_seconds(EMPTY_CONNECTION_SECONDS, on_tidying, link);
    }
}

static gboolean on_tidying(void *userdata)
{
    Link *link = userdata;
    link->tidying = 0;
    free_unused_connections(link);
    return G_SOURCE_REMOVE;
}

static gboolean on_refresh(void *userdata)
{
    Link *link = userdata;
    link->refresh = 0;
    start_bootstraps(link);
    free_unused_connections(link);
    update_state(link);
    return G_SOURCE_REMOVE;
}

static void refresh_soon(void *userdata)
{
    Link *link = userdata;
    if (!link->refresh)
        link->refresh = g_idle_add_full(G_PRIORITY_DEFAULT, on_refresh, link, NULL);
}

/* --- channels and their connections ------------------------------------------------------------------ */

static void on_channel_changed(Channel *channel, void *userdata)
{
    refresh_soon(userdata);
}

static Connection *on_join(Route *route, const Endpoint *endpoint, const char *id, GError **error,
                           void *userdata)
{
    Link *link = userdata;
    Connection *connection = NULL;
    for (guint i = 0; i < link->connections->len && !connection; i++) {
        Connection *known = g_ptr_array_index(link->connections, i);
        if (connection_leads_to(known, endpoint) && !connection_is_full(known))
            connection = known;
    }
    if (!connection) {
        connection = connection_new(endpoint, &link->context, refresh_soon, link, error);
        if (!connection)
            return NULL;
        g_ptr_array_add(link->connections, connection);
    }
    return connection_add(connection, id, route, error) ? connection : NULL;
}

static void on_leave(Route *route, Connection *connection, void *userdata)
{
    connection_remove(connection, route);
    refresh_soon(userdata);
}

static void on_signed(Channel *channel, const char *siguuid, const char *kind, const char *result,
                      void *userdata)
{
    Link *link = userdata;
    if (link->events.signed_request)
        link->events.signed_request(link, channel_authority(channel), siguuid, kind, result,
                                    link->events.userdata);
}

static void on_denied(Channel *channel, const char *siguuid, const char *kind, const char *reason,
                      void *userdata)
{
    Link *link = userdata;
    if (link->events.denied_request)
        link->events.denied_request(link, channel_authority(channel), siguuid, kind, reason,
                                    link->events.userdata);
}

static void open_channel(Link *link, Authority *authority)
{
    const ChannelEvents events = {
        .changed = on_channel_changed,
        .signed_request = on_signed,
        .denied_request = on_denied,
        .userdata = link,
    };
    const RouteHub hub = {.join = on_join, .leave = on_leave, .userdata = link};
    if (link->obstacle)
        authority_set_link(authority, AUTHORITY_NOT_CONNECTED, link->obstacle, 0);
    else
        g_hash_table_insert(link->channels, authority, channel_new(&link->context, authority, &hub, &events));
}

/* --- configuration ----------------------------------------------------------------------------------- */

static void note_obstacle(Link *link, const GError *error)
{
    if (g_strcmp0(link->obstacle, error->message) != 0)
        log_event(LOG_WARNING, MESSAGE_UNCONFIGURED, NULL, "%s", error->message);
    g_free(link->obstacle);
    link->obstacle = g_strdup(error->message);
}

/* Takes |files|. What they lack is an obstacle, and the old ones serve nobody any more. */
static void configure(Link *link, LinkFiles *files)
{
    g_autoptr(LinkFiles) owned = files;
    LinkContext *context = &link->context;
    if (files->error) {
        note_obstacle(link, files->error);
        return;
    }
    g_clear_pointer(&link->obstacle, g_free);
    g_clear_pointer(&context->trust, envelope_trust_unref);
    g_clear_object(&context->https);
    g_set_object(&context->roots, files->roots);
    context->trust = envelope_trust_new(files->pinned, context->config->signer_purpose);
    context->https = https_session_new(context->roots, HTTPS_CONNECTIONS);
}

static void close_channels(Link *link)
{
    g_hash_table_remove_all(link->channels);
    g_ptr_array_set_size(link->connections, 0);
}

/* Whether existing connections and channels are still the right ones. */
static bool is_same_platform(const Config *before, const Config *after)
{
    return g_strcmp0(before->platform_url, after->platform_url) == 0 &&
           g_strcmp0(before->tls_ca, after->tls_ca) == 0 && before->message_size == after->message_size &&
           before->transport == after->transport &&
           g_strcmp0(before->pubnub_origin, after->pubnub_origin) == 0;
}

static void hurry(Link *link)
{
    GHashTableIter iter;
    void *channel;
    g_hash_table_iter_init(&iter, link->channels);
    while (g_hash_table_iter_next(&iter, NULL, &channel))
        channel_hurry(channel);
    for (guint i = 0; i < link->connections->len; i++)
        connection_hurry(g_ptr_array_index(link->connections, i));
}

void link_reload(Link *link, const Config *config, LinkFiles *files)
{
    bool was_obstructed = link->obstacle != NULL;
    bool restart = !is_same_platform(link->context.config, config);
    link->context.config = config;
    configure(link, files);
    if (restart || was_obstructed || link->obstacle) {
        close_channels(link);
        for (guint i = 0; i < link->authorities->len; i++)
            open_channel(link, g_ptr_array_index(link->authorities, i));
    } else {
        hurry(link);
    }
    refresh_soon(link);
}

static gboolean on_network_settled(void *userdata)
{
    Link *link = userdata;
    link->network_settling = 0;
    hurry(link);
    return G_SOURCE_REMOVE;
}

/* One change of the network is many events. "Not available" means nothing: a machine with loopback only says
 * so. */
static void on_network_changed(GNetworkMonitor *network, gboolean available, void *userdata)
{
    Link *link = userdata;
    if (available && !link->network_settling)
        link->network_settling = g_timeout_add(NETWORK_SETTLES_MS, on_network_settled, link);
}

/* --- the link from outside --------------------------------------------------------------------------- */

Link *link_new_with_times(const Config *config, Identity *identity, Journal *journal, const RouteTimes *times,
                          const LinkEvents *events)
{
    Link *link = g_new0(Link, 1);
    link->context.config = config;
    link->context.route_times = times;
    link->context.identity = identity;
    link->context.journal = journal;
    link->context.metrics = g_rc_box_new0(Metrics);
    link->context.turnstile = turnstile_new(BOOTSTRAPS_AT_ONCE);
    link->context.crypto = worker_new("crypto", g_get_num_processors(), G_MAXUINT);
    link->authorities = g_ptr_array_new_with_free_func((GDestroyNotify)authority_unref);
    link->channels = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)channel_free);
    link->connections = g_ptr_array_new_with_free_func((GDestroyNotify)connection_free);
    link->message = g_strdup("");
    link->transport = "";
    link->network = g_network_monitor_get_default();
    link->network_handler =
        g_signal_connect(link->network, "network-changed", G_CALLBACK(on_network_changed), link);
    configure(link, link_files_read(config->verification_ca, config->tls_ca));
    update_state(link);
    link->events = *events; /* nobody is called from inside link_new */
    return link;
}

Link *link_new(const Config *config, Identity *identity, Journal *journal, const LinkEvents *events)
{
    return link_new_with_times(config, identity, journal, &ROUTE_TIMES, events);
}

void link_free(Link *link)
{
    if (!link)
        return;
    memset(&link->events, 0, sizeof link->events);
    g_clear_signal_handler(&link->network_handler, link->network);
    g_clear_handle_id(&link->network_settling, g_source_remove);
    close_channels(link);
    g_clear_handle_id(&link->refresh, g_source_remove);
    g_clear_handle_id(&link->tidying, g_source_remove);
    turnstile_free(link->context.turnstile);
    worker_close_and_join(link->context.crypto);
    g_clear_object(&link->context.https);
    g_clear_object(&link->context.roots);
    envelope_trust_unref(link->context.trust);
    g_rc_box_release(link->context.metrics);
    g_hash_table_unref(link->channels);
    g_ptr_array_unref(link->connections);
    g_ptr_array_unref(link->authorities);
    g_free(link->obstacle);
    g_free(link->message);
    g_free(link);
}

void link_add_authority(Link *link, Authority *authority)
{
    g_ptr_array_add(link->authorities, authority_ref(authority));
    open_channel(link, authority);
    refresh_soon(link);
}

void link_remove_authority(Link *link, Authority *authority)
{
    g_hash_table_remove(link->channels, authority);
    g_ptr_array_remove(link->authorities, authority);
    refresh_soon(link);
}

void link_authority_changed(Link *link, Authority *authority)
{
    Channel *channel = g_hash_table_lookup(link->channels, authority);
    if (channel)
        channel_token_changed(channel);
}

LinkState link_state(const Link *link)
{
    return link->state;
}

const char *link_state_to_string(LinkState state)
{
    return state_names[state];
}

const char *link_message(const Link *link)
{
    return link->message;
}

const char *link_transport(const Link *link)
{
    return link->transport;
}

gint64 link_next_attempt(const Link *link)
{
    return link->next_attempt;
}

guint link_connected(const Link *link)
{
    return take_census(link).of[CHANNEL_SUBSCRIBED];
}

guint link_queue_length(const Link *link, const Authority *authority)
{
    const Channel *channel = g_hash_table_lookup(link->channels, authority);
    return channel ? channel_queue_length(channel) : 0;
}

const Metrics *link_metrics(const Link *link)
{
    return link->context.metrics;
}
