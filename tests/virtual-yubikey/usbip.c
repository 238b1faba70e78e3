/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See usbip.h. */

#include "tests/virtual-yubikey/usbip.h"
#include "tests/virtual-yubikey/ccid.h"
#include "tests/virtual-yubikey/usb-connection.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define VERSION 0x0111
#define BUS_ID "1-1"
#define DEVICE_LENGTH 312
#define FULL_SPEED 2
#define RETRY_MILLISECONDS 100
#define LOCAL_CONTROLLER "/sys/devices/platform/vhci_hcd.0/attach"

enum {
    REQUEST_LIST = 0x8005,
    REQUEST_IMPORT = 0x8003,
    REPLY_LIST = 0x0005,
    REPLY_IMPORT = 0x0003,
};

int usbip_listen(guint16 port, guint16 *ret_port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    const int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0)
        return -1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 4) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        int reason = errno;
        close(listener);
        errno = reason;
        return -1;
    }
    *ret_port = ntohs(address.sin_port);
    return listener;
}

static void append16(GByteArray *to, guint number)
{
    const guint8 bytes[] = {(guint8)(number >> 8), (guint8)number};
    g_byte_array_append(to, bytes, sizeof bytes);
}

static void append32(GByteArray *to, guint32 number)
{
    append16(to, number >> 16);
    append16(to, number & 0xffff);
}

static void append_device(Firmware firmware, GByteArray *to)
{
    const guint8 rest[] = {0, 0, 0, 1, 1, 1}; /* class by interface; configuration 1 of 1, 1 interface */
    guint start = to->len;
    char path[256] = "/sys/devices/virtual-yubikey/" BUS_ID, bus_id[32] = BUS_ID;
    g_byte_array_append(to, (const guint8 *)path, sizeof path);
    g_byte_array_append(to, (const guint8 *)bus_id, sizeof bus_id);
    append32(to, 1);
    append32(to, 2);
    append32(to, FULL_SPEED);
    append16(to, CCID_VENDOR);
    append16(to, CCID_PRODUCT);
    append16(to, CCID_RELEASE(firmware));
    g_byte_array_append(to, rest, sizeof rest);
    g_assert(to->len - start == DEVICE_LENGTH);
}

static bool send_all(int connection, const GByteArray *bytes)
{
    return send(connection, bytes->data, bytes->len, MSG_NOSIGNAL) == (ssize_t)bytes->len;
}

/* True: the device is imported, the connection carries its URBs now. */
static bool negotiate(int connection, Firmware firmware)
{
    const guint8 interface[] = {0x0b, 0, 0, 0};
    guint8 request[8], bus_id[32];
    g_autoptr(GByteArray) reply = g_byte_array_new();
    if (recv(connection, request, sizeof request, MSG_WAITALL) != sizeof request)
        return false;
    guint code = (guint)(request[2] << 8 | request[3]);
    append16(reply, VERSION);
    if (code == REQUEST_LIST) {
        append16(reply, REPLY_LIST);
        append32(reply, 0);
        append32(reply, 1);
        append_device(firmware, reply);
        g_byte_array_append(reply, interface, sizeof interface);
        (void)send_all(connection, reply);
        return false;
    }
    if (code != REQUEST_IMPORT || recv(connection, bus_id, sizeof bus_id, MSG_WAITALL) != sizeof bus_id)
        return false;
    bool is_ours = strncmp((const char *)bus_id, BUS_ID, sizeof bus_id) == 0;
    append16(reply, REPLY_IMPORT);
    append32(reply, is_ours ? 0 : 1);
    if (is_ours)
        append_device(firmware, reply);
    return send_all(connection, reply) && is_ours;
}

/* -1: nobody has asked yet. */
static int accept_next(int listener)
{
    const struct timeval limit = {.tv_sec = 5};
    const int on = 1;
    int connection = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (connection < 0)
        return -1;
    (void)setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return connection;
}

void usbip_run(Card *card, int listener)
{
    Hand *hand = card->hand;
    const struct timeval no_limit = {0};
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    Firmware firmware = card->piv.memory->firmware;
    while (hand_wait_plugged(hand)) {
        g_mutex_unlock(&hand->lock);
        struct pollfd wait = {.fd = listener, .events = POLLIN};
        int connection = poll(&wait, 1, RETRY_MILLISECONDS) > 0 ? accept_next(listener) : -1;
        bool imported = connection >= 0 && negotiate(connection, firmware) &&
                        setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &no_limit, sizeof no_limit) == 0;
        g_mutex_lock(&hand->lock);
        if (imported && hand->plugged)
            card_serve(card, connection, usb_connection_serve);
        else if (connection >= 0)
            close(connection);
    }
    close(listener);
}

/* Gives the kernel one end of a pair of sockets; the other, or -1. */
static int attach(guint port)
{
    int ends[2];
    int control = open(LOCAL_CONTROLLER, O_WRONLY | O_CLOEXEC);
    if (control < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        if (control >= 0)
            close(control);
        return -1;
    }
    g_autofree char *line = g_strdup_printf("%u %d %u %d", port, ends[0], 1u << 16 | (port + 2), FULL_SPEED);
    bool attached = write(control, line, strlen(line)) == (ssize_t)strlen(line);
    close(control);
    close(ends[0]);
    if (!attached) {
        close(ends[1]);
        return -1;
    }
    return ends[1];
}

void usbip_run_local(Card *card, guint port)
{
    Hand *hand = card->hand;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    while (hand_wait_plugged(hand)) {
        int connection = attach(port);
        if (connection < 0)
            hand_pause(hand, RETRY_MILLISECONDS); /* the port is still busy with the last time */
        else
            card_serve(card, connection, usb_connection_serve);
    }
}
