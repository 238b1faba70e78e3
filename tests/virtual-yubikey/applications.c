/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See applications.h. */

#include "tests/virtual-yubikey/applications.h"
#include "tests/virtual-yubikey/tlv.h"
#include <string.h>

#define SHORTEST_IDENTIFIER 5 /* the registered provider */

/* Device information: which applications the key has and which are on, both in one number (OTP, U2F, OpenPGP,
 * PIV, OATH, FIDO2). */
#define ALL_APPLICATIONS 0x023b
#define FORM_FACTOR_USB_A_KEYCHAIN 1

static const struct {
    Application application;
    gsize length;
    guint8 identifier[11];
} identifiers[] = {
    {APPLICATION_PIV, 11, {0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00}},
    {APPLICATION_MANAGEMENT, 8, {0xa0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17}},
    {APPLICATION_OTP, 8, {0xa0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01, 0x01}},
};

static const guint8 piv_properties[] = {0x61, 0x11, 0x4f, 0x06, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00,
                                        0x79, 0x07, 0x4f, 0x05, 0xa0, 0x00, 0x00, 0x03, 0x08};

Application application_find(const guint8 *identifier, gsize length)
{
    for (gsize i = 0; i < G_N_ELEMENTS(identifiers); i++)
        if (length >= SHORTEST_IDENTIFIER && length <= identifiers[i].length &&
            memcmp(identifier, identifiers[i].identifier, length) == 0)
            return identifiers[i].application;
    return APPLICATION_NONE;
}

static void append_version(const Memory *memory, GByteArray *to)
{
    guint8 version[] = {FIRMWARE_MAJOR(memory->firmware), FIRMWARE_MINOR(memory->firmware),
                        FIRMWARE_PATCH(memory->firmware)};
    g_byte_array_append(to, version, sizeof version);
}

void application_append_select(Application application, const Memory *memory, GByteArray *answer)
{
    static const guint8 no_otp_slot[] = {0, 0, 0, 0};
    g_autofree char *management =
        g_strdup_printf("Virtual mgr - FW version %u.%u.%u", FIRMWARE_MAJOR(memory->firmware),
                        FIRMWARE_MINOR(memory->firmware), FIRMWARE_PATCH(memory->firmware));
    switch (application) {
    case APPLICATION_PIV:
        g_byte_array_append(answer, piv_properties, sizeof piv_properties);
        break;
    case APPLICATION_MANAGEMENT:
        g_byte_array_append(answer, (const guint8 *)management, (guint)strlen(management));
        break;
    case APPLICATION_OTP:
        append_version(memory, answer);
        g_byte_array_append(answer, no_otp_slot, sizeof no_otp_slot);
        break;
    case APPLICATION_NONE:
        break;
    }
}

static void append_serial(const Memory *memory, GByteArray *to)
{
    guint32 serial = GUINT32_TO_BE(memory->serial);
    g_byte_array_append(to, (const guint8 *)&serial, sizeof serial);
}

static guint16 device_information(const Memory *memory, GByteArray *answer)
{
    g_autoptr(GByteArray) inner = g_byte_array_new();
    g_autoptr(GByteArray) serial = g_byte_array_new();
    g_autoptr(GByteArray) version = g_byte_array_new();
    append_serial(memory, serial);
    append_version(memory, version);
    tlv_append_pair(inner, 0x01, ALL_APPLICATIONS >> 8, ALL_APPLICATIONS & 0xff);
    tlv_append(inner, 0x02, serial->data, serial->len);
    tlv_append_pair(inner, 0x03, ALL_APPLICATIONS >> 8, ALL_APPLICATIONS & 0xff);
    tlv_append_byte(inner, 0x04, FORM_FACTOR_USB_A_KEYCHAIN);
    tlv_append(inner, 0x05, version->data, version->len);
    guint8 length = (guint8)inner->len;
    g_byte_array_append(answer, &length, 1);
    g_byte_array_append(answer, inner->data, inner->len);
    return SW_SUCCESS;
}

guint16 application_command(Application application, const Memory *memory, const Command *command,
                            GByteArray *answer)
{
    if (application == APPLICATION_OTP && command->ins == 0x01 && command->p1 == 0x10) {
        append_serial(memory, answer);
        return SW_SUCCESS;
    }
    if (application == APPLICATION_MANAGEMENT && command->ins == 0x1d && command->p1 == 0)
        return device_information(memory, answer);
    return SW_WRONG_INSTRUCTION;
}
