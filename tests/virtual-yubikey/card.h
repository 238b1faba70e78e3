/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The card as a reader sees it: an ATR, power, and APDUs. It puts chained blocks together, hands out long
 * answers with GET RESPONSE, knows which of the key's applications is selected (PIV, and as much of
 * management and OTP as tells firmware and serial number), and lets the faults have their way. On the thread
 * of its front end, under the hand's lock, which it lets go of where it waits. */

#include "tests/virtual-yubikey/faults.h"
#include "tests/virtual-yubikey/piv.h"

typedef enum Application {
    APPLICATION_NONE,
    APPLICATION_PIV,
    APPLICATION_MANAGEMENT,
    APPLICATION_OTP,
} Application;

typedef struct Card {
    Hand *hand;
    Faults *faults;
    Piv piv;
    Application selected;
    GByteArray *chained; /* blocks of a command that is not complete; its header is |chain| */
    Command chain;
    GByteArray *pending; /* the rest of an answer */
} Card;

void card_init(Card *card, Hand *hand, Faults *faults, Memory *memory);
void card_clear(Card *card);

const guint8 *card_atr(gsize *ret_length);
/* Power on, power off, reset: whatever was verified, selected or begun is forgotten. */
void card_reset(Card *card);
/* The card is in the reader at the other end of |connection| (taken), for as long as |serve| takes. The
 * hand's lock is held, and let go of meanwhile. */
void card_serve(Card *card, int connection, void (*serve)(Card *card, int connection));
/* One APDU in, one out, into |answer|, which is emptied first. False: the key was pulled out, there is no
 * answer. */
bool card_exchange(Card *card, const guint8 *bytes, gsize length, GByteArray *answer);
