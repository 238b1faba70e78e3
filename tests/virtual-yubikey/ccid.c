/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See ccid.h. */

#include "tests/virtual-yubikey/ccid.h"
#include <string.h>

enum {
    TO_SET_PARAMETERS = 0x61,
    TO_POWER_ON = 0x62,
    TO_POWER_OFF = 0x63,
    TO_SLOT_STATUS = 0x65,
    TO_GET_PARAMETERS = 0x6c,
    TO_RESET_PARAMETERS = 0x6d,
    TO_CLOCK = 0x6e,
    TO_TRANSFER = 0x6f,
    TO_ABORT = 0x72,
    FROM_DATA = 0x80,
    FROM_SLOT_STATUS = 0x81,
    FROM_PARAMETERS = 0x82,
    CARD_ACTIVE = 0,
    CARD_INACTIVE = 1,
    COMMAND_FAILED = 0x40,
    COMMAND_EXTENDED = 0x80,
    PROTOCOL_T1 = 1,
};

static const guint8 parameters[] = {0x11, 0x10, 0x00, 0x4d, 0x00, 0xfe, 0x00};

static gsize body_length(const guint8 header[CCID_HEADER])
{
    return (gsize)header[1] | (gsize)header[2] << 8 | (gsize)header[3] << 16 | (gsize)header[4] << 24;
}

gsize ccid_message_length(const guint8 header[CCID_HEADER])
{
    gsize body = body_length(header);
    return body > CCID_LONGEST_MESSAGE ? 0 : CCID_HEADER + body;
}

static void append(GByteArray *answer, const guint8 *header, guint8 type, guint8 status, guint8 specific,
                   const guint8 *body, gsize length)
{
    guint8 own[CCID_HEADER] = {
        type,
        (guint8)length,
        (guint8)(length >> 8),
        (guint8)(length >> 16),
        (guint8)(length >> 24),
        header[5],
        header[6],
        status,
        0,
        specific,
    };
    if (status & COMMAND_EXTENDED)
        own[8] = 1; /* times the usual waiting time */
    g_byte_array_append(answer, own, sizeof own);
    if (length > 0)
        g_byte_array_append(answer, body, (guint)length);
}

void ccid_append_time_extension(const guint8 header[CCID_HEADER], GByteArray *answer)
{
    append(answer, header, FROM_DATA, COMMAND_EXTENDED, 0, NULL, 0);
}

static void power(Card *card, bool on)
{
    card_reset(card);
    card->hand->powered = on;
    hand_changed(card->hand);
}

bool ccid_exchange(Card *card, const guint8 *message, gsize length, GByteArray *answer)
{
    g_autoptr(GByteArray) apdu = g_byte_array_new();
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&card->hand->lock);
    guint8 status = card->hand->powered ? CARD_ACTIVE : CARD_INACTIVE;
    gsize atr_length;
    const guint8 *atr = card_atr(&atr_length);
    switch (message[0]) {
    case TO_POWER_ON: /* a reset, if it has power already */
        power(card, true);
        append(answer, message, FROM_DATA, CARD_ACTIVE, 0, atr, atr_length);
        return true;
    case TO_POWER_OFF:
        power(card, false);
        append(answer, message, FROM_SLOT_STATUS, CARD_INACTIVE, 0, NULL, 0);
        return true;
    case TO_TRANSFER:
        if (!card_exchange(card, message + CCID_HEADER, length - CCID_HEADER, apdu))
            return false;
        append(answer, message, FROM_DATA, status, 0, apdu->data, apdu->len);
        return true;
    case TO_SET_PARAMETERS:
    case TO_GET_PARAMETERS:
    case TO_RESET_PARAMETERS:
        append(answer, message, FROM_PARAMETERS, status, PROTOCOL_T1, parameters, sizeof parameters);
        return true;
    case TO_SLOT_STATUS:
    case TO_ABORT:
    case TO_CLOCK:
        append(answer, message, FROM_SLOT_STATUS, status, 0, NULL, 0);
        return true;
    default:
        append(answer, message, FROM_SLOT_STATUS, status | COMMAND_FAILED, 0, NULL, 0);
        return true;
    }
}

#define LE16(number) (guint8)((number)&0xff), (guint8)((number) >> 8 & 0xff)
#define LE32(number) LE16(number), LE16((number) >> 16)

enum {
    DESCRIPTOR_DEVICE = 1,
    DESCRIPTOR_CONFIGURATION = 2,
    DESCRIPTOR_STRING = 3,
    CONFIGURATION_LENGTH = 9 + 9 + 54 + 3 * 7,
};

static const guint8 configuration[] = {
    9, DESCRIPTOR_CONFIGURATION, LE16(CONFIGURATION_LENGTH), 1, 1, 0, 0x80, 15,
    /* the interface: class 0B, three endpoints */
    9, 4, 0, 0, 3, 0x0b, 0, 0, 0,
    /* what the reader can do: 5 V, 3 V and 1.8 V, T=1, 4 MHz, 307,200 bit/s, everything automatic, short and
     * extended APDUs */
    54, 0x21, LE16(0x0100), 0, 7, LE32(2), LE32(4000), LE32(4000), 0, LE32(307200), LE32(307200), 0,
    LE32(3062), LE32(0), LE32(0), LE32(0x000400fe), LE32(CCID_LONGEST_MESSAGE), 0xff, 0xff, LE16(0), 0, 1,
    /* bulk out, bulk in, interrupt in */
    7, 5, 0x02, 2, LE16(64), 0, 7, 5, 0x82, 2, LE16(64), 0, 7, 5, 0x83, 3, LE16(8), 32};
G_STATIC_ASSERT(sizeof configuration == CONFIGURATION_LENGTH);

static bool append_string(guint8 index, GByteArray *answer)
{
    static const guint8 languages[] = {4, DESCRIPTOR_STRING, LE16(0x0409)};
    static const char *const strings[] = {"Yubico", "YubiKey OTP+FIDO+CCID"};
    if (index == 0) {
        g_byte_array_append(answer, languages, sizeof languages);
        return true;
    }
    if (index > G_N_ELEMENTS(strings))
        return false;
    const char *text = strings[index - 1];
    const guint8 head[] = {(guint8)(2 + 2 * strlen(text)), DESCRIPTOR_STRING};
    g_byte_array_append(answer, head, sizeof head);
    for (; *text; text++) {
        const guint8 unit[] = {(guint8)*text, 0};
        g_byte_array_append(answer, unit, sizeof unit);
    }
    return true;
}

bool ccid_append_descriptor(guint8 type, guint8 index, Firmware firmware, GByteArray *answer)
{
    const guint8 device[] = {18,
                             DESCRIPTOR_DEVICE,
                             LE16(0x0200),
                             0,
                             0,
                             0,
                             64,
                             LE16(CCID_VENDOR),
                             LE16(CCID_PRODUCT),
                             LE16(CCID_RELEASE(firmware)),
                             1,
                             2,
                             0,
                             1};
    switch (type) {
    case DESCRIPTOR_DEVICE:
        g_byte_array_append(answer, device, sizeof device);
        return true;
    case DESCRIPTOR_CONFIGURATION:
        g_byte_array_append(answer, configuration, sizeof configuration);
        return true;
    case DESCRIPTOR_STRING:
        return append_string(index, answer);
    default:
        return false;
    }
}
