/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An exchange is one request on its way. The thread that waits and the thread of libsoup hold a reference
 * each; they meet in its lock. Who no longer waits marks it as given up, and the libsoup thread cancels it
 * when it gets to it. */

#include "daemon/token/google-kms/google-http.h"
#include "daemon/error.h"
#include "iothsm-build.h"
#include <libsoup/soup.h>
#include <openssl/crypto.h>
#include <string.h>

#define PAUSE_FIRST (100 * G_TIME_SPAN_MILLISECOND)
#define PAUSE_LONGEST (8 * G_TIME_SPAN_SECOND)
#define RETRY_AFTER_MAX 60         /* seconds */
#define HTTP_TOO_MANY_REQUESTS 429 /* RFC 6585, 4; libsoup has no name for it */
/* How long before the deadline a sentence has to be on its way: a tenth of what is left, at most this. */
#define EARLIER_MAX (200 * G_TIME_SPAN_MILLISECOND)

struct GoogleHttp {
    GThread *thread;
    GMainContext *context;
    bool closing;    /* its thread only */
    guint exchanges; /* its thread only: not over */
};

struct GoogleSession {
    GoogleHttp *http;
    guint connections;
    SoupSession *soup;   /* libsoup's thread only; NULL: not used yet */
    SoupSession *direct; /* the same, without a proxy */
};

typedef struct Exchange {
    gatomicrefcount references;
    GoogleHttp *http;
    GoogleSession *session; /* for its start; it may be freed before a given up exchange is over */
    bool metadata;
    SoupMessage *message; /* libsoup's thread only once it has begun, and freed there */
    GInputStream *stream;
    GCancellable *cancellable;
    GMutex lock;
    GCond over_or_cancelled;
    bool over;      /* guarded by lock, from here */
    bool cancelled; /* nobody wants it: who waits was told so */
    guint retry_after;
    HttpAnswer answer;
    GError *error;
} Exchange;

void http_answer_clear(HttpAnswer *answer)
{
    if (answer->body)
        OPENSSL_cleanse(answer->body, answer->size);
    g_clear_pointer(&answer->body, g_free);
}

static void exchange_unref(void *data)
{
    Exchange *exchange = data;
    if (!g_atomic_ref_count_dec(&exchange->references))
        return;
    g_clear_object(&exchange->message); /* where it never began */
    g_object_unref(exchange->cancellable);
    http_answer_clear(&exchange->answer);
    g_clear_error(&exchange->error);
    g_mutex_clear(&exchange->lock);
    g_cond_clear(&exchange->over_or_cancelled);
    g_free(exchange);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Exchange, exchange_unref)

static Exchange *exchange_ref(Exchange *exchange)
{
    g_atomic_ref_count_inc(&exchange->references);
    return exchange;
}

/* --- libsoup's thread -------------------------------------------------------------------------------- */

static gpointer http_thread(gpointer data)
{
    GoogleHttp *http = data;
    g_main_context_push_thread_default(http->context);
    while (!http->closing || http->exchanges > 0)
        g_main_context_iteration(http->context, TRUE);
    g_main_context_pop_thread_default(http->context);
    OPENSSL_thread_stop();
    return NULL;
}

static void post(GoogleHttp *http, GSourceFunc run, gpointer data, GDestroyNotify free_data)
{
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, run, data, free_data);
    g_source_attach(source, http->context);
}

static gboolean on_closing(gpointer data)
{
    ((GoogleHttp *)data)->closing = true;
    return G_SOURCE_REMOVE;
}

GoogleHttp *google_http_new(void)
{
    GoogleHttp *http = g_new0(GoogleHttp, 1);
    http->context = g_main_context_new();
    http->thread = g_thread_new("google-http", http_thread, http);
    return http;
}

void google_http_free(GoogleHttp *http)
{
    if (!http)
        return;
    post(http, on_closing, http, NULL);
    g_thread_join(http->thread);
    g_main_context_unref(http->context);
    g_free(http);
}

GoogleSession *google_session_new(GoogleHttp *http, guint connections)
{
    GoogleSession *session = g_new0(GoogleSession, 1);
    session->http = http;
    session->connections = connections;
    return session;
}

static gboolean on_session_free(gpointer data)
{
    GoogleSession *session = data;
    g_clear_object(&session->soup);
    g_clear_object(&session->direct);
    g_free(session);
    return G_SOURCE_REMOVE;
}

void google_session_free(GoogleSession *session)
{
    if (session)
        post(session->http, on_session_free, session, NULL);
}

static SoupSession *soup_of(GoogleSession *session, bool direct)
{
    SoupSession **soup = direct ? &session->direct : &session->soup;
    if (*soup)
        return *soup;
    *soup =
        soup_session_new_with_options("user-agent", "iothsm/" IOTHSM_VERSION, "max-conns",
                                      session->connections, "max-conns-per-host", session->connections, NULL);
    soup_session_remove_feature_by_type(*soup, SOUP_TYPE_CONTENT_DECODER);
    if (direct)
        soup_session_set_proxy_resolver(*soup, NULL);
    return *soup;
}

static void exchange_end(Exchange *exchange, GError *error)
{
    GoogleHttp *http = exchange->http;
    g_clear_object(&exchange->stream);
    g_clear_object(&exchange->message);
    g_mutex_lock(&exchange->lock);
    exchange->over = true;
    exchange->error = error;
    g_cond_signal(&exchange->over_or_cancelled);
    g_mutex_unlock(&exchange->lock);
    http->exchanges--;
    exchange_unref(exchange);
}

static const char *host_of(const Exchange *exchange)
{
    return g_uri_get_host(soup_message_get_uri(exchange->message));
}

static GError *no_connection(const Exchange *exchange, const GError *cause)
{
    GTlsCertificateFlags flags = soup_message_get_tls_peer_certificate_errors(exchange->message);
    if (cause->domain == G_TLS_ERROR && flags)
        return g_error_new(
            IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN,
            "No TLS connection to %s: its certificate is not valid for this machine; look at the "
            "clock, and at what may intercept TLS on the way",
            host_of(exchange));
    return g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN, "No connection to %s: %s", host_of(exchange),
                       cause->message);
}

static guint read_retry_after(SoupMessage *message)
{
    const char *text =
        soup_message_headers_get_one(soup_message_get_response_headers(message), "Retry-After");
    guint64 seconds = 0;
    return text && g_ascii_string_to_unsigned(text, 10, 1, RETRY_AFTER_MAX, &seconds, NULL) ? (guint)seconds
                                                                                            : 0;
}

static void on_body(GObject *object, GAsyncResult *result, gpointer data)
{
    Exchange *exchange = data;
    g_autoptr(GError) error = NULL;
    gsize size = 0;
    bool read = g_input_stream_read_all_finish(G_INPUT_STREAM(object), result, &size, &error);
    exchange->answer.size = size;
    exchange->answer.body[MIN(size, HTTP_ANSWER_MAX)] = '\0';
    if (!read)
        exchange_end(exchange, no_connection(exchange, error));
    else if (size > HTTP_ANSWER_MAX)
        exchange_end(exchange, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                                           "The answer of %s is larger than %u bytes", host_of(exchange),
                                           HTTP_ANSWER_MAX));
    else
        exchange_end(exchange, NULL);
}

/* Anything can answer on that address in another network; the real one names itself. */
static bool is_metadata_server(SoupMessage *message)
{
    const char *flavor =
        soup_message_headers_get_one(soup_message_get_response_headers(message), "Metadata-Flavor");
    return g_strcmp0(flavor, "Google") == 0;
}

static void on_answer(GObject *object, GAsyncResult *result, gpointer data)
{
    Exchange *exchange = data;
    g_autoptr(GError) error = NULL;
    exchange->stream = soup_session_send_finish(SOUP_SESSION(object), result, &error);
    if (!exchange->stream) {
        exchange_end(exchange, no_connection(exchange, error));
        return;
    }
    if (exchange->metadata && !is_metadata_server(exchange->message)) {
        exchange_end(exchange,
                     g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN,
                                 "What answers at %s is not Google's metadata server", host_of(exchange)));
        return;
    }
    exchange->answer.status = soup_message_get_status(exchange->message);
    exchange->retry_after = read_retry_after(exchange->message);
    exchange->answer.body = g_malloc(HTTP_ANSWER_MAX + 1);
    g_input_stream_read_all_async(exchange->stream, exchange->answer.body, HTTP_ANSWER_MAX + 1,
                                  G_PRIORITY_DEFAULT, exchange->cancellable, on_body, exchange);
}

static gboolean on_start(gpointer data)
{
    Exchange *exchange = exchange_ref(data);
    exchange->http->exchanges++;
    soup_session_send_async(soup_of(exchange->session, exchange->metadata), exchange->message,
                            G_PRIORITY_DEFAULT, exchange->cancellable, on_answer, exchange);
    return G_SOURCE_REMOVE;
}

static gboolean on_given_up(gpointer data)
{
    g_cancellable_cancel(((Exchange *)data)->cancellable);
    return G_SOURCE_REMOVE;
}

/* --- the thread that waits ---------------------------------------------------------------------------- */

static SoupMessage *message_of(const HttpRequest *request)
{
    SoupMessage *message = soup_message_new(request->body ? "POST" : "GET", request->url);
    if (!message)
        return NULL;
    SoupMessageHeaders *headers = soup_message_get_request_headers(message);
    /* Idempotent: asking twice does no harm, and only such a POST uses a connection that is open already. */
    soup_message_add_flags(message, SOUP_MESSAGE_NO_REDIRECT | SOUP_MESSAGE_IDEMPOTENT);
    if (request->body)
        soup_message_set_request_body_from_bytes(message, request->type, request->body);
    if (request->bearer) {
        g_autofree char *value = g_strconcat("Bearer ", secret_data(request->bearer), NULL);
        soup_message_headers_replace(headers, "Authorization", value);
        OPENSSL_cleanse(value, strlen(value));
    }
    if (request->metadata)
        soup_message_headers_replace(headers, "Metadata-Flavor", "Google");
    return message;
}

static void on_cancelled(GCancellable *cancellable, gpointer data)
{
    Exchange *exchange = data;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&exchange->lock);
    exchange->cancelled = true;
    g_cond_signal(&exchange->over_or_cancelled);
}

/* False: not over when the time was, or nobody wants it any more. */
static bool exchange_wait(Exchange *exchange, gint64 until, GCancellable *cancelled)
{
    gulong handler = cancelled ? g_cancellable_connect(cancelled, G_CALLBACK(on_cancelled),
                                                       exchange_ref(exchange), exchange_unref)
                               : 0;
    g_mutex_lock(&exchange->lock);
    bool in_time = true;
    while (!exchange->over && !exchange->cancelled && in_time)
        in_time = g_cond_wait_until(&exchange->over_or_cancelled, &exchange->lock, until);
    bool over = exchange->over;
    g_mutex_unlock(&exchange->lock);
    if (handler)
        g_cancellable_disconnect(cancelled, handler);
    return over;
}

static void set_given_up(const HttpRequest *request, bool cancelled, GError **error)
{
    if (cancelled)
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED,
                            "The request to Google was given up");
    else
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT,
            "Google did not answer in time when asked to %s; try again, and look at the network if it "
            "happens often",
            request->what);
}

/* One try. */
static bool exchange_run(GoogleSession *session, const HttpRequest *request, gint64 until,
                         GCancellable *cancelled, HttpAnswer *ret_answer, guint *ret_retry_after,
                         GError **error)
{
    g_autoptr(Exchange) exchange = g_new0(Exchange, 1);
    g_atomic_ref_count_init(&exchange->references);
    g_mutex_init(&exchange->lock);
    g_cond_init(&exchange->over_or_cancelled);
    exchange->http = session->http;
    exchange->session = session;
    exchange->metadata = request->metadata;
    exchange->cancellable = g_cancellable_new();
    exchange->message = message_of(request);
    if (!exchange->message) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "\"%.200s\" is no address", request->url);
        return false;
    }
    post(session->http, on_start, exchange_ref(exchange), exchange_unref);
    if (!exchange_wait(exchange, until, cancelled)) {
        set_given_up(request, cancelled && g_cancellable_is_cancelled(cancelled), error);
        post(session->http, on_given_up, exchange_ref(exchange), exchange_unref);
        return false;
    }
    if (exchange->error) {
        g_propagate_error(error, g_steal_pointer(&exchange->error));
        return false;
    }
    *ret_retry_after = exchange->retry_after;
    *ret_answer = exchange->answer;
    exchange->answer.body = NULL;
    return true;
}

/* Whoever is quick to come back is turned away again together with all others: pauses differ. */
static gint64 pause_before(guint attempt, guint retry_after)
{
    if (retry_after)
        return retry_after * G_TIME_SPAN_SECOND;
    gint64 longest = MIN(PAUSE_FIRST << MIN(attempt, 10), PAUSE_LONGEST);
    return longest / 2 + g_random_int_range(0, (gint32)(longest / 2));
}

/* False when it is cancelled meanwhile. */
static bool sleep_until(gint64 until, GCancellable *cancelled)
{
    gint64 left;
    while ((left = until - g_get_monotonic_time()) > 0) {
        if (cancelled && g_cancellable_is_cancelled(cancelled))
            return false;
        g_usleep((gulong)MIN(left, 20 * G_TIME_SPAN_MILLISECOND));
    }
    return true;
}

static bool is_busy(guint status)
{
    return status == HTTP_TOO_MANY_REQUESTS || status >= 500;
}

static void set_still_busy(const HttpRequest *request, guint status, GError **error)
{
    if (status == HTTP_TOO_MANY_REQUESTS)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                    "Google's quota is used up (429), so it did not %s; try again in a minute, or have the "
                    "project's Cloud KMS quota raised",
                    request->what);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN,
                    "Google answered with its own error %u each time it was asked to %s; try again later",
                    status, request->what);
}

/* Time that ran out in a row of busy answers says less than they do. |busy| is the last one's status, or 0.
 */
static void explain_failure(const HttpRequest *request, guint busy, GError *failure, GError **error)
{
    if (busy && g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT)) {
        g_error_free(failure);
        set_still_busy(request, busy, error);
    } else {
        g_propagate_error(error, failure);
    }
}

bool google_session_send(GoogleSession *session, const HttpRequest *request, const KeyLimits *limits,
                         HttpAnswer *ret_answer, GError **error)
{
    gint64 left = limits->deadline - g_get_monotonic_time();
    gint64 until = limits->deadline - CLAMP(left / 10, 0, EARLIER_MAX);
    bool broken = false;
    guint busy = 0;
    for (guint attempt = 0;; attempt++) {
        g_auto(HttpAnswer) answer = {0};
        g_autoptr(GError) failure = NULL;
        guint retry_after = 0;
        if (!exchange_run(session, request, until, limits->cancelled, &answer, &retry_after, &failure)) {
            /* A connection that was kept open may be dead by the time it is used. */
            if (!broken && g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN)) {
                broken = true;
                continue;
            }
            explain_failure(request, busy, g_steal_pointer(&failure), error);
            return false;
        }
        if (!is_busy(answer.status)) {
            *ret_answer = answer;
            answer.body = NULL;
            return true;
        }
        busy = answer.status;
        gint64 next = g_get_monotonic_time() + pause_before(attempt, retry_after);
        if (next >= until) {
            set_still_busy(request, busy, error);
            return false;
        }
        if (!sleep_until(next, limits->cancelled)) {
            set_given_up(request, true, error);
            return false;
        }
    }
}

static bool is_loopback(const char *host)
{
    if (g_ascii_strcasecmp(host, "localhost") == 0)
        return true;
    g_autoptr(GInetAddress) address = g_inet_address_new_from_string(host);
    return address && g_inet_address_get_is_loopback(address);
}

bool google_url_check(const char *url, GError **error)
{
    g_autoptr(GUri) uri = g_uri_parse(url, SOUP_HTTP_URI_FLAGS, NULL);
    const char *scheme = uri ? g_uri_get_scheme(uri) : NULL;
    const char *host = uri ? g_uri_get_host(uri) : NULL;
    if (host && *host && !g_uri_get_userinfo(uri) &&
        (g_strcmp0(scheme, "https") == 0 || (g_strcmp0(scheme, "http") == 0 && is_loopback(host))))
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "The address %.200s must begin with https: (http: is for loopback hosts only)", url);
    return false;
}
