/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A list of messages a channel, each with a time token that rises over all channels, and a list of polls that
 * wait. A poll is answered with everything behind its cursor at once, or empty when its time is over. The
 * path is split before it is unescaped, as a channel may hold anything. */

#include "tests/platform/pubnub.h"
#include "tests/platform/members.h"
#include <string.h>
#include <sys/socket.h>

#define SUBSCRIBE_PATH "/v2/subscribe"
#define PUBLISH_PATH "/publish"
#define TIME_PATH "/time"
#define PRESENCE_PATH "/v2/presence"

enum {
    KEPT = 100, /* a key set's usual queue, here per channel */
    MESSAGE_LIMIT = 32768,
    BODY_LIMIT = 256 * 1024,
    REGION = 12,
    SEEN_FOR_MS = 1500, /* between two polls */
    UUID_LIMIT = 92,
};

typedef struct Item {
    gint64 timetoken;
    char *publisher;
    char *payload;
} Item;

typedef struct Poll {
    Pubnub *pubnub;
    SoupServerMessage *message;
    char *subscribe_key;
    char *uuid;
    char **channels;
    gint64 cursor;
    guint timer;
} Poll;

struct Pubnub {
    Platform *platform;
    PubnubEvents events;
    GHashTable *items; /* "SUBSCRIBEKEY/CHANNEL" → GQueue of Item */
    GPtrArray *polls;
    GHashTable *seen; /* "CHANNEL UUID" → µs of g_get_monotonic_time() when it was last heard of */
    gint64 last_timetoken;
};

/* ---- keys ---- */

static guint key_set_of(const Platform *platform, guint index)
{
    return index % MAX(platform->key_sets, 1) + 1;
}

char *pubnub_publish_key(const Platform *platform, guint index)
{
    return g_strdup_printf("pub-c-00000000-0000-4000-8000-%012u", key_set_of(platform, index));
}

char *pubnub_subscribe_key(const Platform *platform, guint index)
{
    return g_strdup_printf("sub-c-00000000-0000-4000-8000-%012u", key_set_of(platform, index));
}

static bool knows_keys(const Platform *platform, const char *publish_key, const char *subscribe_key)
{
    for (guint i = 0; i < MAX(platform->key_sets, 1); i++) {
        g_autofree char *publish = pubnub_publish_key(platform, i);
        g_autofree char *subscribe = pubnub_subscribe_key(platform, i);
        if (g_str_equal(subscribe, subscribe_key))
            return !publish_key || g_str_equal(publish, publish_key);
    }
    return false;
}

/* ---- answers ---- */

static gint64 next_timetoken(Pubnub *pubnub)
{
    pubnub->last_timetoken = MAX(pubnub->last_timetoken + 1, g_get_real_time() * 10);
    return pubnub->last_timetoken;
}

static void answer(SoupServerMessage *message, guint status, const char *text)
{
    soup_server_message_set_status(message, status, NULL);
    soup_server_message_set_response(message, "text/javascript; charset=\"UTF-8\"", SOUP_MEMORY_COPY, text,
                                     strlen(text));
}

/* The shape of Access Manager's answers. */
static void answer_refusal(SoupServerMessage *message, guint status, const char *why)
{
    g_autofree char *text =
        g_strdup_printf("{\"message\":\"%s\",\"payload\":{\"channels\":[\"x\"]},\"error\":true,"
                        "\"service\":\"Access Manager\",\"status\":%u}",
                        why, status);
    answer(message, status, text);
}

static void answer_publish(Pubnub *pubnub, SoupServerMessage *message, guint status, const char *what)
{
    g_autofree char *text = g_strdup_printf("[%d,\"%s\",\"%" G_GINT64_FORMAT "\"]", status == SOUP_STATUS_OK,
                                            what, next_timetoken(pubnub));
    answer(message, status, text);
}

/* The peer gets a reset instead of an answer. */
static void cut(SoupServerMessage *message)
{
    GSocket *socket = soup_server_message_get_socket(message);
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    if (!socket)
        return;
    setsockopt(g_socket_get_fd(socket), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    g_socket_close(socket, NULL);
}

/* ---- who is there ---- */

static bool is_alive(const Poll *poll)
{
    GSocket *socket = soup_server_message_get_socket(poll->message);
    return socket && !g_socket_is_closed(socket) &&
           !(g_socket_condition_check(socket, G_IO_IN | G_IO_HUP | G_IO_ERR) &
             (G_IO_HUP | G_IO_ERR | G_IO_IN));
}

static void see(Pubnub *pubnub, char *const *channels, const char *uuid)
{
    for (char *const *channel = channels; *channel; channel++) {
        gint64 *now = g_new(gint64, 1);
        *now = g_get_monotonic_time();
        g_hash_table_replace(pubnub->seen, g_strdup_printf("%s %s", *channel, uuid), now);
    }
}

static void forget(Pubnub *pubnub, char *const *channels, const char *uuid)
{
    for (char *const *channel = channels; *channel; channel++) {
        g_autofree char *name = g_strdup_printf("%s %s", *channel, uuid);
        g_hash_table_remove(pubnub->seen, name);
    }
}

guint pubnub_agents(const Pubnub *pubnub, const char *channel)
{
    g_autoptr(GHashTable) uuids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (guint i = 0; i < pubnub->polls->len; i++) {
        const Poll *poll = g_ptr_array_index(pubnub->polls, i);
        if (is_alive(poll) && (!channel || g_strv_contains((const char *const *)poll->channels, channel)))
            g_hash_table_add(uuids, g_strdup(poll->uuid));
    }
    GHashTableIter iterator;
    gpointer name;
    gpointer when;
    g_hash_table_iter_init(&iterator, pubnub->seen);
    while (g_hash_table_iter_next(&iterator, &name, &when)) {
        const char *uuid = strrchr(name, ' ') + 1;
        bool recent = g_get_monotonic_time() - *(gint64 *)when < SEEN_FOR_MS * 1000;
        bool same = !channel || strncmp(name, channel, (gsize)(uuid - 1 - (char *)name)) == 0;
        if (recent && same)
            g_hash_table_add(uuids, g_strdup(uuid));
    }
    return g_hash_table_size(uuids);
}

/* ---- polls ---- */

static void poll_free(gpointer data)
{
    Poll *poll = data;
    g_clear_handle_id(&poll->timer, g_source_remove);
    g_object_unref(poll->message);
    g_free(poll->subscribe_key);
    g_free(poll->uuid);
    g_strfreev(poll->channels);
    g_free(poll);
}

static GQueue *items_of(Pubnub *pubnub, const char *subscribe_key, const char *channel)
{
    g_autofree char *name = g_strdup_printf("%s/%s", subscribe_key, channel);
    GQueue *items = g_hash_table_lookup(pubnub->items, name);
    if (!items) {
        items = g_queue_new();
        g_hash_table_insert(pubnub->items, g_steal_pointer(&name), items);
    }
    return items;
}

static void append_item(GString *text, const Poll *poll, const char *channel, const Item *item)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonObject *when = json_object_new();
    g_autofree char *timetoken = g_strdup_printf("%" G_GINT64_FORMAT, item->timetoken);
    json_object_set_string_member(when, "t", timetoken);
    json_object_set_int_member(when, "r", REGION);
    json_object_set_string_member(object, "a", "1");
    json_object_set_int_member(object, "f", 0);
    json_object_set_string_member(object, "i", item->publisher);
    json_object_set_object_member(object, "p", when);
    json_object_set_string_member(object, "k", poll->subscribe_key);
    json_object_set_string_member(object, "c", channel);
    json_object_set_string_member(object, "b", channel);
    g_autofree char *head = object_to_text(object, false);
    head[strlen(head) - 1] = '\0';
    g_string_append_printf(text, "%s%s,\"d\":%s}", text->len && text->str[text->len - 1] != '[' ? "," : "",
                           head, item->payload);
}

/* What PubNub may send besides: a presence event, a signal, a text, a message of nobody. */
static void append_odd(GString *text, const Poll *poll)
{
    const char *channel = poll->channels[0];
    g_string_append_printf(
        text,
        "{\"a\":\"1\",\"c\":\"%s-pnpres\",\"d\":{\"action\":\"join\"},\"p\":{\"t\":\"1\",\"r\":12}},"
        "{\"a\":\"1\",\"e\":1,\"i\":\"x\",\"c\":\"%s\",\"d\":{\"type\":\"solicit signature\"}},"
        "{\"a\":\"1\",\"i\":\"x\",\"c\":\"%s\",\"d\":\"just a text\"},"
        "{\"a\":\"1\",\"c\":\"%s\",\"d\":{\"type\":\"of nobody\"}}",
        channel, channel, channel, channel);
}

typedef struct Found {
    const char *channel;
    const Item *item;
} Found;

static gint by_timetoken(gconstpointer a, gconstpointer b)
{
    gint64 first = ((const Found *)a)->item->timetoken;
    gint64 second = ((const Found *)b)->item->timetoken;
    return first < second ? -1 : first > second;
}

/* Everything behind the cursor, in order. Transfer full. */
static GArray *find_items(const Poll *poll)
{
    GArray *found = g_array_new(FALSE, FALSE, sizeof(Found));
    for (char **channel = poll->channels; *channel; channel++) {
        GQueue *items = items_of(poll->pubnub, poll->subscribe_key, *channel);
        for (GList *link = items->head; link; link = link->next) {
            Found one = {*channel, link->data};
            if (one.item->timetoken > poll->cursor)
                g_array_append_val(found, one);
        }
    }
    g_array_sort(found, by_timetoken);
    return found;
}

static void answer_poll(Poll *poll)
{
    Pubnub *pubnub = poll->pubnub;
    Faults *faults = pubnub->platform->faults;
    g_autoptr(GArray) found = find_items(poll);
    g_autoptr(GString) messages = g_string_new("[");
    gint64 cursor = next_timetoken(pubnub);
    if (faults_strike(faults, FAULT_POLL_ODD, PLACE_LINK, NULL))
        append_odd(messages, poll);
    for (guint i = 0; i < found->len; i++) {
        const Found *one = &g_array_index(found, Found, i);
        append_item(messages, poll, one->channel, one->item);
        tally_count(pubnub->platform->tally, "messages delivered");
    }
    g_autofree char *text = g_strdup_printf("{\"t\":{\"t\":\"%" G_GINT64_FORMAT "\",\"r\":%d},\"m\":%s]}",
                                            cursor, REGION, messages->str);
    if (faults_strike(faults, FAULT_POLL_TRUNCATED, PLACE_LINK, NULL))
        text[strlen(text) / 2] = '\0';
    bool not_json = faults_strike(faults, FAULT_POLL_NOT_JSON, PLACE_LINK, NULL);
    answer(poll->message, SOUP_STATUS_OK, not_json ? "<html>Please log in</html>" : text);
    see(pubnub, poll->channels, poll->uuid);
    if (faults_strike(faults, FAULT_POLL_CUT, PLACE_LINK, NULL))
        cut(poll->message);
    soup_server_message_unpause(poll->message);
    g_ptr_array_remove(pubnub->polls, poll);
}

static gboolean poll_is_over(gpointer data)
{
    Poll *poll = data;
    poll->timer = 0;
    answer_poll(poll);
    return G_SOURCE_REMOVE;
}

static bool has_channel(const Poll *poll, const char *subscribe_key, const char *channel)
{
    return g_str_equal(poll->subscribe_key, subscribe_key) &&
           g_strv_contains((const char *const *)poll->channels, channel);
}

static void append(Pubnub *pubnub, const char *subscribe_key, const char *channel, const char *publisher,
                   const char *payload, gint64 timetoken)
{
    GQueue *items = items_of(pubnub, subscribe_key, channel);
    Item *item = g_new0(Item, 1);
    *item = (Item){timetoken, g_strdup(publisher), g_strdup(payload)};
    g_queue_push_tail(items, item);
    if (g_queue_get_length(items) > KEPT) {
        Item *oldest = g_queue_pop_head(items);
        g_free(oldest->publisher);
        g_free(oldest->payload);
        g_free(oldest);
    }
    for (guint i = pubnub->polls->len; i-- > 0;)
        if (has_channel(g_ptr_array_index(pubnub->polls, i), subscribe_key, channel))
            answer_poll(g_ptr_array_index(pubnub->polls, i));
}

void pubnub_deliver(Pubnub *pubnub, const char *channel, const char *envelope)
{
    Platform *platform = pubnub->platform;
    if (g_str_equal(platform->transports, "websocket"))
        return;
    for (guint i = 0; i < registry_size(platform->registry); i++) {
        if (!g_str_equal(registry_at(platform->registry, i)->channel, channel))
            continue;
        g_autofree char *subscribe_key = pubnub_subscribe_key(platform, i);
        append(pubnub, subscribe_key, channel, platform->publisher, envelope, next_timetoken(pubnub));
    }
}

void pubnub_cut(Pubnub *pubnub)
{
    while (pubnub->polls->len > 0) {
        Poll *poll = g_ptr_array_index(pubnub->polls, 0);
        cut(poll->message);
        soup_server_message_unpause(poll->message);
        g_ptr_array_remove_index(pubnub->polls, 0);
    }
}

/* ---- paths ---- */

/* What follows |prefix| in the path, at most |size| parts; also checks what every call must have, and answers
 * where it does not. libsoup has unescaped it: no channel here has a slash or a comma. Transfer full. */
static char **path_parts(Pubnub *pubnub, SoupServerMessage *message, const char *prefix, guint size,
                         GHashTable *query)
{
    const char *path = g_uri_get_path(soup_server_message_get_uri(message));
    const char *uuid = query ? g_hash_table_lookup(query, "uuid") : NULL;
    if (!uuid || !*uuid || strlen(uuid) > UUID_LIMIT || !g_hash_table_lookup(query, "pnsdk")) {
        tally_complain(pubnub->platform->tally, "PubNub: %s lacks uuid or pnsdk", path);
        answer_refusal(message, SOUP_STATUS_BAD_REQUEST, "uuid and pnsdk are needed");
        return NULL;
    }
    g_auto(GStrv) parts = g_strsplit(path + strlen(prefix) + 1, "/", (int)size);
    if (g_strv_length(parts) >= MIN(size, 5))
        return g_steal_pointer(&parts);
    answer_refusal(message, SOUP_STATUS_NOT_FOUND, "no such path");
    return NULL;
}

static bool subscribe_misbehaves(Pubnub *pubnub, SoupServerMessage *message)
{
    gint64 status;
    if (faults_strike(pubnub->platform->faults, FAULT_POLL_STATUS, PLACE_LINK, &status))
        answer_refusal(message, (guint)status, "Forbidden");
    else if (faults_strike(pubnub->platform->faults, FAULT_POLL_SILENT, PLACE_LINK, NULL))
        soup_server_message_pause(message);
    else
        return false;
    return true;
}

static void handle_subscribe(SoupServer *server, SoupServerMessage *message, const char *path,
                             GHashTable *query, gpointer data)
{
    Pubnub *pubnub = data;
    g_auto(GStrv) parts = path_parts(pubnub, message, SUBSCRIBE_PATH, 3, query);
    if (!parts || subscribe_misbehaves(pubnub, message))
        return;
    const char *cursor = g_hash_table_lookup(query, "tt") ?: "0";
    if (!g_str_equal(cursor, "0") && !g_hash_table_lookup(query, "tr"))
        tally_complain(pubnub->platform->tally, "PubNub: a subscribe has a cursor without its region");
    if (!knows_keys(pubnub->platform, NULL, parts[0])) {
        answer_refusal(message, SOUP_STATUS_BAD_REQUEST, "Invalid Subscribe Key");
        return;
    }
    Poll *poll = g_new0(Poll, 1);
    poll->pubnub = pubnub;
    poll->message = g_object_ref(message);
    poll->subscribe_key = g_strdup(parts[0]);
    poll->uuid = g_strdup(g_hash_table_lookup(query, "uuid"));
    poll->channels = g_strsplit(parts[1], ",", -1);
    poll->cursor = g_ascii_strtoll(cursor, NULL, 10);
    see(pubnub, poll->channels, poll->uuid);
    tally_count(pubnub->platform->tally, poll->cursor ? "polls" : "subscribes");
    g_ptr_array_add(pubnub->polls, poll);
    soup_server_message_pause(message);
    if (poll->cursor == 0)
        poll->cursor = pubnub->last_timetoken; /* from now on */
    else
        poll->timer = g_timeout_add(pubnub->platform->poll_ms, poll_is_over, poll);
    g_autoptr(GArray) found = find_items(poll);
    if (poll->timer == 0 || found->len > 0)
        answer_poll(poll);
}

static void handle_leave(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                         gpointer data)
{
    Pubnub *pubnub = data;
    /* sub-key/SUB/channel/CHANNELS/leave */
    g_auto(GStrv) parts = path_parts(pubnub, message, PRESENCE_PATH, 5, query);
    if (!parts)
        return;
    g_auto(GStrv) channels = g_strsplit(parts[3], ",", -1);
    const char *uuid = g_hash_table_lookup(query, "uuid");
    if (g_str_equal(parts[4], "heartbeat")) {
        see(pubnub, channels, uuid);
        answer(message, SOUP_STATUS_OK, "{\"status\":200,\"message\":\"OK\",\"service\":\"Presence\"}");
        return;
    }
    tally_count(pubnub->platform->tally, "leaves");
    forget(pubnub, channels, uuid);
    answer(message, SOUP_STATUS_OK,
           "{\"status\":200,\"message\":\"OK\",\"action\":\"leave\",\"service\":\"Presence\"}");
}

static void handle_time(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                        gpointer data)
{
    Pubnub *pubnub = data;
    gint64 status;
    g_auto(GStrv) parts = path_parts(pubnub, message, TIME_PATH, 1, query);
    if (!parts)
        return;
    if (faults_strike(pubnub->platform->faults, FAULT_TIME_STATUS, PLACE_LINK, &status)) {
        answer_refusal(message, (guint)status, "not now");
        return;
    }
    g_autofree char *text = g_strdup_printf("[%" G_GINT64_FORMAT "]", g_get_real_time() * 10);
    answer(message, SOUP_STATUS_OK, text);
}

/* The payload of a POST or a GET, or an answer and NULL. Transfer full. */
static char *publish_payload(Pubnub *pubnub, SoupServerMessage *message, char **parts)
{
    if (g_str_equal(soup_server_message_get_method(message), SOUP_METHOD_GET)) {
        g_autofree char *encoded = g_uri_escape_string(parts[5] ?: "", NULL, FALSE);
        if (strlen(encoded) <= MESSAGE_LIMIT)
            return g_strdup(parts[5] ?: "");
        answer(message, SOUP_STATUS_REQUEST_URI_TOO_LONG, "Request URI Too Large");
        return NULL;
    }
    SoupMessageHeaders *headers = soup_server_message_get_request_headers(message);
    g_autoptr(GBytes) body = soup_message_body_flatten(soup_server_message_get_request_body(message));
    gsize size;
    const char *text = g_bytes_get_data(body, &size);
    if (g_strcmp0(soup_message_headers_get_content_type(headers, NULL), "application/json") != 0)
        tally_complain(pubnub->platform->tally, "PubNub: a POST is not application/json");
    if (size <= MESSAGE_LIMIT)
        return g_strndup(text ?: "", size);
    answer_publish(pubnub, message, SOUP_STATUS_BAD_REQUEST, "Message Too Large");
    return NULL;
}

/* True when a fault has dealt with it. */
static bool publish_misbehaves(Pubnub *pubnub, SoupServerMessage *message)
{
    Faults *faults = pubnub->platform->faults;
    g_autofree char *code = faults_strike_text(faults, FAULT_PUBLISH_ERROR, PLACE_LINK);
    gint64 status;
    if (g_strcmp0(code, "too-large") == 0)
        answer_publish(pubnub, message, SOUP_STATUS_BAD_REQUEST, "Message Too Large");
    else if (code)
        answer_refusal(message, 429, "Too many requests");
    else if (faults_strike(faults, FAULT_POST_STATUS, PLACE_LINK, &status))
        answer_refusal(message, (guint)status, "not now");
    else if (faults_strike(faults, FAULT_PUBLISH_LOST, PLACE_LINK, NULL))
        cut(message);
    else
        return false;
    return true;
}

static void handle_publish(SoupServer *server, SoupServerMessage *message, const char *path,
                           GHashTable *query, gpointer data)
{
    Pubnub *pubnub = data;
    Platform *platform = pubnub->platform;
    /* PUB/SUB/0/CHANNEL/0[/JSON] */
    g_auto(GStrv) parts = path_parts(pubnub, message, PUBLISH_PATH, 6, query);
    if (!parts || soup_server_message_get_status(message) != 0 || publish_misbehaves(pubnub, message))
        return;
    g_autofree char *payload = publish_payload(pubnub, message, parts);
    if (!payload)
        return;
    if (!knows_keys(platform, parts[0], parts[1])) {
        answer_publish(pubnub, message, SOUP_STATUS_BAD_REQUEST, "Invalid Key");
        return;
    }
    g_autoptr(JsonNode) node = json_from_string(payload, NULL);
    if (!node) {
        tally_complain(platform->tally, "PubNub: what was published is no JSON");
        answer_publish(pubnub, message, SOUP_STATUS_BAD_REQUEST, "Invalid JSON");
        return;
    }
    tally_count(platform->tally, "publishes");
    answer_publish(pubnub, message, SOUP_STATUS_OK, "Sent");
    if (faults_strike(platform->faults, FAULT_PUBLISH_UNACKNOWLEDGED, PLACE_LINK, NULL))
        cut(message);
    append(pubnub, parts[1], parts[3], g_hash_table_lookup(query, "uuid"), payload, next_timetoken(pubnub));
    if (JSON_NODE_HOLDS_OBJECT(node))
        pubnub->events.published(parts[3], json_node_get_object(node), pubnub->events.userdata);
}

/* Before a body is read. */
static void limit_publish(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                          gpointer data)
{
    if (soup_message_headers_get_content_length(soup_server_message_get_request_headers(message)) >
        BODY_LIMIT)
        soup_server_message_set_status(message, SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE, NULL);
}

/* ---- beginning and end ---- */

static void items_free(gpointer data)
{
    GQueue *items = data;
    Item *item;
    while ((item = g_queue_pop_head(items))) {
        g_free(item->publisher);
        g_free(item->payload);
        g_free(item);
    }
    g_queue_free(items);
}

Pubnub *pubnub_new(Platform *platform, SoupServer *server, const PubnubEvents *events)
{
    Pubnub *pubnub = g_new0(Pubnub, 1);
    pubnub->platform = platform;
    pubnub->events = *events;
    pubnub->items = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, items_free);
    pubnub->polls = g_ptr_array_new_with_free_func(poll_free);
    pubnub->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    next_timetoken(pubnub);
    soup_server_add_handler(server, SUBSCRIBE_PATH, handle_subscribe, pubnub, NULL);
    soup_server_add_early_handler(server, PUBLISH_PATH, limit_publish, pubnub, NULL);
    soup_server_add_handler(server, PUBLISH_PATH, handle_publish, pubnub, NULL);
    soup_server_add_handler(server, TIME_PATH, handle_time, pubnub, NULL);
    soup_server_add_handler(server, PRESENCE_PATH, handle_leave, pubnub, NULL);
    return pubnub;
}

void pubnub_free(Pubnub *pubnub)
{
    if (!pubnub)
        return;
    g_ptr_array_unref(pubnub->polls);
    g_hash_table_unref(pubnub->items);
    g_hash_table_unref(pubnub->seen);
    g_free(pubnub);
}
