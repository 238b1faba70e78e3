/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The virtual YubiKey as a USB device: the test is the kernel that imported it over USB/IP, and the CCID
 * driver. */

#include "tests/virtual-yubikey/test/virtual-key.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECONDS 30
#define READ_LENGTH 65558 /* what libccid offers */

typedef struct Host {
    char *directory;
    VirtualKey *key;
    guint port;
    int connection;
    guint32 sequence;
    guint8 message_number;
    guint8 data[READ_LENGTH];
    gsize length;
    int status;
} Host;

static void take(Host *host, void *bytes, gsize length)
{
    g_assert_cmpint(recv(host->connection, bytes, length, MSG_WAITALL), ==, (gssize)length);
}

static void give(Host *host, const void *bytes, gsize length)
{
    g_assert_cmpint(send(host->connection, bytes, length, MSG_NOSIGNAL), ==, (gssize)length);
}

static void connect_to_key(Host *host)
{
    const struct timeval limit = {.tv_sec = SECONDS};
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((guint16)host->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    host->connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(connect(host->connection, (struct sockaddr *)&address, sizeof address), ==, 0);
    setsockopt(host->connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* OP_REQ_IMPORT; the status of its reply. */
static guint32 import(Host *host, const char *bus_id)
{
    guint8 request[40] = {0x01, 0x11, 0x80, 0x03}, reply[8], device[312];
    strcpy((char *)request + 8, bus_id);
    connect_to_key(host);
    give(host, request, sizeof request);
    take(host, reply, sizeof reply);
    g_assert_cmphex(reply[2] << 8 | reply[3], ==, 0x0003);
    if (reply[7] == 0) {
        take(host, device, sizeof device);
        g_assert_cmphex((guint)(device[300] << 8 | device[301]), ==, 0x1050);
        g_assert_cmphex((guint)(device[302] << 8 | device[303]), ==, 0x0407);
        g_assert_cmphex((guint)(device[304] << 8 | device[305]), ==, 0x0543);
    }
    return reply[7];
}

static Host *host_new(void)
{
    const char *options[] = {"--firmware=5.4.3", NULL};
    Host *host = g_new0(Host, 1);
    host->directory = test_directory();
    host->key = virtual_key_start_usb(host->directory, options, &host->port);
    g_assert_cmpuint(import(host, "1-1"), ==, 0);
    return host;
}

static void host_free(Host *host)
{
    virtual_key_free(host->key);
    close(host->connection);
    g_free(host->directory);
    g_free(host);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Host, host_free)

static void put32(guint8 *bytes, guint32 number)
{
    number = GUINT32_TO_BE(number);
    memcpy(bytes, &number, sizeof number);
}

static guint32 get32(const guint8 *bytes)
{
    guint32 number;
    memcpy(&number, bytes, sizeof number);
    return GUINT32_FROM_BE(number);
}

static guint32 submit(Host *host, guint32 endpoint, bool in, const guint8 *setup, const guint8 *data,
                      guint32 length)
{
    guint8 header[48] = {0};
    put32(header, 1);
    put32(header + 4, ++host->sequence);
    put32(header + 8, 0x10002);
    put32(header + 12, in);
    put32(header + 16, endpoint);
    put32(header + 24, length);
    if (setup)
        memcpy(header + 40, setup, 8);
    give(host, header, sizeof header);
    if (!in && length > 0)
        give(host, data, length);
    return host->sequence;
}

/* The reply to |sequence|, which must be the next; |has_data|: what follows it. */
static void expect_reply(Host *host, guint32 command, guint32 sequence, bool has_data)
{
    guint8 header[48];
    take(host, header, sizeof header);
    g_assert_cmpuint(get32(header), ==, command);
    g_assert_cmpuint(get32(header + 4), ==, sequence);
    host->status = (int)get32(header + 20);
    host->length = get32(header + 24);
    g_assert_cmpuint(host->length, <=, sizeof host->data);
    if (has_data && host->length > 0)
        take(host, host->data, host->length);
}

static void ask_control(Host *host, guint8 type, guint8 request, guint8 value_high, guint8 value_low)
{
    const guint8 setup[] = {type, request, value_low, value_high, 0, 0, 0xff, 0};
    bool in = (type & 0x80) != 0;
    guint32 sequence = submit(host, 0, in, setup, NULL, in ? 0xff : 0);
    expect_reply(host, 3, sequence, in);
}

static void send_message(Host *host, guint8 type, const guint8 *body, gsize length)
{
    guint8 message[512] = {type, (guint8)length, (guint8)(length >> 8), 0, 0, 0, ++host->message_number};
    if (length > 0)
        memcpy(message + 10, body, length);
    expect_reply(host, 3, submit(host, 2, false, NULL, message, (guint32)(10 + length)), false);
}

static void read_message(Host *host)
{
    expect_reply(host, 3, submit(host, 2, true, NULL, NULL, READ_LENGTH), true);
    g_assert_cmpuint(host->length, >=, 10);
    g_assert_cmpuint(host->data[6], ==, host->message_number);
}

static void exchange(Host *host, guint8 type, const guint8 *body, gsize length)
{
    send_message(host, type, body, length);
    read_message(host);
}

static const guint8 select_piv[] = {0x00, 0xa4, 0x04, 0x00, 0x05, 0xa0, 0x00, 0x00, 0x03, 0x08};
static const guint8 verify_empty[] = {0x00, 0x20, 0x00, 0x80, 0x00};

static void assert_card_status(Host *host, guint16 expected)
{
    g_assert_cmphex(host->data[0], ==, 0x80);
    g_assert_cmphex((guint)(host->data[host->length - 2] << 8 | host->data[host->length - 1]), ==, expected);
}

static void the_descriptors_are_those_of_a_yubikey(void)
{
    g_autoptr(Host) host = host_new();
    ask_control(host, 0x80, 6, 1, 0);
    g_assert_cmpuint(host->length, ==, 18);
    g_assert_cmpmem(host->data + 8, 6, ((guint8[]){0x50, 0x10, 0x07, 0x04, 0x43, 0x05}), 6);
    ask_control(host, 0x80, 6, 2, 0);
    g_assert_cmpuint(host->length, ==, 93);
    g_assert_cmpuint(host->data[2], ==, 93);
    g_assert_cmphex(host->data[14], ==, 0x0b);
    ask_control(host, 0x80, 6, 3, 1);
    g_assert_cmpmem(host->data + 2, 4, "Y\0u", 4);
    ask_control(host, 0x80, 6, 6, 0); /* no qualifier: full speed only */
    g_assert_cmpint(host->status, ==, -EPIPE);
    ask_control(host, 0x00, 9, 0, 1);
    g_assert_cmpint(host->status, ==, 0);
    ask_control(host, 0xa1, 3, 0, 0);
    g_assert_cmpint(host->status, ==, -EPIPE);
}

static void the_reader_powers_its_card_and_passes_apdus(void)
{
    g_autoptr(Host) host = host_new();
    exchange(host, 0x65, NULL, 0);
    g_assert_cmphex(host->data[7], ==, 1); /* there, without power */
    exchange(host, 0x62, NULL, 0);
    g_assert_cmpuint(host->length, ==, 10 + 23);
    g_assert_cmphex(host->data[10], ==, 0x3b);
    virtual_key_tell(host->key, "wait powered");
    exchange(host, 0x6f, select_piv, sizeof select_piv);
    assert_card_status(host, 0x9000);
    exchange(host, 0x6f, verify_empty, sizeof verify_empty);
    assert_card_status(host, 0x63c3);
    exchange(host, 0x62, NULL, 0); /* a reset: nothing is selected */
    exchange(host, 0x6f, verify_empty, sizeof verify_empty);
    assert_card_status(host, 0x6d00);
    exchange(host, 0x6c, NULL, 0);
    g_assert_cmphex(host->data[0], ==, 0x82);
    exchange(host, 0x69, NULL, 0); /* secure PIN entry, which it lacks */
    g_assert_cmphex(host->data[7] & 0xc0, ==, 0x40);
    exchange(host, 0x63, NULL, 0);
    g_assert_cmphex(host->data[7], ==, 1);
}

static void what_takes_long_asks_for_time(void)
{
    g_autoptr(Host) host = host_new();
    exchange(host, 0x62, NULL, 0);
    virtual_key_tell(host->key, "delay 600000 a4");
    send_message(host, 0x6f, select_piv, sizeof select_piv);
    read_message(host);
    g_assert_cmpuint(host->length, ==, 10);
    g_assert_cmphex(host->data[7], ==, 0x80);
    g_assert_cmphex(host->data[8], ==, 1);
}

static void a_read_that_is_cancelled_gets_nothing(void)
{
    guint8 cancel[48] = {0};
    g_autoptr(Host) host = host_new();
    guint32 read = submit(host, 2, true, NULL, NULL, READ_LENGTH);
    put32(cancel, 2);
    put32(cancel + 4, ++host->sequence);
    put32(cancel + 20, read);
    give(host, cancel, sizeof cancel);
    expect_reply(host, 4, host->sequence, false);
    g_assert_cmpint(host->status, ==, -ECONNRESET);
    put32(cancel + 4, ++host->sequence);
    give(host, cancel, sizeof cancel);
    expect_reply(host, 4, host->sequence, false);
    g_assert_cmpint(host->status, ==, 0);
    exchange(host, 0x65, NULL, 0);
}

static void assert_closed(Host *host)
{
    guint8 byte;
    ssize_t n = recv(host->connection, &byte, 1, 0);
    g_assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(host->connection);
}

static void a_pulled_key_is_a_device_that_is_gone(void)
{
    g_autoptr(Host) host = host_new();
    exchange(host, 0x62, NULL, 0);
    virtual_key_tell(host->key, "unplug");
    assert_closed(host);
    virtual_key_tell(host->key, "wait gone");
    virtual_key_tell(host->key, "plug");
    g_assert_cmpuint(import(host, "1-1"), ==, 0);
    exchange(host, 0x65, NULL, 0);
    g_assert_cmphex(host->data[7], ==, 1);
}

static void only_the_device_that_there_is_can_be_imported(void)
{
    g_autoptr(Host) host = host_new();
    close(host->connection);
    g_assert_cmpuint(import(host, "9-9"), !=, 0);
    assert_closed(host);
    g_assert_cmpuint(import(host, "1-1"), ==, 0);
}

static void a_message_that_is_too_long_ends_the_connection(void)
{
    const guint8 header[10] = {0x6f, 0, 0, 1, 0};
    g_autoptr(Host) host = host_new();
    expect_reply(host, 3, submit(host, 2, false, NULL, header, sizeof header), false);
    assert_closed(host);
    g_assert_cmpuint(import(host, "1-1"), ==, 0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/usb/" #name, name)
    TEST(the_descriptors_are_those_of_a_yubikey);
    TEST(the_reader_powers_its_card_and_passes_apdus);
    TEST(what_takes_long_asks_for_time);
    TEST(a_read_that_is_cancelled_gets_nothing);
    TEST(a_pulled_key_is_a_device_that_is_gone);
    TEST(only_the_device_that_there_is_can_be_imported);
    TEST(a_message_that_is_too_long_ends_the_connection);
    return g_test_run();
}
