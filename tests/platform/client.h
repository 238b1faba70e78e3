/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verbs that talk to a running platform: options to JSON, the answer to stdout, and the openssl command's
 * judgement of everything that was made. */

/* |argv|[0] is the verb. Returns the exit status: 0 done, 1 not done, 2 wrong use, 3 (send-raw) no answer. */
int client_main(int argc, char **argv);
/* One line a verb, for --help. Transfer full. */
char *client_help(void);
