/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* libsoup's server; what it answers by itself is only what nearly every test wants. */

#include "tests/unit/link/websocket-server.h"

#include "tests/support/support.h"

#define PATIENCE_SECONDS 20

static void answer_channels(WebsocketServer *self, JsonObject *frame)
{
    g_autoptr(GString) rows = g_string_new(NULL);
    JsonArray *channels = json_object_get_array_member(frame, "channels");
    for (guint i = 0; i < json_array_get_length(channels); i++) {
        JsonObject *channel = json_array_get_object_element(channels, i);
        g_string_append_printf(rows, "%s{'id':'%s','ok':true}", i ? "," : "",
                               json_object_get_string_member(channel, "id"));
    }
    websocket_server_say(self, "{'op':'welcome','platform':'test','channels':[%s]}", rows->str);
}

static void on_message(SoupWebsocketConnection *connection, int type, GBytes *text, void *userdata)
{
    WebsocketServer *self = userdata;
    gsize size;
    const char *data = g_bytes_get_data(text, &size);
    g_autoptr(JsonNode) node = NULL;
    g_autoptr(JsonParser) parser = json_parser_new();
    g_assert_cmpint(type, ==, SOUP_WEBSOCKET_DATA_TEXT);
    g_assert_true(json_parser_load_from_data(parser, data, (gssize)size, NULL));
    node = json_parser_steal_root(parser);
    JsonObject *frame = json_node_dup_object(node);
    g_ptr_array_add(self->frames, frame);
    const char *op = json_object_get_string_member(frame, "op");
    if (self->welcomes && (g_str_equal(op, "hello") || g_str_equal(op, "subscribe")))
        answer_channels(self, frame);
    else if (self->confirms && g_str_equal(op, "publish"))
        websocket_server_say(self, "{'op':'published','seq':%" G_GINT64_FORMAT "}",
                             json_object_get_int_member(frame, "seq"));
}

static void on_closed(SoupWebsocketConnection *connection, void *userdata)
{
    WebsocketServer *self = userdata;
    self->closed++;
    self->peer_close_code = soup_websocket_connection_get_close_code(connection);
    if (self->connection == connection)
        g_clear_object(&self->connection);
}

static void on_accepted(SoupServer *server, SoupServerMessage *message, const char *path,
                        SoupWebsocketConnection *connection, void *userdata)
{
    WebsocketServer *self = userdata;
    g_set_object(&self->connection, connection);
    self->accepted++;
    soup_websocket_connection_set_max_incoming_payload_size(connection, 4 * 1024 * 1024);
    g_signal_connect(connection, "message", G_CALLBACK(on_message), self);
    g_signal_connect(connection, "closed", G_CALLBACK(on_closed), self);
}

static WebsocketServer *listen_locally(void)
{
    WebsocketServer *self = g_new0(WebsocketServer, 1);
    g_autoptr(GError) error = NULL;
    self->server = soup_server_new(NULL, NULL);
    self->frames = g_ptr_array_new_with_free_func((GDestroyNotify)json_object_unref);
    self->welcomes = true;
    self->confirms = true;
    soup_server_listen_local(self->server, 0, SOUP_SERVER_LISTEN_IPV4_ONLY, &error);
    g_assert_no_error(error);
    GSList *uris = soup_server_get_uris(self->server);
    self->url = g_strdup_printf("ws://127.0.0.1:%d/link", g_uri_get_port(uris->data));
    g_slist_free_full(uris, (GDestroyNotify)g_uri_unref);
    return self;
}

WebsocketServer *websocket_server_new(const char *protocol)
{
    WebsocketServer *self = listen_locally();
    char *protocols[] = {(char *)protocol, NULL};
    soup_server_add_websocket_handler(self->server, "/link", NULL, protocol ? protocols : NULL, on_accepted,
                                      self, NULL);
    return self;
}

static void refuse(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                   void *userdata)
{
    guint status = GPOINTER_TO_UINT(userdata);
    soup_server_message_set_status(message, status, NULL);
    if (SOUP_STATUS_IS_REDIRECTION(status))
        soup_message_headers_replace(soup_server_message_get_response_headers(message), "Location",
                                     "http://127.0.0.1:1/elsewhere");
}

WebsocketServer *websocket_server_new_refusing(guint status)
{
    WebsocketServer *self = listen_locally();
    soup_server_add_handler(self->server, NULL, refuse, GUINT_TO_POINTER(status), NULL);
    return self;
}

void websocket_server_free(WebsocketServer *self)
{
    soup_server_disconnect(self->server);
    if (self->connection)
        g_signal_handlers_disconnect_by_data(self->connection, self);
    g_clear_object(&self->connection);
    g_object_unref(self->server);
    g_ptr_array_unref(self->frames);
    g_free(self->url);
    g_free(self);
}

void websocket_server_say(WebsocketServer *self, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_strdelimit(text, "'", '"');
    soup_websocket_connection_send_text(self->connection, text);
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

JsonObject *websocket_server_frame(WebsocketServer *self, guint index, const char *op)
{
    Count count = {&self->frames->len, index + 1};
    test_wait_for(is_reached, &count, PATIENCE_SECONDS);
    JsonObject *frame = g_ptr_array_index(self->frames, index);
    g_assert_cmpstr(json_object_get_string_member(frame, "op"), ==, op);
    return frame;
}

void websocket_server_wait_accepted(WebsocketServer *self, guint wanted)
{
    Count count = {&self->accepted, wanted};
    test_wait_for(is_reached, &count, PATIENCE_SECONDS);
}

void websocket_server_wait_closed(WebsocketServer *self, guint wanted)
{
    Count count = {&self->closed, wanted};
    test_wait_for(is_reached, &count, PATIENCE_SECONDS);
}
