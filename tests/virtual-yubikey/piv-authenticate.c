/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* GENERAL AUTHENTICATE of piv.h: the private operations, and what they ask of the person first (SP 800-73-4,
 * part 2, 3.2.4). */

#include "tests/virtual-yubikey/crypto.h"
#include "tests/virtual-yubikey/piv.h"
#include "tests/virtual-yubikey/slots.h"
#include "tests/virtual-yubikey/tlv.h"

static bool pin_allows(const Piv *piv, const SlotKey *key)
{
    switch (key->pin_policy) {
    case PIN_POLICY_NEVER:
        return true;
    case PIN_POLICY_ALWAYS:
        return piv->pin_fresh;
    default:
        return piv->pin_verified;
    }
}

/* Lets go of the lock while the light blinks. */
static bool touch_allows(Piv *piv, const SlotKey *key)
{
    switch (key->touch_policy) {
    case TOUCH_POLICY_ALWAYS:
        return hand_wait_touch(piv->hand);
    case TOUCH_POLICY_CACHED:
        return hand_touched_lately(piv->hand) || hand_wait_touch(piv->hand);
    default:
        return true;
    }
}

guint16 piv_general_authenticate(Piv *piv, const Command *command, GByteArray *answer)
{
    Tlv template, input;
    if (command->p2 == SLOT_MANAGEMENT)
        return piv_authenticate_management(piv, command, answer);
    const SlotKey *key = memory_key(piv->memory, command->p2);
    if (!slot_exists(command->p2))
        return SW_WRONG_P1P2;
    if (!key || key->algorithm->id != command->p1 ||
        !tlv_find(command->data, command->length, 0x7c, &template))
        return SW_WRONG_DATA;
    bool agrees = tlv_find(template.value, template.length, 0x85, &input);
    if (!agrees && !tlv_find(template.value, template.length, 0x81, &input))
        return SW_WRONG_DATA;
    if (!pin_allows(piv, key) || !touch_allows(piv, key))
        return SW_SECURITY_STATUS;
    g_autoptr(GByteArray) result = g_byte_array_new();
    g_autoptr(GByteArray) inner = g_byte_array_new();
    if (!(agrees ? key_agree : key_sign)(key->algorithm, key->key, input.value, input.length, result))
        return SW_WRONG_DATA;
    tlv_append(inner, 0x82, result->data, result->len);
    tlv_append(answer, 0x7c, inner->data, inner->len);
    return SW_SUCCESS;
}
