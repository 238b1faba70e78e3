/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* inotify on every folder from the root to the socket's, each for the one name that leads on: where pcscd
 * never ran its folder is not there, either. Folders are watched from the top down, so that what is made
 * meanwhile is an event of the one above. */

#include "daemon/token/yubikey/pcsc-socket.h"
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define USUAL_SOCKET "/run/pcscd/pcscd.comm"
#define EVENTS (IN_CREATE | IN_MOVED_TO | IN_ATTRIB)

struct PcscSocket {
    char *path;
    GStrv names;  /* of its path, from the root */
    int inotify;  /* -1: not armed */
    int *watches; /* for each of |names|, the watch of its folder; -1: none */
    guint n_watches;
};

PcscSocket *pcsc_socket_new(void)
{
    const char *path = g_getenv("PCSCLITE_CSOCK_NAME");
    PcscSocket *socket = g_new0(PcscSocket, 1);
    socket->path = g_canonicalize_filename(path && *path ? path : USUAL_SOCKET, "/");
    socket->names = g_strsplit(socket->path + 1, "/", -1);
    socket->n_watches = g_strv_length(socket->names);
    socket->watches = g_new(int, socket->n_watches);
    socket->inotify = -1;
    return socket;
}

static void disarm(PcscSocket *socket)
{
    if (socket->inotify >= 0)
        close(socket->inotify);
    socket->inotify = -1;
}

void pcsc_socket_free(PcscSocket *socket)
{
    if (!socket)
        return;
    disarm(socket);
    g_strfreev(socket->names);
    g_free(socket->watches);
    g_free(socket->path);
    g_free(socket);
}

void pcsc_socket_arm(PcscSocket *socket)
{
    g_autoptr(GString) folder = g_string_new("/");
    disarm(socket);
    socket->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    for (guint i = 0; i < socket->n_watches; i++) {
        socket->watches[i] =
            socket->inotify < 0 ? -1 : inotify_add_watch(socket->inotify, folder->str, EVENTS | IN_ONLYDIR);
        if (folder->len > 1)
            g_string_append_c(folder, '/');
        g_string_append(folder, socket->names[i]);
    }
}

static bool leads_to_socket(const PcscSocket *socket, const struct inotify_event *event)
{
    if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED))
        return true;
    for (guint i = 0; i < socket->n_watches; i++)
        if (socket->watches[i] == event->wd)
            return event->len > 0 && strcmp(event->name, socket->names[i]) == 0;
    return false;
}

/* Reads all that inotify has. */
static bool something_happened(PcscSocket *socket)
{
    union {
        struct inotify_event event;
        char bytes[4096];
    } buffer;
    bool happened = false;
    ssize_t size = 0;
    while ((size = read(socket->inotify, &buffer, sizeof buffer)) > 0) {
        for (const char *at = buffer.bytes; at < buffer.bytes + size;) {
            const struct inotify_event *event = (const struct inotify_event *)(const void *)at;
            happened |= leads_to_socket(socket, event);
            at += sizeof *event + event->len;
        }
    }
    return happened;
}

void pcsc_socket_wait(PcscSocket *socket, int wake)
{
    struct pollfd fds[] = {{.fd = wake, .events = POLLIN}, {.fd = socket->inotify, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, G_N_ELEMENTS(fds), -1);
        if (ready < 0 && errno != EINTR)
            return;
        guint64 count = 0;
        if (fds[0].revents && read(wake, &count, sizeof count) >= 0)
            return;
        if (fds[1].revents && something_happened(socket))
            return;
    }
}
