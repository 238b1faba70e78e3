/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The PIV application with Yubico's extensions: one command in, a status word and an answer out. What it
 * keeps between commands lasts as long as the card has power and this application is selected. On the card's
 * thread, under the hand's lock. */

#include "tests/virtual-yubikey/apdu.h"
#include "tests/virtual-yubikey/hand.h"
#include "tests/virtual-yubikey/memory.h"

#define CIPHER_BLOCK_LONGEST 16

typedef enum Exchange {
    EXCHANGE_NONE,
    EXCHANGE_WITNESS,   /* the host has to decipher |challenge| */
    EXCHANGE_CHALLENGE, /* the host has to encipher it */
} Exchange;

typedef struct Piv {
    Memory *memory;
    Hand *hand;
    bool pin_verified;
    bool pin_fresh; /* by the directly preceding command */
    bool management_verified;
    Exchange exchange;
    guint8 challenge[CIPHER_BLOCK_LONGEST];
} Piv;

/* Forgets PIN, management key and what was begun: power lost, or another application selected. */
void piv_forget(Piv *piv);
guint16 piv_command(Piv *piv, const Command *command, GByteArray *answer);

/* The handlers, by subject; piv.c has asked for the management key where it is needed. */

/* piv-reference.c: PIN, PUK, reset. */
guint16 piv_verify(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_change_reference(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_reset_retry_counter(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_set_retries(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_reset(Piv *piv, const Command *command, GByteArray *answer);

/* piv-management.c: the management key. */
guint16 piv_authenticate_management(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_set_management_key(Piv *piv, const Command *command, GByteArray *answer);

/* piv-keys.c: what keeps keys and tells of them. */
guint16 piv_generate(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_import(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_move(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_metadata(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_attest(Piv *piv, const Command *command, GByteArray *answer);

/* piv-authenticate.c: what uses them. */
guint16 piv_general_authenticate(Piv *piv, const Command *command, GByteArray *answer);

/* piv-objects.c: data objects. */
guint16 piv_get_data(Piv *piv, const Command *command, GByteArray *answer);
guint16 piv_put_data(Piv *piv, const Command *command, GByteArray *answer);
