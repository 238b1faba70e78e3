/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon as a program: options, start, run, stop. iothsmd is this and nothing more; a build with further
 * sources of tokens (tests) adds its own options and sources. */

#include "daemon/manager.h"

typedef struct DaemonAdditions {
    const GOptionEntry *options; /* NULL-terminated, or NULL */
    bool (*add_sources)(Manager *manager, GError **error);
} DaemonAdditions;

/* |additions| may be NULL. Returns the exit status. */
int daemon_main(int argc, char **argv, const DaemonAdditions *additions);
