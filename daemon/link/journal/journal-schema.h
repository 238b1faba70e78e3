/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal's file: its tables, its version, and what happens to a file that is not usable. */

#include <glib.h>
#include <sqlite3.h>
#include <stdbool.h>

typedef struct JournalTotals {
    guint64 rows;
    guint64 bytes;
    gint64 line; /* the refusal line */
} JournalTotals;

/* As journal_store_open; a missing file is made with the refusal line |line|, a damaged one replaced by one
 * with the line |now|. Transfer full: sqlite3_close. */
sqlite3 *journal_schema_open(const char *path, gint64 line, gint64 now, JournalTotals *ret_totals,
                             GError **error);

/* For a file that showed its damage while it was open (and is closed now): sets it aside. */
bool journal_schema_set_aside(const char *path, const char *reason, GError **error);
