/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How often one kind of record may be logged: a few at once, then one a while with the number of those left
 * out, so that who can make us log cannot fill the journal. */

#include <glib.h>
#include <stdbool.h>

typedef struct LogLimit {
    gint64 window_end; /* µs of g_get_monotonic_time() */
    guint in_window;
    guint left_out;
} LogLimit;

/* True: log it, and say that |ret_left_out| were not. */
bool log_limit_pass(LogLimit *limit, guint *ret_left_out);
