/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One datagram on $NOTIFY_SOCKET (sd_notify(3)), without waiting. */

#include "daemon/notify.h"
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* False where the variable names no socket that we can reach: systemd says "@name" for an abstract one. */
static bool read_address(const char *path, struct sockaddr_un *ret_address, socklen_t *ret_size)
{
    gsize length = strlen(path);
    if (length < 2 || length > sizeof ret_address->sun_path || (path[0] != '/' && path[0] != '@'))
        return false;
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(ret_address->sun_path, path, length);
    if (path[0] == '@')
        ret_address->sun_path[0] = '\0';
    *ret_size = (socklen_t)(G_STRUCT_OFFSET(struct sockaddr_un, sun_path) + length);
    return true;
}

bool notify_status(const char *status)
{
    const char *path = g_getenv("NOTIFY_SOCKET");
    struct sockaddr_un address;
    socklen_t size;
    if (!path || !read_address(path, &address, &size))
        return true;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    g_autofree char *text = g_strconcat("STATUS=", status, NULL);
    gsize length = strlen(text);
    bool told = sendto(fd, text, length, MSG_NOSIGNAL, (struct sockaddr *)&address, size) == (ssize_t)length;
    close(fd);
    return told;
}
