/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* sd-bus to json-glib, one type after the other. The nesting is bounded by the bus itself (64 levels). */

#include "cli/message-json.h"
#include "cli/client.h"
#include <string.h>

static JsonNode *read_value(sd_bus_message *message, GError **error);

static JsonNode *failed(GError **error, int code)
{
    client_set_error(error, code < 0 ? code : -EBADMSG, "The service's answer is not understood");
    return NULL;
}

static JsonNode *node_of_number(gint64 number)
{
    JsonNode *node = json_node_alloc();
    return json_node_init_int(node, number);
}

static JsonNode *read_basic(sd_bus_message *message, char type, GError **error)
{
    union {
        uint8_t y;
        int b;
        int16_t n;
        uint16_t q;
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        double d;
        const char *s;
    } value = {0};
    if (type == SD_BUS_TYPE_UNIX_FD) {
        int r = sd_bus_message_skip(message, "h");
        return r < 0 ? failed(error, r) : json_node_init_null(json_node_alloc());
    }
    int r = sd_bus_message_read_basic(message, type, &value);
    if (r <= 0)
        return failed(error, r);
    switch (type) {
    case SD_BUS_TYPE_BYTE:
        return node_of_number(value.y);
    case SD_BUS_TYPE_BOOLEAN:
        return json_node_init_boolean(json_node_alloc(), value.b);
    case SD_BUS_TYPE_INT16:
        return node_of_number(value.n);
    case SD_BUS_TYPE_UINT16:
        return node_of_number(value.q);
    case SD_BUS_TYPE_INT32:
        return node_of_number(value.i);
    case SD_BUS_TYPE_UINT32:
        return node_of_number(value.u);
    case SD_BUS_TYPE_INT64:
        return node_of_number(value.x);
    case SD_BUS_TYPE_UINT64:
        return node_of_number((gint64)MIN(value.t, (uint64_t)G_MAXINT64));
    case SD_BUS_TYPE_DOUBLE:
        return json_node_init_double(json_node_alloc(), value.d);
    default:
        return json_node_init_string(json_node_alloc(), value.s);
    }
}

static char *read_key(sd_bus_message *message, GError **error)
{
    g_autoptr(JsonNode) key = read_value(message, error);
    if (!key)
        return NULL;
    return JSON_NODE_HOLDS_VALUE(key) && json_node_get_value_type(key) == G_TYPE_STRING
               ? json_node_dup_string(key)
               : json_to_string(key, FALSE);
}

static JsonNode *read_dictionary(sd_bus_message *message, const char *contents, GError **error)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *entry = g_strndup(contents + 1, strlen(contents) - 2);
    int r = sd_bus_message_enter_container(message, 'a', contents);
    if (r <= 0)
        return failed(error, r);
    while ((r = sd_bus_message_enter_container(message, 'e', entry)) > 0) {
        g_autofree char *key = read_key(message, error);
        JsonNode *value = key ? read_value(message, error) : NULL;
        if (!value)
            return NULL;
        json_object_set_member(object, key, value);
        r = sd_bus_message_exit_container(message);
        if (r < 0)
            return failed(error, r);
    }
    if (r < 0 || (r = sd_bus_message_exit_container(message)) < 0)
        return failed(error, r);
    return json_node_init_object(json_node_alloc(), object);
}

static JsonNode *read_sequence(sd_bus_message *message, char type, const char *contents, GError **error)
{
    g_autoptr(JsonArray) array = json_array_new();
    int r = sd_bus_message_enter_container(message, type, contents);
    if (r <= 0)
        return failed(error, r);
    while ((r = sd_bus_message_at_end(message, false)) == 0) {
        JsonNode *value = read_value(message, error);
        if (!value)
            return NULL;
        json_array_add_element(array, value);
    }
    if (r < 0 || (r = sd_bus_message_exit_container(message)) < 0)
        return failed(error, r);
    return json_node_init_array(json_node_alloc(), array);
}

static JsonNode *read_value(sd_bus_message *message, GError **error)
{
    char type = 0;
    const char *contents = NULL;
    int r = sd_bus_message_peek_type(message, &type, &contents);
    if (r <= 0)
        return failed(error, r);
    if (type == SD_BUS_TYPE_VARIANT) {
        r = sd_bus_message_enter_container(message, type, contents);
        JsonNode *value = r > 0 ? read_value(message, error) : failed(error, r);
        if (value && (r = sd_bus_message_exit_container(message)) < 0) {
            json_node_unref(value);
            return failed(error, r);
        }
        return value;
    }
    if (type == SD_BUS_TYPE_ARRAY && contents[0] == SD_BUS_TYPE_DICT_ENTRY_BEGIN)
        return read_dictionary(message, contents, error);
    if (type == SD_BUS_TYPE_ARRAY || type == SD_BUS_TYPE_STRUCT)
        return read_sequence(message, type, contents, error);
    return read_basic(message, type, error);
}

JsonNode *message_to_json(sd_bus_message *message, GError **error)
{
    g_autoptr(JsonArray) arguments = json_array_new();
    while (!sd_bus_message_at_end(message, true)) {
        JsonNode *value = read_value(message, error);
        if (!value)
            return NULL;
        json_array_add_element(arguments, value);
    }
    return json_node_init_array(json_node_alloc(), arguments);
}

static JsonNode *member_of_type(JsonObject *object, const char *name, JsonNodeType type)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;
    return node && json_node_get_node_type(node) == type ? node : NULL;
}

const char *property_text(JsonObject *object, const char *name)
{
    JsonNode *node = member_of_type(object, name, JSON_NODE_VALUE);
    bool text = node && json_node_get_value_type(node) == G_TYPE_STRING;
    return text ? json_node_get_string(node) : "";
}

gint64 property_number(JsonObject *object, const char *name)
{
    JsonNode *node = member_of_type(object, name, JSON_NODE_VALUE);
    return node ? json_node_get_int(node) : 0;
}

bool property_is_true(JsonObject *object, const char *name)
{
    JsonNode *node = member_of_type(object, name, JSON_NODE_VALUE);
    return node && json_node_get_boolean(node);
}

JsonArray *property_array(JsonObject *object, const char *name)
{
    JsonNode *node = member_of_type(object, name, JSON_NODE_ARRAY);
    return node ? json_node_get_array(node) : NULL;
}
