/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* GET DATA and PUT DATA of piv.h (SP 800-73-4, part 2, 3.1.2 and 3.3.1). What lies in an object, a
 * certificate or a management key that the PIN protects, is the host's business. */

#include "tests/virtual-yubikey/piv.h"
#include "tests/virtual-yubikey/slots.h"
#include "tests/virtual-yubikey/tlv.h"

#define LONGEST_OBJECT 3063

/* SP 800-73-4, part 1, 3.3.2: the application, and that a PIN of its own is all there is. */
static const guint8 discovery[] = {0x7e, 0x12, 0x4f, 0x0b, 0xa0, 0x00, 0x00, 0x03, 0x08, 0x00,
                                   0x00, 0x10, 0x00, 0x01, 0x00, 0x5f, 0x2f, 0x02, 0x40, 0x00};

static bool take_identifier(const Command *command, guint32 *ret_object)
{
    Tlv tlv;
    TlvReader reader = {.at = command->data, .left = command->length};
    if (!tlv_next(&reader, &tlv) || tlv.tag != 0x5c || tlv.length == 0 || tlv.length > 3)
        return false;
    guint32 object = 0;
    for (gsize i = 0; i < tlv.length; i++)
        object = object << 8 | tlv.value[i];
    *ret_object = object;
    return true;
}

guint16 piv_get_data(Piv *piv, const Command *command, GByteArray *answer)
{
    guint32 object;
    if (command->p1 != 0x3f || command->p2 != 0xff)
        return SW_WRONG_P1P2;
    if (!take_identifier(command, &object))
        return SW_WRONG_DATA;
    if (object == OBJECT_DISCOVERY) {
        g_byte_array_append(answer, discovery, sizeof discovery);
        return SW_SUCCESS;
    }
    if (object_needs_pin(object) && !piv->pin_verified)
        return SW_SECURITY_STATUS;
    GBytes *bytes = memory_object(piv->memory, object);
    if (!bytes)
        return SW_NOT_FOUND;
    tlv_append(answer, 0x53, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    return SW_SUCCESS;
}

guint16 piv_put_data(Piv *piv, const Command *command, GByteArray *answer)
{
    guint32 object;
    Tlv content;
    if (command->p1 != 0x3f || command->p2 != 0xff)
        return SW_WRONG_P1P2;
    if (!take_identifier(command, &object) || !tlv_find(command->data, command->length, 0x53, &content))
        return SW_WRONG_DATA;
    if (!object_exists(object) || object == OBJECT_DISCOVERY)
        return SW_NOT_FOUND;
    if (content.length > LONGEST_OBJECT)
        return SW_WRONG_LENGTH;
    memory_put_object(piv->memory, object, content.value, content.length);
    return SW_SUCCESS;
}
