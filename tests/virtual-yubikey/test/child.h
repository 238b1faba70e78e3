/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Children that end with the test, however it ends. */

#include <gio/gio.h>
#include <stdbool.h>

/* Starts |argv|, whose stdout is a pipe. |descriptor| (-1: none) becomes number 3 of the child.
 * |unprivileged|: not as root. Transfer full. */
GSubprocess *child_start(const char *const *argv, int descriptor, bool unprivileged);
