/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* BER-TLV as PIV uses it: tags of one to three bytes, definite lengths of up to two bytes. A reader walks
 * over bytes that it does not own. Pure. */

#include <glib.h>
#include <stdbool.h>

typedef struct Tlv {
    guint32 tag;
    const guint8 *value;
    gsize length;
} Tlv;

typedef struct TlvReader {
    const guint8 *at;
    gsize left;
    bool malformed;
} TlvReader;

/* False at the end, and where the bytes are no TLV (|malformed| tells the two apart). */
bool tlv_next(TlvReader *reader, Tlv *ret_tlv);
/* The first |tag| of a well-formed sequence. */
bool tlv_find(const guint8 *bytes, gsize length, guint32 tag, Tlv *ret_tlv);

void tlv_append(GByteArray *to, guint32 tag, const guint8 *value, gsize length);
void tlv_append_byte(GByteArray *to, guint32 tag, guint8 value);
void tlv_append_pair(GByteArray *to, guint32 tag, guint8 first, guint8 second);
