/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Makes any formatted text one short, printable line. */

#include "daemon/ca/refusal.h"
#include "daemon/ca/characters.h"
#include <openssl/err.h>

static bool set_line(GError **error, IothsmError code, const char *format, va_list arguments)
{
    g_autofree char *raw = g_strdup_vprintf(format, arguments);
    g_autofree char *text = g_utf8_make_valid(raw, -1);
    g_autoptr(GString) line = g_string_new(NULL);

    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (line->len + 6 > REFUSAL_LENGTH_MAX) {
            g_string_append(line, "…");
            break;
        }
        g_string_append_unichar(line, characters_is_control(c) ? '?' : c);
    }
    g_set_error_literal(error, IOTHSM_ERROR, (int)code, line->str);
    ERR_clear_error();
    return false;
}

bool refuse(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_line(error, IOTHSM_ERROR_INVALID, format, arguments);
    va_end(arguments);
    return false;
}

bool refuse_as(GError **error, IothsmError code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set_line(error, code, format, arguments);
    va_end(arguments);
    return false;
}
