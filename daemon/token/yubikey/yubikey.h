/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A YubiKey as a Backend: its PIV application, through one PC/SC reader.
 *
 * The worker's one thread owns the card handle. Each call is one short shared transaction: when the card was
 * reset meanwhile, or another program selected something else, the call selects PIV again and presents the
 * PIN again that the card has accepted before. PINs, PUKs and keys leave locked memory only into the APDU;
 * libykpiv exchanges what is no secret and sees none of them, because it keeps and repeats a PIN. */

#include "daemon/token/backend.h"

/* Opens the card in the reader named exactly |reader| and reads its serial number. Blocks; for any thread.
 * TOKEN_HELD: another program has the card for itself. TOKEN_GONE: no card or no reader any more.
 * UNSUPPORTED: no PIV application, or no serial number to tell it by. FAILED: PC/SC itself. Transfer full,
 * also of |ret_serial| (decimal). */
Backend *yubikey_new(const char *reader, char **ret_serial, GError **error);
/* The reader it is in. */
const char *yubikey_reader(const Backend *backend);

/* Any spelling of a slot (PIV "9c" in any case, the original agent's ids) as PIV's name; NULL: not a slot. */
const char *yubikey_slot_name(const char *spelling);
