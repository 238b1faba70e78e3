/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys of piv.h coming and going: GENERATE ASYMMETRIC KEY PAIR (SP 800-73-4, part 2, 3.3.2) and Yubico's
 * IMPORT, MOVE (and delete), GET METADATA and ATTEST. */

#include "tests/virtual-yubikey/attestation.h"
#include "tests/virtual-yubikey/crypto.h"
#include "tests/virtual-yubikey/piv.h"
#include "tests/virtual-yubikey/slots.h"
#include "tests/virtual-yubikey/tlv.h"

enum {
    METADATA_ALGORITHM = 1,
    METADATA_POLICY = 2,
    METADATA_ORIGIN = 3,
    METADATA_PUBLIC = 4,
    METADATA_DEFAULT = 5,
    METADATA_TRIES = 6,
    METADATA_NO_ALGORITHM = 0xff,
    REFERENCE_PIN = 0x80,
    REFERENCE_PUK = 0x81,
    MOVE_TO_NOWHERE = 0xff,
};

/* |policy| stays what it is where the tag isn't there or says "the default". */
static bool take_policy(const guint8 *bytes, gsize length, guint32 tag, guint8 largest, guint8 *policy)
{
    Tlv tlv;
    if (!tlv_find(bytes, length, tag, &tlv))
        return true;
    if (tlv.length != 1 || tlv.value[0] > largest)
        return false;
    if (tlv.value[0] != 0)
        *policy = tlv.value[0];
    return true;
}

static bool take_policies(guint8 slot, const guint8 *bytes, gsize length, SlotKey *contents)
{
    contents->pin_policy = (guint8)slot_pin_policy(slot);
    contents->touch_policy = TOUCH_POLICY_NEVER;
    return take_policy(bytes, length, 0xaa, PIN_POLICY_ALWAYS, &contents->pin_policy) &&
           take_policy(bytes, length, 0xab, TOUCH_POLICY_CACHED, &contents->touch_policy);
}

guint16 piv_generate(Piv *piv, const Command *command, GByteArray *answer)
{
    SlotKey contents = {.origin = ORIGIN_GENERATED};
    Tlv template, algorithm;
    if (command->p1 != 0 || !slot_exists(command->p2))
        return SW_WRONG_SLOT;
    if (!tlv_find(command->data, command->length, 0xac, &template) ||
        !tlv_find(template.value, template.length, 0x80, &algorithm) || algorithm.length != 1 ||
        !take_policies(command->p2, template.value, template.length, &contents))
        return SW_WRONG_DATA;
    contents.algorithm = algorithm_find(algorithm.value[0], piv->memory->firmware);
    if (!contents.algorithm)
        return SW_WRONG_DATA;
    EVP_PKEY *key = key_generate(contents.algorithm);
    if (!key)
        return SW_INTERNAL;
    g_autoptr(GByteArray) public = g_byte_array_new();
    key_append_public(contents.algorithm, key, public);
    tlv_append(answer, 0x7f49, public->data, public->len);
    memory_put_key(piv->memory, command->p2, &contents, key);
    return SW_SUCCESS;
}

guint16 piv_import(Piv *piv, const Command *command, GByteArray *answer)
{
    SlotKey contents = {.origin = ORIGIN_IMPORTED};
    if (!slot_exists(command->p2))
        return SW_WRONG_SLOT;
    contents.algorithm = algorithm_find(command->p1, piv->memory->firmware);
    if (!contents.algorithm)
        return SW_WRONG_P1P2;
    if (!take_policies(command->p2, command->data, command->length, &contents))
        return SW_WRONG_DATA;
    EVP_PKEY *key = key_import(contents.algorithm, command->data, command->length);
    if (!key)
        return SW_WRONG_DATA;
    memory_put_key(piv->memory, command->p2, &contents, key);
    return SW_SUCCESS;
}

guint16 piv_move(Piv *piv, const Command *command, GByteArray *answer)
{
    guint8 to = command->p1, from = command->p2;
    bool deletes = to == MOVE_TO_NOWHERE;
    if (!slot_exists(from) ||
        (!deletes && (!slot_exists(to) || to == SLOT_ATTESTATION || from == SLOT_ATTESTATION)))
        return SW_WRONG_P1P2;
    if (!memory_key(piv->memory, from))
        return SW_NO_REFERENCE;
    if (deletes) {
        memory_delete_key(piv->memory, from);
        return SW_SUCCESS;
    }
    if (memory_key(piv->memory, to))
        return SW_CONDITIONS;
    memory_move_key(piv->memory, from, to);
    return SW_SUCCESS;
}

static guint16 reference_metadata(const Reference *reference, bool is_default, GByteArray *answer)
{
    tlv_append_byte(answer, METADATA_ALGORITHM, METADATA_NO_ALGORITHM);
    tlv_append_byte(answer, METADATA_DEFAULT, is_default);
    tlv_append_pair(answer, METADATA_TRIES, reference->tries, reference->left);
    return SW_SUCCESS;
}

static guint16 management_metadata(const Memory *memory, GByteArray *answer)
{
    tlv_append_byte(answer, METADATA_ALGORITHM, memory->management.algorithm);
    tlv_append_pair(answer, METADATA_POLICY, 0, memory->management.touch_policy);
    tlv_append_byte(answer, METADATA_DEFAULT, memory_has_default_management_key(memory));
    return SW_SUCCESS;
}

static guint16 key_metadata(Memory *memory, guint8 slot, GByteArray *answer)
{
    const SlotKey *key = memory_key(memory, slot);
    if (!key)
        return SW_NO_REFERENCE;
    g_autoptr(GByteArray) public = g_byte_array_new();
    key_append_public(key->algorithm, key->key, public);
    tlv_append_byte(answer, METADATA_ALGORITHM, key->algorithm->id);
    tlv_append_pair(answer, METADATA_POLICY, key->pin_policy, key->touch_policy);
    tlv_append_byte(answer, METADATA_ORIGIN, key->origin);
    tlv_append(answer, METADATA_PUBLIC, public->data, public->len);
    return SW_SUCCESS;
}

guint16 piv_metadata(Piv *piv, const Command *command, GByteArray *answer)
{
    const Memory *memory = piv->memory;
    if (command->p1 != 0)
        return SW_WRONG_P1P2;
    switch (command->p2) {
    case REFERENCE_PIN:
        return reference_metadata(&memory->pin, memory_has_default_pin(memory), answer);
    case REFERENCE_PUK:
        return reference_metadata(&memory->puk, memory_has_default_puk(memory), answer);
    case SLOT_MANAGEMENT:
        return management_metadata(memory, answer);
    default:
        return key_metadata(piv->memory, command->p2, answer);
    }
}

guint16 piv_attest(Piv *piv, const Command *command, GByteArray *answer)
{
    const SlotKey *key = memory_key(piv->memory, command->p1);
    if (!slot_exists(command->p1) || command->p2 != 0)
        return SW_WRONG_P1P2;
    if (!key)
        return SW_NO_REFERENCE;
    if (key->origin != ORIGIN_GENERATED)
        return SW_WRONG_DATA;
    return attestation_certificate(piv->memory, command->p1, answer) ? SW_SUCCESS : SW_NO_REFERENCE;
}
