/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Object identifiers and single ASN.1 values written as text by somebody outside. */

#include <glib.h>
#include <openssl/asn1.h>
#include <stdbool.h>

/* Dotted numbers only ("1.2.3"); NULL for anything else. Transfer full. */
ASN1_OBJECT *asn1_object_from_dotted(const char *text);

/* A value of a simple type: [FORMAT:HEX,]TYPE[:VALUE] with TYPE as OpenSSL spells it (UTF8, UTF8String,
 * INTEGER, NULL, …; see ASN1_generate_nconf(3)). Strings are UTF-8 unless a FORMAT says otherwise. No
 * SEQUENCE, no SET, no tags: nothing that would look elsewhere. NULL for anything else. Transfer full. */
ASN1_TYPE *asn1_value_from_text(const char *text);

/* Whether |size| bytes at |data| are exactly one DER value. */
bool asn1_is_one_value(const unsigned char *data, gsize size);
