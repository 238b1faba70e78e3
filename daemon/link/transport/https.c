/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The session has no cookies, no cache, no decompression and no WebSocket extensions, and no time limit on
 * its sockets. A request is a small object that lives from the first asynchronous call to the last; its time
 * limit is a timer that cancels it, because a socket's would not see a server that sends one byte a second.
 *
 * libsoup gives a POST a connection of its own, and GnuTLS reads all of the system's roots for each, unless
 * the message is marked as idempotent. All of ours are: a bootstrap, a message or a CRL that the platform
 * gets a second time changes nothing. */

#include "daemon/link/transport/https.h"

#include "daemon/error.h"
#include "daemon/json.h"
#include "iothsm-build.h"

#define LINE_MAX_CHARACTERS 300

SoupSession *https_session_new(GTlsDatabase *roots, guint connections)
{
    SoupSession *session =
        soup_session_new_with_options("user-agent", "iothsm/" IOTHSM_VERSION, "max-conns", 4 * connections,
                                      "max-conns-per-host", connections, "timeout", 0U, NULL);
    if (roots)
        soup_session_set_tls_database(session, roots);
    soup_session_remove_feature_by_type(session, SOUP_TYPE_CONTENT_DECODER);
    soup_session_remove_feature_by_type(session, SOUP_TYPE_WEBSOCKET_EXTENSION_MANAGER);
    return session;
}

static bool is_loopback(const char *host)
{
    if (g_ascii_strcasecmp(host, "localhost") == 0)
        return true;
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(host);
    return address && g_inet_address_get_is_loopback(address);
}

bool https_url_is_allowed(const char *url, const char *secure, const char *plain, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(url, SOUP_HTTP_URI_FLAGS, NULL);
    const char *scheme = uri ? g_uri_get_scheme(uri) : NULL;
    const char *host = uri ? g_uri_get_host(uri) : NULL;
    if (!host || !*host) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "\"%.200s\" is not an address with a host",
                    url);
        return false;
    }
    if (g_strcmp0(scheme, secure) == 0 || (g_strcmp0(scheme, plain) == 0 && is_loopback(host)))
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "The address %.200s must begin with %s: (%s: is for loopback hosts only)", url, secure,
                plain);
    return false;
}

bool https_error_is_offline(const GError *error)
{
    return g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NETWORK_UNREACHABLE) ||
           g_error_matches(error, G_IO_ERROR, G_IO_ERROR_HOST_UNREACHABLE) ||
           g_error_matches(error, G_IO_ERROR, G_IO_ERROR_HOST_NOT_FOUND) ||
           (error && error->domain == G_RESOLVER_ERROR);
}

char *https_one_line(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text ? text : "", -1);
    GString *line = g_string_new(NULL);
    glong characters = 0;
    for (const char *at = g_strstrip(valid); *at && characters < LINE_MAX_CHARACTERS;
         at = g_utf8_next_char(at), characters++) {
        gunichar c = g_utf8_get_char(at);
        g_string_append_unichar(line, g_unichar_isprint(c) ? c : ' ');
    }
    return g_string_free(line, FALSE);
}

static const char *certificate_complaint(GTlsCertificateFlags flags)
{
    if (flags & G_TLS_CERTIFICATE_UNKNOWN_CA) {
        return "its certificate is not issued by a root that this machine trusts (see TlsCa= in "
               "iothsmd.conf)";
    }
    if (flags & G_TLS_CERTIFICATE_BAD_IDENTITY)
        return "its certificate is for another host name";
    if (flags & G_TLS_CERTIFICATE_EXPIRED)
        return "its certificate has expired, or this machine's clock is wrong";
    if (flags & G_TLS_CERTIFICATE_NOT_ACTIVATED)
        return "its certificate is not valid yet, or this machine's clock is wrong";
    if (flags & G_TLS_CERTIFICATE_REVOKED)
        return "its certificate was revoked";
    if (flags & G_TLS_CERTIFICATE_INSECURE)
        return "its certificate uses an algorithm that is not secure any more";
    return "its certificate does not verify under the roots that this machine trusts (see TlsCa= in "
           "iothsmd.conf)";
}

const char *https_status_phrase(guint status)
{
    return status == HTTPS_TOO_MANY_REQUESTS ? "Too Many Requests" : soup_status_get_phrase(status);
}

char *https_describe_failure(SoupMessage *message, const GError *error)
{
    GUri *uri = soup_message_get_uri(message);
    const char *host = g_uri_get_host(uri);
    if (error->domain == G_TLS_ERROR) {
        GTlsCertificateFlags flags = soup_message_get_tls_peer_certificate_errors(message);
        return g_strdup_printf("No TLS connection to %s: %s", host,
                               flags ? certificate_complaint(flags) : error->message);
    }
    guint status = soup_message_get_status(message);
    if (error->domain == SOUP_WEBSOCKET_ERROR && status != SOUP_STATUS_NONE) {
        return g_strdup_printf("%s answered the WebSocket handshake with %u %s%s", host, status,
                               https_status_phrase(status),
                               SOUP_STATUS_IS_REDIRECTION(status) ? "; redirects are not followed" : "");
    }
    return g_strdup_printf("No connection to %s: %s", host, error->message);
}

/* What is read at once. */
#define CHUNK (64U * 1024U)

typedef struct Request {
    SoupMessage *message;
    GCancellable *cancellable;
    GInputStream *stream;
    GByteArray *body;
    gsize answer_max;
    guint timer;
    guint timeout_seconds;
    bool timed_out;
    HttpsAnsweredFunc answered;
    void *userdata;
} Request;

static void request_free(Request *request)
{
    g_clear_handle_id(&request->timer, g_source_remove);
    g_clear_object(&request->message);
    g_clear_object(&request->cancellable);
    g_clear_object(&request->stream);
    g_clear_pointer(&request->body, g_byte_array_unref);
    g_free(request);
}

static void request_end(Request *request, guint status, GBytes *body, const GError *error)
{
    request->answered(status, body, error, request->userdata);
    request_free(request);
}

static void request_fail(Request *request, const GError *cause)
{
    g_autoptr(GError) error = NULL;
    const char *host = g_uri_get_host(soup_message_get_uri(request->message));
    if (request->timed_out) {
        error = g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT, "%s did not answer within %u seconds", host,
                            request->timeout_seconds);
    } else if (g_cancellable_is_cancelled(request->cancellable)) {
        error = g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "The request was given up");
    } else {
        g_autofree char *text = https_describe_failure(request->message, cause);
        bool offline = https_error_is_offline(cause);
        error = g_error_new_literal(offline ? cause->domain : IOTHSM_ERROR,
                                    offline ? cause->code : IOTHSM_ERROR_LINK_DOWN, text);
    }
    request_end(request, 0, NULL, error);
}

static gboolean on_time_limit(void *userdata)
{
    Request *request = userdata;
    request->timer = 0;
    request->timed_out = true;
    g_cancellable_cancel(request->cancellable);
    return G_SOURCE_REMOVE;
}

static void read_more(Request *request);

static void on_chunk(GObject *source, GAsyncResult *result, void *userdata)
{
    Request *request = userdata;
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) chunk = g_input_stream_read_bytes_finish(G_INPUT_STREAM(source), result, &error);
    if (!chunk) {
        request_fail(request, error);
        return;
    }
    gsize size;
    const guint8 *bytes = g_bytes_get_data(chunk, &size);
    if (size == 0) {
        g_autoptr(GBytes) body = g_byte_array_free_to_bytes(g_steal_pointer(&request->body));
        request_end(request, soup_message_get_status(request->message), body, NULL);
    } else if (size > request->answer_max - request->body->len) {
        error = g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN,
                            "The answer of %s is larger than %" G_GSIZE_FORMAT " bytes",
                            g_uri_get_host(soup_message_get_uri(request->message)), request->answer_max);
        request_end(request, 0, NULL, error);
    } else {
        g_byte_array_append(request->body, bytes, (guint)size);
        read_more(request);
    }
}

static void read_more(Request *request)
{
    g_input_stream_read_bytes_async(request->stream, CHUNK, G_PRIORITY_DEFAULT, request->cancellable,
                                    on_chunk, request);
}

static void on_answer(GObject *source, GAsyncResult *result, void *userdata)
{
    Request *request = userdata;
    g_autoptr(GError) error = NULL;
    request->stream = soup_session_send_finish(SOUP_SESSION(source), result, &error);
    if (!request->stream) {
        request_fail(request, error);
        return;
    }
    request->body = g_byte_array_new();
    read_more(request);
}

void https_send(SoupSession *session, SoupMessage *message, gsize answer_max, guint timeout_seconds,
                GCancellable *cancellable, HttpsAnsweredFunc answered, void *userdata)
{
    Request *request = g_new0(Request, 1);
    request->message = g_object_ref(message);
    request->cancellable = g_object_ref(cancellable);
    request->answer_max = answer_max;
    request->timeout_seconds = timeout_seconds;
    request->answered = answered;
    request->userdata = userdata;
    soup_message_add_flags(message, SOUP_MESSAGE_NO_REDIRECT | SOUP_MESSAGE_IDEMPOTENT);
    request->timer = g_timeout_add_seconds(timeout_seconds, on_time_limit, request);
    soup_session_send_async(session, message, G_PRIORITY_DEFAULT, cancellable, on_answer, request);
}

typedef struct Post {
    HttpsDoneFunc done;
    void *userdata;
} Post;

static void on_posted(guint status, GBytes *body, const GError *error, void *userdata)
{
    g_autofree Post *post = userdata;
    gsize size = 0;
    const char *text = body ? g_bytes_get_data(body, &size) : NULL;
    g_autoptr(JsonObject) answer = text ? json_object_parse(text, size, NULL) : NULL;
    post->done(status, answer, error, post->userdata);
}

void https_post(SoupSession *session, const char *url, GBytes *body, guint timeout_seconds,
                GCancellable *cancellable, HttpsDoneFunc done, void *userdata)
{
    g_autoptr(SoupMessage) message = soup_message_new("POST", url);
    g_assert(message); /* |url| was checked by https_url_is_allowed */
    soup_message_set_request_body_from_bytes(message, "application/json", body);
    Post *post = g_new0(Post, 1);
    *post = (Post){done, userdata};
    https_send(session, message, HTTPS_ANSWER_MAX, timeout_seconds, cancellable, on_posted, post);
}
