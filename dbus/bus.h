/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The daemon on the system bus: org.pkiaas.IoTHSM with its objects, as design and the XML beside this file
 * say. Everything that is shown is read from the manager; everything that can be done goes through
 * polkit/authorize first. */

#include "daemon/manager.h"
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

typedef struct Bus Bus;

/* Connects, exports the objects and asks for the name; blocks, before the main loop runs. The error says in
 * words when the name is taken or the bus policy is missing. */
Bus *bus_new(Manager *manager, sd_event *event, GError **error);
void bus_free(Bus *bus);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Bus, bus_free)
