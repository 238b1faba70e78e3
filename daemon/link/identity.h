/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who this agent is towards the platform: its uuid (protocol.md 2.1) and the caindex of each authority
 * (allocated per thumbprint, kept, never reused). STATE/agent.json; the uuid is stored with a hash of the
 * machine id, so that a cloned disk makes a new one (two agents with one uuid are deaf to each other). */

#include <glib.h>
#include <stdbool.h>

typedef struct Identity Identity;

/* Blocks: before the main loop. A broken file is set aside and a new identity made. */
Identity *identity_open(const char *state_directory, GError **error);
void identity_free(Identity *identity);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Identity, identity_free)

const char *identity_uuid(const Identity *identity);
/* Durable before it returns: blocks, runs on a worker. Thread safe. */
bool identity_caindex(Identity *identity, const char *thumbprint, guint *ret_caindex, GError **error);
