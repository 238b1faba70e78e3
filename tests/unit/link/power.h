/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A disk that loses its power, for everything that SQLite writes in this process: a VFS over the usual one
 * that remembers what was written and not synced. Each write, truncation, sync and deletion is an operation;
 * at a chosen one the power goes: it may be half done, and everything after it fails. Then the files are made
 * what a disk may hold after that: all that was synced, and of the rest whatever a seed says, by the sector.
 * Threads may use it; the calls below are for one thread while no database is open, but for power_cut_at. */

#include <glib.h>
#include <stdbool.h>

/* Before the first database is opened. */
void power_install(void);
/* The |operation|th from now fails, and all behind it; 0: the power stays. */
void power_cut_at(guint operation);
guint power_operations(void); /* since power_cut_at */
bool power_is_off(void);

typedef enum PowerLoss {
    POWER_LOSES_NOTHING, /* what was written is there, synced or not */
    POWER_LOSES_ALL,     /* nothing is that was not synced */
    POWER_LOSES_SOME,    /* sectors of 512 bytes, by |seed| */
} PowerLoss;
/* Makes the files what they are after the cut, and the power come back. */
void power_restore(PowerLoss loss, guint32 seed);
