/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PIN and PUK of piv.h: VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER (SP 800-73-4, part 2, 3.2) and
 * Yubico's SET RETRIES and RESET. */

#include "tests/virtual-yubikey/piv.h"
#include <openssl/crypto.h>
#include <string.h>

enum {
    REFERENCE_PIN = 0x80,
    REFERENCE_PUK = 0x81,
    P1_LOG_OUT = 0xff,
    SHORTEST = 6,
};

/* Takes a try, and gives all back if |value| is right. */
static guint16 compare(Memory *memory, Reference *reference, const guint8 *value)
{
    if (reference->left == 0)
        return SW_BLOCKED;
    memory->changed = true;
    memory->compared++;
    reference->left--;
    if (CRYPTO_memcmp(reference->value, value, PIN_LENGTH) != 0)
        return reference->left == 0 && memory->last_blocked
                   ? SW_BLOCKED
                   : (guint16)(SW_TRIES_LEFT | MIN(reference->left, 0xf));
    reference->left = reference->tries;
    return SW_SUCCESS;
}

/* Six to eight bytes that aren't the padding, then the padding. */
static bool acceptable(const guint8 *value)
{
    guint length = 0;
    while (length < PIN_LENGTH && value[length] != 0xff)
        length++;
    for (guint i = length; i < PIN_LENGTH; i++)
        if (value[i] != 0xff)
            return false;
    return length >= SHORTEST;
}

static void replace(Memory *memory, Reference *reference, const guint8 *value)
{
    memcpy(reference->value, value, PIN_LENGTH);
    reference->left = reference->tries;
    memory->changed = true;
}

static guint16 verified_state(Piv *piv)
{
    const Reference *pin = &piv->memory->pin;
    if (pin->left == 0)
        return SW_BLOCKED;
    return piv->pin_verified ? SW_SUCCESS : (guint16)(SW_TRIES_LEFT | MIN(pin->left, 0xf));
}

guint16 piv_verify(Piv *piv, const Command *command, GByteArray *answer)
{
    if (command->p2 != REFERENCE_PIN)
        return SW_NO_REFERENCE;
    piv->pin_fresh = false;
    if (command->p1 == P1_LOG_OUT && command->length == 0) {
        piv->pin_verified = false;
        return SW_SUCCESS;
    }
    if (command->p1 != 0)
        return SW_WRONG_P1P2;
    if (command->length == 0)
        return verified_state(piv);
    if (command->length != PIN_LENGTH)
        return SW_WRONG_LENGTH;
    guint16 status = compare(piv->memory, &piv->memory->pin, command->data);
    piv->pin_verified = piv->pin_fresh = status == SW_SUCCESS;
    return status;
}

guint16 piv_change_reference(Piv *piv, const Command *command, GByteArray *answer)
{
    Memory *memory = piv->memory;
    if (command->p1 != 0 || (command->p2 != REFERENCE_PIN && command->p2 != REFERENCE_PUK))
        return SW_NO_REFERENCE;
    if (command->length != 2 * PIN_LENGTH)
        return SW_WRONG_LENGTH;
    Reference *reference = command->p2 == REFERENCE_PIN ? &memory->pin : &memory->puk;
    const guint8 *replacement = command->data + PIN_LENGTH;
    if (!acceptable(replacement))
        return SW_WRONG_DATA;
    guint16 status = compare(memory, reference, command->data);
    if (command->p2 == REFERENCE_PIN)
        piv->pin_verified = false;
    if (status == SW_SUCCESS)
        replace(memory, reference, replacement);
    return status;
}

guint16 piv_reset_retry_counter(Piv *piv, const Command *command, GByteArray *answer)
{
    Memory *memory = piv->memory;
    if (command->p1 != 0 || command->p2 != REFERENCE_PIN)
        return SW_NO_REFERENCE;
    if (command->length != 2 * PIN_LENGTH)
        return SW_WRONG_LENGTH;
    if (!acceptable(command->data + PIN_LENGTH))
        return SW_WRONG_DATA;
    guint16 status = compare(memory, &memory->puk, command->data);
    if (status == SW_SUCCESS) {
        piv->pin_verified = false;
        replace(memory, &memory->pin, command->data + PIN_LENGTH);
    }
    return status;
}

guint16 piv_set_retries(Piv *piv, const Command *command, GByteArray *answer)
{
    if (!piv->pin_verified)
        return SW_SECURITY_STATUS;
    if (command->p1 == 0 || command->p2 == 0)
        return SW_WRONG_P1P2;
    memory_reset_references(piv->memory, command->p1, command->p2);
    piv->pin_verified = false;
    return SW_SUCCESS;
}

guint16 piv_reset(Piv *piv, const Command *command, GByteArray *answer)
{
    if (piv->memory->pin.left > 0 || piv->memory->puk.left > 0)
        return SW_CONDITIONS;
    memory_reset(piv->memory);
    piv_forget(piv);
    return SW_SUCCESS;
}
