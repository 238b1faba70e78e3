/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Compressed messages: zlib streams (RFC 1950), level 6, as the platform makes them. Neither raw deflate nor
 * gzip is taken, nor anything behind the stream. The output grows with what really comes out, up to the
 * limit: a message of a few kilobytes never makes us reserve the limit. */

#include "daemon/error.h"
#include "daemon/link/message/envelope.h"
#include "daemon/link/message/unopenable.h"
#include <limits.h>
#include <zlib.h>

enum { LEVEL = 6 };

GBytes *envelope_deflate(GBytes *content, GError **error)
{
    gsize size = 0;
    const Bytef *data = g_bytes_get_data(content, &size);
    uLongf length = compressBound(size);
    g_autofree Bytef *deflated = g_try_malloc(length);

    if (!deflated || compress2(deflated, &length, data ? data : (const Bytef *)"", size, LEVEL) != Z_OK) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't compress a message of %zu bytes", size);
        return NULL;
    }
    deflated = g_realloc(deflated, length);
    return g_bytes_new_take(g_steal_pointer(&deflated), length);
}

/* Makes room behind |used|; |limit| + 1 bytes at most, so that reaching the limit and passing it differ. */
static bool grow(Bytef **output, gsize *capacity, guint64 limit)
{
    guint64 wanted = MIN((guint64)*capacity * 2, limit + 1);
    Bytef *grown = wanted > *capacity ? g_try_realloc(*output, wanted) : NULL;
    if (!grown)
        return false;
    *output = grown;
    *capacity = wanted;
    return true;
}

typedef enum Inflated { INFLATED, INFLATED_GARBAGE, INFLATED_TOO_LARGE } Inflated;

/* Feeds all of |data| to |stream|; |*output| belongs to the caller whatever comes. zlib counts in unsigned
 * ints, so both sides go in pieces. */
static Inflated run(z_stream *stream, const Bytef *data, gsize size, guint64 limit, Bytef **output,
                    gsize *ret_used)
{
    gsize capacity = (gsize)MIN(CLAMP((guint64)size * 4, 4096, 1U << 24), limit + 1);
    gsize used = 0;
    gsize fed = 0;
    int code = Z_OK;

    *output = g_malloc(capacity);
    while (code == Z_OK) {
        if (used == capacity && !grow(output, &capacity, limit))
            return INFLATED_TOO_LARGE;
        uInt in = (uInt)MIN(size - fed, (gsize)INT_MAX);
        uInt out = (uInt)MIN(capacity - used, (gsize)INT_MAX);
        stream->next_in = (Bytef *)data + fed;
        stream->avail_in = in;
        stream->next_out = *output + used;
        stream->avail_out = out;
        code = inflate(stream, Z_NO_FLUSH);
        fed += in - stream->avail_in;
        used += out - stream->avail_out;
    }
    if (used > limit)
        return INFLATED_TOO_LARGE;
    *ret_used = used;
    return code == Z_STREAM_END && fed == size ? INFLATED : INFLATED_GARBAGE;
}

GBytes *envelope_inflate(GBytes *deflated, guint64 limit, GError **error)
{
    gsize size = 0;
    const Bytef *data = g_bytes_get_data(deflated, &size);
    z_stream stream = {0};
    g_autofree Bytef *output = NULL;
    gsize used = 0;

    limit = MIN(limit, (guint64)G_MAXSSIZE - 1);
    if (inflateInit2(&stream, MAX_WBITS) != Z_OK) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't start zlib");
        return NULL;
    }
    Inflated result = run(&stream, data, size, limit, &output, &used);
    inflateEnd(&stream);
    if (result == INFLATED_GARBAGE) {
        unopenable(error);
        return NULL;
    }
    if (result == INFLATED_TOO_LARGE) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                    "The message is larger than %" G_GUINT64_FORMAT " bytes once it is uncompressed", limit);
        return NULL;
    }
    output = g_realloc(output, MAX(used, 1));
    return g_bytes_new_take(g_steal_pointer(&output), used);
}
