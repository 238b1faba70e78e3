/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The life of the USB device on one USB/IP connection: URBs come in and are answered, those for the control
 * endpoint at once, messages to the CCID by the caller's thread, and reads wait until there is something to
 * read. */

#include "tests/virtual-yubikey/card.h"

/* Until the kernel lets go of the device or the key is pulled out. */
void usb_connection_serve(Card *card, int connection);
