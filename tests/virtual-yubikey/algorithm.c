/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See algorithm.h. */

#include "tests/virtual-yubikey/algorithm.h"

static const Algorithm algorithms[] = {
    {.id = 0x06, .family = FAMILY_RSA, .type = "RSA", .bytes = 128},
    {.id = 0x07, .family = FAMILY_RSA, .type = "RSA", .bytes = 256},
    {.id = 0x05, .family = FAMILY_RSA, .type = "RSA", .bytes = 384, .since = FIRMWARE_NEW_ALGORITHMS},
    {.id = 0x16, .family = FAMILY_RSA, .type = "RSA", .bytes = 512, .since = FIRMWARE_NEW_ALGORITHMS},
    {.id = 0x11, .family = FAMILY_EC, .type = "EC", .group = "P-256", .bytes = 32, .import_tag = 6},
    {.id = 0x14, .family = FAMILY_EC, .type = "EC", .group = "P-384", .bytes = 48, .import_tag = 6},
    {.id = 0xe0,
     .family = FAMILY_EDWARDS,
     .type = "ED25519",
     .bytes = 32,
     .import_tag = 7,
     .since = FIRMWARE_NEW_ALGORITHMS},
    {.id = 0xe1,
     .family = FAMILY_MONTGOMERY,
     .type = "X25519",
     .bytes = 32,
     .import_tag = 8,
     .since = FIRMWARE_NEW_ALGORITHMS},
};

const Algorithm *algorithm_find(guint8 id, Firmware firmware)
{
    for (gsize i = 0; i < G_N_ELEMENTS(algorithms); i++)
        if (algorithms[i].id == id && firmware >= algorithms[i].since)
            return &algorithms[i];
    return NULL;
}
