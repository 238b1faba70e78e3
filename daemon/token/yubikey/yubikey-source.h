/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* YubiKeys as a source of tokens. PC/SC says when a card is in a reader; it is opened on a thread, and its
 * serial number makes it a token. It is gone when PC/SC or udev says so, whoever is first. A card that can't
 * be opened (another program has it for itself) is spoken of and opened as soon as PC/SC says that it is
 * free; a serial number that two readers have is one token, in the reader that was there first. */

#include "daemon/token/source.h"

/* Transfer full. */
Source *yubikey_source_new(void);

/* What udev says, between start and free. |path| tells the plugged key from all others; |bus| and |number|
 * are its USB address, 0 where it isn't known; |ccid|: it has a smart card interface. */
void yubikey_source_usb_plugged(Source *source, const char *path, const char *model, bool ccid, guint bus,
                                guint number);
void yubikey_source_usb_unplugged(Source *source, const char *path);
