/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The gate is one pass over the bytes that follows strings, numbers and brackets; whether they make JSON is
 * json-glib's business, which by then can be driven neither into deep recursion nor into the things that it
 * accepts and JSON does not (single quotes, comments, "var x =", numbers that don't fit). */

#include "daemon/json.h"
#include "daemon/error.h"
#include <string.h>

static bool invalid(GError **error, const char *text)
{
    g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, text);
    return false;
}

/* What json-glib would swallow and then read as something else: numbers beyond 64 bits become -1, exponents
 * infinity. 18 characters hold every number that the protocol knows. */
enum { NUMBER_LENGTH_MAX = 18, EXPONENT_LENGTH_MAX = 2 };

/* |i| stands on the first character of a number; gives the place behind it, 0 when it is refused. */
static gsize skip_number(const char *text, gsize size, gsize i)
{
    gsize start = i;
    gsize exponent = 0;
    for (; i < size && (g_ascii_isdigit(text[i]) || strchr("+-.eE", text[i])) && text[i]; i++) {
        if (text[i] == 'e' || text[i] == 'E')
            exponent = i;
        if (i - start >= NUMBER_LENGTH_MAX || (exponent && i - exponent > EXPONENT_LENGTH_MAX))
            return 0;
    }
    return i;
}

/* The four hex digits at |i|; -1 where there are none. */
static int read_unit(const char *text, gsize size, gsize i)
{
    int unit = 0;
    if (size - i < 4)
        return -1;
    for (gsize digit = i; digit < i + 4; digit++) {
        int value = g_ascii_xdigit_value(text[digit]);
        if (value < 0)
            return -1;
        unit = unit * 16 + value;
    }
    return unit;
}

/* |i| stands on a backslash; gives the place behind the escape, 0 when it is refused: NUL, and halves of
 * surrogate pairs, which json-glib would turn into bytes that are no UTF-8. */
static gsize skip_escape(const char *text, gsize size, gsize i)
{
    if (size - i < 2 || text[i + 1] != 'u')
        return i + 2;
    int unit = read_unit(text, size, i + 2);
    if (unit <= 0 || (unit >= 0xdc00 && unit <= 0xdfff))
        return 0;
    if (unit < 0xd800 || unit > 0xdbff)
        return i + 6;
    int low = size - i > 8 && text[i + 6] == '\\' && text[i + 7] == 'u' ? read_unit(text, size, i + 8) : -1;
    return low >= 0xdc00 && low <= 0xdfff ? i + 12 : 0;
}

/* |i| stands behind the opening quote; gives the place behind the closing one, 0 when it is refused. */
static gsize skip_string(const char *text, gsize size, gsize i)
{
    while (i < size && text[i] != '"') {
        if ((guchar)text[i] < 0x20)
            return 0;
        i = text[i] == '\\' ? skip_escape(text, size, i) : i + 1;
        if (i == 0)
            return 0;
    }
    return i < size ? i + 1 : 0;
}

/* Follows brackets, strings and numbers; anything else that JSON has no use for is refused. */
static bool shape_is_sane(const char *text, gsize size, GError **error)
{
    guint depth = 0;

    for (gsize i = 0; i < size;) {
        char c = text[i];
        if (c == '"') {
            if ((i = skip_string(text, size, i + 1)) == 0)
                return invalid(error, "a JSON string holds what is no text, or does not end");
        } else if (g_ascii_isdigit(c) || c == '-') {
            if ((i = skip_number(text, size, i)) == 0)
                return invalid(error, "a JSON number is too long");
        } else {
            if ((c == '{' || c == '[') && ++depth > JSON_DEPTH_MAX)
                return invalid(error, "JSON is nested too deeply");
            if ((c == '}' || c == ']') && depth-- == 0)
                return invalid(error, "not valid JSON");
            if (c == '\0' || !strchr("{}[]:, \t\r\ntruefalsn", c) || (depth == 0 && c == '['))
                return invalid(error, "not valid JSON");
            i++;
        }
    }
    return true;
}

/* json-glib lets the last of two equal names win; what we signed for must not depend on that. */
static void note_member(JsonParser *parser, JsonObject *object, const char *name, gpointer userdata)
{
    GHashTable *sizes = userdata;
    guint before = GPOINTER_TO_UINT(g_hash_table_lookup(sizes, object));
    guint now = json_object_get_size(object);
    if (now == before)
        g_hash_table_insert(sizes, NULL, GUINT_TO_POINTER(1));
    g_hash_table_insert(sizes, object, GUINT_TO_POINTER(now));
}

static void forget_object(JsonParser *parser, JsonObject *object, gpointer userdata)
{
    g_hash_table_remove(userdata, object);
}

JsonObject *json_object_parse(const char *text, gsize size, GError **error)
{
    if (size > G_MAXSSIZE || !g_utf8_validate_len(text, size, NULL))
        return invalid(error, "JSON is not valid UTF-8"), NULL;
    if (!shape_is_sane(text, size, error))
        return NULL;

    g_autoptr(JsonParser) parser = json_parser_new_immutable();
    g_autoptr(GHashTable) sizes = g_hash_table_new(NULL, NULL);
    g_signal_connect(parser, "object-member", G_CALLBACK(note_member), sizes);
    g_signal_connect(parser, "object-end", G_CALLBACK(forget_object), sizes);
    if (!json_parser_load_from_data(parser, text, (gssize)size, NULL))
        return invalid(error, "not valid JSON"), NULL;
    if (g_hash_table_contains(sizes, NULL))
        return invalid(error, "a JSON member is named twice in one object"), NULL;
    JsonNode *root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root))
        return invalid(error, "JSON is not an object"), NULL;
    return json_node_dup_object(root);
}

/* NULL for absent and null; otherwise the node. */
static JsonNode *member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    return node && !JSON_NODE_HOLDS_NULL(node) ? node : NULL;
}

static void wrong_type(GError **error, const char *name, const char *wanted)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "%s is not %s", name, wanted);
}

const char *json_get_string(JsonObject *object, const char *name, GError **error)
{
    JsonNode *node = member(object, name);
    if (!node)
        return NULL;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
        return wrong_type(error, name, "a string"), NULL;
    return json_node_get_string(node);
}

JsonObject *json_get_object(JsonObject *object, const char *name, GError **error)
{
    JsonNode *node = member(object, name);
    if (!node)
        return NULL;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return wrong_type(error, name, "an object"), NULL;
    return json_node_get_object(node);
}

JsonArray *json_get_array(JsonObject *object, const char *name, GError **error)
{
    JsonNode *node = member(object, name);
    if (!node)
        return NULL;
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return wrong_type(error, name, "an array"), NULL;
    return json_node_get_array(node);
}

bool json_get_bool(JsonObject *object, const char *name, bool *ret_value, GError **error)
{
    JsonNode *node = member(object, name);
    if (!node)
        return true;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_BOOLEAN)
        return wrong_type(error, name, "true or false"), false;
    *ret_value = json_node_get_boolean(node);
    return true;
}

bool json_get_integer(JsonObject *object, const char *name, gint64 *ret_value, GError **error)
{
    JsonNode *node = member(object, name);
    if (!node)
        return true;
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64)
        return wrong_type(error, name, "an integer"), false;
    *ret_value = json_node_get_int(node);
    return true;
}

char *json_object_to_text(JsonObject *object)
{
    g_autoptr(JsonNode) node = json_node_alloc();
    json_node_init_object(node, object);
    return json_to_string(node, FALSE);
}
