/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See usb-connection.h. */

#include "tests/virtual-yubikey/usb-connection.h"
#include "tests/virtual-yubikey/ccid.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define URB_HEADER 48
#define LONGEST_WRITE 65536 /* a read may offer more room than any answer needs */
#define EXTENSION_MILLISECONDS 1000

enum {
    COMMAND_SUBMIT = 1,
    COMMAND_UNLINK = 2,
    REPLY_SUBMIT = 3,
    REPLY_UNLINK = 4,
    ENDPOINT_CONTROL = 0,
    ENDPOINT_BULK_IN = 2, /* and bulk out: the direction is told apart */
};

/* A read that waits. */
typedef struct Read {
    guint32 sequence;
    guint32 length;
} Read;

typedef struct UsbConnection {
    Card *card;
    int connection;
    GByteArray *received;  /* of a message that isn't complete; the reading thread's */
    GAsyncQueue *messages; /* GByteArray, an empty one is the end */
    GMutex lock;           /* of what follows, and of writing; never taken before the hand's */
    GQueue answers;        /* GByteArray */
    GQueue reads;          /* of the bulk endpoint */
    GQueue interrupts;     /* never answered: the card doesn't come or go on its own */
    bool busy;             /* with the message of this header */
    guint8 header[CCID_HEADER];
} UsbConnection;

static guint32 get32(const guint8 *bytes)
{
    return (guint32)bytes[0] << 24 | (guint32)bytes[1] << 16 | (guint32)bytes[2] << 8 | bytes[3];
}

static void put32(guint8 *bytes, guint32 number)
{
    bytes[0] = (guint8)(number >> 24);
    bytes[1] = (guint8)(number >> 16);
    bytes[2] = (guint8)(number >> 8);
    bytes[3] = (guint8)number;
}

static void free_bytes(void *bytes)
{
    g_byte_array_unref(bytes);
}

/* The lock is held. */
static void reply(UsbConnection *usb, guint32 command, guint32 sequence, int status, guint32 actual,
                  const guint8 *data, gsize length)
{
    g_autofree guint8 *message = g_malloc0(URB_HEADER + length);
    put32(message, command);
    put32(message + 4, sequence);
    put32(message + 20, (guint32)status);
    put32(message + 24, actual);
    if (length > 0)
        memcpy(message + URB_HEADER, data, length);
    if (send(usb->connection, message, URB_HEADER + length, MSG_NOSIGNAL) < 0)
        g_debug("the kernel let go of the device: %s", g_strerror(errno));
}

/* Brings answers and reads together; the lock is held. */
static void deliver(UsbConnection *usb)
{
    while (!g_queue_is_empty(&usb->answers) && !g_queue_is_empty(&usb->reads)) {
        GByteArray *answer = g_queue_peek_head(&usb->answers);
        g_autofree Read *read = g_queue_pop_head(&usb->reads);
        guint length = MIN(answer->len, read->length);
        reply(usb, REPLY_SUBMIT, read->sequence, 0, length, answer->data, length);
        g_byte_array_remove_range(answer, 0, length);
        if (answer->len == 0)
            g_byte_array_unref(g_queue_pop_head(&usb->answers));
    }
}

static void push_answer(UsbConnection *usb, GByteArray *answer)
{
    g_queue_push_tail(&usb->answers, answer);
    deliver(usb);
}

static void control(UsbConnection *usb, guint32 sequence, const guint8 setup[8])
{
    g_autoptr(GByteArray) data = g_byte_array_new();
    const guint8 zeros[] = {0, 0};
    guint wanted = (guint)setup[6] | (guint)setup[7] << 8;
    bool known = true;
    switch (setup[0] << 8 | setup[1]) {
    case 0x8006: /* GET_DESCRIPTOR */
        known = ccid_append_descriptor(setup[3], setup[2], usb->card->piv.memory->firmware, data);
        break;
    case 0x8000: /* GET_STATUS */
    case 0x8100:
    case 0x8200:
        g_byte_array_append(data, zeros, 2);
        break;
    case 0x810a: /* GET_INTERFACE */
        g_byte_array_append(data, zeros, 1);
        break;
    case 0x0009: /* SET_CONFIGURATION */
    case 0x010b: /* SET_INTERFACE */
    case 0x0001: /* CLEAR_FEATURE */
    case 0x0101:
    case 0x0201:
    case 0x0003: /* SET_FEATURE */
    case 0x2101: /* ABORT of the reader */
        break;
    default:
        known = false;
    }
    guint length = MIN(data->len, wanted);
    reply(usb, REPLY_SUBMIT, sequence, known ? 0 : -EPIPE, known ? length : 0, data->data,
          known ? length : 0);
}

/* Bytes of the bulk endpoint; false: they can't be a message. */
static bool receive_bulk(UsbConnection *usb, const guint8 *bytes, gsize length)
{
    g_byte_array_append(usb->received, bytes, (guint)length);
    while (usb->received->len >= CCID_HEADER) {
        gsize whole = ccid_message_length(usb->received->data);
        if (whole == 0)
            return false;
        if (usb->received->len < whole)
            return true;
        GByteArray *message = g_byte_array_new();
        g_byte_array_append(message, usb->received->data, (guint)whole);
        g_byte_array_remove_range(usb->received, 0, (guint)whole);
        g_async_queue_push(usb->messages, message);
    }
    return true;
}

static void queue_read(GQueue *reads, guint32 sequence, guint32 length)
{
    Read *read = g_new(Read, 1);
    *read = (Read){.sequence = sequence, .length = length};
    g_queue_push_tail(reads, read);
}

static bool take_read(GQueue *reads, guint32 sequence)
{
    for (GList *at = reads->head; at; at = at->next)
        if (((Read *)at->data)->sequence == sequence) {
            g_free(at->data);
            g_queue_delete_link(reads, at);
            return true;
        }
    return false;
}

static bool submit(UsbConnection *usb, const guint8 header[URB_HEADER])
{
    guint32 sequence = get32(header + 4), endpoint = get32(header + 16), length = get32(header + 24);
    bool in = get32(header + 12) != 0;
    g_autofree guint8 *data = NULL;
    if (!in && length > LONGEST_WRITE)
        return false;
    if (!in && length > 0) {
        data = g_malloc(length);
        if (recv(usb->connection, data, length, MSG_WAITALL) != (ssize_t)length)
            return false;
    }
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&usb->lock);
    if (endpoint == ENDPOINT_CONTROL) {
        control(usb, sequence, header + 40);
    } else if (!in) {
        reply(usb, REPLY_SUBMIT, sequence, 0, length, NULL, 0);
        return length == 0 || receive_bulk(usb, data, length);
    } else {
        queue_read(endpoint == ENDPOINT_BULK_IN ? &usb->reads : &usb->interrupts, sequence, length);
        deliver(usb);
    }
    return true;
}

static void unlink_urb(UsbConnection *usb, const guint8 header[URB_HEADER])
{
    guint32 sequence = get32(header + 4), which = get32(header + 20);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&usb->lock);
    bool waited = take_read(&usb->reads, which) || take_read(&usb->interrupts, which);
    reply(usb, REPLY_UNLINK, sequence, waited ? -ECONNRESET : 0, 0, NULL, 0);
}

static void extend_time(UsbConnection *usb)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&usb->lock);
    if (!usb->busy)
        return;
    GByteArray *answer = g_byte_array_new();
    ccid_append_time_extension(usb->header, answer);
    push_answer(usb, answer);
}

/* The reading thread. */
static void *read_urbs(void *userdata)
{
    UsbConnection *usb = userdata;
    struct pollfd wait = {.fd = usb->connection, .events = POLLIN};
    guint8 header[URB_HEADER];
    for (bool goes_on = true; goes_on;) {
        if (poll(&wait, 1, EXTENSION_MILLISECONDS) == 0) {
            extend_time(usb);
            continue;
        }
        if (recv(usb->connection, header, sizeof header, MSG_WAITALL) != sizeof header)
            break;
        if (get32(header) == COMMAND_SUBMIT)
            goes_on = submit(usb, header);
        else if (get32(header) == COMMAND_UNLINK)
            unlink_urb(usb, header);
        else
            goes_on = false;
    }
    g_async_queue_push(usb->messages, g_byte_array_new());
    hand_refuse(usb->card->hand); /* nobody is there any more whom a touch could help */
    return NULL;
}

static void set_busy(UsbConnection *usb, const guint8 *header)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&usb->lock);
    usb->busy = header != NULL;
    if (header)
        memcpy(usb->header, header, CCID_HEADER);
}

/* An answer, and no time extension after it. */
static void finish(UsbConnection *usb, GByteArray *answer)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&usb->lock);
    usb->busy = false;
    push_answer(usb, answer);
}

static void work(UsbConnection *usb)
{
    for (;;) {
        g_autoptr(GByteArray) message = g_async_queue_pop(usb->messages);
        g_autoptr(GByteArray) answer = g_byte_array_new();
        if (message->len == 0)
            return;
        set_busy(usb, message->data);
        if (!ccid_exchange(usb->card, message->data, message->len, answer))
            return;
        finish(usb, g_steal_pointer(&answer));
    }
}

void usb_connection_serve(Card *card, int connection)
{
    UsbConnection usb = {
        .card = card,
        .connection = connection,
        .received = g_byte_array_new(),
        .messages = g_async_queue_new_full(free_bytes),
        .answers = G_QUEUE_INIT,
        .reads = G_QUEUE_INIT,
        .interrupts = G_QUEUE_INIT,
    };
    g_mutex_init(&usb.lock);
    GThread *thread = g_thread_new("usb", read_urbs, &usb);
    work(&usb);
    shutdown(connection, SHUT_RDWR);
    g_thread_join(thread);
    g_queue_clear_full(&usb.answers, free_bytes);
    g_queue_clear_full(&usb.reads, g_free);
    g_queue_clear_full(&usb.interrupts, g_free);
    g_async_queue_unref(usb.messages);
    g_byte_array_unref(usb.received);
    g_mutex_clear(&usb.lock);
}
