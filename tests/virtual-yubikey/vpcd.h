/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The front end for vpcd, the virtual reader of pcscd: the card is a TCP client of the reader, and a card
 * that is pulled out is a connection that is closed. Messages have a length of two bytes before them; of the
 * reader's, those of one byte are control (power off, on, reset, ask for the ATR), all others are APDUs. A
 * thread of its own. */

#include "tests/virtual-yubikey/card.h"

/* Serves the reader on |port| of this machine whenever the key is plugged in and the reader is there; returns
 * when the hand leaves. |card| belongs to this thread. */
void vpcd_run(Card *card, guint16 port);
