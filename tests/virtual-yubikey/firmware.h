/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Firmware versions, as numbers that can be compared, and what came with which. */

#include <glib.h>

typedef guint32 Firmware;

#define FIRMWARE(major, minor, patch) ((Firmware)((major) << 16 | (minor) << 8 | (patch)))
#define FIRMWARE_MAJOR(firmware) ((guint8)((firmware) >> 16))
#define FIRMWARE_MINOR(firmware) ((guint8)((firmware) >> 8))
#define FIRMWARE_PATCH(firmware) ((guint8)(firmware))

#define FIRMWARE_SERIAL FIRMWARE(5, 0, 0)         /* GET SERIAL in the PIV application */
#define FIRMWARE_METADATA FIRMWARE(5, 3, 0)       /* GET METADATA */
#define FIRMWARE_AES FIRMWARE(5, 4, 2)            /* AES management keys */
#define FIRMWARE_MOVE FIRMWARE(5, 7, 0)           /* MOVE KEY, and deleting one */
#define FIRMWARE_NEW_ALGORITHMS FIRMWARE(5, 7, 0) /* RSA-3072, RSA-4096, Ed25519, X25519 */
#define FIRMWARE_AES_DEFAULT FIRMWARE(5, 7, 0)    /* the factory's management key is AES-192 */
