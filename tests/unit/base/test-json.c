/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/error.h"
#include "daemon/json.h"
#include <string.h>

static void refused(const char *text, gsize size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = json_object_parse(text, size, &error);
    if (object)
        g_error("accepted: %.80s", text);
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_assert_null(strchr(error->message, '\n'));
}

static void what_is_not_strict_json_is_refused(void)
{
    static const char *const texts[] = {
        "",
        "null",
        "[]",
        "1",
        "\"x\"",
        "{",
        "}",
        "{}}",
        "{} x",
        "{\"a\":1,}",
        "{'a':1}",
        "var a = {\"a\":1};",
        "{a:1}",
        "{\"a\":NaN}",
        "{\"a\":1 /* c */}",
        "{\"a\":99999999999999999999}",
        "{\"a\":1e400}",
        "{\"a\":1,\"a\":2}",
        "{\"b\":{\"a\":1,\"a\":1}}",
        "{\"a\":\"\\u0000\"}",
        "{\"a\":\"\n\"}",
        "{\"a\":\"x",
        "{\"a\":\"\\ud800\"}",
        "{\"a\":\"\\udc00x\"}",
        "{\"a\":\"\\ud800\\u0041\"}",
        "{\"a\":\"\\u12x4\"}",
        "[{}]",
        "{\"a\":\"x\\",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++)
        refused(texts[i], strlen(texts[i]));
    refused("{}\0", 3);
    refused("{\"a\":\"\xff\"}", 9);
}

static void ordinary_objects_are_read(void)
{
    static const char text[] =
        " {\"s\":\"a\\/\\u00e9\\\"\",\"n\":-12,\"b\":true,\"x\":null,\"o\":{\"k\":[1,2]},"
        "\"twice\":{\"k\":1}}\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = json_object_parse(text, strlen(text), &error);
    gint64 number = 5;
    bool truth = false;
    g_assert_no_error(error);
    g_assert_cmpstr(json_get_string(object, "s", &error), ==, "a/é\"");
    g_assert_true(json_get_integer(object, "n", &number, &error));
    g_assert_cmpint(number, ==, -12);
    g_assert_true(json_get_bool(object, "b", &truth, &error));
    g_assert_true(truth);
    g_assert_nonnull(json_get_array(json_get_object(object, "o", &error), "k", &error));
    g_assert_null(json_get_string(object, "x", &error));
    g_assert_null(json_get_string(object, "absent", &error));
    g_assert_no_error(error);
}

static void a_wrong_type_is_said_with_the_name(void)
{
    static const char text[] = "{\"days\":\"7\",\"name\":7}";
    g_autoptr(JsonObject) object = json_object_parse(text, strlen(text), NULL);
    g_autoptr(GError) first = NULL;
    g_autoptr(GError) second = NULL;
    gint64 days = 1;
    g_assert_false(json_get_integer(object, "days", &days, &first));
    g_assert_cmpint(days, ==, 1);
    g_assert_cmpstr(first->message, ==, "days is not an integer");
    g_assert_null(json_get_string(object, "name", &second));
    g_assert_cmpstr(second->message, ==, "name is not a string");
}

static void depth_10000_is_refused_without_recursion(void)
{
    g_autoptr(GString) text = g_string_new("{\"a\":");
    for (int i = 0; i < 10000; i++)
        g_string_append_c(text, '[');
    for (int i = 0; i < 10000; i++)
        g_string_append_c(text, ']');
    g_string_append_c(text, '}');
    refused(text->str, text->len);
}

static void brackets_in_strings_do_not_count(void)
{
    g_autoptr(GString) text = g_string_new("{\"a\":\"");
    for (int i = 0; i < 1000; i++)
        g_string_append(text, "[{\\\"");
    g_string_append(text, "\"}");
    g_autoptr(JsonObject) object = json_object_parse(text->str, text->len, NULL);
    g_assert_nonnull(object);
}

static void text_is_compact_and_reads_back(void)
{
    static const char text[] = "{\"a\":\"x/y\",\"b\":[1,true,null]}";
    g_autoptr(JsonObject) object = json_object_parse(text, strlen(text), NULL);
    g_autofree char *again = json_object_to_text(object);
    g_assert_cmpstr(again, ==, text);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/json/strict", what_is_not_strict_json_is_refused);
    g_test_add_func("/json/ordinary", ordinary_objects_are_read);
    g_test_add_func("/json/types", a_wrong_type_is_said_with_the_name);
    g_test_add_func("/json/depth", depth_10000_is_refused_without_recursion);
    g_test_add_func("/json/strings", brackets_in_strings_do_not_count);
    g_test_add_func("/json/text", text_is_compact_and_reads_back);
    return g_test_run();
}
