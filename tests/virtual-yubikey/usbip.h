/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The front end for USB/IP: the key is a USB device 1050:0407 with a CCID interface, real to a kernel that
 * has vhci-hcd, so that udev, libccid and pcscd treat it like one of plastic. Two ways to plug it in: a
 * server from which `usbip attach -r HOST -b 1-1` fetches it (anew after each pull), or straight into a port
 * of this machine's controller, where the control socket's "plug" is all that is needed. A device that is
 * pulled out is a connection that is closed. Threads: the caller's has the card; each connection has another
 * that reads from it. */

#include "tests/virtual-yubikey/card.h"

/* A socket that listens on |port| of the loopback (0: any, see |ret_port|); -1 and errno. */
int usbip_listen(guint16 port, guint16 *ret_port);
/* Serves one kernel at a time until the hand leaves; takes |listener|. */
void usbip_run(Card *card, int listener);

/* Plugs the key into |port| of the virtual host controller whenever the hand does. */
void usbip_run_local(Card *card, guint port);
