/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See piv.h. */

#include "tests/virtual-yubikey/piv.h"
#include <string.h>

static guint16 get_version(Piv *piv, const Command *command, GByteArray *answer)
{
    Firmware firmware = piv->memory->firmware;
    guint8 version[] = {FIRMWARE_MAJOR(firmware), FIRMWARE_MINOR(firmware), FIRMWARE_PATCH(firmware)};
    g_byte_array_append(answer, version, sizeof version);
    return SW_SUCCESS;
}

static guint16 get_serial(Piv *piv, const Command *command, GByteArray *answer)
{
    guint32 serial = GUINT32_TO_BE(piv->memory->serial);
    g_byte_array_append(answer, (const guint8 *)&serial, sizeof serial);
    return SW_SUCCESS;
}

static const struct {
    guint8 instruction;
    bool needs_management;
    Firmware since;
    guint16 (*handler)(Piv *piv, const Command *command, GByteArray *answer);
} instructions[] = {
    {.instruction = 0x20, .handler = piv_verify},
    {.instruction = 0x24, .handler = piv_change_reference},
    {.instruction = 0x2c, .handler = piv_reset_retry_counter},
    {.instruction = 0x47, .handler = piv_generate, .needs_management = true},
    {.instruction = 0x87, .handler = piv_general_authenticate},
    {.instruction = 0xcb, .handler = piv_get_data},
    {.instruction = 0xdb, .handler = piv_put_data, .needs_management = true},
    {.instruction = 0xf6, .handler = piv_move, .needs_management = true, .since = FIRMWARE_MOVE},
    {.instruction = 0xf7, .handler = piv_metadata, .since = FIRMWARE_METADATA},
    {.instruction = 0xf8, .handler = get_serial, .since = FIRMWARE_SERIAL},
    {.instruction = 0xf9, .handler = piv_attest},
    {.instruction = 0xfa, .handler = piv_set_retries, .needs_management = true},
    {.instruction = 0xfb, .handler = piv_reset},
    {.instruction = 0xfd, .handler = get_version},
    {.instruction = 0xfe, .handler = piv_import, .needs_management = true},
    {.instruction = 0xff, .handler = piv_set_management_key, .needs_management = true},
};

#define INSTRUCTION_VERIFY 0x20

void piv_forget(Piv *piv)
{
    piv->pin_verified = piv->pin_fresh = piv->management_verified = false;
    piv->exchange = EXCHANGE_NONE;
}

guint16 piv_command(Piv *piv, const Command *command, GByteArray *answer)
{
    guint16 status = SW_WRONG_INSTRUCTION;
    for (gsize i = 0; i < G_N_ELEMENTS(instructions); i++) {
        if (instructions[i].instruction != command->ins || piv->memory->firmware < instructions[i].since)
            continue;
        status = instructions[i].needs_management && !piv->management_verified
                     ? SW_SECURITY_STATUS
                     : instructions[i].handler(piv, command, answer);
    }
    if (command->ins != INSTRUCTION_VERIFY)
        piv->pin_fresh = false;
    g_autoptr(GError) error = NULL;
    if (!memory_save(piv->memory, &error)) {
        g_warning("the key's state can't be kept: %s", error->message);
        return SW_INTERNAL;
    }
    return status;
}
