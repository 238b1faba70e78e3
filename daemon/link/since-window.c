/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A queue of entries and a table from id to entry. Where something stays unfinished for long, only the newest
 * of a row of finished entries matters: once there are many, the others are let go, and a copy of one of them
 * is a message like any other. */

#include "daemon/link/since-window.h"

#define REMEMBERED_MAX 4096

typedef struct Entry {
    char *id;
    bool finished;
    GList *link; /* in entries */
} Entry;

struct SinceWindow {
    GQueue entries;    /* Entry, oldest first */
    GHashTable *by_id; /* id → Entry */
};

static void entry_free(void *data)
{
    Entry *entry = data;
    g_free(entry->id);
    g_free(entry);
}

SinceWindow *since_window_new(void)
{
    SinceWindow *window = g_new0(SinceWindow, 1);
    window->by_id = g_hash_table_new(g_str_hash, g_str_equal);
    return window;
}

void since_window_free(SinceWindow *window)
{
    if (!window)
        return;
    g_hash_table_unref(window->by_id);
    g_queue_clear_full(&window->entries, entry_free);
    g_free(window);
}

bool since_window_add(SinceWindow *window, const char *id)
{
    if (g_hash_table_contains(window->by_id, id))
        return false;
    Entry *entry = g_new0(Entry, 1);
    entry->id = g_strdup(id);
    g_queue_push_tail(&window->entries, entry);
    entry->link = window->entries.tail;
    g_hash_table_insert(window->by_id, entry->id, entry);
    return true;
}

static bool is_finished(const GList *link)
{
    return link && ((const Entry *)link->data)->finished;
}

static void forget(SinceWindow *window, GList *link)
{
    Entry *entry = link->data;
    g_queue_delete_link(&window->entries, link);
    g_hash_table_remove(window->by_id, entry->id);
    entry_free(entry);
}

guint since_window_size(const SinceWindow *window)
{
    return window->entries.length;
}

char *since_window_finish(SinceWindow *window, const char *id)
{
    Entry *entry = g_hash_table_lookup(window->by_id, id);
    char *since = NULL;
    if (!entry)
        return NULL;
    entry->finished = true;
    if (window->entries.length > REMEMBERED_MAX) {
        if (is_finished(entry->link->prev))
            forget(window, entry->link->prev);
        if (is_finished(entry->link->next))
            forget(window, entry->link);
    }
    while ((entry = g_queue_peek_head(&window->entries)) && entry->finished) {
        g_queue_pop_head(&window->entries);
        g_hash_table_remove(window->by_id, entry->id);
        g_free(since);
        since = g_steal_pointer(&entry->id);
        entry_free(entry);
    }
    return since;
}
