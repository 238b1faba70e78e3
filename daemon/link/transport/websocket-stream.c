/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Small frames are parsed where they arrive, which is cheaper than waking a thread; large ones on a thread,
 * and while that thread has work every frame goes through it, so that order is kept. The struct is counted:
 * its callbacks hold a reference and look at |freed| and |ended|, so that an event may free the stream. */

#include "daemon/link/transport/websocket-stream.h"

#include "daemon/error.h"
#include "daemon/link/transport/https.h"
#include "daemon/log.h"
#include "daemon/worker.h"
#include <netinet/in.h>
#include <netinet/tcp.h>

#define SUBPROTOCOL "pkiaas.iothsm.v1"
#define INLINE_FRAME_SIZE (64U * 1024U)
/* Frames that wait for the parser; more is a platform that floods us. */
#define PARSER_QUEUE 4096
#define BAD_FRAMES_MAX 10
/* RFC 6455 5.5: what fits into a control frame beside the code. */
#define CLOSE_REASON_MAX 123

struct WebsocketStream {
    bool freed;
    bool ended;
    WebsocketStreamEvents events;
    const WebsocketTimes *times;
    guint64 message_size;

    SoupMessage *handshake;
    GSocket *socket; /* below TLS; NULL before there is one */
    GCancellable *cancellable;
    guint handshake_timer;
    bool late;

    SoupWebsocketConnection *connection;
    gint64 last_heard;
    guint silence_timer;
    guint bad_frames;
    char *complaint; /* libsoup's words about what broke, or NULL */

    Worker *parser;
    guint parsing; /* frames with the parser */
};

static WebsocketStream *stream_ref(WebsocketStream *stream)
{
    return g_rc_box_acquire(stream);
}

static void stream_unref(WebsocketStream *stream)
{
    g_rc_box_release(stream);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(WebsocketStream, stream_unref)

static void let_go(SoupWebsocketConnection *connection, guint close_code, const char *reason)
{
    if (soup_websocket_connection_get_state(connection) == SOUP_WEBSOCKET_STATE_OPEN) {
        /* libsoup closes the stream by itself 5 s later where the peer does not. */
        g_signal_connect(connection, "closed", G_CALLBACK(g_object_unref), NULL);
        bool fits = reason && strlen(reason) <= CLOSE_REASON_MAX;
        soup_websocket_connection_close(connection, (gushort)close_code, fits ? reason : NULL);
    } else {
        g_object_unref(connection);
    }
}

/* |say|: the close code for the peer. */
static void end(WebsocketStream *stream, guint say, const WebsocketEnd *how)
{
    if (stream->freed || stream->ended)
        return;
    stream->ended = true;
    g_clear_handle_id(&stream->handshake_timer, g_source_remove);
    g_clear_handle_id(&stream->silence_timer, g_source_remove);
    g_clear_object(&stream->socket);
    if (stream->connection) {
        g_signal_handlers_disconnect_by_data(stream->connection, stream);
        let_go(g_steal_pointer(&stream->connection), say, how->reason);
    }
    stream->events.ended(how, stream->events.userdata);
}

static void end_because(WebsocketStream *stream, guint say, const char *reason)
{
    end(stream, say, &(WebsocketEnd){.reason = reason});
}

static void on_bad_frame(WebsocketStream *stream, const GError *error)
{
    if (++stream->bad_frames == 1)
        log_warning("The platform sent a WebSocket frame that makes no sense, dropped: %s", error->message);
    if (stream->bad_frames >= BAD_FRAMES_MAX) {
        end_because(stream, SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION,
                    "ten frames from the platform made no sense");
    }
}

static void on_frame(WebsocketStream *stream, const Frame *frame, const GError *error)
{
    if (stream->freed || stream->ended)
        return;
    if (error)
        on_bad_frame(stream, error);
    else
        stream->events.frame(frame, stream->events.userdata);
}

typedef struct ParseJob {
    WebsocketStream *stream; /* a reference; main thread only */
    gint64 received;
    GBytes *text;
    Frame *frame; /* the result */
} ParseJob;

static bool run_parse(void *data, GCancellable *cancelled, GError **error)
{
    ParseJob *job = data;
    gsize size;
    const char *text = g_bytes_get_data(job->text, &size);
    job->frame = frame_parse(text, size, job->received, error);
    return job->frame != NULL;
}

static void parse_job_free(void *data)
{
    ParseJob *job = data;
    frame_free(job->frame);
    g_bytes_unref(job->text);
    stream_unref(job->stream);
    g_free(job);
}

static void on_parsed(const GError *error, void *userdata)
{
    ParseJob *job = userdata;
    g_autoptr(WebsocketStream) stream = stream_ref(job->stream);
    stream->parsing--;
    on_frame(stream, job->frame, error);
}

static void parse_on_thread(WebsocketStream *stream, GBytes *text)
{
    if (!stream->parser)
        stream->parser = worker_new("frames", 1, PARSER_QUEUE);
    ParseJob *job = g_new0(ParseJob, 1);
    job->stream = stream_ref(stream);
    job->received = stream->last_heard;
    job->text = g_bytes_ref(text);
    g_autoptr(GError) error = NULL;
    if (worker_submit(stream->parser, run_parse, job, parse_job_free, WORKER_NO_DEADLINE, NULL, on_parsed,
                      job, &error))
        stream->parsing++;
    else
        end_because(stream, SOUP_WEBSOCKET_CLOSE_GOING_AWAY,
                    "the platform sends faster than this machine reads");
}

static void on_message(SoupWebsocketConnection *connection, int type, GBytes *text, void *userdata)
{
    g_autoptr(WebsocketStream) stream = stream_ref(userdata);
    gsize size;
    const char *data = g_bytes_get_data(text, &size);
    stream->last_heard = g_get_monotonic_time();
    if (type != SOUP_WEBSOCKET_DATA_TEXT) {
        end_because(stream, SOUP_WEBSOCKET_CLOSE_UNSUPPORTED_DATA, "the platform sent a binary message");
    } else if (size > stream->message_size) {
        end_because(stream, SOUP_WEBSOCKET_CLOSE_TOO_BIG,
                    "the platform sent a message larger than MessageSize= allows");
    } else if (size > INLINE_FRAME_SIZE || stream->parsing > 0) {
        parse_on_thread(stream, text);
    } else {
        g_autoptr(GError) error = NULL;
        g_autoptr(Frame) frame = frame_parse(data, size, stream->last_heard, &error);
        on_frame(stream, frame, error);
    }
}

static void on_pong(SoupWebsocketConnection *connection, GBytes *payload, void *userdata)
{
    WebsocketStream *stream = userdata;
    stream->last_heard = g_get_monotonic_time();
}

static void on_error(SoupWebsocketConnection *connection, GError *error, void *userdata)
{
    WebsocketStream *stream = userdata;
    g_free(stream->complaint);
    stream->complaint = g_strdup(error->message);
}

static void on_closed(SoupWebsocketConnection *connection, void *userdata)
{
    g_autoptr(WebsocketStream) stream = stream_ref(userdata);
    guint code = soup_websocket_connection_get_close_code(connection);
    const char *data = soup_websocket_connection_get_close_data(connection);
    g_autofree char *said =
        code ? https_one_line(data) : g_strdup(stream->complaint ? stream->complaint : "");
    const char *colon = *said ? ": " : "";
    g_autofree char *reason =
        code ? g_strdup_printf("the platform closed the connection (%u%s%s)", code, colon, said)
             : g_strdup_printf("the connection broke%s%s", colon, said);
    end(stream, 0, &(WebsocketEnd){.close_code = code, .reason = reason});
}

/* Since the last message, pong, or piece of a message: a large one may be longer on its way than silence may
 * last, and nothing can come between its pieces. Acknowledgements of what we send are none. */
static gint64 silent_ms(const WebsocketStream *stream)
{
    gint64 unheard_ms = (g_get_monotonic_time() - stream->last_heard) / 1000;
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (!stream->socket ||
        getsockopt(g_socket_get_fd(stream->socket), IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
        return unheard_ms;
    return MIN(unheard_ms, (gint64)info.tcpi_last_data_recv);
}

static gboolean on_silence_check(void *userdata)
{
    g_autoptr(WebsocketStream) stream = stream_ref(userdata);
    gint64 left_ms = stream->times->silence_ms - silent_ms(stream);
    stream->silence_timer = 0;
    if (left_ms > 0)
        stream->silence_timer = g_timeout_add((guint)left_ms, on_silence_check, stream);
    else
        end_because(stream, SOUP_WEBSOCKET_CLOSE_GOING_AWAY, "the platform has gone silent");
    return G_SOURCE_REMOVE;
}

static void open_stream(WebsocketStream *stream)
{
    SoupWebsocketConnection *connection = stream->connection;
    /* libsoup accepts a server that selects no subprotocol at all. */
    if (g_strcmp0(soup_websocket_connection_get_protocol(connection), SUBPROTOCOL) != 0) {
        end_because(stream, SOUP_WEBSOCKET_CLOSE_PROTOCOL_ERROR,
                    "the server did not select " SUBPROTOCOL
                    ": it is not the platform, or a proxy is in between");
        return;
    }
    /* One more than the limit: some versions refuse a message of exactly it; on_message has the last word. */
    soup_websocket_connection_set_max_incoming_payload_size(connection, stream->message_size + 1);
    if (g_object_class_find_property(G_OBJECT_GET_CLASS(connection), "max-total-message-size"))
        g_object_set(connection, "max-total-message-size", stream->message_size + 1, NULL);
    g_signal_connect(connection, "message", G_CALLBACK(on_message), stream);
    g_signal_connect(connection, "pong", G_CALLBACK(on_pong), stream);
    g_signal_connect(connection, "error", G_CALLBACK(on_error), stream);
    g_signal_connect(connection, "closed", G_CALLBACK(on_closed), stream);
    soup_websocket_connection_set_keepalive_interval(connection, stream->times->ping_s);
    stream->last_heard = g_get_monotonic_time();
    stream->silence_timer = g_timeout_add((guint)stream->times->silence_ms, on_silence_check, stream);
    stream->events.opened(stream->events.userdata);
}

static void on_handshake(GObject *source, GAsyncResult *result, void *userdata)
{
    g_autoptr(WebsocketStream) stream = userdata; /* the handshake's own reference */
    g_autoptr(GError) error = NULL;
    stream->connection = soup_session_websocket_connect_finish(SOUP_SESSION(source), result, &error);
    if (stream->freed) {
        if (stream->connection)
            let_go(g_steal_pointer(&stream->connection), SOUP_WEBSOCKET_CLOSE_GOING_AWAY, NULL);
        g_clear_object(&stream->handshake);
        return;
    }
    g_clear_handle_id(&stream->handshake_timer, g_source_remove);
    if (stream->connection) {
        open_stream(stream);
        return;
    }
    g_autofree char *reason = stream->late
                                  ? g_strdup("the platform did not answer the WebSocket handshake in time")
                                  : https_describe_failure(stream->handshake, error);
    end(stream, 0,
        &(WebsocketEnd){.offline = !stream->late && https_error_is_offline(error), .reason = reason});
}

static void on_network_event(SoupMessage *handshake, GSocketClientEvent event, GIOStream *connection,
                             void *userdata)
{
    WebsocketStream *stream = userdata;
    if (event == G_SOCKET_CLIENT_CONNECTED && G_IS_SOCKET_CONNECTION(connection))
        g_set_object(&stream->socket, g_socket_connection_get_socket(G_SOCKET_CONNECTION(connection)));
}

static gboolean on_handshake_late(void *userdata)
{
    WebsocketStream *stream = userdata;
    stream->handshake_timer = 0;
    stream->late = true;
    g_cancellable_cancel(stream->cancellable);
    return G_SOURCE_REMOVE;
}

WebsocketStream *websocket_stream_new(SoupSession *session, const char *url, guint64 message_size,
                                      const WebsocketTimes *times, const WebsocketStreamEvents *events)
{
    WebsocketStream *stream = g_rc_box_new0(WebsocketStream);
    stream->events = *events;
    stream->times = times;
    stream->message_size = message_size;
    stream->handshake = soup_message_new("GET", url);
    stream->cancellable = g_cancellable_new();
    stream->handshake_timer = g_timeout_add((guint)times->handshake_ms, on_handshake_late, stream);
    soup_message_add_flags(stream->handshake, SOUP_MESSAGE_NO_REDIRECT);
    g_signal_connect(stream->handshake, "network-event", G_CALLBACK(on_network_event), stream);

    char *protocols[] = {(char *)SUBPROTOCOL, NULL};
    soup_session_websocket_connect_async(session, stream->handshake, NULL, protocols, G_PRIORITY_DEFAULT,
                                         stream->cancellable, on_handshake, stream_ref(stream));
    return stream;
}

void websocket_stream_free(WebsocketStream *stream, guint close_code, const char *reason)
{
    if (!stream)
        return;
    stream->freed = true;
    g_clear_handle_id(&stream->handshake_timer, g_source_remove);
    g_clear_handle_id(&stream->silence_timer, g_source_remove);
    g_cancellable_cancel(stream->cancellable);
    g_clear_object(&stream->cancellable);
    g_signal_handlers_disconnect_by_data(stream->handshake, stream);
    g_clear_object(&stream->handshake);
    g_clear_object(&stream->socket);
    if (stream->connection) {
        g_signal_handlers_disconnect_by_data(stream->connection, stream);
        let_go(g_steal_pointer(&stream->connection), close_code, reason);
    }
    g_clear_pointer(&stream->parser, worker_close);
    g_clear_pointer(&stream->complaint, g_free);
    stream_unref(stream);
}

bool websocket_stream_is_open(const WebsocketStream *stream)
{
    return stream && stream->connection &&
           soup_websocket_connection_get_state(stream->connection) == SOUP_WEBSOCKET_STATE_OPEN;
}

void websocket_stream_send(WebsocketStream *stream, GBytes *frame)
{
    if (websocket_stream_is_open(stream))
        soup_websocket_connection_send_message(stream->connection, SOUP_WEBSOCKET_DATA_TEXT, frame);
}
