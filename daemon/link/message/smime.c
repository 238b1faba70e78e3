/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Our own reader instead of SMIME_read_CMS: that one skips lines until something looks like base64, stops
 * without a word where it no longer does, and takes multipart/signed; a signed message should have one
 * reading only. */

#include "daemon/link/message/smime.h"
#include "daemon/error.h"
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

static const char *type_to_string(SmimeType type)
{
    return type == SMIME_SIGNED_DATA ? "signed-data" : "enveloped-data";
}

char *smime_write(const guint8 *der, gsize size, SmimeType type)
{
    static const gsize line = 48; /* bytes in a line of 64 characters */
    static const gsize chunk = line << 20;
    g_autofree char *headers =
        g_strdup_printf("MIME-Version: 1.0\n"
                        "Content-Disposition: attachment; filename=\"smime.p7m\"\n"
                        "Content-Type: application/pkcs7-mime; smime-type=%s; name=\"smime.p7m\"\n"
                        "Content-Transfer-Encoding: base64\n\n",
                        type_to_string(type));
    gsize used = strlen(headers);
    char *text = g_malloc(used + (size / line + 1) * 65 + sizeof "\n");
    EVP_ENCODE_CTX *encoder = EVP_ENCODE_CTX_new();

    memcpy(text, headers, used);
    EVP_EncodeInit(encoder);
    for (gsize done = 0; done < size; done += MIN(size - done, chunk)) {
        int n = 0;
        EVP_EncodeUpdate(encoder, (unsigned char *)text + used, &n, der + done, (int)MIN(size - done, chunk));
        used += (gsize)n;
    }
    int n = 0;
    EVP_EncodeFinal(encoder, (unsigned char *)text + used, &n);
    EVP_ENCODE_CTX_free(encoder);
    memcpy(text + used + n, "\n", sizeof "\n");
    return text;
}

static gboolean refuse(GError **error, const char *text)
{
    g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, text);
    return FALSE;
}

/* The logical header line at |*ret_next|, unfolded (RFC 5322 2.2.3), without its end. "" is the end of the
 * headers; NULL where the text ends before. Transfer full. */
static char *next_header(const char **ret_next, const char *end)
{
    g_autoptr(GString) header = g_string_new(NULL);
    const char *at = *ret_next;

    do {
        const char *newline = memchr(at, '\n', (gsize)(end - at));
        if (!newline)
            return NULL;
        gsize length = (gsize)(newline - at);
        if (length > 0 && at[length - 1] == '\r')
            length--;
        g_string_append_len(header, at, (gssize)length);
        at = newline + 1;
    } while (header->len > 0 && at < end && (*at == ' ' || *at == '\t'));
    *ret_next = at;
    return g_string_free(g_steal_pointer(&header), FALSE);
}

/* The value of |header| in lower case, up to its parameters, if |name| is what it is called. Transfer full.
 */
static char *header_value(const char *header, const char *name)
{
    gsize length = strlen(name);
    if (g_ascii_strncasecmp(header, name, length) != 0 || header[length] != ':')
        return NULL;
    const char *value = header + length + 1;
    return g_strstrip(g_ascii_strdown(value, (gssize)strcspn(value, ";")));
}

static gboolean check_type(const char *type, GError **error)
{
    if (!type)
        return refuse(error, "The message is not S/MIME: it has no Content-Type");
    if (g_str_has_prefix(type, "multipart/"))
        return refuse(error, "The message is clear-signed (multipart); only opaque S/MIME is accepted");
    if (!g_str_equal(type, "application/pkcs7-mime") && !g_str_equal(type, "application/x-pkcs7-mime"))
        return refuse(error, "The message is not S/MIME: its Content-Type is not application/pkcs7-mime");
    return TRUE;
}

/* Reads the headers of |text| and gives the place behind them. */
static const char *skip_headers(const char *text, gsize size, GError **error)
{
    const char *at = text;
    const char *end = text + MIN(size, SMIME_HEADERS_MAX);
    g_autofree char *type = NULL;
    g_autofree char *encoding = NULL;

    for (;;) {
        g_autofree char *header = next_header(&at, end);
        if (!header) {
            refuse(error, "The message is not S/MIME: its headers do not end");
            return NULL;
        }
        if (!*header)
            break;
        if (!type)
            type = header_value(header, "Content-Type");
        if (!encoding)
            encoding = header_value(header, "Content-Transfer-Encoding");
    }
    if (!check_type(type, error))
        return NULL;
    if (encoding && !g_str_equal(encoding, "base64")) {
        refuse(error, "The message is not S/MIME: its body is not base64");
        return NULL;
    }
    return at;
}

/* RFC 4648 4 with line ends and blanks between: whole quartets, padding at the end alone. */
static gboolean is_base64(const char *text, gsize size)
{
    gsize characters = 0;
    gsize padding = 0;

    for (gsize i = 0; i < size; i++) {
        char c = text[i];
        if (c == '\n' || c == '\r' || c == ' ' || c == '\t')
            continue;
        if (c == '=')
            padding++;
        else if (padding > 0 || !(g_ascii_isalnum(c) || c == '+' || c == '/'))
            return FALSE;
        characters++;
    }
    return characters > 0 && characters % 4 == 0 && padding <= 2;
}

GBytes *smime_read(const char *text, gsize size, GError **error)
{
    const char *body = skip_headers(size > 0 ? text : "", size, error);
    if (!body)
        return NULL;
    gsize length = size - (gsize)(body - text);
    if (!is_base64(body, length)) {
        refuse(error, "The message is not S/MIME: its base64 is cut short or has something else in it");
        return NULL;
    }
    g_autofree guint8 *der = g_malloc(length / 4 * 3 + 3);
    int state = 0;
    guint save = 0;
    gsize decoded = g_base64_decode_step(body, length, der, &state, &save);
    return g_bytes_new_take(g_steal_pointer(&der), decoded);
}
