/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A stand-in for polkit, in the test's own process: it answers as it is told, and remembers what it was
 * asked. */

#include <glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

typedef enum PolkitMode {
    POLKIT_ABSENT,
    POLKIT_YES,
    POLKIT_NO,
    POLKIT_CHALLENGE, /* yes where a dialog is allowed, otherwise "a password is needed" */
    POLKIT_NO_AGENT,  /* "a password is needed", and nobody to ask for it */
    POLKIT_NEVER,     /* no answer */
    POLKIT_GARBAGE,   /* an answer of another type */
    POLKIT_ERROR,
} PolkitMode;

typedef struct Polkit {
    PolkitMode mode;
    guint questions;
    guint cancelled;
    bool interactive; /* of the last question, and so on */
    char *action;
    char *subject;
    char *details; /* "token=…;slot=…;" */
    sd_bus *bus;
} Polkit;

/* Takes |bus|. POLKIT_ABSENT at first. */
Polkit *polkit_stand_in_new(sd_bus *bus);
void polkit_stand_in_set(Polkit *polkit, PolkitMode mode);
void polkit_stand_in_free(Polkit *polkit);
