/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See google-cloud.h. */

#include "tests/google-kms/test/google-cloud.h"
#include <libsoup/soup.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define SECONDS 60

struct GoogleCloud {
    char *directory;
    GStrv options;
    char *url;
    GSubprocess *child;
};

static void end_with_parent(gpointer data)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
        _exit(126);
}

static void start(GoogleCloud *cloud, const char *port)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *directory = g_strconcat("--directory=", cloud->directory, NULL);
    g_autofree char *port_option = g_strconcat("--port=", port, NULL);
    g_assert_nonnull(g_getenv("IOTHSM_GOOGLE_CLOUD"));
    g_ptr_array_add(argv, (char *)g_getenv("IOTHSM_GOOGLE_CLOUD"));
    g_ptr_array_add(argv, directory);
    g_ptr_array_add(argv, port_option);
    for (char **option = cloud->options; option && *option; option++)
        g_ptr_array_add(argv, *option);
    g_ptr_array_add(argv, NULL);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_subprocess_launcher_set_child_setup(launcher, end_with_parent, NULL, NULL);
    cloud->child = g_subprocess_launcher_spawnv(launcher, (const char *const *)argv->pdata, &error);
    g_assert_no_error(error);
    g_free(cloud->url);
    cloud->url = test_read_line(cloud->child, "ready ", SECONDS);
}

GoogleCloud *google_cloud_start(const char *directory, const char *const *options)
{
    GoogleCloud *cloud = g_new0(GoogleCloud, 1);
    cloud->directory = g_strdup(directory);
    cloud->options = g_strdupv((char **)options);
    start(cloud, "0");
    return cloud;
}

void google_cloud_stop(GoogleCloud *cloud)
{
    g_autoptr(GError) error = NULL;
    g_subprocess_send_signal(cloud->child, SIGTERM);
    g_subprocess_wait(cloud->child, NULL, &error);
    g_assert_no_error(error);
    g_assert_true(g_subprocess_get_if_exited(cloud->child));
    g_assert_cmpint(g_subprocess_get_exit_status(cloud->child), ==, 0);
    g_clear_object(&cloud->child);
}

void google_cloud_start_again(GoogleCloud *cloud)
{
    g_autofree char *port = g_strdup(strrchr(cloud->url, ':') + 1);
    start(cloud, port);
}

void google_cloud_free(GoogleCloud *cloud)
{
    if (!cloud)
        return;
    if (cloud->child)
        google_cloud_stop(cloud);
    g_free(cloud->directory);
    g_strfreev(cloud->options);
    g_free(cloud->url);
    g_free(cloud);
}

const char *google_cloud_url(const GoogleCloud *cloud)
{
    return cloud->url;
}

char *google_cloud_credentials(const GoogleCloud *cloud, const char *account)
{
    return g_strdup_printf("%s/%s.json", cloud->directory, account);
}

static char *send(GoogleCloud *cloud, SoupMessage *message, guint *ret_status)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(SoupSession) session = soup_session_new_with_options("timeout", SECONDS, NULL);
    g_autoptr(GBytes) bytes = soup_session_send_and_read(session, message, NULL, &error);
    if (!bytes) {
        *ret_status = 0;
        return g_strdup(error->message);
    }
    gsize size;
    const char *text = g_bytes_get_data(bytes, &size);
    *ret_status = soup_message_get_status(message);
    return g_strndup(text ?: "", size);
}

char *google_cloud_call(GoogleCloud *cloud, const char *method, const char *path, const char *token,
                        const char *type, const char *body, guint *ret_status)
{
    g_autofree char *url = g_strconcat(cloud->url, path, NULL);
    g_autoptr(SoupMessage) message = soup_message_new(method, url);
    SoupMessageHeaders *headers = soup_message_get_request_headers(message);
    if (token) {
        g_autofree char *bearer = g_strconcat("Bearer ", token, NULL);
        soup_message_headers_append(headers, "Authorization", bearer);
    }
    if (g_str_has_prefix(path, "/computeMetadata"))
        soup_message_headers_append(headers, "Metadata-Flavor", type ?: "");
    else if (body) {
        g_autoptr(GBytes) bytes = g_bytes_new(body, strlen(body));
        soup_message_set_request_body_from_bytes(message, type ?: "application/json", bytes);
    }
    GMainContext *context = g_main_context_new();
    g_main_context_push_thread_default(context);
    char *answer = send(cloud, message, ret_status);
    g_main_context_pop_thread_default(context);
    g_main_context_unref(context);
    return answer;
}

JsonObject *google_cloud_ask(GoogleCloud *cloud, const char *json)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *body = g_strdelimit(g_strdup(json), "'", '"');
    guint status;
    g_autofree char *answer = google_cloud_call(cloud, "POST", "/control", NULL, NULL, body, &status);
    if (status != SOUP_STATUS_OK)
        g_error("%s was answered with %u: %s", body, status, answer);
    g_autoptr(JsonNode) node = json_from_string(answer, &error);
    g_assert_no_error(error);
    return json_node_dup_object(node);
}

void google_cloud_tell(GoogleCloud *cloud, const char *json)
{
    json_object_unref(google_cloud_ask(cloud, json));
}

gint64 google_cloud_count(GoogleCloud *cloud, const char *name)
{
    g_autoptr(JsonObject) counts = google_cloud_ask(cloud, "{'do': 'counts'}");
    g_assert_true(json_object_has_member(counts, name));
    return json_object_get_int_member(counts, name);
}

typedef struct Counter {
    GoogleCloud *cloud;
    const char *name;
    gint64 at_least;
} Counter;

static bool has_counted(void *userdata)
{
    const Counter *counter = userdata;
    return google_cloud_count(counter->cloud, counter->name) >= counter->at_least;
}

void google_cloud_wait_for(GoogleCloud *cloud, const char *name, gint64 at_least)
{
    test_poll_for(has_counted, &(Counter){cloud, name, at_least}, 60);
}
