/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One small file of the state directory, replaced as a whole: written to a temporary file beside it, fsynced,
 * renamed, directory fsynced. A file that can't be understood is set aside as NAME.unreadable-DATE, never
 * overwritten. Every call blocks: it runs on a worker, or before the main loop starts. */

#include <glib.h>
#include <stdbool.h>

/* Mode 0600; makes missing parent directories (0700). */
bool state_file_write(const char *path, const void *data, gsize size, GError **error);

/* Transfer full. NULL without an error: no such file. Larger than |limit| is an error. */
GBytes *state_file_read(const char *path, gsize limit, GError **error);

/* Renames |path| and logs MESSAGE_STATE_SET_ASIDE with |reason|. */
bool state_file_set_aside(const char *path, const char *reason, GError **error);
