/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libsoup's server; the channels here need no escaping. */

#include "tests/unit/link/pubnub-server.h"

#include "tests/support/support.h"
#include <string.h>

#define PATIENCE_SECONDS 20

typedef struct Waiting {
    SoupServerMessage *message;
    GStrv channels;
    guint64 cursor;
} Waiting;

static void waiting_free(void *data)
{
    Waiting *waiting = data;
    g_object_unref(waiting->message);
    g_strfreev(waiting->channels);
    g_free(waiting);
}

static void item_free(void *data)
{
    PubnubItem *item = data;
    g_free(item->channel);
    g_free(item->publisher);
    g_free(item->payload);
    g_free(item);
}

static void answer(SoupServerMessage *message, guint status, const char *text)
{
    soup_server_message_set_status(message, status, NULL);
    soup_server_message_set_response(message, "text/javascript", SOUP_MEMORY_COPY, text, strlen(text));
}

static void fail(PubnubServer *self, SoupServerMessage *message)
{
    answer(message, self->status,
           self->body ? self->body
                      : "{\"message\":\"Forbidden\",\"error\":true,\"service\":\"Access Manager\"}");
}

/* True when the script has dealt with it. */
static bool fails(PubnubServer *self, SoupServerMessage *message, guint *count)
{
    if (*count == 0)
        return false;
    (*count)--;
    if (self->status)
        fail(self, message);
    else
        soup_server_message_pause(message);
    return true;
}

static char *batch_text(const PubnubServer *self, const Waiting *waiting, bool *ret_any)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint64 i = waiting->cursor; i < self->items->len; i++) {
        const PubnubItem *item = g_ptr_array_index(self->items, i);
        if (g_strv_contains((const char *const *)waiting->channels, item->channel))
            g_string_append_printf(text, "%s{\"c\":\"%s\",\"i\":\"%s\",\"d\":%s}", text->len ? "," : "",
                                   item->channel, item->publisher, item->payload);
    }
    *ret_any = text->len > 0;
    return g_strdup_printf("{\"t\":{\"t\":\"%u\",\"r\":4},\"m\":[%s]}", self->items->len, text->str);
}

/* True when it was answered. */
static bool serve(PubnubServer *self, Waiting *waiting, bool even_if_empty)
{
    bool any;
    g_autofree char *text = batch_text(self, waiting, &any);
    if (!any && !even_if_empty)
        return false;
    answer(waiting->message, 200, text);
    soup_server_message_unpause(waiting->message);
    return true;
}

static void serve_all(PubnubServer *self)
{
    for (guint i = self->waiting->len; i-- > 0;)
        if (serve(self, g_ptr_array_index(self->waiting, i), false))
            g_ptr_array_remove_index(self->waiting, i);
}

static void on_subscribe(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                         void *userdata)
{
    PubnubServer *self = userdata;
    const char *cursor = g_hash_table_lookup(query, "tt");
    bool is_join = g_str_equal(cursor, "0");
    g_auto(GStrv) parts = g_strsplit(path, "/", -1); /* "", v2, subscribe, KEY, CHANNELS, 0 */
    g_assert_cmpstr(parts[3], ==, "sub-c-2");
    if (is_join) {
        self->joins++;
    } else {
        self->polls++;
        g_assert_cmpstr(g_hash_table_lookup(query, "tr"), ==, "4");
        g_free(self->cursor);
        self->cursor = g_strdup(cursor);
        g_free(self->channels);
        self->channels = g_strdup(parts[4]);
    }
    if (fails(self, message, is_join ? &self->fail_joins : &self->fail_polls))
        return;
    Waiting *waiting = g_new0(Waiting, 1);
    *waiting = (Waiting){g_object_ref(message), g_strsplit(parts[4], ",", -1),
                         is_join ? self->items->len : g_ascii_strtoull(cursor, NULL, 10)};
    soup_server_message_pause(message);
    if (serve(self, waiting, is_join))
        waiting_free(waiting);
    else
        g_ptr_array_add(self->waiting, waiting);
}

static void on_publish(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                       void *userdata)
{
    PubnubServer *self = userdata;
    g_auto(GStrv) parts = g_strsplit(path, "/", -1); /* "", publish, PUB, SUB, 0, CHANNEL, 0 */
    g_assert_cmpstr(soup_server_message_get_method(message), ==, "POST");
    g_assert_cmpstr(parts[2], ==, "pub-c-1");
    self->posts++;
    if (g_strcmp0(parts[5], self->denied) == 0) {
        fail(self, message);
        return;
    }
    if (fails(self, message, &self->fail_posts))
        return;
    g_autoptr(GBytes) body = soup_message_body_flatten(soup_server_message_get_request_body(message));
    g_autofree char *payload = g_strndup(g_bytes_get_data(body, NULL), g_bytes_get_size(body));
    answer(message, 200, "[1,\"Sent\",\"17\"]");
    pubnub_server_say(self, parts[5], g_hash_table_lookup(query, "uuid"), payload);
}

static void on_time(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                    void *userdata)
{
    PubnubServer *self = userdata;
    self->times++;
    if (!fails(self, message, &self->fail_times))
        answer(message, 200, "[17637000000000000]");
}

static void on_leave(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                     void *userdata)
{
    PubnubServer *self = userdata;
    g_auto(GStrv) parts =
        g_strsplit(path, "/", -1); /* "", v2, presence, sub-key, SUB, channel, CHANNELS, leave */
    self->leaves++;
    g_free(self->left);
    self->left = g_strdup(parts[6]);
    answer(message, 200, "{\"status\":200,\"action\":\"leave\"}");
}

PubnubServer *pubnub_server_new(void)
{
    PubnubServer *self = g_new0(PubnubServer, 1);
    g_autoptr(GError) error = NULL;
    self->items = g_ptr_array_new_with_free_func(item_free);
    self->waiting = g_ptr_array_new_with_free_func(waiting_free);
    self->status = 403;
    self->server = soup_server_new(NULL, NULL);
    soup_server_add_handler(self->server, "/v2/subscribe", on_subscribe, self, NULL);
    soup_server_add_handler(self->server, "/publish", on_publish, self, NULL);
    soup_server_add_handler(self->server, "/time", on_time, self, NULL);
    soup_server_add_handler(self->server, "/v2/presence", on_leave, self, NULL);
    soup_server_listen_local(self->server, 0, SOUP_SERVER_LISTEN_IPV4_ONLY, &error);
    g_assert_no_error(error);
    GSList *uris = soup_server_get_uris(self->server);
    self->origin = g_strdup_printf("http://127.0.0.1:%d", g_uri_get_port(uris->data));
    g_slist_free_full(uris, (GDestroyNotify)g_uri_unref);
    pubnub_server_say(self, "nowhere", "x", "{}"); /* so that no cursor is 0 */
    return self;
}

void pubnub_server_free(PubnubServer *self)
{
    soup_server_disconnect(self->server);
    g_ptr_array_unref(self->waiting);
    g_object_unref(self->server);
    g_ptr_array_unref(self->items);
    g_free(self->left);
    g_free(self->channels);
    g_free(self->cursor);
    g_free(self->origin);
    g_free(self);
}

void pubnub_server_say(PubnubServer *self, const char *channel, const char *publisher, const char *payload)
{
    PubnubItem *item = g_new0(PubnubItem, 1);
    *item = (PubnubItem){g_strdup(channel), g_strdup(publisher), g_strdelimit(g_strdup(payload), "'", '"')};
    g_ptr_array_add(self->items, item);
    serve_all(self);
}

void pubnub_server_end_polls(PubnubServer *self)
{
    for (guint i = 0; i < self->waiting->len; i++) {
        Waiting *waiting = g_ptr_array_index(self->waiting, i);
        fail(self, waiting->message);
        soup_server_message_unpause(waiting->message);
    }
    g_ptr_array_set_size(self->waiting, 0);
}

typedef struct Count {
    const guint *value;
    guint wanted;
} Count;

static bool is_reached(void *userdata)
{
    const Count *count = userdata;
    return *count->value >= count->wanted;
}

void pubnub_server_wait(const guint *counter, guint wanted)
{
    test_wait_for(is_reached, &(Count){counter, wanted}, PATIENCE_SECONDS);
}
