/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The PC/SC readers of this machine and the cards in them, watched by one thread that is blocked in PC/SC
 * until something changes there. pcscd may be absent, start later, and be restarted: then all cards are gone,
 * and those that are there appear again as soon as PC/SC works again.
 *
 * Everything is reported on the main context of the creator, in the order in which it was seen, and never
 * after readers_free. Nothing here connects to a card but readers_usb_address. */

#include <glib.h>
#include <stdbool.h>

typedef struct Readers Readers;

typedef struct ReadersEvents {
    /* A card is in |reader|: once for each time that it was put there. */
    void (*card_there)(const char *reader, void *userdata);
    void (*card_gone)(const char *reader, void *userdata);
    /* A program that used the card in |reader|, perhaps alone, uses it no more. */
    void (*card_free)(const char *reader, void *userdata);
    /* PC/SC was tried. NULL: it works, and the cards that are there were reported before. Otherwise a
     * sentence that says why it doesn't and what to do. */
    void (*looked)(const char *trouble, void *userdata);
    void *userdata;
} ReadersEvents;

/* Watches the readers whose names start with |prefix|. */
Readers *readers_new(const char *prefix, const ReadersEvents *events);
/* Tries PC/SC again now, where it didn't work: |looked| follows. Nothing happens where it works. */
void readers_look_again(Readers *readers);
/* Ends the thread; waits for it a few seconds at most. */
void readers_free(Readers *readers);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Readers, readers_free)

/* Where |reader| is on USB, as in /dev/bus/usb/BBB/NNN. False for readers that aren't there. Blocks; for any
 * thread. */
bool readers_usb_address(const char *reader, guint *ret_bus, guint *ret_number);
