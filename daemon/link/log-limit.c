/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Windows of ten seconds with five records each. */

#include "daemon/link/log-limit.h"

#define WINDOW_US (10 * G_USEC_PER_SEC)
#define RECORDS_A_WINDOW 5

bool log_limit_pass(LogLimit *limit, guint *ret_left_out)
{
    gint64 now = g_get_monotonic_time();
    if (now >= limit->window_end) {
        limit->window_end = now + WINDOW_US;
        limit->in_window = 0;
    }
    if (limit->in_window >= RECORDS_A_WINDOW) {
        limit->left_out++;
        return false;
    }
    limit->in_window++;
    *ret_left_out = limit->left_out;
    limit->left_out = 0;
    return true;
}
