/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* zlib streams, judged by zlib's own one-call functions. */

#include "daemon/error.h"
#include "daemon/link/message/envelope.h"
#include <string.h>
#include <zlib.h>

static GBytes *filled(gsize size, int byte)
{
    guint8 *data = g_malloc(size + 1);
    memset(data, byte, size);
    return g_bytes_new_take(data, size);
}

static void assert_unopenable(const void *data, gsize size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) deflated = g_bytes_new(data, size);
    g_assert_null(envelope_inflate(deflated, 1 << 20, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    g_assert_cmpstr(error->message, ==, "The message can't be opened with this channel's key");
}

static void deflated_has_the_default_zlib_header(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = g_bytes_new_static("{\"success\":true}", 16);
    g_autoptr(GBytes) deflated = envelope_deflate(content, &error);
    g_assert_no_error(error);
    const guint8 *bytes = g_bytes_get_data(deflated, NULL);
    g_assert_cmphex(bytes[0], ==, 0x78);
    g_assert_cmphex(bytes[1], ==, 0x9c);

    guint8 back[64];
    uLongf length = sizeof back;
    g_assert_cmpint(uncompress(back, &length, bytes, g_bytes_get_size(deflated)), ==, Z_OK);
    g_assert_cmpmem(back, length, "{\"success\":true}", 16);
}

static void what_is_deflated_inflates_again(void)
{
    static const gsize sizes[] = {0, 1, 4095, 4096, 4097, 1 << 20, (16 << 20) + 1};
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) content = filled(sizes[i], 'x');
        g_autoptr(GBytes) deflated = envelope_deflate(content, &error);
        g_assert_no_error(error);
        g_autoptr(GBytes) back = envelope_inflate(deflated, 32 << 20, &error);
        g_assert_no_error(error);
        g_assert_true(g_bytes_equal(content, back));
    }
}

static void limit_is_exact(void)
{
    for (gsize size = 4094; size < 4099; size++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) content = filled(size, 'x');
        g_autoptr(GBytes) deflated = envelope_deflate(content, NULL);
        g_autoptr(GBytes) fits = envelope_inflate(deflated, size, &error);
        g_assert_no_error(error);
        g_assert_cmpuint(g_bytes_get_size(fits), ==, size);
        g_assert_null(envelope_inflate(deflated, size - 1, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) nothing = filled(0, 0);
    g_autoptr(GBytes) deflated = envelope_deflate(nothing, NULL);
    g_autoptr(GBytes) fits = envelope_inflate(deflated, 0, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(g_bytes_get_size(fits), ==, 0);
}

/* 64 MiB of zeros in 64 KiB. */
static void bomb_is_given_up_at_the_limit(void)
{
    z_stream stream = {0};
    g_assert_cmpint(deflateInit(&stream, 6), ==, Z_OK);
    g_autofree guint8 *zeros = g_malloc0(1 << 20);
    g_autofree guint8 *bomb = g_malloc(2 << 20);
    stream.next_out = bomb;
    stream.avail_out = 2 << 20;
    for (int i = 0; i < 64; i++) {
        stream.next_in = zeros;
        stream.avail_in = 1 << 20;
        g_assert_cmpint(deflate(&stream, i == 63 ? Z_FINISH : Z_NO_FLUSH), ==, i == 63 ? Z_STREAM_END : Z_OK);
    }
    g_autoptr(GBytes) deflated = g_bytes_new(bomb, stream.total_out);
    deflateEnd(&stream);

    g_autoptr(GError) error = NULL;
    gint64 start = g_get_monotonic_time();
    g_assert_null(envelope_inflate(deflated, 8 << 20, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 5 * G_USEC_PER_SEC);
}

static gsize deflate_with_window(int window, const char *text, guint8 *output, gsize room)
{
    z_stream stream = {0};
    g_assert_cmpint(deflateInit2(&stream, 6, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), ==, Z_OK);
    stream.next_in = (Bytef *)text;
    stream.avail_in = (uInt)strlen(text);
    stream.next_out = output;
    stream.avail_out = (uInt)room;
    g_assert_cmpint(deflate(&stream, Z_FINISH), ==, Z_STREAM_END);
    gsize size = stream.total_out;
    deflateEnd(&stream);
    return size;
}

static void raw_deflate_and_gzip_are_refused(void)
{
    guint8 buffer[256];
    gsize size = deflate_with_window(-15, "some text", buffer, sizeof buffer);
    assert_unopenable(buffer, size);
    size = deflate_with_window(15 + 16, "some text", buffer, sizeof buffer);
    assert_unopenable(buffer, size);
}

static void damage_is_one_error(void)
{
    guint8 buffer[256];
    gsize size = deflate_with_window(15, "some text that is some text", buffer, sizeof buffer - 1);
    for (gsize cut = 0; cut < size; cut++)
        assert_unopenable(buffer, cut);
    buffer[size] = 'x';
    assert_unopenable(buffer, size + 1);
    buffer[size - 1] ^= 1;
    assert_unopenable(buffer, size);
    assert_unopenable("{\"plain\":\"json\"}", 16);
}

static void preset_dictionaries_are_refused(void)
{
    guint8 buffer[256];
    z_stream stream = {0};
    deflateInit(&stream, 6);
    deflateSetDictionary(&stream, (const Bytef *)"dictionary", 10);
    stream.next_in = (Bytef *)"dictionary";
    stream.avail_in = 10;
    stream.next_out = buffer;
    stream.avail_out = sizeof buffer;
    g_assert_cmpint(deflate(&stream, Z_FINISH), ==, Z_STREAM_END);
    gsize size = stream.total_out;
    deflateEnd(&stream);
    assert_unopenable(buffer, size);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/compression/deflated-has-the-default-zlib-header",
                    deflated_has_the_default_zlib_header);
    g_test_add_func("/compression/what-is-deflated-inflates-again", what_is_deflated_inflates_again);
    g_test_add_func("/compression/the-limit-is-exact", limit_is_exact);
    g_test_add_func("/compression/a-bomb-is-given-up-at-the-limit", bomb_is_given_up_at_the_limit);
    g_test_add_func("/compression/raw-deflate-and-gzip-are-refused", raw_deflate_and_gzip_are_refused);
    g_test_add_func("/compression/damage-is-one-error", damage_is_one_error);
    g_test_add_func("/compression/preset-dictionaries-are-refused", preset_dictionaries_are_refused);
    return g_test_run();
}
