/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One line an element below the interface; an element inside it adds words to the line. */

#include "tests/bus/interface-text.h"
#include <string.h>

typedef struct Reader {
    const char *wanted;
    gboolean inside;
    GString *line; /* of the property, method or signal that is being read */
    GPtrArray *lines;
} Reader;

static const char *attribute(const char **names, const char **values, const char *name)
{
    for (; *names != NULL; names++, values++)
        if (strcmp(*names, name) == 0)
            return *values;
    return "";
}

static void on_start(GMarkupParseContext *context, const char *element, const char **names,
                     const char **values, void *userdata, GError **error)
{
    Reader *reader = userdata;
    const char *name = attribute(names, values, "name");
    if (strcmp(element, "interface") == 0) {
        reader->inside = strcmp(name, reader->wanted) == 0;
    } else if (!reader->inside) {
        return;
    } else if (strcmp(element, "arg") == 0) {
        g_string_append_printf(reader->line, " %s %s %s", attribute(names, values, "direction"), name,
                               attribute(names, values, "type"));
    } else if (strcmp(element, "annotation") == 0) {
        g_string_append_printf(reader->line, " %s=%s", name, attribute(names, values, "value"));
    } else {
        reader->line = g_string_new(NULL);
        g_string_append_printf(reader->line, "%s %s %s %s", element, name, attribute(names, values, "type"),
                               attribute(names, values, "access"));
    }
}

static void on_end(GMarkupParseContext *context, const char *element, void *userdata, GError **error)
{
    Reader *reader = userdata;
    if (strcmp(element, "interface") == 0)
        reader->inside = FALSE;
    else if (reader->inside && strcmp(element, "arg") != 0 && strcmp(element, "annotation") != 0)
        g_ptr_array_add(reader->lines, g_string_free(g_steal_pointer(&reader->line), FALSE));
}

static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char *interface_text(const char *xml, const char *name)
{
    static const GMarkupParser parser = {.start_element = on_start, .end_element = on_end};
    Reader reader = {.wanted = name, .lines = g_ptr_array_new_with_free_func(g_free)};
    g_autoptr(GMarkupParseContext) context = g_markup_parse_context_new(&parser, 0, &reader, NULL);
    g_autoptr(GError) error = NULL;
    g_markup_parse_context_parse(context, xml, -1, &error);
    g_assert_no_error(error);
    g_markup_parse_context_end_parse(context, &error);
    g_assert_no_error(error);
    g_ptr_array_sort(reader.lines, compare_lines);
    g_ptr_array_add(reader.lines, NULL);
    char *text = g_strjoinv("\n", (char **)reader.lines->pdata);
    g_ptr_array_unref(reader.lines);
    return text;
}
