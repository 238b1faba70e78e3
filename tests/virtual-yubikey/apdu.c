/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See apdu.h. */

#include "tests/virtual-yubikey/apdu.h"

#define HEADER 4

/* After the header: nothing, or |le| bytes of Le, or |lc| bytes of Lc, the data, and at most |le| bytes. */
static bool parse_body(const guint8 *body, gsize length, gsize lc, gsize le, Command *command)
{
    if (length == (lc > 1 ? 1 + le : le))
        return true; /* case 2 */
    if (length < lc)
        return false;
    gsize data = lc > 1 ? (gsize)body[1] << 8 | body[2] : body[0];
    if (data == 0 || length < lc + data || (length != lc + data && length != lc + data + le))
        return false;
    command->data = body + lc;
    command->length = data;
    return true;
}

bool command_parse(const guint8 *bytes, gsize length, Command *ret_command)
{
    if (length < HEADER)
        return false;
    Command command = {.cla = bytes[0], .ins = bytes[1], .p1 = bytes[2], .p2 = bytes[3]};
    const guint8 *body = bytes + HEADER;
    gsize left = length - HEADER;
    command.extended = left >= 3 && body[0] == 0;
    if (left > 0 &&
        !(command.extended ? parse_body(body, left, 3, 2, &command) : parse_body(body, left, 1, 1, &command)))
        return false;
    *ret_command = command;
    return true;
}
