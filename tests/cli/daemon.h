/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon that the tests of the command line talk to: on a private bus, with fake tokens, without a
 * platform. */

#include "tests/bus/fixture.h"

/* |tokens|: up to NULL, "serial=F1,pin=123456". Transfer full. */
Fixture *start_daemon(const char *const *tokens);
#define START_DAEMON(...) start_daemon((const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
/* Ends it and starts it again, with a sealing key for PINs. */
void restart_daemon_with_key(Fixture *fixture, const char *const *tokens);

/* With a Google Cloud at |url|, too. */
Fixture *start_daemon_with_google(const char *const *tokens, const char *url);

/* With SoftHSM2 instead of fakes, whose tokens lie in the state directory. */
Fixture *start_daemon_with_softhsm(void);

/* A CA certificate as the platform would hand it out, in a file. Transfer full: its path. */
char *write_template(Fixture *fixture);
/* A file with a secret in it. Transfer full: its path. */
char *write_secret(Fixture *fixture, const char *text);
