/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Streams of zlib. */

#include "tests/platform/compression.h"
#include <zlib.h>

enum {
    WINDOW_BITS = 15,
    GZIP_BITS = WINDOW_BITS + 16,
    MEMORY_LEVEL = 8,
    STEP = 64 * 1024,
    BOMB_STEPS = 256 * 16, /* times STEP = 256 MiB, above any agent's default limit */
};

static void append_deflated(GByteArray *out, z_stream *stream, const guint8 *data, gsize size, int flush)
{
    guint8 buffer[STEP];
    stream->next_in = (Bytef *)data;
    stream->avail_in = (uInt)size;
    do {
        stream->next_out = buffer;
        stream->avail_out = sizeof buffer;
        deflate(stream, flush);
        g_byte_array_append(out, buffer, (guint)(sizeof buffer - stream->avail_out));
    } while (stream->avail_out == 0);
}

GBytes *compress_content(GBytes *content, CompressionFormat format)
{
    static const int window[] = {
        [COMPRESSION_ZLIB] = WINDOW_BITS, [COMPRESSION_RAW] = -WINDOW_BITS, [COMPRESSION_GZIP] = GZIP_BITS};
    z_stream stream = {0};
    g_assert(deflateInit2(&stream, 6, Z_DEFLATED, window[format], MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK);
    GByteArray *out = g_byte_array_new();
    gsize size;
    const guint8 *data = g_bytes_get_data(content, &size);
    append_deflated(out, &stream, data, size, Z_FINISH);
    deflateEnd(&stream);
    return g_byte_array_free_to_bytes(out);
}

static gpointer make_bomb(gpointer unused)
{
    static const guint8 zeros[STEP];
    z_stream stream = {0};
    g_assert(deflateInit(&stream, Z_BEST_SPEED) == Z_OK);
    GByteArray *out = g_byte_array_new();
    for (int i = 0; i < BOMB_STEPS; i++)
        append_deflated(out, &stream, zeros, sizeof zeros, i + 1 < BOMB_STEPS ? Z_NO_FLUSH : Z_FINISH);
    deflateEnd(&stream);
    return g_byte_array_free_to_bytes(out);
}

GBytes *compress_bomb(void)
{
    static GOnce once = G_ONCE_INIT;
    return g_bytes_ref(g_once(&once, make_bomb, NULL));
}

GBytes *inflate_content(GBytes *deflated, gsize limit, GError **error)
{
    gsize size;
    const guint8 *data = g_bytes_get_data(deflated, &size);
    z_stream stream = {.next_in = (Bytef *)data, .avail_in = (uInt)size};
    g_assert(inflateInit2(&stream, WINDOW_BITS) == Z_OK);
    g_autoptr(GByteArray) out = g_byte_array_new();
    guint8 buffer[STEP];
    int status;
    do {
        stream.next_out = buffer;
        stream.avail_out = sizeof buffer;
        status = inflate(&stream, Z_NO_FLUSH);
        g_byte_array_append(out, buffer, (guint)(sizeof buffer - stream.avail_out));
    } while (status == Z_OK && out->len <= limit);
    uInt rest = stream.avail_in;
    inflateEnd(&stream);
    if (status != Z_STREAM_END || rest > 0 || out->len > limit) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "The content is not one zlib stream (%s)",
                    out->len > limit ? "it inflates to too much"
                    : rest > 0       ? "bytes follow it"
                                     : "it is damaged");
        return NULL;
    }
    return g_byte_array_free_to_bytes(g_steal_pointer(&out));
}
