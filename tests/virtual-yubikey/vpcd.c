/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See vpcd.h. */

#include "tests/virtual-yubikey/vpcd.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The reader listens as soon as pcscd runs, of which it tells nobody. */
#define RECONNECT_MILLISECONDS 50

enum {
    CONTROL_POWER_OFF = 0,
    CONTROL_POWER_ON = 1,
    CONTROL_RESET = 2,
    CONTROL_ATR = 4,
};

static int connect_to(guint16 port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection >= 0 && connect(connection, (struct sockaddr *)&address, sizeof address) == 0 &&
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0)
        return connection;
    if (connection >= 0)
        close(connection);
    return -1;
}

/* Without quick acknowledgements each APDU takes 40 ms longer: length and body come in two packets. */
static bool receive(int connection, guint8 *bytes, gsize length)
{
    const int on = 1;
    for (gsize done = 0; done < length;) {
        ssize_t n = recv(connection, bytes + done, length - done, 0);
        if (n <= 0)
            return false;
        done += (gsize)n;
        (void)setsockopt(connection, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    }
    return true;
}

/* In one write. */
static bool answer_with(int connection, const guint8 *bytes, gsize length)
{
    g_autofree guint8 *message = g_malloc(2 + length);
    message[0] = (guint8)(length >> 8);
    message[1] = (guint8)length;
    memcpy(message + 2, bytes, length);
    return send(connection, message, 2 + length, MSG_NOSIGNAL) == (ssize_t)(2 + length);
}

static bool control(Card *card, int connection, guint8 what)
{
    gsize length;
    const guint8 *atr = card_atr(&length);
    if (what == CONTROL_ATR)
        return answer_with(connection, atr, length);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&card->hand->lock);
    card_reset(card);
    card->hand->powered = what != CONTROL_POWER_OFF;
    hand_changed(card->hand);
    return true;
}

static bool exchange(Card *card, int connection, const guint8 *bytes, gsize length, GByteArray *answer)
{
    bool answered;
    {
        g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&card->hand->lock);
        answered = card_exchange(card, bytes, length, answer);
    }
    return answered && answer_with(connection, answer->data, answer->len);
}

/* Until either side closes. */
static void serve(Card *card, int connection)
{
    g_autofree guint8 *body = g_malloc(G_MAXUINT16);
    g_autoptr(GByteArray) answer = g_byte_array_new();
    guint8 prefix[2];
    for (;;) {
        if (!receive(connection, prefix, sizeof prefix))
            return;
        gsize length = (gsize)prefix[0] << 8 | prefix[1];
        if (!receive(connection, body, length))
            return;
        bool done = length == 1 ? control(card, connection, body[0])
                                : exchange(card, connection, body, length, answer);
        if (!done)
            return;
    }
}

void vpcd_run(Card *card, guint16 port)
{
    Hand *hand = card->hand;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    while (hand_wait_plugged(hand)) {
        int connection = connect_to(port);
        if (connection < 0)
            hand_pause(hand, RECONNECT_MILLISECONDS);
        else
            card_serve(card, connection, serve);
    }
}
