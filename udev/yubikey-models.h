/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Yubico's USB product ids: what a key calls itself, and whether it has a smart card interface as it is
 * configured now. Pure. */

#include <glib.h>
#include <stdbool.h>

#define YUBICO_VENDOR 0x1050

/* NULL: no YubiKey. |ret_ccid| is the interface. */
const char *yubikey_model(guint product, bool *ret_ccid);
/* The kernel's PRODUCT: "1050/407/543", hexadecimal without leading zeros. */
bool yubikey_parse_product(const char *text, guint *ret_vendor, guint *ret_product);
