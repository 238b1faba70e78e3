/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager's inside, for its two files: manager.c wires the parts, manager-acts.c does what people ask
 * for. */

#include "daemon/drained.h"
#include "daemon/manager.h"
#include "daemon/worker.h"

struct Manager {
    char *config_file; /* or NULL */
    char *state_directory;
    Config *config;
    Sealing *sealing;
    PinStore *pins;
    Drained *drained;
    Identity *identity;
    Journal *journal;
    Worker *files;            /* small file work that must not wait in the main loop */
    GPtrArray *sources;       /* Source */
    Source *softhsm;          /* one of them, or NULL */
    Source *google_kms;       /* one of them */
    GPtrArray *tokens;        /* Token, by serial */
    Source *yubikeys;         /* one of the sources, or NULL */
    struct Hotplug *hotplug;  /* or NULL */
    GTree *troubles;          /* "source: place" → what the matter is there */
    bool leaving;             /* nothing new is taken in */
    GHashTable *refused_pins; /* serials of tokens whose refusal of a PIN was logged */
    GHashTable *touch_asked;  /* serials of tokens whose wait for a touch was told */
    AuthoritySet *authorities;
    Link *link;
    ManagerEvents events;
    guint settling; /* sources and tokens of the first enumeration that are not done */
    DoneFunc settled;
    void *settled_userdata;
    char *status; /* as last told to systemd */
};

/* Transfer none, or NULL. */
Token *manager_find_token(const Manager *self, const char *serial);
/* SoftHSM2, which the configuration in force has found and that of the start had not. */
void manager_begin_softhsm(Manager *self);
/* Tells the bus and systemd that a property of the manager may have changed. */
void manager_emit_changed(Manager *self);
