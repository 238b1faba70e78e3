/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The reader's side of vpcd's protocol, on a port that the system chose: it says to a card exactly what a
 * test wants to say. And what a host does with a card through it: chaining, long answers, proving the
 * management key. Failures to talk are assertions; status words are for the test to look at. */

#include <glib.h>
#include <openssl/evp.h>
#include <stdbool.h>

typedef struct Reader {
    int listener;
    guint port;
    int card;         /* -1: none */
    GByteArray *data; /* of the last answer, without its status word */
} Reader;

Reader *reader_new(void);
void reader_free(Reader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reader, reader_free)

/* Waits for a card, gives it power, and looks at its ATR. */
void reader_insert(Reader *reader);
/* Waits until the card is gone. */
void reader_wait_removed(Reader *reader);
/* Power off and on. */
void reader_reset(Reader *reader);

/* One APDU as it is, its status word. */
guint16 reader_transmit(Reader *reader, const guint8 *apdu, gsize length);
/* The same, but 0 where the card is pulled out instead of answering. */
guint16 reader_try(Reader *reader, const char *hex);
/* APDUs in hex, blanks allowed; without GET RESPONSE. */
guint16 reader_send(Reader *reader, const char *hex);
/* Sends without waiting, for what takes a touch; reader_finish is the rest. */
void reader_begin(Reader *reader, const char *hex);
guint16 reader_finish(Reader *reader);
/* A whole command: in blocks of 255 where it is longer, and with all of its answer. */
guint16 reader_command(Reader *reader, guint8 ins, guint8 p1, guint8 p2, const guint8 *data, gsize length);

/* The answer's data in lower-case hex. Transfer full. */
char *reader_hex(const Reader *reader);

/* Selects PIV. */
void reader_select(Reader *reader);
/* Selects it, and proves the management key of the factory, whose algorithm is |algorithm|. */
void reader_manage(Reader *reader, guint8 algorithm);
/* Proves |key|; the last status word. */
guint16 reader_authenticate(Reader *reader, guint8 algorithm, const guint8 *key);

/* The public key of what GENERATE answered, or of what metadata tag 04 holds. Transfer full. */
EVP_PKEY *reader_public_key(guint8 algorithm, const guint8 *tlvs, gsize length);
/* GENERATE with default policies ("") or with |policies| in hex. Transfer full. */
EVP_PKEY *reader_generate(Reader *reader, guint8 slot, guint8 algorithm, const char *policies);
/* GENERAL AUTHENTICATE over |input| with tag 81; leaves the signature in |data|. */
guint16 reader_sign(Reader *reader, guint8 slot, guint8 algorithm, const guint8 *input, gsize length);
