/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Typed reading on top of json-glib. */

#include "tests/platform/members.h"
#include <gio/gio.h>

static JsonNode *member_of_type(JsonObject *object, const char *name, GType type)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;
    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type ? node : NULL;
}

const char *member_text(JsonObject *object, const char *name)
{
    JsonNode *node = member_of_type(object, name, G_TYPE_STRING);
    return node ? json_node_get_string(node) : NULL;
}

JsonObject *member_object(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;
    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

JsonArray *member_array(JsonObject *object, const char *name)
{
    JsonNode *node = object ? json_object_get_member(object, name) : NULL;
    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

bool member_integer(JsonObject *object, const char *name, gint64 *ret_value)
{
    JsonNode *node = member_of_type(object, name, G_TYPE_INT64);
    if (node)
        *ret_value = json_node_get_int(node);
    return node != NULL;
}

gint64 member_integer_or(JsonObject *object, const char *name, gint64 otherwise)
{
    gint64 value;
    return member_integer(object, name, &value) ? value : otherwise;
}

bool member_true(JsonObject *object, const char *name)
{
    JsonNode *node = member_of_type(object, name, G_TYPE_BOOLEAN);
    return node && json_node_get_boolean(node);
}

char **member_texts(JsonObject *object, const char *name)
{
    GPtrArray *texts = g_ptr_array_new();
    const char *one = member_text(object, name);
    JsonArray *array = member_array(object, name);
    if (one)
        g_ptr_array_add(texts, g_strdup(one));
    for (guint i = 0; array && i < json_array_get_length(array); i++) {
        JsonNode *item = json_array_get_element(array, i);
        if (JSON_NODE_HOLDS_VALUE(item) && json_node_get_value_type(item) == G_TYPE_STRING)
            g_ptr_array_add(texts, g_strdup(json_node_get_string(item)));
    }
    g_ptr_array_add(texts, NULL);
    return (char **)g_ptr_array_free(texts, FALSE);
}

JsonObject *object_from_text(const char *text, gssize size, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    if (!json_parser_load_from_data(parser, text, size, error))
        return NULL;
    JsonNode *root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "This JSON is not an object");
        return NULL;
    }
    return json_object_ref(json_node_get_object(root));
}

char *object_to_text(JsonObject *object, bool pretty)
{
    g_autoptr(JsonNode) node = json_node_init_object(json_node_alloc(), object);
    return json_to_string(node, pretty);
}
