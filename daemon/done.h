/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How anything asynchronous in the daemon says that it is over: one call, exactly once, on the main thread,
 * never from inside the function that started it. |error| is NULL on success and belongs to the caller. */

#include <glib.h>

typedef void (*DoneFunc)(const GError *error, void *userdata);

/* The same with a text as the result (a PEM, a name); |text| is NULL on failure and belongs to the caller. */
typedef void (*TextDoneFunc)(const char *text, const GError *error, void *userdata);

/* What is known at once is told later all the same. |error| is taken; NULL: success. */
void done_later(DoneFunc done, void *userdata, GError *error);
void text_fail_later(TextDoneFunc done, void *userdata, GError *error);
