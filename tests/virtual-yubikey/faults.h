/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a test has the key do wrong, and what it has seen: operations that fail with a status word, a
 * connection that is cut at an APDU, slow answers, and a count of what came in by instruction. An APDU is
 * what arrives; an operation is a whole command, however many APDUs it took. Under the hand's lock. */

#include <glib.h>
#include <stdbool.h>

#define ANY_INSTRUCTION (-1)

typedef struct Faults {
    guint fail_left; /* operations */
    int fail_instruction;
    guint16 fail_status;
    guint cut_in;   /* APDUs, the one to cut at included; 0: never */
    bool cut_after; /* it is done, but its answer gets lost */
    guint reset_in; /* APDUs until everything is forgotten, as if the reader had cut the power; 0: never */
    guint delay_milliseconds;
    int delay_instruction;
    guint64 seen[256];
    guint64 seen_total;
} Faults;

/* Notes an APDU. True: this is the one to cut at. */
bool faults_see(Faults *faults, guint8 instruction);
/* Called for each APDU after faults_see. True: everything is forgotten before this one. */
bool faults_reset(Faults *faults);
/* The status word to fail this operation with, or 0. */
guint16 faults_failure(Faults *faults, guint8 instruction);
/* How long this operation has to wait. */
guint faults_delay(const Faults *faults, guint8 instruction);
