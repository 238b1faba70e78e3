/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The line on stderr that shows that a long call lives: what the token is doing, for how long, and when it is
 * the person's turn to touch it. Follows the token's properties while the call runs. On anything else than a
 * terminal only the request to touch is printed, once. */

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

typedef struct Progress Progress;

/* |quiet|: follows nothing and prints nothing. */
Progress *progress_new(sd_bus *bus, const char *token_path, bool quiet);
/* Takes the line away again. */
void progress_free(Progress *progress);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Progress, progress_free)

/* Draws what is known now; returns how long to wait before drawing again, in µs (UINT64_MAX: until something
 * happens). */
uint64_t progress_draw(Progress *progress);
