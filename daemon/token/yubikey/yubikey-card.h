/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The card in one PC/SC reader: connection, transactions, APDUs.
 *
 * Everything happens inside a transaction, which keeps other programs out of the card and is as short as one
 * piece of work. card_begin heals what came in between: pcscd restarted, the card pulled out and put back or
 * reset, another application selected. The serial number is looked at after each new connection, so that no
 * PIN meets another key in the same reader. A connection that breaks inside a transaction ends the work with
 * TOKEN_GONE, and the next card_begin makes a new one.
 *
 * The connection is our own, because libykpiv says one and the same of everything that PC/SC can say; it is
 * lent to libykpiv, which exchanges whatever is not secret. What is secret, a PIN above all, goes from locked
 * memory straight to SCardTransmit, because libykpiv leaves a copy of each command on its stack. */

#include "daemon/token/piv/piv-object.h"

#define CARD_ANSWER_MAX 4096

typedef struct Card Card;

typedef struct CardAnswer {
    guint8 data[CARD_ANSWER_MAX];
    gsize size;
    guint16 status;
} CardAnswer;

enum {
    CARD_OK = 0x9000,
    CARD_SECURITY_STATUS = 0x6982,
    CARD_BLOCKED = 0x6983,
    CARD_CONDITIONS = 0x6985,
    CARD_WRONG_DATA = 0x6a80,
    CARD_NO_OBJECT = 0x6a82,
    CARD_NO_SPACE = 0x6a84,
    CARD_NO_REFERENCE = 0x6a88,
    CARD_WRONG_INSTRUCTION = 0x6d00,
};

enum {
    CARD_VERIFY = 0x20,
    CARD_CHANGE_REFERENCE = 0x24,
    CARD_RESET_RETRY_COUNTER = 0x2c,
    CARD_GENERATE = 0x47,
    CARD_AUTHENTICATE = 0x87,
    CARD_GET_DATA = 0xcb,
    CARD_PUT_DATA = 0xdb,
    CARD_MOVE_KEY = 0xf6,
    CARD_GET_METADATA = 0xf7,
    CARD_ATTEST = 0xf9,
    CARD_IMPORT = 0xfe,
    CARD_SET_MANAGEMENT_KEY = 0xff,
};

Card *card_new(const char *reader);
/* Leaves the card as it is. May wait for another program's command to end. */
void card_free(Card *card);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Card, card_free)

const char *card_reader(const Card *card);
/* "YubiKey 12345678", or its reader as long as the serial number is unknown: for sentences. */
const char *card_name(const Card *card);
guint32 card_serial(const Card *card);
Firmware card_firmware(const Card *card);
/* Counts connections: what was read from the card in an earlier one may be out of date. */
guint card_generation(const Card *card);

/* With PIV selected. TOKEN_HELD: another program has the card for itself. TOKEN_GONE: no card, reader or
 * pcscd. FAILED: PC/SC refuses, or the card does not answer. UNSUPPORTED: no PIV, or no serial number. */
bool card_begin(Card *card, GError **error);
void card_end(Card *card);

/* What the card says of the PIN. */
typedef struct CardPin {
    bool verified;
    int tries_left; /* -1: verified, so all of them, but not how many that is */
} CardPin;
/* As it was at card_begin, or when card_ask_pin asked after that. */
CardPin card_pin(const Card *card);
bool card_ask_pin(Card *card, GError **error);
/* The same, and whether PIV is still selected at all. */
bool card_look(Card *card, bool *ret_is_piv, GError **error);
/* The tries left now, verified or not; -1: all there are. */
bool card_count_pin_tries(Card *card, int *ret_tries, GError **error);

/* A whole command, in as many APDUs as it takes, and its whole answer. False only where the connection broke:
 * then it is unknown what the card did. */
bool card_send(Card *card, guint8 instruction, guint8 p1, guint8 p2, const void *data, gsize size,
               CardAnswer *ret_answer, GError **error);
/* Memory for what is secret, locked where there is enough of it, wiped at the end. */
typedef struct LockedBytes {
    guint8 *data;
    gsize room;
} LockedBytes;
LockedBytes locked_bytes_new(gsize room);
void locked_bytes_clear(LockedBytes *bytes);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(LockedBytes, locked_bytes_clear)

/* The same as card_send for a secret: |size| bytes that start at CARD_SECRET_HEAD in |bytes|, whose room is
 * CARD_SECRET_ROOM(size). The answer replaces them: at most 256 bytes, and a status of 6100 + n where there
 * would be more. */
#define CARD_SECRET_HEAD 5U
#define CARD_SECRET_ROOM(size) (CARD_SECRET_HEAD + MAX((gsize)(size), 258U))
bool card_send_secret(Card *card, guint8 instruction, guint8 p1, guint8 p2, LockedBytes *bytes, gsize size,
                      gsize *ret_size, guint16 *ret_status, GError **error);

/* GET DATA. |ret_content| points into |answer|; empty where there is no such object. */
bool card_get_object(Card *card, guint32 object, CardAnswer *answer, PivBytes *ret_content, GError **error);
/* PUT DATA; empty deletes it. False with FAILED also where the card refuses. */
bool card_put_object(Card *card, guint32 object, const void *content, gsize size, GError **error);
/* GET METADATA. |ret_found| is false where the firmware has none, or the slot no key. */
bool card_get_metadata(Card *card, guint8 reference, PivMetadata *ret_metadata, bool *ret_found,
                       GError **error);
/* Another application, and PIV again: whatever was verified is not any more. */
bool card_forget_verified(Card *card, GError **error);

/* FAILED: "YubiKey N did not |what|: status word 6A80". */
void card_set_refusal(const Card *card, GError **error, guint16 status, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
