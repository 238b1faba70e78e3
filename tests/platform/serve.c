/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Opens the folder (one platform a folder, held by a lock), makes or reads what is kept there, listens on
 * 127.0.0.1 alone and says where. */

#include "tests/platform/serve.h"
#include "tests/platform/control.h"
#include "tests/platform/exchange.h"
#include "tests/platform/http.h"
#include "tests/platform/link.h"
#include "tests/platform/pubnub.h"
#include "tests/platform/relay.h"
#include "tests/platform/verbs.h"
#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    char *directory;
    int port;
    gboolean tls;
    char *signer;
    gboolean intermediate;
    char *transports;
    int token_life;
    gint64 message_size;
    int key_sets;
    int poll_ms;
    gboolean relay;
} given = {.token_life = 3600, .message_size = 64 * 1024 * 1024, .key_sets = 1, .poll_ms = 5000};

static const GOptionEntry entries[] = {
    {"directory", 'd', 0, G_OPTION_ARG_FILENAME, &given.directory,
     "where certificates and authorities are kept", "DIR"},
    {"port", 'p', 0, G_OPTION_ARG_INT, &given.port, "port on 127.0.0.1; 0 (usual): a free one", "PORT"},
    {"tls", 0, 0, G_OPTION_ARG_NONE, &given.tls, "serve https and wss below DIR/tls-ca.pem", NULL},
    {"signer", 0, 0, G_OPTION_ARG_STRING, &given.signer, "key of the message signer: rsa2048 (usual) or p256",
     "TYPE"},
    {"intermediate", 0, 0, G_OPTION_ARG_NONE, &given.intermediate,
     "the message signer hangs below an intermediate", NULL},
    {"transports", 0, 0, G_OPTION_ARG_STRING, &given.transports,
     "what a bootstrap names: websocket (usual), pubnub or both", "WHICH"},
    {"token-life", 0, 0, G_OPTION_ARG_INT, &given.token_life, "seconds that a channel's token is good for",
     "SECONDS"},
    {"message-size", 0, 0, G_OPTION_ARG_INT64, &given.message_size, "largest WebSocket message", "BYTES"},
    {"key-sets", 0, 0, G_OPTION_ARG_INT, &given.key_sets, "PubNub key sets that authorities take in turn",
     "N"},
    {"relay", 0, 0, G_OPTION_ARG_NONE, &given.relay, "lead agents over a way where things happen to bytes",
     NULL},
    {"poll", 0, 0, G_OPTION_ARG_INT, &given.poll_ms, "how long an idle PubNub subscribe waits", "MS"},
    {NULL}};

static int failed(const GError *error)
{
    g_printerr("iothsm-platform: %s\n", error->message);
    return 1;
}

/* An open descriptor with the lock, or -1. */
static int lock_directory(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "lock", NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
        return fd;
    g_set_error(error, G_IO_ERROR, (gint)g_io_error_from_errno(errno), "The folder %s can't be used: %s",
                directory, errno == EWOULDBLOCK ? "another platform runs for it" : g_strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Kept, so that agents see the same platform after a restart. */
static char *publisher_name(const char *directory, GError **error)
{
    g_autofree char *path = g_build_filename(directory, "publisher", NULL);
    char *name = NULL;
    if (g_file_get_contents(path, &name, NULL, NULL) && *name)
        return name;
    g_free(name);
    g_autofree char *uuid = g_uuid_string_random();
    name = g_strconcat("stand-in-", uuid, NULL);
    if (!g_file_set_contents(path, name, -1, error))
        g_clear_pointer(&name, g_free);
    return name;
}

static bool open_parts(Platform *platform, GError **error)
{
    platform->pki = pki_open(platform->directory, given.signer ?: "rsa2048", given.intermediate, error);
    if (!platform->pki || !token_key_open(platform->directory, &platform->token_key, error))
        return false;
    platform->publisher = publisher_name(platform->directory, error);
    platform->registry = platform->publisher ? registry_open(platform->directory, error) : NULL;
    platform->faults = faults_new();
    platform->tally = tally_new();
    platform->exchanges = exchanges_new(platform);
    return platform->registry != NULL;
}

static SoupServer *listen_locally(Platform *platform, guint16 *ret_port, GError **error)
{
    g_autoptr(SoupServer) server = soup_server_new("server-header", "iothsm-platform", NULL);
    if (given.tls) {
        g_autoptr(GTlsCertificate) certificate = pki_tls_certificate(platform->pki, error);
        if (!certificate)
            return NULL;
        soup_server_set_tls_certificate(server, certificate);
    }
    g_autoptr(GSocketAddress) address =
        g_inet_socket_address_new_from_string("127.0.0.1", given.relay ? 0 : (guint)given.port);
    if (!soup_server_listen(server, address, given.tls ? SOUP_SERVER_LISTEN_HTTPS : 0, error))
        return NULL;
    GSList *uris = soup_server_get_uris(server);
    *ret_port = (guint16)g_uri_get_port(uris->data);
    g_slist_free_full(uris, (GDestroyNotify)g_uri_unref);
    return g_steal_pointer(&server);
}

static void on_published(const char *channel, JsonObject *envelope, void *userdata)
{
    Platform *platform = userdata;
    exchanges_take(platform->exchanges, channel, envelope);
}

static gboolean on_signal(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_CONTINUE;
}

static gboolean on_goodbyes_sent(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

/* Lets the closing frames leave. */
static void say_goodbye(Platform *platform)
{
    if (link_agents(platform->link, NULL) == 0)
        return;
    link_say_goodbye(platform->link);
    g_timeout_add(100, on_goodbyes_sent, platform->loop);
    g_main_loop_run(platform->loop);
}

static bool run(Platform *platform, GError **error)
{
    guint16 port;
    g_autoptr(SoupServer) server = listen_locally(platform, &port, error);
    if (!server)
        return false;
    g_autoptr(Relay) relay =
        given.relay ? relay_new((guint16)given.port, port, platform->faults, error) : NULL;
    if (given.relay && !relay)
        return false;
    platform->url =
        g_strdup_printf("%s://127.0.0.1:%u", given.tls ? "https" : "http", relay ? relay_port(relay) : port);
    LinkEvents events = {.published = on_published, .userdata = platform};
    platform->link = link_new(platform, server, &events);
    PubnubEvents pubnub_events = {.published = on_published, .userdata = platform};
    platform->pubnub = pubnub_new(platform, server, &pubnub_events);
    http_serve(platform, server);
    g_autoptr(Control) control = control_open(platform->directory, verbs_handle, platform, error);
    if (!control)
        return false;
    g_unix_signal_add(SIGINT, on_signal, platform->loop);
    g_unix_signal_add(SIGTERM, on_signal, platform->loop);
    printf("verification-ca %s/verification-ca.pem\n", platform->directory);
    if (given.tls)
        printf("tls-ca %s/tls-ca.pem\n", platform->directory);
    printf("url %s\n", platform->url);
    fflush(stdout);
    g_main_loop_run(platform->loop);
    say_goodbye(platform);
    soup_server_disconnect(server);
    return true;
}

static void platform_clear(Platform *platform)
{
    g_clear_pointer(&platform->link, link_free);
    g_clear_pointer(&platform->pubnub, pubnub_free);
    g_clear_pointer(&platform->exchanges, exchanges_free);
    g_clear_pointer(&platform->registry, registry_free);
    g_clear_pointer(&platform->faults, faults_free);
    g_clear_pointer(&platform->tally, tally_free);
    g_clear_pointer(&platform->pki, pki_free);
    g_clear_pointer(&platform->loop, g_main_loop_unref);
    g_free(platform->directory);
    g_free(platform->url);
    g_free(platform->publisher);
    g_free(platform->transports);
}

static bool known_transports(const char *text, GError **error)
{
    static const char *const known[] = {"websocket", "pubnub", "both", NULL};
    if (g_strv_contains(known, text))
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "--transports= is websocket, pubnub or both");
    return false;
}

int serve_main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- stand in for PKIaaS.io on 127.0.0.1");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return failed(error);
    if (!given.directory || argc > 1) {
        g_printerr("iothsm-platform: serve needs --directory=DIR and no further arguments\n");
        return 2;
    }
    umask(077);
    g_mkdir_with_parents(given.directory, 0700);
    static Platform platform; /* reachable to the end: threads may still be at work */
    platform.loop = g_main_loop_new(NULL, FALSE);
    platform.directory = g_canonicalize_filename(given.directory, NULL);
    platform.transports = g_strdup(given.transports ?: "websocket");
    platform.token_life = given.token_life;
    platform.message_size = (guint64)given.message_size;
    platform.key_sets = (guint)CLAMP(given.key_sets, 1, 1000);
    platform.poll_ms = (guint)CLAMP(given.poll_ms, 1, 280000);
    int lock = lock_directory(platform.directory, &error);
    bool ok = lock >= 0 && known_transports(platform.transports, &error) && open_parts(&platform, &error) &&
              run(&platform, &error);
    if (!platform.exchanges || exchanges_running(platform.exchanges) == 0)
        platform_clear(&platform);
    return ok ? 0 : failed(error);
}
