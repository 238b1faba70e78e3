/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A queue with numbers; the oldest ones go. */

#include "tests/platform/history.h"
#include <string.h>

enum {
    KEPT_ALWAYS = 100,
    KEPT_AT_MOST = 4000,
};
static const gint64 kept_for = 10 * 60 * G_USEC_PER_SEC;

struct History {
    GQueue messages;
    guint64 next;
};

/* The name of this run. */
static const char *epoch(void)
{
    static char name[9];
    if (!*name)
        g_snprintf(name, sizeof name, "%08x", g_random_int());
    return name;
}

History *history_new(void)
{
    History *history = g_new0(History, 1);
    g_queue_init(&history->messages);
    history->next = 1;
    return history;
}

static void message_free(gpointer data)
{
    Message *message = data;
    g_free(message->id);
    g_free(message->envelope);
    g_free(message);
}

void history_free(History *history)
{
    if (!history)
        return;
    g_queue_clear_full(&history->messages, message_free);
    g_free(history);
}

static bool may_go(const History *history, gint64 now)
{
    const Message *oldest = g_queue_peek_head((GQueue *)&history->messages);
    guint kept = g_queue_get_length((GQueue *)&history->messages);
    return kept > KEPT_ALWAYS && (now - oldest->published > kept_for || kept > KEPT_AT_MOST);
}

const Message *history_add(History *history, const char *envelope, gint64 published)
{
    Message *message = g_new0(Message, 1);
    message->number = history->next++;
    message->id = g_strdup_printf("%s-%012" G_GUINT64_FORMAT, epoch(), message->number);
    message->published = published;
    message->envelope = g_strdup(envelope);
    g_queue_push_tail(&history->messages, message);
    while (may_go(history, g_get_monotonic_time()))
        message_free(g_queue_pop_head(&history->messages));
    return message;
}

/* The number of |since|; 0 if it is of another run. */
static guint64 number_of(const History *history, const char *since)
{
    const char *dash = strchr(since, '-');
    if (!dash || (gsize)(dash - since) != strlen(epoch()) || !g_str_has_prefix(since, epoch()))
        return 0;
    guint64 number = g_ascii_strtoull(dash + 1, NULL, 10);
    return number < history->next ? number : 0;
}

bool history_missed(const History *history, const char *since)
{
    guint64 number = number_of(history, since);
    const Message *oldest = g_queue_peek_head((GQueue *)&history->messages);
    guint64 first = oldest ? oldest->number : history->next;
    return number == 0 || number + 1 < first;
}

void history_replay(const History *history, const char *since, HistoryFunc each, void *userdata)
{
    guint64 number = number_of(history, since);
    for (GList *item = history->messages.head; item; item = item->next) {
        const Message *message = item->data;
        if (message->number > number)
            each(message, userdata);
    }
}
