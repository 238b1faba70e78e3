/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The asymmetric algorithms of the PIV application, by the byte that names them in an APDU, and which
 * firmware has them. Pure. */

#include "tests/virtual-yubikey/firmware.h"

typedef enum Family {
    FAMILY_RSA,
    FAMILY_EC,
    FAMILY_EDWARDS,    /* signs messages, not digests */
    FAMILY_MONTGOMERY, /* agrees on keys and nothing else */
} Family;

typedef struct Algorithm {
    guint8 id;
    Family family;
    const char *type;  /* OpenSSL's name of the key type */
    const char *group; /* of a FAMILY_EC key */
    guint bytes;       /* of a modulus, a field element, or a raw key */
    guint8 import_tag; /* of the private value; RSA has 01 to 05 */
    Firmware since;
} Algorithm;

/* NULL: unknown to |firmware|. */
const Algorithm *algorithm_find(guint8 id, Firmware firmware);
