/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How anything asynchronous in the daemon says that it is over: one call, exactly once, on the main thread,
 * never from inside the function that started it. |error| is NULL on success and belongs to the caller. */

#include <glib.h>

typedef void (*DoneFunc)(const GError *error, void *userdata);

/* The same with a text as the result (a PEM, a name); |text| is NULL on failure and belongs to the caller. */
typedef void (*TextDoneFunc)(const char *text, const GError *error, void *userdata);
