/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A stretch of the way between agents and the platform where things happen to bytes: connections are reset,
 * cut in the middle of something, slow, or frozen (open for ever, with nothing coming through any more). It
 * knows nothing of what passes through it, so it does the same to HTTP, to WebSockets and to TLS. Main
 * thread. */

#include "tests/platform/faults.h"
#include <gio/gio.h>

typedef struct Relay Relay;

/* Listens on 127.0.0.1:|port| (0: a free one) and leads to |target| there. */
Relay *relay_new(guint16 port, guint16 target, Faults *faults, GError **error);
void relay_free(Relay *relay);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Relay, relay_free)

guint16 relay_port(const Relay *relay);
