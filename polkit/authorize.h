/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may do what. Root and the daemon's own user may do everything; everybody else is polkit's decision,
 * asked asynchronously with the sender's bus name as the subject (never a pid), honouring the message's
 * interactive-authorisation flag and only that. No polkit on the bus, an answer that makes no sense, or a
 * sender that left meanwhile: refused. */

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

/* Runs exactly once, on the main thread, unless authorize_close comes first. |verdict| > 0: allowed;
 * otherwise |error| is filled for the caller with one of the standard names (AccessDenied,
 * InteractiveAuthorizationRequired). |uid| is the caller's user, -1 where the bus did not tell. */
typedef void (*AuthorizeFunc)(sd_bus_message *call, int verdict, int64_t uid, const sd_bus_error *error,
                              void *userdata);

typedef struct Authorize Authorize;

Authorize *authorize_new(sd_bus *bus);
/* Drops every question that is still open, without answers. */
void authorize_close(Authorize *authorize);

/* One row of details that polkit's dialog can name: token, slot. NULL-terminated pairs; NULL: none. |done| is
 * never called from inside this function. Negative errno when the question could not be put; |done| is not
 * called then. */
int authorize_ask(Authorize *authorize, sd_bus_message *call, const char *action, const char *const *details,
                  AuthorizeFunc done, void *userdata);
