/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See tlv.h. */

#include "tests/virtual-yubikey/tlv.h"

#define TAG_CONTINUES 0x1f /* low bits of a first byte that has more after it */
#define LONGEST_TAG 3

static bool take_byte(TlvReader *reader, guint8 *ret_byte)
{
    if (reader->left == 0)
        return false;
    *ret_byte = *reader->at++;
    reader->left--;
    return true;
}

static bool take_tag(TlvReader *reader, guint32 *ret_tag)
{
    guint8 byte;
    if (!take_byte(reader, &byte))
        return false;
    guint32 tag = byte;
    bool more = (byte & TAG_CONTINUES) == TAG_CONTINUES;
    for (guint n = 1; more; n++) {
        if (n == LONGEST_TAG || !take_byte(reader, &byte))
            return false;
        tag = tag << 8 | byte;
        more = (byte & 0x80) != 0;
    }
    *ret_tag = tag;
    return true;
}

static bool take_length(TlvReader *reader, gsize *ret_length)
{
    guint8 byte;
    if (!take_byte(reader, &byte))
        return false;
    gsize length = byte;
    if (byte & 0x80) {
        guint bytes = byte & 0x7f;
        if (bytes == 0 || bytes > 2)
            return false;
        for (length = 0; bytes > 0; bytes--) {
            if (!take_byte(reader, &byte))
                return false;
            length = length << 8 | byte;
        }
    }
    *ret_length = length;
    return length <= reader->left;
}

bool tlv_next(TlvReader *reader, Tlv *ret_tlv)
{
    Tlv tlv = {0};
    if (reader->left == 0 || reader->malformed)
        return false;
    if (!take_tag(reader, &tlv.tag) || !take_length(reader, &tlv.length)) {
        reader->malformed = true;
        return false;
    }
    tlv.value = reader->at;
    reader->at += tlv.length;
    reader->left -= tlv.length;
    *ret_tlv = tlv;
    return true;
}

bool tlv_find(const guint8 *bytes, gsize length, guint32 tag, Tlv *ret_tlv)
{
    TlvReader reader = {.at = bytes, .left = length};
    Tlv tlv, found = {0};
    bool is_found = false;
    while (tlv_next(&reader, &tlv))
        if (tlv.tag == tag && !is_found) {
            found = tlv;
            is_found = true;
        }
    if (!is_found || reader.malformed)
        return false;
    *ret_tlv = found;
    return true;
}

static void append_byte(GByteArray *to, gsize byte)
{
    guint8 value = (guint8)byte;
    g_byte_array_append(to, &value, 1);
}

void tlv_append(GByteArray *to, guint32 tag, const guint8 *value, gsize length)
{
    for (int shift = 16; shift >= 0; shift -= 8)
        if (tag >> shift)
            append_byte(to, tag >> shift);
    if (length > 0xff) {
        append_byte(to, 0x82);
        append_byte(to, length >> 8);
    } else if (length > 0x7f) {
        append_byte(to, 0x81);
    }
    append_byte(to, length);
    if (length > 0)
        g_byte_array_append(to, value, (guint)length);
}

void tlv_append_byte(GByteArray *to, guint32 tag, guint8 value)
{
    tlv_append(to, tag, &value, 1);
}

void tlv_append_pair(GByteArray *to, guint32 tag, guint8 first, guint8 second)
{
    tlv_append(to, tag, (const guint8[]){first, second}, 2);
}
