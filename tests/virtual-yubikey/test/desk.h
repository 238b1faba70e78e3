/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A virtual YubiKey in a reader that the test plays. */

#include "tests/virtual-yubikey/test/reader.h"
#include "tests/virtual-yubikey/test/virtual-key.h"

#define FIRMWARE_4 "4.3.7"
#define FIRMWARE_5 "5.4.3"
#define FIRMWARE_57 "5.7.1"
#define DESK_SERIAL "12345678"

#define TRIPLE_DES 0x03
#define AES_192 0x0a
#define RSA_1024 0x06
#define RSA_2048 0x07
#define RSA_3072 0x05
#define RSA_4096 0x16
#define P256 0x11
#define P384 0x14
#define ED25519 0xe0
#define X25519 0xe1

#define VERIFY_RIGHT "00 20 00 80 08 313233343536FFFF"
#define VERIFY_WRONG "00 20 00 80 08 363534333231FFFF"
#define VERIFY_EMPTY "00 20 00 80 00"

typedef struct Desk {
    char *directory;
    Reader *reader;
    VirtualKey *key;
} Desk;

/* A key fresh from the factory, in the reader, PIV selected. */
Desk *desk_new(const char *firmware);
/* The key's process is killed and started again; PIV is selected. */
void desk_restart_key(Desk *desk);
/* Plugs it in after it was pulled out; PIV is selected. */
void desk_plug(Desk *desk);
void desk_free(Desk *desk);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Desk, desk_free)

/* The status word of these APDUs in hex. */
#define EXPECT(desk, hex, status) g_assert_cmphex(reader_send((desk)->reader, hex), ==, status)
