/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The session has no cookies, no cache, no decompression and no WebSocket extensions. A request is a small
 * object that lives from the first asynchronous call to the last; its time limit is a timer that cancels it,
 * because a socket time- out does not see a server that sends one byte a second. */

#include "daemon/link/https.h"

#include "daemon/error.h"
#include "daemon/json.h"
#include "iothsm-build.h"

/* Eight bootstraps at once and a CRL on its way, each on its own connection. */
#define CONNECTIONS_PER_HOST 12

#define LINE_MAX_CHARACTERS 300

SoupSession *https_session_new(const char *tls_ca, GError **error)
{
    g_autoptr(GTlsDatabase) roots = NULL;
    if (tls_ca) {
        roots = g_tls_file_database_new(tls_ca, error);
        if (!roots) {
            g_prefix_error(error, "The TLS roots of TlsCa= could not be read from %s: ", tls_ca);
            return NULL;
        }
    }
    SoupSession *session = soup_session_new_with_options("user-agent", "iothsm/" IOTHSM_VERSION, "max-conns",
                                                         4 * CONNECTIONS_PER_HOST, "max-conns-per-host",
                                                         CONNECTIONS_PER_HOST, NULL);
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
                               soup_status_get_phrase(status),
                               SOUP_STATUS_IS_REDIRECTION(status) ? "; redirects are not followed" : "");
    }
    return g_strdup_printf("No connection to %s: %s", host, error->message);
}

typedef struct Post {
    SoupMessage *message;
    GCancellable *cancellable;
    GInputStream *stream;
    char *buffer; /* HTTPS_ANSWER_MAX + 1 bytes, so that one too many is seen */
    guint timer;
    guint timeout_seconds;
    bool timed_out;
    HttpsDoneFunc done;
    void *userdata;
} Post;

static void post_free(Post *post)
{
    g_clear_handle_id(&post->timer, g_source_remove);
    g_clear_object(&post->message);
    g_clear_object(&post->cancellable);
    g_clear_object(&post->stream);
    g_free(post->buffer);
    g_free(post);
}

static void post_fail(Post *post, const GError *cause)
{
    g_autoptr(GError) error = NULL;
    const char *host = g_uri_get_host(soup_message_get_uri(post->message));
    if (post->timed_out) {
        error = g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN, "%s did not answer within %u seconds", host,
                            post->timeout_seconds);
    } else if (g_cancellable_is_cancelled(post->cancellable)) {
        error = g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "The request was given up");
    } else {
        g_autofree char *text = https_describe_failure(post->message, cause);
        bool offline = https_error_is_offline(cause);
        error = g_error_new_literal(offline ? cause->domain : IOTHSM_ERROR,
                                    offline ? cause->code : IOTHSM_ERROR_LINK_DOWN, text);
    }
    post->done(0, NULL, error, post->userdata);
    post_free(post);
}

static gboolean on_time_limit(void *userdata)
{
    Post *post = userdata;
    post->timer = 0;
    post->timed_out = true;
    g_cancellable_cancel(post->cancellable);
    return G_SOURCE_REMOVE;
}

static void on_body(GObject *source, GAsyncResult *result, void *userdata)
{
    Post *post = userdata;
    g_autoptr(GError) error = NULL;
    gsize size = 0;
    if (!g_input_stream_read_all_finish(G_INPUT_STREAM(source), result, &size, &error)) {
        post_fail(post, error);
        return;
    }
    if (size > HTTPS_ANSWER_MAX) {
        error = g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN, "The answer of %s is larger than %u bytes",
                            g_uri_get_host(soup_message_get_uri(post->message)), HTTPS_ANSWER_MAX);
        post->done(0, NULL, error, post->userdata);
        post_free(post);
        return;
    }
    g_autoptr(JsonObject) answer = json_object_parse(post->buffer, size, NULL);
    post->done(soup_message_get_status(post->message), answer, NULL, post->userdata);
    post_free(post);
}

static void on_answer(GObject *source, GAsyncResult *result, void *userdata)
{
    Post *post = userdata;
    g_autoptr(GError) error = NULL;
    post->stream = soup_session_send_finish(SOUP_SESSION(source), result, &error);
    if (!post->stream) {
        post_fail(post, error);
        return;
    }
    post->buffer = g_malloc(HTTPS_ANSWER_MAX + 1);
    g_input_stream_read_all_async(post->stream, post->buffer, HTTPS_ANSWER_MAX + 1, G_PRIORITY_DEFAULT,
                                  post->cancellable, on_body, post);
}

void https_post(SoupSession *session, const char *url, GBytes *body, guint timeout_seconds,
                GCancellable *cancellable, HttpsDoneFunc done, void *userdata)
{
    Post *post = g_new0(Post, 1);
    post->message = soup_message_new("POST", url);
    g_assert(post->message); /* |url| was checked by https_url_is_allowed */
    post->cancellable = g_object_ref(cancellable);
    post->timeout_seconds = timeout_seconds;
    post->done = done;
    post->userdata = userdata;
    soup_message_add_flags(post->message, SOUP_MESSAGE_NO_REDIRECT);
    soup_message_set_request_body_from_bytes(post->message, "application/json", body);
    post->timer = g_timeout_add_seconds(timeout_seconds, on_time_limit, post);
    soup_session_send_async(session, post->message, G_PRIORITY_DEFAULT, cancellable, on_answer, post);
}
