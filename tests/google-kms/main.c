/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iothsm-google-cloud: a stand-in for those parts of Google Cloud that have to do with keys. Options, a port
 * on 127.0.0.1, and a line that says when it is ready. */

#include "tests/google-kms/cloud.h"
#include <glib-unix.h>
#include <locale.h>
#include <stdio.h>

static struct {
    char *directory;
    int port;
    int page_size;
    int token_life;
    char **accounts;
    char **rings;
    char **keys;
} given = {.page_size = 3, .token_life = 3599};

static const GOptionEntry entries[] = {
    {"directory", 'd', 0, G_OPTION_ARG_FILENAME, &given.directory,
     "where the world is kept and key files are written", "DIR"},
    {"port", 'p', 0, G_OPTION_ARG_INT, &given.port, "port on 127.0.0.1; 0 (usual): a free one", "PORT"},
    {"account", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.accounts,
     "instead of the usual ones, may be repeated; a GRANT is a role or a permission, with @PREFIX only below",
     "NAME:GRANT,…"},
    {"ring", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.rings, "instead of the usual ones, may be repeated",
     "NAME"},
    {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &given.keys, "instead of the usual ones, may be repeated",
     "NAME=ALGORITHM[/PROTECTION]"},
    {"page-size", 0, 0, G_OPTION_ARG_INT, &given.page_size, "at most so many on a page (3)", "N"},
    {"token-life", 0, 0, G_OPTION_ARG_INT, &given.token_life, "seconds that an access token is good for",
     "SECONDS"},
    {NULL}};

static int failed(const GError *error)
{
    g_printerr("iothsm-google-cloud: %s\n", error->message);
    return 1;
}

static gboolean stop(gpointer data)
{
    g_main_loop_quit(data);
    return G_SOURCE_CONTINUE;
}

static bool listen_locally(Cloud *cloud, SoupServer *server, GError **error)
{
    g_autoptr(GSocketAddress) address = g_inet_socket_address_new_from_string("127.0.0.1", (guint)given.port);
    if (!soup_server_listen(server, address, 0, error))
        return false;
    GSList *uris = soup_server_get_uris(server);
    cloud->url = g_strdup_printf("http://127.0.0.1:%d", g_uri_get_port(uris->data));
    g_slist_free_full(uris, (GDestroyNotify)g_uri_unref);
    return true;
}

static int run(Cloud *cloud)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SoupServer) server = soup_server_new("server-header", "iothsm-google-cloud", NULL);
    if (!listen_locally(cloud, server, &error))
        return failed(error);
    cloud->world = world_open(cloud->directory, cloud->url, (const char *const *)given.accounts,
                              (const char *const *)given.rings, (const char *const *)given.keys, &error);
    if (!cloud->world)
        return failed(error);
    oauth_serve(cloud, server);
    kms_serve(cloud, server);
    control_serve(cloud, server);
    guint terminated = g_unix_signal_add(SIGTERM, stop, cloud->loop);
    guint interrupted = g_unix_signal_add(SIGINT, stop, cloud->loop);
    printf("ready %s\n", cloud->url);
    fflush(stdout);
    g_main_loop_run(cloud->loop);
    g_source_remove(terminated);
    g_source_remove(interrupted);
    return 0;
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, "");
    g_autoptr(GError) error = NULL;
    g_autoptr(GOptionContext) context = g_option_context_new("- a stand-in for Google Cloud KMS");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error))
        return failed(error);
    if (!given.directory || given.page_size < 1) {
        g_printerr("iothsm-google-cloud: --directory= is needed, and a page size of 1 or more\n");
        return 2;
    }
    Cloud cloud = {
        .loop = g_main_loop_new(NULL, FALSE),
        .directory = given.directory,
        .faults = faults_new(),
        .tokens = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free),
        .ports = g_hash_table_new(NULL, NULL),
        .token_life = given.token_life,
        .page_size = (guint)given.page_size,
    };
    int status = run(&cloud);
    g_main_loop_unref(cloud.loop);
    g_hash_table_unref(cloud.tokens);
    g_hash_table_unref(cloud.ports);
    faults_free(cloud.faults);
    world_free(cloud.world);
    g_free(cloud.url);
    g_free(given.directory);
    g_strfreev(given.accounts);
    g_strfreev(given.rings);
    g_strfreev(given.keys);
    return status;
}
