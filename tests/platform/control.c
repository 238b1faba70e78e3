/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The socket is addressed through /proc/self/fd, because a folder's path may be longer than a socket address
 * takes. While a call is being handled its connection is read on: an end of file says that the client went
 * away. */

#include "tests/platform/control.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gunixsocketaddress.h>
#include <glib/gstdio.h>
#include <unistd.h>

struct Control {
    GSocketService *service;
    char *path;
    ControlFunc handle;
    void *userdata;
};

struct ControlCall {
    Control *control;
    GSocketConnection *connection;
    GDataInputStream *lines;
    GCancellable *watching;
    bool is_wanted;
    guint references;
    char *answer;
};

/* |ret_fd| stays open as long as the address is used. */
static GSocketAddress *socket_address(const char *directory, int *ret_fd, GError **error)
{
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        g_set_error(error, G_IO_ERROR, (gint)g_io_error_from_errno(errno),
                    "The folder %s can't be opened: %s", directory, g_strerror(errno));
        return NULL;
    }
    *ret_fd = fd;
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d/control.sock", fd);
    return g_unix_socket_address_new(path);
}

static void call_unref(ControlCall *call)
{
    if (--call->references > 0)
        return;
    g_object_unref(call->connection);
    g_object_unref(call->lines);
    g_object_unref(call->watching);
    g_free(call->answer);
    g_free(call);
}

static void on_written(GObject *stream, GAsyncResult *result, gpointer data)
{
    ControlCall *call = data;
    g_output_stream_write_all_finish(G_OUTPUT_STREAM(stream), result, NULL, NULL); /* a client may be gone */
    g_io_stream_close_async(G_IO_STREAM(call->connection), G_PRIORITY_DEFAULT, NULL, NULL, NULL);
    call_unref(call);
}

void control_answer(ControlCall *call, JsonObject *answer)
{
    if (!json_object_has_member(answer, "ok"))
        json_object_set_boolean_member(answer, "ok", TRUE);
    g_autofree char *text = object_to_text(answer, false);
    json_object_unref(answer);
    call->answer = g_strconcat(text, "\n", NULL);
    g_cancellable_cancel(call->watching);
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(call->connection));
    g_output_stream_write_all_async(out, call->answer, strlen(call->answer), G_PRIORITY_DEFAULT, NULL,
                                    on_written, call);
}

void control_refuse(ControlCall *call, const char *why)
{
    JsonObject *answer = json_object_new();
    json_object_set_boolean_member(answer, "ok", FALSE);
    json_object_set_string_member(answer, "error", why);
    control_answer(call, answer);
}

bool control_is_wanted(const ControlCall *call)
{
    return call->is_wanted;
}

static void on_client_gone(GObject *stream, GAsyncResult *result, gpointer data)
{
    ControlCall *call = data;
    g_autofree char *line =
        g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(stream), result, NULL, NULL);
    call->is_wanted = false;
    call_unref(call);
}

static void on_line(GObject *stream, GAsyncResult *result, gpointer data)
{
    ControlCall *call = data;
    gsize size;
    g_autofree char *line =
        g_data_input_stream_read_line_finish(G_DATA_INPUT_STREAM(stream), result, &size, NULL);
    if (!line) {
        call_unref(call);
        return;
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) arguments = object_from_text(line, (gssize)size, &error);
    call->references++;
    g_data_input_stream_read_line_async(call->lines, G_PRIORITY_DEFAULT, call->watching, on_client_gone,
                                        call);
    if (arguments)
        call->control->handle(call, arguments, call->control->userdata);
    else
        control_refuse(call, error->message);
}

static gboolean on_incoming(GSocketService *service, GSocketConnection *connection, GObject *source,
                            gpointer data)
{
    ControlCall *call = g_new0(ControlCall, 1);
    call->control = data;
    call->references = 1;
    call->is_wanted = true;
    call->connection = g_object_ref(connection);
    call->lines = g_data_input_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(connection)));
    call->watching = g_cancellable_new();
    g_data_input_stream_read_line_async(call->lines, G_PRIORITY_DEFAULT, NULL, on_line, call);
    return TRUE;
}

Control *control_open(const char *directory, ControlFunc handle, void *userdata, GError **error)
{
    int fd = -1;
    g_autoptr(GSocketAddress) address = socket_address(directory, &fd, error);
    if (!address)
        return NULL;
    g_autoptr(Control) control = g_new0(Control, 1);
    control->service = g_socket_service_new();
    control->path = g_build_filename(directory, "control.sock", NULL);
    control->handle = handle;
    control->userdata = userdata;
    g_unlink(control->path); /* of an earlier run; that nobody else runs is known by the lock */
    bool ok =
        g_socket_listener_add_address(G_SOCKET_LISTENER(control->service), address, G_SOCKET_TYPE_STREAM,
                                      G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL, error);
    close(fd);
    if (!ok)
        return NULL;
    g_signal_connect(control->service, "incoming", G_CALLBACK(on_incoming), control);
    return g_steal_pointer(&control);
}

void control_close(Control *control)
{
    if (!control)
        return;
    g_socket_service_stop(control->service);
    g_object_unref(control->service);
    g_unlink(control->path);
    g_free(control->path);
    g_free(control);
}

JsonObject *control_ask(const char *directory, JsonObject *arguments, GError **error)
{
    int fd = -1;
    g_autoptr(GSocketAddress) address = socket_address(directory, &fd, error);
    if (!address)
        return NULL;
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_autoptr(GSocketConnection) connection =
        g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address), NULL, error);
    close(fd);
    if (!connection) {
        g_prefix_error(error, "No platform runs for %s; start one with `iothsm-platform serve`: ", directory);
        return NULL;
    }
    g_autofree char *text = object_to_text(arguments, false);
    g_autofree char *line = g_strconcat(text, "\n", NULL);
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(connection));
    g_autoptr(GDataInputStream) in =
        g_data_input_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(connection)));
    if (!g_output_stream_write_all(out, line, strlen(line), NULL, NULL, error))
        return NULL;
    gsize size;
    g_autofree char *answer_line = g_data_input_stream_read_line(in, &size, NULL, error);
    if (!answer_line) {
        if (error && !*error)
            g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_CLOSED,
                                "The platform went down before it answered");
        return NULL;
    }
    g_autoptr(JsonObject) answer = object_from_text(answer_line, (gssize)size, error);
    if (answer && !member_true(answer, "ok")) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "%s",
                    member_text(answer, "error") ?: "no reason given");
        return NULL;
    }
    return g_steal_pointer(&answer);
}
