/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The disk as the journal's tests want it: fsync and fdatasync of this process are counted, and can be slow.
 * disk.c has functions of these names, which come before libc's for everything in the process, SQLite too. */

#include <glib.h>

guint disk_syncs(void);
void disk_set_delay(guint milliseconds);
