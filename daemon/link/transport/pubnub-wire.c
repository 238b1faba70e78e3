/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An answer to a subscribe is divided into its members and its messages by a scanner that follows strings and
 * counts brackets; each part then goes through the JSON gate (json.h) by itself. So the gate's limits hold
 * for every part, and a part that does not pass is one message. Answers that are arrays get an object around
 * them, because the gate knows objects only. */

#include "daemon/link/transport/pubnub-wire.h"

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/transport/https.h"
#include "iothsm-build.h"
#include <string.h>

#define PNSDK "IoTHSM-C%2F" IOTHSM_VERSION
/* Seconds until PubNub's presence takes a silent agent for gone; the value of PubNub's own clients. */
#define PRESENCE_SECONDS 300
/* 100 ns a unit. */
#define UNITS_A_MS 10000
#define AGE_MAX_MS (G_GINT64_CONSTANT(366) * 24 * 3600 * 1000)
/* PubNub's own digits: 17 now, 18 in the year 2286. */
#define TIMETOKEN_LENGTH_MAX 18

static bool invalid(GError **error, const char *what)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "PubNub's answer %s", what);
    return false;
}

/* --- addresses --------------------------------------------------------------------------------------- */

static void append_escaped(GString *url, const char *text)
{
    for (; *text; text++) {
        if (g_ascii_isalnum(*text) || strchr("-_.", *text))
            g_string_append_c(url, *text);
        else
            g_string_append_printf(url, "%%%02X", (guchar)*text);
    }
}

static void append_channels(GString *url, const char *const *channels)
{
    for (gsize i = 0; channels[i]; i++) {
        if (i > 0)
            g_string_append_c(url, ',');
        append_escaped(url, channels[i]);
    }
}

static char *with_query(GString *url, const PubnubAddress *address, const char *more)
{
    g_string_append(url, "?uuid=");
    append_escaped(url, address->uuid);
    g_string_append(url, "&pnsdk=" PNSDK);
    g_string_append(url, more);
    return g_string_free(url, FALSE);
}

char *pubnub_time_url(const PubnubAddress *address)
{
    GString *url = g_string_new(address->origin);
    g_string_append(url, "/time/0");
    return with_query(url, address, "");
}

char *pubnub_subscribe_url(const PubnubAddress *address, const char *const *channels,
                           const PubnubCursor *cursor)
{
    GString *url = g_string_new(address->origin);
    g_string_append(url, "/v2/subscribe/");
    append_escaped(url, address->keys.subscribe);
    g_string_append_c(url, '/');
    append_channels(url, channels);
    g_string_append(url, "/0");
    g_autofree char *region = g_str_equal(cursor->timetoken, "0")
                                  ? g_strdup("")
                                  : g_strdup_printf("&tr=%" G_GINT64_FORMAT, cursor->region);
    g_autofree char *more =
        g_strdup_printf("&tt=%s%s&heartbeat=%d", cursor->timetoken, region, PRESENCE_SECONDS);
    return with_query(url, address, more);
}

char *pubnub_publish_url(const PubnubAddress *address, const char *channel)
{
    GString *url = g_string_new(address->origin);
    g_string_append(url, "/publish/");
    append_escaped(url, address->keys.publish);
    g_string_append_c(url, '/');
    append_escaped(url, address->keys.subscribe);
    g_string_append(url, "/0/");
    append_escaped(url, channel);
    g_string_append(url, "/0");
    return with_query(url, address, "");
}

char *pubnub_leave_url(const PubnubAddress *address, const char *const *channels)
{
    GString *url = g_string_new(address->origin);
    g_string_append(url, "/v2/presence/sub-key/");
    append_escaped(url, address->keys.subscribe);
    g_string_append(url, "/channel/");
    append_channels(url, channels);
    g_string_append(url, "/leave");
    return with_query(url, address, "");
}

/* --- arrays ------------------------------------------------------------------------------------------ */

/* The array that |text| is. Transfer full, or NULL. */
static JsonArray *read_array(const char *text, gsize size)
{
    g_autoptr(GString) wrapped = g_string_new("{\"answer\":");
    g_string_append_len(wrapped, text, (gssize)size);
    g_string_append_c(wrapped, '}');
    g_autoptr(JsonObject) object = json_object_parse(wrapped->str, wrapped->len, NULL);
    JsonArray *array = object ? json_get_array(object, "answer", NULL) : NULL;
    return array ? json_array_ref(array) : NULL;
}

static bool read_integer(JsonNode *node, gint64 *ret_value)
{
    if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64)
        return false;
    *ret_value = json_node_get_int(node);
    return true;
}

bool pubnub_read_time(const char *text, gsize size, gint64 *ret_timetoken, GError **error)
{
    g_autoptr(JsonArray) array = read_array(text, size);
    gint64 timetoken;
    if (!array || json_array_get_length(array) != 1 ||
        !read_integer(json_array_get_element(array, 0), &timetoken) || timetoken <= 0)
        return invalid(error, "is not the time");
    *ret_timetoken = timetoken;
    return true;
}

char *pubnub_describe_status(guint status, const char *text, gsize size)
{
    g_autoptr(JsonObject) object = json_object_parse(text, size, NULL);
    const char *said = object ? json_get_string(object, "message", NULL) : NULL;
    g_autofree char *words = https_one_line(said);
    return g_strdup_printf("%u %s%s%s", status, https_status_phrase(status), *words ? ": " : "", words);
}

PubnubVerdict pubnub_read_verdict(guint status, const char *text, gsize size, char **ret_reason)
{
    g_autoptr(JsonArray) array = read_array(text, size);
    gint64 taken = -1;
    const char *said = NULL;
    if (array && json_array_get_length(array) >= 2) {
        JsonNode *node = json_array_get_element(array, 1);
        if (!read_integer(json_array_get_element(array, 0), &taken))
            taken = -1;
        if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
            said = json_node_get_string(node);
    }
    if (SOUP_STATUS_IS_SUCCESSFUL(status) && taken == 1) {
        *ret_reason = g_strdup("");
        return PUBNUB_SENT;
    }
    *ret_reason = said ? https_one_line(said) : pubnub_describe_status(status, text, size);
    if (status == SOUP_STATUS_REQUEST_ENTITY_TOO_LARGE || status == SOUP_STATUS_REQUEST_URI_TOO_LONG ||
        g_strcmp0(said, "Message Too Large") == 0)
        return PUBNUB_TOO_LARGE;
    /* Keys may be others after the next bootstrap. */
    bool is_final = status == SOUP_STATUS_BAD_REQUEST && taken == 0 && g_strcmp0(said, "Invalid Key") != 0;
    return is_final ? PUBNUB_REFUSED : PUBNUB_LATER;
}

/* --- the answer to a subscribe ----------------------------------------------------------------------- */

typedef struct Scanner {
    const char *text;
    gsize size;
    gsize at;
} Scanner;

typedef struct Part {
    const char *text;
    gsize size;
} Part;

static void skip_blanks(Scanner *scanner)
{
    while (scanner->at < scanner->size && memchr(" \t\r\n", scanner->text[scanner->at], 4))
        scanner->at++;
}

static bool take(Scanner *scanner, char c)
{
    skip_blanks(scanner);
    if (scanner->at >= scanner->size || scanner->text[scanner->at] != c)
        return false;
    scanner->at++;
    return true;
}

/* |at| stands on the opening quote. */
static bool skip_string(Scanner *scanner)
{
    for (gsize i = scanner->at + 1; i < scanner->size; i++) {
        if (scanner->text[i] == '\\') {
            i++;
        } else if (scanner->text[i] == '"') {
            scanner->at = i + 1;
            return true;
        }
    }
    return false;
}

/* One value of any kind: up to the comma or bracket behind it. */
static bool take_value(Scanner *scanner, Part *ret_part)
{
    gsize depth = 0;
    skip_blanks(scanner);
    gsize start = scanner->at;
    while (scanner->at < scanner->size) {
        char c = scanner->text[scanner->at];
        bool closes = c == '}' || c == ']';
        if (depth == 0 && (closes || c == ','))
            break;
        if (c == '"') {
            if (!skip_string(scanner))
                return false;
            continue;
        }
        depth = depth + (c == '{' || c == '[') - closes;
        scanner->at++;
    }
    *ret_part = (Part){scanner->text + start, scanner->at - start};
    return depth == 0 && scanner->at > start && scanner->at < scanner->size;
}

/* The object's members |t| and |m|; others are skipped. */
static bool find_members(Scanner *scanner, Part *ret_cursor, Part *ret_messages)
{
    if (!take(scanner, '{'))
        return false;
    do {
        Part name;
        Part value;
        skip_blanks(scanner);
        name.text = scanner->text + scanner->at;
        if (scanner->at >= scanner->size || *name.text != '"' || !skip_string(scanner))
            return false;
        name.size = (gsize)(scanner->text + scanner->at - name.text);
        if (!take(scanner, ':') || !take_value(scanner, &value))
            return false;
        if (name.size == 3 && name.text[1] == 't')
            *ret_cursor = value;
        else if (name.size == 3 && name.text[1] == 'm')
            *ret_messages = value;
    } while (take(scanner, ','));
    bool closed = take(scanner, '}');
    skip_blanks(scanner);
    return closed && scanner->at == scanner->size;
}

static const char *read_timetoken(JsonObject *object)
{
    const char *text = json_get_string(object, "t", NULL);
    gsize length = text ? strspn(text, "0123456789") : 0;
    return length > 0 && length <= TIMETOKEN_LENGTH_MAX && text[length] == '\0' ? text : NULL;
}

static bool read_cursor(const Part *part, PubnubCursor *cursor)
{
    g_autoptr(JsonObject) object = json_object_parse(part->text, part->size, NULL);
    const char *timetoken = object ? read_timetoken(object) : NULL;
    if (!timetoken)
        return false;
    g_strlcpy(cursor->timetoken, timetoken, sizeof cursor->timetoken);
    if (!read_integer(json_object_get_member(object, "r"), &cursor->region))
        cursor->region = 0;
    return true;
}

static gint64 age_of(const char *timetoken, const PubnubReader *reader)
{
    gint64 published = timetoken ? g_ascii_strtoll(timetoken, NULL, 10) : 0;
    if (!published || !reader->now_timetoken)
        return 0;
    return CLAMP((reader->now_timetoken - published) / UNITS_A_MS, 0, AGE_MAX_MS);
}

/* |e|: a kind that is no message. */
static bool is_other_event(JsonObject *object)
{
    JsonNode *node = json_object_get_member(object, "e");
    gint64 kind = 0;
    return node && !JSON_NODE_HOLDS_NULL(node) && (!read_integer(node, &kind) || kind != 0);
}

static JsonObject *member_object(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/* False: it makes no sense. What is none of our business is left out with true. */
static bool add_message(PubnubBatch *batch, const Part *part, const PubnubReader *reader)
{
    g_autoptr(JsonObject) object = json_object_parse(part->text, part->size, NULL);
    const char *channel = object ? json_get_string(object, "c", NULL) : NULL;
    if (!channel)
        return false;
    const char *publisher = json_get_string(object, "i", NULL);
    JsonObject *envelope = member_object(object, "d");
    JsonObject *when = member_object(object, "p");
    const char *published = when ? read_timetoken(when) : NULL;
    if (is_other_event(object) || !envelope || g_strcmp0(publisher, reader->uuid) == 0)
        return true;
    TransportMessage *message = g_atomic_rc_box_new0(TransportMessage);
    message->channel = g_strdup(channel);
    message->id = g_strdup(published ? published : "");
    message->publisher = g_strdup(publisher ? publisher : "");
    message->age_ms = age_of(published, reader);
    message->received = reader->received;
    message->envelope = json_object_ref(envelope);
    g_ptr_array_add(batch->messages, message);
    return true;
}

static bool add_messages(PubnubBatch *batch, const Part *array, const PubnubReader *reader)
{
    Scanner scanner = {array->text, array->size, 0};
    if (!take(&scanner, '['))
        return false;
    if (take(&scanner, ']'))
        return true;
    do {
        Part part;
        if (!take_value(&scanner, &part))
            return false;
        batch->size++;
        batch->senseless += !add_message(batch, &part, reader);
    } while (take(&scanner, ','));
    return take(&scanner, ']');
}

PubnubBatch *pubnub_read_batch(const char *text, gsize size, const PubnubReader *reader, GError **error)
{
    Scanner scanner = {text, size, 0};
    Part cursor = {NULL, 0};
    Part messages = {NULL, 0};
    g_autoptr(PubnubBatch) batch = g_new0(PubnubBatch, 1);
    batch->messages = g_ptr_array_new_with_free_func((GDestroyNotify)transport_message_unref);
    if (!find_members(&scanner, &cursor, &messages) || !cursor.text || !messages.text)
        return invalid(error, "to a subscribe is not JSON with t and m, or is cut short"), NULL;
    if (!read_cursor(&cursor, &batch->cursor))
        return invalid(error, "to a subscribe has no usable time token"), NULL;
    if (!add_messages(batch, &messages, reader))
        return invalid(error, "to a subscribe has no usable list of messages"), NULL;
    return g_steal_pointer(&batch);
}

void pubnub_batch_free(PubnubBatch *batch)
{
    if (!batch)
        return;
    g_ptr_array_unref(batch->messages);
    g_free(batch);
}
