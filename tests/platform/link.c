/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Frames in and out. An op is one function in a table; a frame that makes no sense is counted, the tenth
 * closes the connection with 1008. Faults of the way (drop, delay, duplicate, reorder, close) strike in
 * link_publish, those of the carrier where the frame is written. */

#include "tests/platform/link.h"
#include "tests/platform/history.h"
#include "tests/platform/members.h"
#include "tests/platform/pubnub.h"

#define LINK_PATH "/api/public/iothsm/link"
#define SUBPROTOCOL "pkiaas.iothsm.v1"

enum {
    PING_SECONDS = 20,
    BAD_FRAMES_ALLOWED = 10,
    REORDER_PATIENCE_MS = 1000,
    CLOSE_PROTOCOL = 1002,
    CLOSE_UNSUPPORTED = 1003,
    CLOSE_POLICY = 1008,
    CLOSE_GOING_AWAY = 1001,
    CLOSE_REPLACED = 4001,
};

struct Link {
    Platform *platform;
    LinkEvents events;
    GPtrArray *connections;
    GHashTable *histories; /* channel → History */
    char *held_channel;    /* a message that waits to be overtaken */
    char *held_envelope;
    gint64 held_published;
    guint held_timer;
};

typedef struct Connection {
    Link *link;
    SoupWebsocketConnection *socket;
    char *uuid; /* NULL until hello */
    char *agent;
    GHashTable *channels;
    gint64 last_seq;
    guint bad_frames;
    gint64 connected; /* seconds since the epoch */
} Connection;

/* ---- frames out ---- */

static void send_text(Connection *connection, const char *text)
{
    if (soup_websocket_connection_get_state(connection->socket) == SOUP_WEBSOCKET_STATE_OPEN)
        soup_websocket_connection_send_text(connection->socket, text);
}

static void send_object(Connection *connection, JsonObject *frame)
{
    g_autofree char *text = object_to_text(frame, false);
    send_text(connection, text);
}

static void close_connection(Connection *connection, gushort code, const char *reason)
{
    if (soup_websocket_connection_get_state(connection->socket) == SOUP_WEBSOCKET_STATE_OPEN)
        soup_websocket_connection_close(connection->socket, code, reason);
}

static void send_error(Connection *connection, gint64 seq, const char *channel, const char *code,
                       const char *reason)
{
    g_autoptr(JsonObject) frame = json_object_new();
    json_object_set_string_member(frame, "op", "error");
    if (seq > 0)
        json_object_set_int_member(frame, "seq", seq);
    if (channel)
        json_object_set_string_member(frame, "channel", channel);
    json_object_set_string_member(frame, "code", code);
    json_object_set_string_member(frame, "reason", reason);
    send_object(connection, frame);
}

static void send_bytes(Connection *connection, SoupWebsocketDataType type, const char *bytes, gsize size)
{
    g_autoptr(GBytes) frame = g_bytes_new(bytes, size);
    soup_websocket_connection_send_message(connection->socket, type, frame);
}

/* What faults put on the wire before a message. */
static void send_odd_frames(Connection *connection)
{
    Faults *faults = connection->link->platform->faults;
    gint64 size;
    if (faults_strike(faults, FAULT_FRAME_NOT_JSON, PLACE_LINK, NULL))
        send_text(connection, "{this is not JSON");
    if (faults_strike(faults, FAULT_FRAME_ARRAY, PLACE_LINK, NULL))
        send_text(connection, "[1,2,3]");
    if (faults_strike(faults, FAULT_FRAME_EMPTY_OBJECT, PLACE_LINK, NULL))
        send_text(connection, "{\"op\":\"message\"}");
    if (faults_strike(faults, FAULT_FRAME_BINARY, PLACE_LINK, NULL))
        send_bytes(connection, SOUP_WEBSOCKET_DATA_BINARY, "\x01\x02\x03", 3);
    if (faults_strike(faults, FAULT_FRAME_BAD_UTF8, PLACE_LINK, NULL))
        send_bytes(connection, SOUP_WEBSOCKET_DATA_TEXT, "{\"op\":\"\xff\xfe\"}", 11);
    if (faults_strike(faults, FAULT_FRAME_LARGE, PLACE_LINK, &size)) {
        g_autofree char *large = g_strnfill((gsize)size, ' ');
        send_bytes(connection, SOUP_WEBSOCKET_DATA_TEXT, large, (gsize)size);
    }
}

typedef struct Delivery {
    Connection *connection;
    const char *channel;
} Delivery;

static void deliver_one(const Message *message, void *userdata)
{
    Delivery *delivery = userdata;
    Platform *platform = delivery->connection->link->platform;
    gint64 age = (g_get_monotonic_time() - message->published) / 1000;
    send_odd_frames(delivery->connection);
    /* Channel, id and publisher are made here of harmless characters; the envelope is JSON already. */
    g_autofree char *frame = g_strdup_printf(
        "{\"op\":\"message\",\"channel\":\"%s\",\"id\":\"%s\",\"publisher\":\"%s\",\"age\":%" G_GINT64_FORMAT
        ",\"message\":%s}",
        delivery->channel, message->id, platform->publisher, age, message->envelope);
    send_text(delivery->connection, frame);
    tally_count(platform->tally, "messages delivered");
}

static History *history_of(Link *link, const char *channel)
{
    History *history = g_hash_table_lookup(link->histories, channel);
    if (!history) {
        history = history_new();
        g_hash_table_insert(link->histories, g_strdup(channel), history);
    }
    return history;
}

static void deliver(Link *link, const char *channel, const char *envelope, gint64 published)
{
    const Message *message = history_add(history_of(link, channel), envelope, published);
    pubnub_deliver(link->platform->pubnub, channel, envelope);
    for (guint i = 0; i < link->connections->len; i++) {
        Connection *connection = g_ptr_array_index(link->connections, i);
        if (g_hash_table_contains(connection->channels, channel)) {
            Delivery delivery = {connection, channel};
            deliver_one(message, &delivery);
        }
    }
}

/* ---- the way of a message ---- */

static gboolean release_held(gpointer data)
{
    Link *link = data;
    g_autofree char *channel = g_steal_pointer(&link->held_channel);
    g_autofree char *envelope = g_steal_pointer(&link->held_envelope);
    g_clear_handle_id(&link->held_timer, g_source_remove);
    if (channel)
        deliver(link, channel, envelope, link->held_published);
    return G_SOURCE_REMOVE;
}

static gboolean release_timed_out(gpointer data)
{
    Link *link = data;
    link->held_timer = 0;
    return release_held(link);
}

typedef struct Late {
    Link *link;
    char *channel;
    char *envelope;
    gint64 published;
} Late;

static gboolean deliver_late(gpointer data)
{
    Late *late = data;
    deliver(late->link, late->channel, late->envelope, late->published);
    g_free(late->channel);
    g_free(late->envelope);
    g_free(late);
    return G_SOURCE_REMOVE;
}

static void delay(Link *link, const char *channel, const char *envelope, gint64 milliseconds)
{
    Late *late = g_new(Late, 1);
    *late = (Late){link, g_strdup(channel), g_strdup(envelope), g_get_monotonic_time()};
    g_timeout_add((guint)milliseconds, deliver_late, late);
}

void link_close_all(Link *link, gint64 code)
{
    for (guint i = 0; i < link->connections->len; i++)
        close_connection(g_ptr_array_index(link->connections, i), (gushort)code, "closed on request");
    pubnub_cut(link->platform->pubnub);
}

void link_publish(Link *link, const char *channel, const char *envelope, FaultPlace place)
{
    Faults *faults = link->platform->faults;
    gint64 now = g_get_monotonic_time();
    gint64 parameter;
    tally_count(link->platform->tally, "messages published");
    if (faults_strike(faults, FAULT_DROP, place, NULL))
        return;
    if (faults_strike(faults, FAULT_DELAY, place, &parameter)) {
        delay(link, channel, envelope, parameter);
        return;
    }
    if (!link->held_channel && faults_strike(faults, FAULT_REORDER, place, NULL)) {
        link->held_channel = g_strdup(channel);
        link->held_envelope = g_strdup(envelope);
        link->held_published = now;
        link->held_timer = g_timeout_add(REORDER_PATIENCE_MS, release_timed_out, link);
        return;
    }
    if (faults_strike(faults, FAULT_CLOSE, place, &parameter))
        link_close_all(link, parameter);
    deliver(link, channel, envelope, now);
    if (faults_strike(faults, FAULT_DUPLICATE, place, NULL))
        deliver(link, channel, envelope, now);
    release_held(link);
}

/* ---- frames in ---- */

static void bad_frame(Connection *connection, gint64 seq, const char *what)
{
    Platform *platform = connection->link->platform;
    if (connection->bad_frames == 0)
        tally_complain(platform->tally, "Agent %s sent a frame that %s",
                       connection->uuid ?: "(without hello)", what);
    send_error(connection, seq, NULL, "bad-frame", what);
    if (++connection->bad_frames >= BAD_FRAMES_ALLOWED)
        close_connection(connection, CLOSE_POLICY, "too many bad frames");
}

/* Why |channel| isn't opened, or NULL. Transfer full. */
static char *channel_refusal(Connection *connection, const char *id, const char *token)
{
    Platform *platform = connection->link->platform;
    if (!registry_find_channel(platform->registry, id))
        return g_strdup("unknown-channel");
    char *fault = faults_strike_text(platform->faults, FAULT_WELCOME_REFUSE, PLACE_LINK);
    return fault ?: g_strdup(token_refusal(&platform->token_key, id, token));
}

static void subscribe_one(Connection *connection, JsonObject *wanted, JsonArray *answers, GPtrArray *replays)
{
    const char *id = member_text(wanted, "id");
    const char *token = member_text(wanted, "token");
    const char *since = member_text(wanted, "since");
    if (!id || !token) {
        bad_frame(connection, 0, "lacks id or token of a channel");
        return;
    }
    g_autofree char *refusal = channel_refusal(connection, id, token);
    JsonObject *answer = json_object_new();
    json_object_set_string_member(answer, "id", id);
    json_object_set_boolean_member(answer, "ok", !refusal);
    if (refusal)
        json_object_set_string_member(answer, "reason", refusal);
    History *history = refusal ? NULL : history_of(connection->link, id);
    if (history && since && history_missed(history, since))
        json_object_set_boolean_member(answer, "missed", TRUE);
    json_array_add_object_element(answers, answer);
    if (refusal)
        return;
    g_hash_table_add(connection->channels, g_strdup(id));
    if (since) {
        g_ptr_array_add(replays, g_strdup(id));
        g_ptr_array_add(replays, g_strdup(since));
    }
}

/* The welcome goes out before what was missed. */
static void subscribe(Connection *connection, JsonArray *channels)
{
    Platform *platform = connection->link->platform;
    if (faults_strike(platform->faults, FAULT_WELCOME_MISSING, PLACE_LINK, NULL))
        return;
    g_autoptr(JsonObject) welcome = json_object_new();
    JsonArray *answers = json_array_new();
    g_autoptr(GPtrArray) replays = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < json_array_get_length(channels); i++) {
        JsonNode *item = json_array_get_element(channels, i);
        subscribe_one(connection, JSON_NODE_HOLDS_OBJECT(item) ? json_node_get_object(item) : NULL, answers,
                      replays);
    }
    json_object_set_string_member(welcome, "op", "welcome");
    json_object_set_string_member(welcome, "platform", "iothsm-platform");
    json_object_set_array_member(welcome, "channels", answers);
    send_object(connection, welcome);
    for (guint i = 0; i < replays->len; i += 2) {
        Delivery delivery = {connection, g_ptr_array_index(replays, i)};
        history_replay(history_of(connection->link, delivery.channel), g_ptr_array_index(replays, i + 1),
                       deliver_one, &delivery);
    }
}

static void replace_older(Connection *newer)
{
    Link *link = newer->link;
    for (guint i = 0; i < link->connections->len; i++) {
        Connection *older = g_ptr_array_index(link->connections, i);
        if (older == newer || g_strcmp0(older->uuid, newer->uuid) != 0)
            continue;
        g_hash_table_remove_all(older->channels);
        close_connection(older, CLOSE_REPLACED, "a newer connection has this uuid");
        tally_count(link->platform->tally, "connections replaced");
    }
}

static void handle_hello(Connection *connection, JsonObject *frame)
{
    const char *uuid = member_text(frame, "uuid");
    JsonArray *channels = member_array(frame, "channels");
    if (connection->uuid || !uuid || !member_text(frame, "agent") || !channels) {
        bad_frame(connection, 0,
                  connection->uuid ? "is a second hello" : "is a hello without uuid, agent or channels");
        return;
    }
    connection->uuid = g_strdup(uuid);
    connection->agent = g_strdup(member_text(frame, "agent"));
    tally_count(connection->link->platform->tally, "hellos");
    replace_older(connection);
    subscribe(connection, channels);
}

static void handle_subscribe(Connection *connection, JsonObject *frame)
{
    JsonArray *channels = member_array(frame, "channels");
    if (channels)
        subscribe(connection, channels);
    else
        bad_frame(connection, 0, "is a subscribe without channels");
}

static void handle_unsubscribe(Connection *connection, JsonObject *frame)
{
    g_auto(GStrv) channels = member_texts(frame, "channels");
    if (!member_array(frame, "channels"))
        bad_frame(connection, 0, "is an unsubscribe without channels");
    for (char **channel = channels; *channel; channel++)
        g_hash_table_remove(connection->channels, *channel);
}

static void send_published(Connection *connection, gint64 seq)
{
    g_autofree char *frame = g_strdup_printf("{\"op\":\"published\",\"seq\":%" G_GINT64_FORMAT "}", seq);
    send_text(connection, frame);
}

static void handle_publish(Connection *connection, JsonObject *frame)
{
    Link *link = connection->link;
    Platform *platform = link->platform;
    const char *channel = member_text(frame, "channel");
    JsonObject *envelope = member_object(frame, "message");
    gint64 seq = 0;
    if (!channel || !envelope || !member_integer(frame, "seq", &seq) || seq <= connection->last_seq) {
        bad_frame(connection, seq, "is a publish without channel, message or a rising seq");
        return;
    }
    connection->last_seq = seq;
    if (!g_hash_table_contains(connection->channels, channel)) {
        send_error(connection, seq, channel, "unknown-channel", "this channel is not subscribed here");
        return;
    }
    g_autofree char *code = faults_strike_text(platform->faults, FAULT_PUBLISH_ERROR, PLACE_LINK);
    if (code) {
        send_error(connection, seq, channel, code, "asked to misbehave");
        return;
    }
    bool lost = faults_strike(platform->faults, FAULT_PUBLISH_LOST, PLACE_LINK, NULL);
    bool unacknowledged =
        !lost && faults_strike(platform->faults, FAULT_PUBLISH_UNACKNOWLEDGED, PLACE_LINK, NULL);
    tally_count(platform->tally, "publishes");
    if (!lost)
        link->events.published(channel, envelope, link->events.userdata);
    if (lost || unacknowledged)
        close_connection(connection, CLOSE_GOING_AWAY, "asked to misbehave");
    else
        send_published(connection, seq);
}

typedef void (*OpFunc)(Connection *connection, JsonObject *frame);

static const struct {
    const char *name;
    OpFunc handle;
} ops[] = {
    {"hello", handle_hello},
    {"subscribe", handle_subscribe},
    {"unsubscribe", handle_unsubscribe},
    {"publish", handle_publish},
};

static void handle_frame(Connection *connection, JsonObject *frame)
{
    const char *op = member_text(frame, "op");
    if (!op) {
        bad_frame(connection, 0, "has no op");
        return;
    }
    if (!connection->uuid && !g_str_equal(op, "hello")) {
        bad_frame(connection, 0, "comes before hello");
        return;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(ops); i++)
        if (g_str_equal(ops[i].name, op)) {
            ops[i].handle(connection, frame);
            return;
        } /* an unknown op is room to grow: ignored */
}

static void on_message(SoupWebsocketConnection *socket, gint type, GBytes *bytes, gpointer data)
{
    Connection *connection = data;
    if (type != SOUP_WEBSOCKET_DATA_TEXT) {
        close_connection(connection, CLOSE_UNSUPPORTED, "binary frames are not part of this protocol");
        return;
    }
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) frame = object_from_text(text, (gssize)size, &error);
    if (frame)
        handle_frame(connection, frame);
    else
        bad_frame(connection, 0, error->message);
}

/* ---- connections ---- */

static void connection_free(gpointer data)
{
    Connection *connection = data;
    g_signal_handlers_disconnect_by_data(connection->socket, connection);
    g_object_unref(connection->socket);
    g_hash_table_unref(connection->channels);
    g_free(connection->uuid);
    g_free(connection->agent);
    g_free(connection);
}

static void on_closed(SoupWebsocketConnection *socket, gpointer data)
{
    Connection *connection = data;
    tally_count(connection->link->platform->tally, "connections closed");
    g_ptr_array_remove(connection->link->connections, connection);
}

static void on_connected(SoupServer *server, SoupServerMessage *message, const char *path,
                         SoupWebsocketConnection *socket, gpointer data)
{
    Link *link = data;
    Connection *connection = g_new0(Connection, 1);
    connection->link = link;
    connection->socket = g_object_ref(socket);
    connection->channels = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    connection->connected = g_get_real_time() / G_USEC_PER_SEC;
    g_ptr_array_add(link->connections, connection);
    tally_count(link->platform->tally, "connections opened");
    soup_websocket_connection_set_max_incoming_payload_size(socket, link->platform->message_size);
    soup_websocket_connection_set_keepalive_interval(socket, PING_SECONDS);
    g_signal_connect(socket, "message", G_CALLBACK(on_message), connection);
    g_signal_connect(socket, "closed", G_CALLBACK(on_closed), connection);
    if (g_strcmp0(soup_websocket_connection_get_protocol(socket), SUBPROTOCOL) != 0)
        close_connection(connection, CLOSE_PROTOCOL, "the subprotocol is " SUBPROTOCOL);
}

/* Runs before libsoup looks at the handshake: a status set here is the answer. */
static void before_handshake(SoupServer *server, SoupServerMessage *message, const char *path,
                             GHashTable *query, gpointer data)
{
    Link *link = data;
    gint64 status;
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    const char *agent = soup_message_headers_get_one(headers, "User-Agent");
    if (!agent || !g_str_has_prefix(agent, "iothsm/"))
        tally_complain(link->platform->tally, "The handshake's User-Agent is \"%s\", not iothsm/VERSION",
                       agent ?: "");
    if (soup_message_headers_get_one(headers, "Sec-WebSocket-Extensions"))
        tally_complain(link->platform->tally, "The handshake asks for extensions, which W.2 excludes");
    if (faults_strike(link->platform->faults, FAULT_HANDSHAKE_STATUS, PLACE_LINK, &status))
        soup_server_message_set_status(message, (guint)status, NULL);
}

Link *link_new(Platform *platform, SoupServer *server, const LinkEvents *events)
{
    static char *protocols[] = {(char *)SUBPROTOCOL, NULL};
    Link *link = g_new0(Link, 1);
    link->platform = platform;
    link->events = *events;
    link->connections = g_ptr_array_new_with_free_func(connection_free);
    link->histories = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)history_free);
    soup_server_remove_websocket_extension(server, SOUP_TYPE_WEBSOCKET_EXTENSION_DEFLATE);
    soup_server_add_early_handler(server, LINK_PATH, before_handshake, link, NULL);
    soup_server_add_websocket_handler(server, LINK_PATH, NULL, protocols, on_connected, link, NULL);
    return link;
}

void link_say_goodbye(Link *link)
{
    for (guint i = 0; i < link->connections->len; i++) {
        Connection *connection = g_ptr_array_index(link->connections, i);
        send_error(connection, 0, NULL, "shutting-down", "the platform goes down");
        close_connection(connection, CLOSE_GOING_AWAY, "shutting down");
    }
}

void link_free(Link *link)
{
    if (!link)
        return;
    g_clear_handle_id(&link->held_timer, g_source_remove);
    g_ptr_array_unref(link->connections);
    g_hash_table_unref(link->histories);
    g_free(link->held_channel);
    g_free(link->held_envelope);
    g_free(link);
}

guint link_agents(const Link *link, const char *channel)
{
    guint agents = 0;
    for (guint i = 0; i < link->connections->len; i++) {
        const Connection *connection = g_ptr_array_index(link->connections, i);
        agents += connection->uuid && (!channel || g_hash_table_contains(connection->channels, channel));
    }
    return agents + pubnub_agents(link->platform->pubnub, channel);
}

JsonArray *link_describe(const Link *link)
{
    JsonArray *array = json_array_new();
    for (guint i = 0; i < link->connections->len; i++) {
        const Connection *connection = g_ptr_array_index(link->connections, i);
        JsonObject *object = json_object_new();
        JsonArray *channels = json_array_new();
        GHashTableIter iterator;
        gpointer channel;
        json_object_set_string_member(object, "uuid", connection->uuid ?: "");
        json_object_set_string_member(object, "agent", connection->agent ?: "");
        json_object_set_int_member(object, "connected", connection->connected);
        g_hash_table_iter_init(&iterator, connection->channels);
        while (g_hash_table_iter_next(&iterator, &channel, NULL))
            json_array_add_string_element(channels, channel);
        json_object_set_array_member(object, "channels", channels);
        json_array_add_object_element(array, object);
    }
    return array;
}
