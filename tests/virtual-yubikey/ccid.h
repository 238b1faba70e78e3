/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The CCID of a YubiKey, as the USB device class has it (Smart Card CCID, revision 1.1): a message from the
 * host, a message back, each a header of ten bytes and a body. The reader exchanges whole APDUs and has one
 * slot, which holds a card as long as there is a reader at all. And the USB descriptors that say so. */

#include "tests/virtual-yubikey/card.h"

#define CCID_HEADER 10
#define CCID_LONGEST_MESSAGE 3072

/* How long a message with this header is, with it; 0: longer than any. */
gsize ccid_message_length(const guint8 header[CCID_HEADER]);
/* The card's thread; takes the hand's lock. Appends the answer; false: the key was pulled out. */
bool ccid_exchange(Card *card, const guint8 *message, gsize length, GByteArray *answer);
/* "Still at work", for the message with this header. */
void ccid_append_time_extension(const guint8 header[CCID_HEADER], GByteArray *answer);

/* What GET_DESCRIPTOR answers; false: there is none. */
bool ccid_append_descriptor(guint8 type, guint8 index, Firmware firmware, GByteArray *answer);

/* USB identity: 1050:0407. */
#define CCID_VENDOR 0x1050
#define CCID_PRODUCT 0x0407
/* bcdDevice of a firmware. */
#define CCID_RELEASE(firmware)                                                                               \
    ((guint16)(FIRMWARE_MAJOR(firmware) << 8 | FIRMWARE_MINOR(firmware) << 4 | FIRMWARE_PATCH(firmware)))
