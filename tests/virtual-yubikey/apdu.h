/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Command APDUs as ISO 7816-4 has them, short and extended, and the status words that a YubiKey answers with.
 * Pure. */

#include <glib.h>
#include <stdbool.h>

typedef enum StatusWord {
    SW_SUCCESS = 0x9000,
    SW_MORE_DATA = 0x6100,  /* + how many bytes, 0: 256 or more */
    SW_TRIES_LEFT = 0x63C0, /* + tries left */
    SW_WRONG_LENGTH = 0x6700,
    SW_SECURITY_STATUS = 0x6982,
    SW_BLOCKED = 0x6983,
    SW_CONDITIONS = 0x6985,
    SW_WRONG_DATA = 0x6A80,
    SW_NOT_FOUND = 0x6A82,
    SW_WRONG_P1P2 = 0x6A86,
    SW_NO_REFERENCE = 0x6A88,
    SW_WRONG_SLOT = 0x6B00,
    SW_WRONG_INSTRUCTION = 0x6D00,
    SW_WRONG_CLASS = 0x6E00,
    SW_INTERNAL = 0x6F00,
} StatusWord;

/* CLA bit: more blocks of this command follow (ISO 7816-4, 5.1.1). */
#define CLA_CHAINED 0x10

typedef struct Command {
    guint8 cla;
    guint8 ins;
    guint8 p1;
    guint8 p2;
    const guint8 *data; /* points into what was parsed */
    gsize length;
    bool extended; /* the answer may come in one piece */
} Command;

/* Accepts cases 1 to 4 in both forms; Le is read over, because a card answers what it has. */
bool command_parse(const guint8 *bytes, gsize length, Command *ret_command);
