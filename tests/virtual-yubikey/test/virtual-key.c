/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See virtual-key.h. */

#include "tests/virtual-yubikey/test/virtual-key.h"
#include "tests/virtual-yubikey/test/child.h"
#include <gio/gunixsocketaddress.h>
#include <signal.h>
#include <string.h>

#define SECONDS 30

struct VirtualKey {
    GSubprocess *child;
    GSocketConnection *control;
    GDataInputStream *answers;
};

static void open_control(VirtualKey *key, const char *directory)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = g_build_filename(directory, "control", NULL);
    g_autoptr(GSocketAddress) address = g_unix_socket_address_new(path);
    g_autoptr(GSocketClient) client = g_socket_client_new();
    g_socket_client_set_timeout(client, SECONDS);
    key->control = g_socket_client_connect(client, G_SOCKET_CONNECTABLE(address), NULL, &error);
    g_assert_no_error(error);
    key->answers = g_data_input_stream_new(g_io_stream_get_input_stream(G_IO_STREAM(key->control)));
}

static GSubprocess *start(const char *directory, const char *front, const char *const *options)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_autofree char *state = g_strconcat("--state=", directory, NULL);
    g_ptr_array_add(argv, (char *)g_getenv("VIRTUAL_YUBIKEY"));
    g_ptr_array_add(argv, state);
    g_ptr_array_add(argv, (char *)front);
    for (; options && *options; options++)
        g_ptr_array_add(argv, (char *)*options);
    g_ptr_array_add(argv, NULL);
    return child_start((const char *const *)argv->pdata, -1, false);
}

static void wait_until_ready(VirtualKey *key, const char *directory)
{
    g_free(test_read_line(key->child, "ready ", SECONDS));
    open_control(key, directory);
}

VirtualKey *virtual_key_start(const char *directory, guint port, const char *const *options)
{
    VirtualKey *key = g_new0(VirtualKey, 1);
    g_autofree char *front = g_strdup_printf("--vpcd=%u", port);
    key->child = start(directory, front, options);
    wait_until_ready(key, directory);
    return key;
}

VirtualKey *virtual_key_start_usb(const char *directory, const char *const *options, guint *ret_port)
{
    VirtualKey *key = g_new0(VirtualKey, 1);
    key->child = start(directory, "--usbip=0", options);
    g_autofree char *port = test_read_line(key->child, "usbip ", SECONDS);
    wait_until_ready(key, directory);
    *ret_port = (guint)g_ascii_strtoull(port, NULL, 10);
    return key;
}

void virtual_key_stop(VirtualKey *key, bool kill)
{
    g_autoptr(GError) error = NULL;
    g_subprocess_send_signal(key->child, kill ? SIGKILL : SIGTERM);
    g_subprocess_wait(key->child, NULL, &error);
    g_assert_no_error(error);
    if (!kill)
        g_assert_cmpint(g_subprocess_get_exit_status(key->child), ==, 0);
    g_clear_object(&key->answers);
    g_clear_object(&key->control);
    g_clear_object(&key->child);
}

void virtual_key_free(VirtualKey *key)
{
    if (key && key->child)
        virtual_key_stop(key, false);
    g_free(key);
}

static char *ask(VirtualKey *key, const char *request)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *line = g_strconcat(request, "\n", NULL);
    GOutputStream *out = g_io_stream_get_output_stream(G_IO_STREAM(key->control));
    g_output_stream_write_all(out, line, strlen(line), NULL, NULL, &error);
    g_assert_no_error(error);
    char *answer = g_data_input_stream_read_line(key->answers, NULL, NULL, &error);
    g_assert_no_error(error);
    g_assert_nonnull(answer);
    return answer;
}

char *virtual_key_ask(VirtualKey *key, const char *request)
{
    g_autofree char *answer = ask(key, request);
    if (!g_str_has_prefix(answer, "ok"))
        g_error("\"%s\" was answered with \"%s\"", request, answer);
    return g_strdup(g_strchug(answer + strlen("ok")));
}

void virtual_key_tell(VirtualKey *key, const char *request)
{
    g_free(virtual_key_ask(key, request));
}

void virtual_key_refuses(VirtualKey *key, const char *request)
{
    g_autofree char *answer = ask(key, request);
    g_assert_true(g_str_has_prefix(answer, "error"));
}

guint64 virtual_key_count(VirtualKey *key, const char *name)
{
    g_autofree char *text = virtual_key_ask(key, "count");
    g_auto(GStrv) members = g_strsplit(text, " ", -1);
    g_autofree char *prefix = g_strconcat(name, "=", NULL);
    for (char **member = members; *member; member++)
        if (g_str_has_prefix(*member, prefix))
            return g_ascii_strtoull(*member + strlen(prefix), NULL, 10);
    return 0;
}
