/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/notify.h"
#include "tests/support/support.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A service manager's socket, which nobody reads unless the test does. */
static int manager_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    g_assert_cmpuint(strlen(path), <, sizeof address.sun_path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&address, sizeof address), ==, 0);
    return fd;
}

static void a_status_arrives(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "notify", NULL);
    int fd = manager_socket(path);
    g_setenv("NOTIFY_SOCKET", path, TRUE);
    g_assert_true(notify_status("1 of 1 tokens ready"));
    char text[64] = "";
    g_assert_cmpint(recv(fd, text, sizeof text - 1, 0), ==, strlen("STATUS=1 of 1 tokens ready"));
    g_assert_cmpstr(text, ==, "STATUS=1 of 1 tokens ready");
    close(fd);
}

/* The queue of a datagram socket is short: it is soon full, and then nobody waits. */
static void a_manager_that_does_not_read_is_not_waited_for(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = g_build_filename(directory, "notify", NULL);
    int fd = manager_socket(path);
    g_setenv("NOTIFY_SOCKET", path, TRUE);
    guint told = 0;
    while (told < 100 * 1000 && notify_status("busy"))
        told++;
    g_assert_cmpuint(told, >, 0);
    g_assert_cmpuint(told, <, 100 * 1000);
    close(fd);
}

static void without_a_manager_all_is_well(void)
{
    g_unsetenv("NOTIFY_SOCKET");
    g_assert_true(notify_status("alone"));
    g_setenv("NOTIFY_SOCKET", "nonsense", TRUE);
    g_assert_true(notify_status("alone"));
    g_unsetenv("NOTIFY_SOCKET");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/notify/arrives", a_status_arrives);
    g_test_add_func("/notify/not-waited-for", a_manager_that_does_not_read_is_not_waited_for);
    g_test_add_func("/notify/alone", without_a_manager_all_is_well);
    return g_test_run();
}
