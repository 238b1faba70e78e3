/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Character classes of the ASN.1 string types, and what never belongs into a name that people read. */

#include "daemon/ca/characters.h"
#include <string.h>

bool characters_is_control(gunichar c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || /* separators */
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);        /* bidirectional overrides */
}

bool characters_have_control(const char *text)
{
    for (; *text; text = g_utf8_next_char(text))
        if (characters_is_control(g_utf8_get_char(text)))
            return true;
    return false;
}

bool characters_are_ascii(const char *text, bool space)
{
    for (; *text; text++)
        if (*text < (space ? ' ' : '!') || *text > '~')
            return false;
    return true;
}

bool characters_are_printable_string(const char *text)
{
    for (; *text; text++)
        if (!g_ascii_isalnum(*text) && !strchr(" '()+,-./:=?", *text))
            return false;
    return true;
}
