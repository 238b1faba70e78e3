/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What happened so far: counters by name, and the last complaints about what an agent sent, in words. A test
 * that wants an agent to be right to the letter asks for zero complaints. Main thread. */

#include <json-glib/json-glib.h>

typedef struct Tally Tally;

Tally *tally_new(void);
void tally_free(Tally *tally);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Tally, tally_free)

void tally_count(Tally *tally, const char *what);
gint64 tally_value(Tally *tally, const char *what);
/* Also goes to stderr. */
void tally_complain(Tally *tally, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* {"name":N,…} and ["…",…]. Transfer full. */
JsonObject *tally_counters(Tally *tally);
JsonArray *tally_complaints(Tally *tally);
