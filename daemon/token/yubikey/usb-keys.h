/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The YubiKeys that are plugged in, as udev tells of them, and what to say of those that PC/SC can do nothing
 * with: their smart card interface is switched off, pcscd is not there, or it has no driver for them. Whether
 * a token is there is decided elsewhere, by PC/SC; here is only who is to blame when it isn't. Main thread.
 */

#include <glib.h>
#include <stdbool.h>

typedef struct UsbKeys UsbKeys;

/* |sentence| on what is at |place|, "" for none: called whenever it changes. */
typedef void (*UsbKeysTroubleFunc)(const char *place, const char *sentence, void *userdata);

UsbKeys *usb_keys_new(UsbKeysTroubleFunc trouble, void *userdata);
void usb_keys_free(UsbKeys *keys);

/* |path| tells the plugged one from all others until it is removed; |bus|, |number|: its USB address, or 0.
 */
void usb_keys_add(UsbKeys *keys, const char *path, const char *model, bool ccid, guint bus, guint number);
/* False: it is not known. Gives its address. */
bool usb_keys_remove(UsbKeys *keys, const char *path, guint *ret_bus, guint *ret_number);
/* Something with this address was pulled out, and nothing has that address now. */
bool usb_keys_left(const UsbKeys *keys, guint bus, guint number);

/* Why PC/SC can't be used, or NULL: it can. */
void usb_keys_set_service(UsbKeys *keys, const char *trouble);
/* How many cards there are in YubiKeys' readers. */
void usb_keys_set_cards(UsbKeys *keys, guint cards);
