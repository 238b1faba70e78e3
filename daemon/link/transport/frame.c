/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading: the JSON gate of json.c first (depth, UTF-8, doubled members), then one function an operation,
 * each of which names the field that is missing. Numbers may come as integers or as whole doubles, because
 * JavaScript knows no difference. Writing: JsonBuilder, except around an envelope, which is JSON text already
 * and can be large. */

#include "daemon/link/transport/frame.h"

#include "daemon/error.h"
#include "daemon/json.h"

static const struct {
    const char *name;
    FrameErrorCode code;
} error_codes[] = {
    {"bad-token", FRAME_ERROR_BAD_TOKEN},       {"unknown-channel", FRAME_ERROR_UNKNOWN_CHANNEL},
    {"too-large", FRAME_ERROR_TOO_LARGE},       {"bad-frame", FRAME_ERROR_BAD_FRAME},
    {"rate-limited", FRAME_ERROR_RATE_LIMITED}, {"shutting-down", FRAME_ERROR_SHUTTING_DOWN},
};

/* Nobody publishes a day ahead of time; larger ages mean the same as this one. */
#define AGE_MAX_MS (G_GINT64_CONSTANT(366) * 24 * 3600 * 1000)

static void frame_channel_free(void *data)
{
    FrameChannel *channel = data;
    g_free(channel->id);
    g_free(channel->reason);
    g_free(channel);
}

void frame_free(Frame *frame)
{
    if (!frame)
        return;
    g_clear_pointer(&frame->channels, g_ptr_array_unref);
    transport_message_unref(frame->message);
    g_free(frame->channel);
    g_free(frame->reason);
    g_free(frame);
}

static FrameErrorCode error_code(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(error_codes); i++)
        if (g_strcmp0(name, error_codes[i].name) == 0)
            return error_codes[i].code;
    return FRAME_ERROR_UNKNOWN;
}

bool frame_reason_wants_bootstrap(const char *code)
{
    FrameErrorCode known = error_code(code);
    return known == FRAME_ERROR_BAD_TOKEN || known == FRAME_ERROR_UNKNOWN_CHANNEL;
}

static const char *required_string(JsonObject *object, const char *name, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    const char *text = json_get_string(object, name, &wrong);
    if (wrong)
        g_propagate_error(error, g_steal_pointer(&wrong));
    else if (!text)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "%s is missing", name);
    return text;
}

/* A whole number that is not negative. False only when it is there and is something else. */
static bool optional_number(JsonObject *object, const char *name, bool *ret_found, gint64 *ret_value,
                            GError **error)
{
    JsonNode *node = json_object_get_member(object, name);
    *ret_found = false;
    if (!node || JSON_NODE_HOLDS_NULL(node))
        return true;
    GType type = json_node_get_value_type(node);
    if (!JSON_NODE_HOLDS_VALUE(node) || (type != G_TYPE_INT64 && type != G_TYPE_DOUBLE)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "%s is not a number", name);
        return false;
    }
    double value = json_node_get_double(node);
    *ret_found = true;
    /* 2^53: beyond it a JavaScript number is not a whole number any more. */
    *ret_value = type == G_TYPE_INT64 ? json_node_get_int(node)
                                      : (gint64)CLAMP(value, -9007199254740992.0, 9007199254740992.0);
    return true;
}

static bool read_channel(JsonNode *element, GPtrArray *channels, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(element)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "channels holds something that is not an object");
        return false;
    }
    JsonObject *object = json_node_get_object(element);
    g_autoptr(GError) wrong = NULL;
    FrameChannel row = {0};
    const char *id = required_string(object, "id", error);
    if (!id)
        return false;
    if (!json_object_has_member(object, "ok")) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "ok is missing");
        return false;
    }
    const char *reason = json_get_string(object, "reason", &wrong);
    if (wrong || !json_get_bool(object, "ok", &row.ok, &wrong) ||
        !json_get_bool(object, "missed", &row.missed, &wrong)) {
        g_propagate_error(error, g_steal_pointer(&wrong));
        return false;
    }
    row.id = g_strdup(id);
    row.reason = g_strdup(reason);
    g_ptr_array_add(channels, g_memdup2(&row, sizeof row));
    return true;
}

static bool read_welcome(Frame *frame, JsonObject *object, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    JsonArray *rows = json_get_array(object, "channels", &wrong);
    if (wrong) {
        g_propagate_error(error, g_steal_pointer(&wrong));
        return false;
    }
    if (!rows) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "channels is missing");
        return false;
    }
    frame->channels = g_ptr_array_new_with_free_func(frame_channel_free);
    for (guint i = 0; i < json_array_get_length(rows); i++)
        if (!read_channel(json_array_get_element(rows, i), frame->channels, error))
            return false;
    return true;
}

static bool read_message(Frame *frame, JsonObject *object, gint64 received, GError **error)
{
    const char *channel = required_string(object, "channel", error);
    const char *id = channel ? required_string(object, "id", error) : NULL;
    const char *publisher = id ? required_string(object, "publisher", error) : NULL;
    if (!publisher)
        return false;
    bool has_age;
    gint64 age = 0;
    if (!optional_number(object, "age", &has_age, &age, error))
        return false;
    g_autoptr(GError) wrong = NULL;
    JsonObject *envelope = json_get_object(object, "message", &wrong);
    if (wrong) {
        g_propagate_error(error, g_steal_pointer(&wrong));
        return false;
    }
    if (!envelope || !has_age) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "%s is missing", envelope ? "age" : "message");
        return false;
    }
    frame->message = g_atomic_rc_box_new0(TransportMessage);
    frame->message->channel = g_strdup(channel);
    frame->message->id = g_strdup(id);
    frame->message->publisher = g_strdup(publisher);
    frame->message->age_ms = CLAMP(age, 0, AGE_MAX_MS);
    frame->message->resumable = true;
    frame->message->received = received;
    frame->message->envelope = json_object_ref(envelope);
    return true;
}

static bool read_seq(Frame *frame, JsonObject *object, bool required, GError **error)
{
    bool found;
    gint64 seq = 0;
    if (!optional_number(object, "seq", &found, &seq, error))
        return false;
    if ((!found && required) || (found && seq < 1)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, found ? "seq is below 1" : "seq is missing");
        return false;
    }
    frame->seq = (guint64)seq;
    return true;
}

static bool read_error(Frame *frame, JsonObject *object, GError **error)
{
    const char *code = required_string(object, "code", error);
    if (!code || !read_seq(frame, object, false, error))
        return false;
    g_autoptr(GError) wrong = NULL;
    const char *channel = json_get_string(object, "channel", &wrong);
    const char *reason = wrong ? NULL : json_get_string(object, "reason", &wrong);
    if (wrong) {
        g_propagate_error(error, g_steal_pointer(&wrong));
        return false;
    }
    frame->code = error_code(code);
    frame->channel = g_strdup(channel);
    frame->reason = reason && *reason ? g_strdup_printf("%s (%s)", reason, code) : g_strdup(code);
    return true;
}

Frame *frame_parse(const char *text, gsize size, gint64 received, GError **error)
{
    g_autoptr(JsonObject) object = json_object_parse(text, size, error);
    const char *operation = object ? required_string(object, "op", error) : NULL;
    if (!operation)
        return NULL;
    g_autoptr(Frame) frame = g_new0(Frame, 1);
    bool good = true;
    if (g_str_equal(operation, "welcome")) {
        frame->operation = FRAME_WELCOME;
        good = read_welcome(frame, object, error);
    } else if (g_str_equal(operation, "message")) {
        frame->operation = FRAME_MESSAGE;
        good = read_message(frame, object, received, error);
    } else if (g_str_equal(operation, "published")) {
        frame->operation = FRAME_PUBLISHED;
        good = read_seq(frame, object, true, error);
    } else if (g_str_equal(operation, "error")) {
        frame->operation = FRAME_ERROR;
        good = read_error(frame, object, error);
    }
    if (!good) {
        g_prefix_error(error, "%s: ", operation);
        return NULL;
    }
    return g_steal_pointer(&frame);
}

static JsonArray *subscriptions(const FrameSubscription *channels, gsize n_channels)
{
    JsonArray *array = json_array_sized_new((guint)n_channels);
    for (gsize i = 0; i < n_channels; i++) {
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "id", channels[i].id);
        json_object_set_string_member(object, "token", channels[i].token);
        if (channels[i].since)
            json_object_set_string_member(object, "since", channels[i].since);
        json_array_add_object_element(array, object);
    }
    return array;
}

char *frame_hello(const char *uuid, const char *agent, const FrameSubscription *channels, gsize n_channels)
{
    g_autoptr(JsonObject) object = json_object_new();
    json_object_set_string_member(object, "op", "hello");
    json_object_set_string_member(object, "uuid", uuid);
    json_object_set_string_member(object, "agent", agent);
    json_object_set_array_member(object, "channels", subscriptions(channels, n_channels));
    return json_object_to_text(object);
}

char *frame_subscribe(const FrameSubscription *channels, gsize n_channels)
{
    g_autoptr(JsonObject) object = json_object_new();
    json_object_set_string_member(object, "op", "subscribe");
    json_object_set_array_member(object, "channels", subscriptions(channels, n_channels));
    return json_object_to_text(object);
}

char *frame_unsubscribe(const char *channel)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonArray *array = json_array_new();
    json_array_add_string_element(array, channel);
    json_object_set_string_member(object, "op", "unsubscribe");
    json_object_set_array_member(object, "channels", array);
    return json_object_to_text(object);
}

GBytes *frame_publish(const char *channel, guint64 seq, GBytes *envelope)
{
    g_autoptr(JsonObject) object = json_object_new();
    json_object_set_string_member(object, "op", "publish");
    json_object_set_string_member(object, "channel", channel);
    json_object_set_int_member(object, "seq", (gint64)seq);
    g_autofree char *head = json_object_to_text(object);
    gsize head_size = strlen(head) - 1; /* without its closing brace */
    gsize size;
    const char *text = g_bytes_get_data(envelope, &size);

    GByteArray *frame = g_byte_array_sized_new((guint)(head_size + size + 16));
    g_byte_array_append(frame, (const guint8 *)head, (guint)head_size);
    g_byte_array_append(frame, (const guint8 *)",\"message\":", 11);
    g_byte_array_append(frame, (const guint8 *)text, (guint)size);
    g_byte_array_append(frame, (const guint8 *)"}", 1);
    return g_byte_array_free_to_bytes(frame);
}
