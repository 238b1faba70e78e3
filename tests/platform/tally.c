/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A tree of counters, so that they print in alphabetical order, and a short queue of sentences. */

#include "tests/platform/tally.h"

enum { COMPLAINTS_KEPT = 100 };

struct Tally {
    GTree *counters; /* static text → gint64* */
    GQueue complaints;
};

static int compare_names(gconstpointer a, gconstpointer b, gpointer unused)
{
    return g_strcmp0(a, b);
}

Tally *tally_new(void)
{
    Tally *tally = g_new0(Tally, 1);
    tally->counters = g_tree_new_full(compare_names, NULL, g_free, g_free);
    g_queue_init(&tally->complaints);
    return tally;
}

void tally_free(Tally *tally)
{
    if (!tally)
        return;
    g_tree_unref(tally->counters);
    g_queue_clear_full(&tally->complaints, g_free);
    g_free(tally);
}

void tally_count(Tally *tally, const char *what)
{
    gint64 *counter = g_tree_lookup(tally->counters, what);
    if (!counter) {
        counter = g_new0(gint64, 1);
        g_tree_insert(tally->counters, g_strdup(what), counter);
    }
    ++*counter;
}

gint64 tally_value(Tally *tally, const char *what)
{
    const gint64 *counter = g_tree_lookup(tally->counters, what);
    return counter ? *counter : 0;
}

void tally_complain(Tally *tally, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *sentence = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_printerr("complaint: %s\n", sentence);
    tally_count(tally, "complaints");
    g_queue_push_tail(&tally->complaints, sentence);
    if (g_queue_get_length(&tally->complaints) > COMPLAINTS_KEPT)
        g_free(g_queue_pop_head(&tally->complaints));
}

static gboolean add_counter(gpointer name, gpointer value, gpointer object)
{
    json_object_set_int_member(object, name, *(gint64 *)value);
    return FALSE;
}

JsonObject *tally_counters(Tally *tally)
{
    JsonObject *object = json_object_new();
    g_tree_foreach(tally->counters, add_counter, object);
    return object;
}

JsonArray *tally_complaints(Tally *tally)
{
    JsonArray *array = json_array_new();
    for (GList *item = tally->complaints.head; item; item = item->next)
        json_array_add_string_element(array, item->data);
    return array;
}
