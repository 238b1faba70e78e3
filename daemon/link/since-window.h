/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The messages of one channel that are not dealt with yet, in order of arrival. They are finished in any
 * order; the channel's `since` (protocol.md W.3) moves only past what has nothing unfinished before it, so
 * that a crash loses none. A message that the platform delivers a second time meanwhile is recognised. */

#include <glib.h>
#include <stdbool.h>

typedef struct SinceWindow SinceWindow;

SinceWindow *since_window_new(void);
void since_window_free(SinceWindow *window);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SinceWindow, since_window_free)

/* False: |id| is in the window already. */
bool since_window_add(SinceWindow *window, const char *id);
/* Messages that it remembers: those that are not finished, and some thousands of the others. */
guint since_window_size(const SinceWindow *window);
/* The new `since`, or NULL where it did not move. Transfer full. */
char *since_window_finish(SinceWindow *window, const char *id);
