/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See reader.h. */

#include "tests/virtual-yubikey/test/reader.h"
#include "tests/virtual-yubikey/tlv.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/core_names.h>
#include <openssl/param_build.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK 255
#define SECONDS 30

static const guint8 factory_key[24] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4,
                                       5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};

Reader *reader_new(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    Reader *reader = g_new0(Reader, 1);
    reader->data = g_byte_array_new();
    reader->card = -1;
    reader->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(reader->listener, >=, 0);
    g_assert_cmpint(bind(reader->listener, (struct sockaddr *)&address, length), ==, 0);
    g_assert_cmpint(listen(reader->listener, 1), ==, 0);
    g_assert_cmpint(getsockname(reader->listener, (struct sockaddr *)&address, &length), ==, 0);
    reader->port = ntohs(address.sin_port);
    return reader;
}

void reader_free(Reader *reader)
{
    if (!reader)
        return;
    if (reader->card >= 0)
        close(reader->card);
    close(reader->listener);
    g_byte_array_unref(reader->data);
    g_free(reader);
}

static void put(Reader *reader, const guint8 *bytes, gsize length)
{
    g_autofree guint8 *message = g_malloc(2 + length);
    message[0] = (guint8)(length >> 8);
    message[1] = (guint8)length;
    if (length > 0)
        memcpy(message + 2, bytes, length);
    g_assert_cmpint(send(reader->card, message, 2 + length, MSG_NOSIGNAL), ==, (gssize)(2 + length));
}

/* False: the card has closed. */
static bool get(Reader *reader)
{
    guint8 prefix[2];
    ssize_t n = recv(reader->card, prefix, 2, MSG_WAITALL);
    if (n == 0)
        return false;
    g_assert_cmpint(n, ==, 2);
    g_byte_array_set_size(reader->data, (guint)(prefix[0] << 8 | prefix[1]));
    g_assert_cmpint(recv(reader->card, reader->data->data, reader->data->len, MSG_WAITALL), ==,
                    (gssize)reader->data->len);
    return true;
}

void reader_reset(Reader *reader)
{
    put(reader, (const guint8[]){0}, 1);
    put(reader, (const guint8[]){1}, 1);
    put(reader, (const guint8[]){4}, 1);
    g_assert_true(get(reader));
    g_assert_cmpuint(reader->data->len, ==, 23);
}

void reader_insert(Reader *reader)
{
    const struct timeval limit = {.tv_sec = SECONDS};
    const int on = 1;
    reader->card = accept4(reader->listener, NULL, NULL, SOCK_CLOEXEC);
    g_assert_cmpint(reader->card, >=, 0);
    setsockopt(reader->card, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(reader->card, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    reader_reset(reader);
}

void reader_wait_removed(Reader *reader)
{
    guint8 byte;
    g_assert_cmpint(recv(reader->card, &byte, 1, 0), ==, 0);
    close(reader->card);
    reader->card = -1;
}

static guint16 take_status(Reader *reader)
{
    guint length = reader->data->len;
    g_assert_cmpuint(length, >=, 2);
    guint16 status = (guint16)(reader->data->data[length - 2] << 8 | reader->data->data[length - 1]);
    g_byte_array_set_size(reader->data, length - 2);
    return status;
}

guint16 reader_finish(Reader *reader)
{
    g_assert_true(get(reader));
    return take_status(reader);
}

guint16 reader_transmit(Reader *reader, const guint8 *apdu, gsize length)
{
    put(reader, apdu, length);
    return reader_finish(reader);
}

static GByteArray *parse_hex(const char *hex)
{
    GByteArray *bytes = g_byte_array_new();
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        int high = g_ascii_xdigit_value(hex[0]), low = g_ascii_xdigit_value(hex[1]);
        g_assert_true(high >= 0 && low >= 0);
        guint8 byte = (guint8)(high << 4 | low);
        g_byte_array_append(bytes, &byte, 1);
        hex++;
    }
    return bytes;
}

void reader_begin(Reader *reader, const char *hex)
{
    g_autoptr(GByteArray) apdu = parse_hex(hex);
    put(reader, apdu->data, apdu->len);
}

guint16 reader_send(Reader *reader, const char *hex)
{
    reader_begin(reader, hex);
    return reader_finish(reader);
}

guint16 reader_try(Reader *reader, const char *hex)
{
    reader_begin(reader, hex);
    return get(reader) ? take_status(reader) : 0;
}

static guint16 send_block(Reader *reader, guint8 cla, const guint8 header[3], const guint8 *data,
                          gsize length)
{
    guint8 apdu[5 + BLOCK] = {cla, header[0], header[1], header[2], (guint8)length};
    if (length > 0)
        memcpy(apdu + 5, data, length);
    return reader_transmit(reader, apdu, 5 + length);
}

guint16 reader_command(Reader *reader, guint8 ins, guint8 p1, guint8 p2, const guint8 *data, gsize length)
{
    const guint8 header[] = {ins, p1, p2}, get_response[] = {0xc0, 0, 0};
    for (; length > BLOCK; data += BLOCK, length -= BLOCK) {
        guint16 status = send_block(reader, 0x10, header, data, BLOCK);
        if (status != 0x9000)
            return status;
    }
    guint16 status = send_block(reader, 0, header, data, length);
    g_autoptr(GByteArray) whole = g_byte_array_new();
    g_byte_array_append(whole, reader->data->data, reader->data->len);
    while (status >> 8 == 0x61) {
        status = send_block(reader, 0, get_response, NULL, 0);
        g_byte_array_append(whole, reader->data->data, reader->data->len);
    }
    g_byte_array_set_size(reader->data, 0);
    g_byte_array_append(reader->data, whole->data, whole->len);
    return status;
}

char *reader_hex(const Reader *reader)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < reader->data->len; i++)
        g_string_append_printf(text, "%02x", reader->data->data[i]);
    return g_string_free(text, FALSE);
}

void reader_select(Reader *reader)
{
    g_assert_cmphex(reader_send(reader, "00A4040005A000000308"), ==, 0x9000);
}

void reader_manage(Reader *reader, guint8 algorithm)
{
    reader_select(reader);
    g_assert_cmphex(reader_authenticate(reader, algorithm, factory_key), ==, 0x9000);
}

static void one_block(guint8 algorithm, const guint8 *key, bool encipher, const guint8 *block, gsize length,
                      guint8 *ret_block)
{
    const char *name = algorithm == 0x03   ? "DES-EDE3-ECB"
                       : algorithm == 0x08 ? "AES-128-ECB"
                       : algorithm == 0x0a ? "AES-192-ECB"
                                           : "AES-256-ECB";
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int n = 0;
    g_assert_true(EVP_CipherInit_ex2(context, cipher, key, NULL, encipher, NULL));
    EVP_CIPHER_CTX_set_padding(context, 0);
    g_assert_true(EVP_CipherUpdate(context, ret_block, &n, block, (int)length));
    EVP_CIPHER_CTX_free(context);
    EVP_CIPHER_free(cipher);
}

guint16 reader_authenticate(Reader *reader, guint8 algorithm, const guint8 *key)
{
    const guint8 ask[] = {0x7c, 2, 0x80, 0}, challenge[16] = "0123456789abcdef";
    guint8 witness[16], expected[16];
    gsize block = algorithm == 0x03 ? 8 : 16;
    g_autoptr(GByteArray) proof = g_byte_array_new();
    g_autoptr(GByteArray) command = g_byte_array_new();
    guint16 status = reader_command(reader, 0x87, algorithm, 0x9b, ask, sizeof ask);
    if (status != 0x9000)
        return status;
    g_assert_cmpuint(reader->data->len, ==, 4 + block);
    one_block(algorithm, key, false, reader->data->data + 4, block, witness);
    tlv_append(proof, 0x80, witness, block);
    tlv_append(proof, 0x81, challenge, block);
    tlv_append(command, 0x7c, proof->data, proof->len);
    status = reader_command(reader, 0x87, algorithm, 0x9b, command->data, command->len);
    if (status != 0x9000)
        return status;
    one_block(algorithm, key, true, challenge, block, expected);
    g_assert_cmpmem(reader->data->data + 4, reader->data->len - 4, expected, block);
    return status;
}

static EVP_PKEY *rsa_public_key(const guint8 *tlvs, gsize length)
{
    Tlv modulus, exponent;
    g_assert_true(tlv_find(tlvs, length, 0x81, &modulus) && tlv_find(tlvs, length, 0x82, &exponent));
    BIGNUM *n = BN_bin2bn(modulus.value, (int)modulus.length, NULL);
    BIGNUM *e = BN_bin2bn(exponent.value, (int)exponent.length, NULL);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n);
    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e);
    OSSL_PARAM *parameters = OSSL_PARAM_BLD_to_param(build);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    EVP_PKEY *key = NULL;
    EVP_PKEY_fromdata_init(context);
    g_assert_cmpint(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters), ==, 1);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(build);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *ec_public_key(const char *group, const guint8 *point, gsize length)
{
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, (char *)group, 0),
        OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, (void *)point, length),
        OSSL_PARAM_construct_end(),
    };
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    EVP_PKEY_fromdata_init(context);
    g_assert_cmpint(EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters), ==, 1);
    EVP_PKEY_CTX_free(context);
    return key;
}

EVP_PKEY *reader_public_key(guint8 algorithm, const guint8 *tlvs, gsize length)
{
    Tlv tlv;
    if (!tlv_find(tlvs, length, 0x86, &tlv))
        return rsa_public_key(tlvs, length);
    if (algorithm == 0x11 || algorithm == 0x14)
        return ec_public_key(algorithm == 0x11 ? "P-256" : "P-384", tlv.value, tlv.length);
    return EVP_PKEY_new_raw_public_key_ex(NULL, algorithm == 0xe0 ? "ED25519" : "X25519", NULL, tlv.value,
                                          tlv.length);
}

EVP_PKEY *reader_generate(Reader *reader, guint8 slot, guint8 algorithm, const char *policies)
{
    g_autoptr(GByteArray) more = parse_hex(policies);
    g_autoptr(GByteArray) inner = g_byte_array_new();
    g_autoptr(GByteArray) command = g_byte_array_new();
    Tlv template;
    tlv_append_byte(inner, 0x80, algorithm);
    g_byte_array_append(inner, more->data, more->len);
    tlv_append(command, 0xac, inner->data, inner->len);
    g_assert_cmphex(reader_command(reader, 0x47, 0, slot, command->data, command->len), ==, 0x9000);
    g_assert_true(tlv_find(reader->data->data, reader->data->len, 0x7f49, &template));
    return reader_public_key(algorithm, template.value, template.length);
}

guint16 reader_sign(Reader *reader, guint8 slot, guint8 algorithm, const guint8 *input, gsize length)
{
    g_autoptr(GByteArray) inner = g_byte_array_new();
    g_autoptr(GByteArray) command = g_byte_array_new();
    Tlv template, signature;
    tlv_append(inner, 0x82, NULL, 0);
    tlv_append(inner, 0x81, input, length);
    tlv_append(command, 0x7c, inner->data, inner->len);
    guint16 status = reader_command(reader, 0x87, algorithm, slot, command->data, command->len);
    if (status != 0x9000)
        return status;
    g_assert_true(tlv_find(reader->data->data, reader->data->len, 0x7c, &template));
    g_assert_true(tlv_find(template.value, template.length, 0x82, &signature));
    g_byte_array_remove_range(reader->data, 0, (guint)(signature.value - reader->data->data));
    g_byte_array_set_size(reader->data, (guint)signature.length);
    return status;
}
