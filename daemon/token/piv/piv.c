/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tables of PIV, and BER-TLV with the lengths that fit into an APDU. */

#include "daemon/token/piv/piv.h"
#include "daemon/error.h"
#include <string.h>

#define RETIRED(name, id)                                                                                    \
    {                                                                                                        \
        name, id, (id)-0x82 + 5, 0x5fc10d + (id)-0x82                                                        \
    }

const PivSlot piv_slots[PIV_SLOTS] = {
    {"9a", 0x9a, 1, 0x5fc105},
    {"9c", 0x9c, 2, 0x5fc10a},
    {"9d", 0x9d, 3, 0x5fc10b},
    {"9e", 0x9e, 4, 0x5fc101},
    RETIRED("82", 0x82),
    RETIRED("83", 0x83),
    RETIRED("84", 0x84),
    RETIRED("85", 0x85),
    RETIRED("86", 0x86),
    RETIRED("87", 0x87),
    RETIRED("88", 0x88),
    RETIRED("89", 0x89),
    RETIRED("8a", 0x8a),
    RETIRED("8b", 0x8b),
    RETIRED("8c", 0x8c),
    RETIRED("8d", 0x8d),
    RETIRED("8e", 0x8e),
    RETIRED("8f", 0x8f),
    RETIRED("90", 0x90),
    RETIRED("91", 0x91),
    RETIRED("92", 0x92),
    RETIRED("93", 0x93),
    RETIRED("94", 0x94),
    RETIRED("95", 0x95),
    {"f9", PIV_SLOT_ATTESTATION, 25, 0x5fff01},
};

char *firmware_to_string(Firmware firmware)
{
    return g_strdup_printf("%u.%u.%u", FIRMWARE_MAJOR(firmware), firmware >> 8 & 0xff, firmware & 0xff);
}

const PivSlot *piv_slot_find(const char *spelling)
{
    if (strlen(spelling) != 2 || !g_ascii_isxdigit(spelling[0]) || !g_ascii_isxdigit(spelling[1]))
        return NULL;
    guint id = (guint)g_ascii_xdigit_value(spelling[0]) << 4 | (guint)g_ascii_xdigit_value(spelling[1]);
    for (guint i = 0; i < PIV_SLOTS; i++)
        if (piv_slots[i].id == id || piv_slots[i].pkcs11_id == id)
            return &piv_slots[i];
    return NULL;
}

/* Positions in |piv_slots|: 9c, 9a, 9d, then the retired ones, then 9e. */
const PivSlot *piv_slot_offered(guint at)
{
    static const guint8 first[] = {1, 0, 2};
    const guint last = PIV_SLOTS - 2;
    if (at < G_N_ELEMENTS(first))
        return &piv_slots[first[at]];
    if (at < last)
        return &piv_slots[at + 1];
    return at == last ? &piv_slots[3] : NULL;
}

static const struct {
    guint8 algorithm; /* 0: none */
    guint16 size;
    Firmware since;
} key_types[N_KEY_TYPES] = {
    [KEY_TYPE_RSA2048] = {0x07, 256, 0},
    [KEY_TYPE_RSA3072] = {0x05, 384, FIRMWARE_NEW_KEY_TYPES},
    [KEY_TYPE_RSA4096] = {0x16, 512, FIRMWARE_NEW_KEY_TYPES},
    [KEY_TYPE_P256] = {0x11, 32, 0},
    [KEY_TYPE_P384] = {0x14, 48, FIRMWARE_POLICIES},
    [KEY_TYPE_ED25519] = {0xe0, 32, FIRMWARE_NEW_KEY_TYPES},
};

guint8 piv_algorithm(KeyType type)
{
    return key_types[type].algorithm;
}

bool piv_key_type(guint8 algorithm, KeyType *ret_type)
{
    for (int type = 0; type < N_KEY_TYPES; type++) {
        if (algorithm != 0 && key_types[type].algorithm == algorithm) {
            *ret_type = (KeyType)type;
            return true;
        }
    }
    return false;
}

gsize piv_key_size(KeyType type)
{
    return key_types[type].size;
}

bool piv_firmware_has(Firmware firmware, KeyType type)
{
    return key_types[type].algorithm != 0 && firmware >= key_types[type].since;
}

bool piv_firmware_makes_weak_rsa(Firmware firmware)
{
    return firmware >= FIRMWARE(4, 2, 6) && firmware < FIRMWARE(4, 3, 5);
}

/* The last two are those of a YubiKey Bio, which are only shown. */
static const char *const pin_policies[] = {NULL, "never", "once", "always", "match-once", "match-always"};
static const char *const touch_policies[] = {NULL, "never", "always", "cached"};

const char *piv_pin_policy_to_string(guint8 policy)
{
    return policy < G_N_ELEMENTS(pin_policies) ? pin_policies[policy] : NULL;
}

const char *piv_touch_policy_to_string(guint8 policy)
{
    return policy < G_N_ELEMENTS(touch_policies) ? touch_policies[policy] : NULL;
}

static bool policy_from_string(const char *const *names, guint8 last, const char *what, const char *name,
                               guint8 *ret_policy, GError **error)
{
    for (guint8 policy = 1; name && policy <= last; policy++) {
        if (g_str_equal(names[policy], name)) {
            *ret_policy = policy;
            return true;
        }
    }
    if (!name) {
        *ret_policy = 0;
        return true;
    }
    g_autofree char *shown = g_utf8_make_valid(name, (gssize)strnlen(name, 64));
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "\"%s\" is no %s policy; there are %s, %s and %s",
                shown, what, names[1], names[2], names[3]);
    return false;
}

bool piv_pin_policy_from_string(const char *name, guint8 *ret_policy, GError **error)
{
    return policy_from_string(pin_policies, PIV_PIN_ALWAYS, "PIN", name, ret_policy, error);
}

bool piv_touch_policy_from_string(const char *name, guint8 *ret_policy, GError **error)
{
    return policy_from_string(touch_policies, PIV_TOUCH_CACHED, "touch", name, ret_policy, error);
}

static bool take_byte(PivBytes *rest, guint8 *ret_byte)
{
    if (rest->size == 0)
        return false;
    *ret_byte = *rest->data++;
    rest->size--;
    return true;
}

static bool take_tag(PivBytes *rest, guint32 *ret_tag)
{
    guint8 first, second;
    if (!take_byte(rest, &first))
        return false;
    *ret_tag = first;
    if ((first & 0x1f) != 0x1f)
        return true;
    if (!take_byte(rest, &second) || (second & 0x80))
        return false;
    *ret_tag = (guint32)first << 8 | second;
    return true;
}

static bool take_length(PivBytes *rest, gsize *ret_length)
{
    guint8 first, byte;
    if (!take_byte(rest, &first))
        return false;
    gsize length = first;
    if (first >= 0x80) {
        length = 0;
        if (first != 0x81 && first != 0x82)
            return false;
        for (guint i = first & 0x7f; i > 0; i--) {
            if (!take_byte(rest, &byte))
                return false;
            length = length << 8 | byte;
        }
    }
    *ret_length = length;
    return length <= rest->size;
}

bool piv_tlv_next(PivBytes *rest, guint32 *ret_tag, PivBytes *ret_value)
{
    PivBytes at = *rest;
    guint32 tag;
    gsize length;
    if (!take_tag(&at, &tag) || !take_length(&at, &length))
        return false;
    *ret_tag = tag;
    *ret_value = (PivBytes){at.data, length};
    *rest = (PivBytes){at.data + length, at.size - length};
    return true;
}

bool piv_tlv_find(PivBytes bytes, guint32 tag, PivBytes *ret_value)
{
    guint32 found;
    PivBytes value;
    while (piv_tlv_next(&bytes, &found, &value)) {
        if (found == tag) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

void piv_write(PivWriter *writer, const void *bytes, gsize size)
{
    if (writer->overflow || size > writer->room - writer->size) {
        writer->overflow = true;
        return;
    }
    if (size > 0)
        memcpy(writer->data + writer->size, bytes, size);
    writer->size += size;
}

void piv_write_header(PivWriter *writer, guint32 tag, gsize size)
{
    guint8 bytes[5];
    gsize at = 0;
    if (tag > 0xff)
        bytes[at++] = (guint8)(tag >> 8);
    bytes[at++] = (guint8)tag;
    if (size > 0xff)
        bytes[at++] = 0x82;
    else if (size >= 0x80)
        bytes[at++] = 0x81;
    if (size > 0xff)
        bytes[at++] = (guint8)(size >> 8);
    bytes[at++] = (guint8)size;
    if (size > G_MAXUINT16)
        writer->overflow = true;
    piv_write(writer, bytes, at);
}

void piv_write_tlv(PivWriter *writer, guint32 tag, const void *value, gsize size)
{
    piv_write_header(writer, tag, size);
    piv_write(writer, value, size);
}

void piv_write_byte_tlv(PivWriter *writer, guint32 tag, guint8 value)
{
    piv_write_tlv(writer, tag, &value, 1);
}
