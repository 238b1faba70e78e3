/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon as it is installed, a pcscd of its own, and virtual YubiKeys for its readers. What the daemon
 * says of tokens (its Event signal) is a list of reports that a test reads one by one: "+1001" a token is
 * there, "-1001" it is gone, "trouble: …" something can't be used. Failures are assertions. */

#include "tests/bus/fixture.h"
#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/virtual-yubikey/test/virtual-key.h"

/* What the keys have when they come from the factory. */
#define STAGE_PIN "123456"

typedef struct Stage {
    Pcsc *pcsc;
    Fixture *fixture;
    GPtrArray *keys;    /* VirtualKey */
    GPtrArray *reports; /* not yet read */
    sd_bus_slot *match;
} Stage;

/* The bus and |readers| readers; no daemon yet, and pcscd only where |pcscd|. */
Stage *stage_new(guint readers, bool pcscd);
void stage_free(Stage *stage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stage, stage_free)

/* Starts the daemon, with YubiKeys alone; PINs can be sealed. |environment|: pairs, may be NULL. */
void stage_start(Stage *stage, const char *const *environment);
/* A key with this serial number, plugged into |reader|, or not yet. Owned by the stage. */
VirtualKey *stage_key(Stage *stage, guint reader, const char *serial, bool plugged);
/* The same key in another reader: |directory| is what stage_key_directory gave. */
VirtualKey *stage_key_in(Stage *stage, guint reader, const char *directory, bool plugged);
char *stage_directory(const Stage *stage, const char *serial);

/* Waits for the next report, which must start with |report|. */
void stage_assert_next(Stage *stage, const char *report);
/* Waits for as many reports, which must be these in any order. */
void stage_assert_all(Stage *stage, const char *const *reports);
/* Until the token's state is |state|. */
void stage_wait_state(Stage *stage, const char *serial, const char *state);
/* Transfer full. */
char *stage_token_path(const char *serial);
/* The serial numbers of all tokens, sorted, with blanks between. Transfer full. */
char *stage_tokens(Stage *stage);
/* The manager's Troubles, a line each. Transfer full. */
char *stage_troubles(Stage *stage);
/* Gives the daemon the token's PIN, to be sealed. */
void stage_set_pin(Stage *stage, const char *serial);
