/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A lane: the requests of one authority on their way to the token, in the order in which they came.
 *
 * Opening and preparing happen on several threads, and a short request is ready before a long one that came
 * earlier. The lane lets them through to the token in order of arrival all the same (protocol.md W.4),
 * whatever each takes to get there.
 *
 * Main thread. Continuations run from inside lane_proceed and lane_leave. */

#include <glib.h>
#include <stdbool.h>

typedef struct Lane Lane;
typedef struct LanePlace LanePlace;

typedef void (*LaneFunc)(void *userdata);

Lane *lane_new(void);
/* From now on nobody who waits goes on; the lane goes with the last place in it. Accepts NULL. */
void lane_close(Lane *lane);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Lane, lane_close)

/* A place at the end. */
LanePlace *lane_enter(Lane *lane);
/* |go| once everybody before it has gone on to the token or has left. */
void lane_proceed(LanePlace *place, LaneFunc go, void *userdata);
/* Gives the place back; accepts NULL. True when it was waiting: its continuation will not run. */
bool lane_leave(LanePlace *place);
