/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The threads that do the platform's RSA work: as many as there are cores, so that the main thread only moves
 * messages. A job belongs to its thread while |work| runs and to the main thread before and after. */

#include <glib.h>

typedef void (*WorkFunc)(gpointer job);

/* |work| runs on a thread, then |done| on the main thread, which frees the job. */
void work_submit(WorkFunc work, WorkFunc done, gpointer job);
