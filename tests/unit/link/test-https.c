/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* HTTPS towards the platform: whose certificate is believed, and that size, time and redirects have limits
 * (protocol.md W.2; section 7, row 25). */

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/transport/https.h"
#include "daemon/openssl-cleanup.h"
#include "tests/support/support.h"
#include <unistd.h>

typedef struct Reply {
    bool done;
    guint status;
    char *success; /* the answer as text, or NULL */
    GError *error;
} Reply;

static void on_reply(guint status, JsonObject *answer, const GError *error, void *userdata)
{
    Reply *reply = userdata;
    g_assert_false(reply->done);
    reply->done = true;
    reply->status = status;
    reply->success = answer ? json_object_to_text(answer) : NULL;
    reply->error = error ? g_error_copy(error) : NULL;
}

static void reply_clear(Reply *reply)
{
    g_free(reply->success);
    g_clear_error(&reply->error);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Reply, reply_clear)

static void post(SoupSession *session, const char *url, guint timeout, GCancellable *cancellable,
                 Reply *reply)
{
    g_autoptr(GBytes) body = g_bytes_new_static("{\"a\":1}", 7);
    https_post(session, url, body, timeout, cancellable, on_reply, reply);
    g_assert_false(reply->done);
}

/* Where the requests of one test came from. */
static GHashTable *connections;

static void note_connection(SoupServerMessage *message)
{
    if (!connections)
        return;
    GSocketAddress *address = soup_server_message_get_remote_address(message);
    guint16 port = g_inet_socket_address_get_port(G_INET_SOCKET_ADDRESS(address));
    g_hash_table_add(connections, GUINT_TO_POINTER((guint)port));
}

static void on_request(SoupServer *server, SoupServerMessage *message, const char *path, GHashTable *query,
                       void *userdata)
{
    note_connection(message);
    soup_server_message_set_status(message, 200, NULL);
    if (g_str_equal(path, "/large")) {
        g_autofree char *large = g_strnfill(HTTPS_ANSWER_MAX + 1, ' ');
        soup_server_message_set_response(message, "application/json", SOUP_MEMORY_COPY, large, strlen(large));
    } else if (g_str_equal(path, "/slow")) {
        soup_server_message_pause(message);
    } else if (g_str_equal(path, "/elsewhere")) {
        soup_server_message_set_redirect(message, 307, "/json");
    } else if (g_str_equal(path, "/text")) {
        soup_server_message_set_response(message, "text/plain", SOUP_MEMORY_STATIC, "hello", 5);
    } else {
        const char *agent =
            soup_message_headers_get_one(soup_server_message_get_request_headers(message), "User-Agent");
        g_assert_true(g_str_has_prefix(agent, "iothsm/"));
        g_assert_cmpstr(soup_server_message_get_method(message), ==, "POST");
        g_assert_cmpstr(soup_server_message_get_request_body(message)->data, ==, "{\"a\":1}");
        soup_server_message_set_response(message, "application/json", SOUP_MEMORY_STATIC,
                                         "{\"success\":true}", 16);
    }
}

/* |certificate| NULL: plain HTTP. Transfer full. */
static SoupServer *serve(GTlsCertificate *certificate, char **ret_base)
{
    g_autoptr(GError) error = NULL;
    SoupServer *server = soup_server_new(NULL, NULL);
    if (certificate)
        soup_server_set_tls_certificate(server, certificate);
    soup_server_add_handler(server, NULL, on_request, NULL, NULL);
    soup_server_listen_local(
        server, 0, SOUP_SERVER_LISTEN_IPV4_ONLY | (certificate ? SOUP_SERVER_LISTEN_HTTPS : 0), &error);
    g_assert_no_error(error);
    GSList *uris = soup_server_get_uris(server);
    *ret_base = g_strdup_printf("http%s://127.0.0.1:%d", certificate ? "s" : "", g_uri_get_port(uris->data));
    g_slist_free_full(uris, (GDestroyNotify)g_uri_unref);
    return server;
}

static void answers_have_limits(void)
{
    g_autofree char *base = NULL;
    g_autoptr(SoupServer) server = serve(NULL, &base);
    g_autoptr(SoupSession) session = https_session_new(NULL, HTTPS_CONNECTIONS);
    const struct {
        const char *path;
        guint status;
        const char *answer;
        const char *words; /* of the error, or NULL */
        int code;
    } cases[] = {
        {"/json", 200, "{\"success\":true}", NULL, 0},
        {"/text", 200, NULL, NULL, 0},
        {"/elsewhere", 307, NULL, NULL, 0},
        {"/large", 0, NULL, "is larger than", IOTHSM_ERROR_LINK_DOWN},
        {"/slow", 0, NULL, "did not answer within 1 seconds", IOTHSM_ERROR_TIMED_OUT},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_autofree char *url = g_strconcat(base, cases[i].path, NULL);
        g_auto(Reply) reply = {0};
        post(session, url, 1, cancellable, &reply);
        test_wait(&reply.done, 20);
        g_assert_cmpuint(reply.status, ==, cases[i].status);
        g_assert_cmpstr(reply.success, ==, cases[i].answer);
        g_assert_true((reply.error != NULL) == (cases[i].words != NULL));
        if (cases[i].words) {
            g_assert_error(reply.error, IOTHSM_ERROR, cases[i].code);
            g_assert_nonnull(strstr(reply.error->message, cases[i].words));
        }
    }
}

/* A handshake for each message would cost more than all the rest of it. */
static void requests_share_a_connection(void)
{
    g_autofree char *base = NULL;
    g_autoptr(SoupServer) server = serve(NULL, &base);
    g_autoptr(SoupSession) session = https_session_new(NULL, HTTPS_CONNECTIONS);
    connections = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < 5; i++) {
        g_autoptr(GCancellable) cancellable = g_cancellable_new();
        g_auto(Reply) reply = {0};
        post(session, base, 10, cancellable, &reply);
        test_wait(&reply.done, 20);
        g_assert_no_error(reply.error);
    }
    g_assert_cmpuint(g_hash_table_size(connections), ==, 1);
    g_clear_pointer(&connections, g_hash_table_unref);
}

static void a_cancelled_request_says_so_once(void)
{
    g_autofree char *base = NULL;
    g_autoptr(SoupServer) server = serve(NULL, &base);
    g_autoptr(SoupSession) session = https_session_new(NULL, HTTPS_CONNECTIONS);
    g_autofree char *url = g_strconcat(base, "/slow", NULL);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Reply) reply = {0};
    post(session, url, 30, cancellable, &reply);
    g_cancellable_cancel(cancellable);
    test_wait(&reply.done, 20);
    g_assert_error(reply.error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED);
}

/* A CA of the test's own and a certificate for 127.0.0.1 below it. */
static GTlsCertificate *server_certificate(const char *directory, const char *san, char **ret_ca_path)
{
    g_autoptr(EVP_PKEY) ca_key = test_new_key("rsa2048");
    g_autoptr(X509) ca = test_ca("TLS root", ca_key);
    g_autoptr(EVP_PKEY) key = test_new_key("rsa2048");
    const char *const extensions[] = {"subjectAltName", san, NULL};
    g_autoptr(X509) certificate = test_certificate(
        &(TestCertificate){.subject = "CN=server", .extensions = extensions}, key, ca, ca_key);
    g_autofree char *certificate_pem = test_certificate_pem(certificate);
    g_autofree char *key_pem = test_key_pem(key, NULL);
    g_autofree char *both = g_strconcat(certificate_pem, key_pem, NULL);
    g_autofree char *ca_pem = test_certificate_pem(ca);
    *ret_ca_path = test_write(directory, "tls-ca.pem", ca_pem);
    g_autoptr(GError) error = NULL;
    GTlsCertificate *tls = g_tls_certificate_new_from_pem(both, -1, &error);
    g_assert_no_error(error);
    return tls;
}

static void assert_tls(const char *url, const char *tls_ca, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GTlsDatabase) roots = tls_ca ? g_tls_file_database_new(tls_ca, &error) : NULL;
    g_assert_no_error(error);
    g_autoptr(SoupSession) session = https_session_new(roots, HTTPS_CONNECTIONS);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Reply) reply = {0};
    post(session, url, 10, cancellable, &reply);
    test_wait(&reply.done, 20);
    if (!words) {
        g_assert_no_error(reply.error);
        g_assert_cmpuint(reply.status, ==, 200);
        return;
    }
    g_assert_error(reply.error, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN);
    if (!strstr(reply.error->message, words))
        g_error("%s", reply.error->message);
}

static void assert_roots(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *ca_path = NULL;
    g_autofree char *base = NULL;
    g_autoptr(GTlsCertificate) tls = server_certificate(directory, "IP:127.0.0.1", &ca_path);
    g_autoptr(SoupServer) server = serve(tls, &base);
    g_autofree char *url = g_strconcat(base, "/json", NULL);
    assert_tls(url, ca_path, NULL);
    assert_tls(url, NULL, "not issued by a root that this machine trusts");

    g_autofree char *elsewhere = test_directory();
    g_autofree char *other_ca = NULL;
    g_autofree char *other_base = NULL;
    g_autoptr(GTlsCertificate) other = server_certificate(elsewhere, "DNS:platform.example", &other_ca);
    assert_tls(url, other_ca, "does not verify"); /* a root of the same name with another key */
    g_autoptr(SoupServer) wrong_name = serve(other, &other_base);
    g_autofree char *wrong_url = g_strconcat(other_base, "/json", NULL);
    assert_tls(wrong_url, other_ca, "another host name");
}

/* In a process of its own that ends at once: LeakSanitizer's check at exit crashes over the thread-local
 * memory of a TLS library that was loaded after the first thread. */
static void the_given_root_alone_is_believed(void)
{
    if (g_test_subprocess()) {
        assert_roots();
        _exit(0);
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_INHERIT_STDERR);
    g_test_trap_assert_passed();
}

static void refused_connections_are_told_in_words(void)
{
    g_autofree char *base = NULL;
    SoupServer *server = serve(NULL, &base);
    g_object_unref(server); /* nobody listens there any more */
    g_autoptr(SoupSession) session = https_session_new(NULL, HTTPS_CONNECTIONS);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Reply) reply = {0};
    post(session, base, 10, cancellable, &reply);
    test_wait(&reply.done, 20);
    g_assert_error(reply.error, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN);
    g_assert_true(g_str_has_prefix(reply.error->message, "No connection to 127.0.0.1"));
}

static void plain_http_is_for_loopback_only(void)
{
    static const struct {
        const char *url;
        bool allowed;
    } cases[] = {{"https://pkiaas.io", true},
                 {"http://127.0.0.1:1", true},
                 {"http://[::1]:1", true},
                 {"http://localhost", true},
                 {"http://127.9.8.7", true},
                 {"http://pkiaas.io", false},
                 {"http://127.0.0.1.example", false},
                 {"http://localhost.example", false},
                 {"file:///etc", false},
                 {"https://", false},
                 {"", false},
                 {"http://user@10.0.0.1", false}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        if (https_url_is_allowed(cases[i].url, "https", "http", &error) != cases[i].allowed)
            g_error("%s", cases[i].url);
        g_assert_true((error == NULL) == cases[i].allowed);
    }
}

static void foreign_text_becomes_one_line(void)
{
    g_autofree char *line = https_one_line("  two\nlines\tand \x01\xff  ");
    g_assert_null(strpbrk(line, "\n\t\x01"));
    g_assert_true(g_utf8_validate(line, -1, NULL));
    g_assert_true(g_str_has_prefix(line, "two lines"));
    g_autofree char *long_text = g_strnfill(10000, 'x');
    g_autofree char *cut = https_one_line(long_text);
    g_assert_cmpuint(strlen(cut), ==, 300);
    g_autofree char *nothing = https_one_line(NULL);
    g_assert_cmpstr(nothing, ==, "");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/https/" #name, name)
    TEST(answers_have_limits);
    TEST(requests_share_a_connection);
    TEST(a_cancelled_request_says_so_once);
    TEST(the_given_root_alone_is_believed);
    TEST(refused_connections_are_told_in_words);
    TEST(plain_http_is_for_loopback_only);
    TEST(foreign_text_becomes_one_line);
    return g_test_run();
}
