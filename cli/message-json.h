/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Any message of the bus as JSON: arrays and structs become arrays, dictionaries objects, variants what they
 * hold. That is how properties and events are read here: by name, whatever else a newer daemon adds. */

#include <json-glib/json-glib.h>
#include <stdbool.h>
#include <systemd/sd-bus.h>

/* All arguments of |message| as an array. File descriptors become null. Transfer full. */
JsonNode *message_to_json(sd_bus_message *message, GError **error);

/* Members of such an object. Absent or of another type: "", 0, NULL. Transfer none. */
const char *property_text(JsonObject *object, const char *name);
gint64 property_number(JsonObject *object, const char *name);
JsonArray *property_array(JsonObject *object, const char *name);
bool property_is_true(JsonObject *object, const char *name);
