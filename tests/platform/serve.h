/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verb `serve`: the platform itself, until SIGINT, SIGTERM or `stop`. */

/* |argv|[0] is "serve". Returns the exit status. */
int serve_main(int argc, char **argv);
