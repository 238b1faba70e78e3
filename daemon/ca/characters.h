/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which characters a text from outside may hold, for the ASN.1 string type that it becomes. Texts are valid
 * UTF-8. */

#include <glib.h>
#include <stdbool.h>

/* C0, DEL, C1, line and paragraph separators, and the marks that turn the writing direction. */
bool characters_is_control(gunichar c);
bool characters_have_control(const char *text);
/* ASCII without control characters; |space|: U+0020 is welcome. What we put into an IA5String. */
bool characters_are_ascii(const char *text, bool space);
/* X.680 41.4, what a PrintableString may hold. */
bool characters_are_printable_string(const char *text);
