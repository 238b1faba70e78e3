/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which tokens a person has drained: STATE/drained, one escaped serial number a line. It is remembered until
 * it is taken back, also when the token is unplugged or the service restarted meanwhile: maintenance may
 * need both. Main thread, but for the writing. */

#include "daemon/done.h"
#include "daemon/worker.h"

typedef struct Drained Drained;

/* Blocks: before the main loop. A file that can't be understood is set aside, and no token is drained. */
Drained *drained_open(const char *state_directory, GError **error);
void drained_free(Drained *drained);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Drained, drained_free)

bool drained_has(const Drained *drained, const char *serial);
/* Holds at once; |done| when it is on disk, or can't be. On a thread of |files|, which is one. */
void drained_set(Drained *drained, const char *serial, bool on, Worker *files, DoneFunc done, void *userdata);
