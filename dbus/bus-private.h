/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of this folder know of each other. */

#include "daemon/manager.h"
#include "daemon/worker.h"
#include "dbus/bus.h"
#include "dbus/call.h"
#include "dbus/object.h"
#include "polkit/authorize.h"

#define BUS_PATH "/org/pkiaas/IoTHSM"
#define BUS_INTERFACE(name) "org.pkiaas.IoTHSM1." name

struct Bus {
    Manager *manager;
    sd_bus *connection;
    sd_event_source *refresh; /* runs when objects wait to be read again */
    uint64_t refreshed_at;
    Authorize *authorize;
    Worker *worker;      /* for answers that read files or take long texts apart */
    GHashTable *objects; /* subject -> Object, owned */
    GHashTable *calls;   /* the set of those that are open */
};

extern const ObjectClass manager_object_class;
extern const ObjectClass token_object_class;
extern const ObjectClass slot_object_class;
extern const ObjectClass authority_object_class;

/* Object paths; transfer full. */
char *bus_token_path(const char *serial);
char *bus_slot_path(const char *serial, const char *name);
char *bus_authority_path(const char *thumbprint);

/* Reads again what waits for it, so that what is sent next finds the properties as they are. */
void bus_refresh_now(Bus *bus);
