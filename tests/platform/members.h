/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Members of JSON objects by name and type, and text to objects and back. A member of another type counts as
 * absent: who needs it says so. */

#include <json-glib/json-glib.h>
#include <stdbool.h>

const char *member_text(JsonObject *object, const char *name);
JsonObject *member_object(JsonObject *object, const char *name);
JsonArray *member_array(JsonObject *object, const char *name);
bool member_integer(JsonObject *object, const char *name, gint64 *ret_value);
/* |otherwise| where it is absent. */
gint64 member_integer_or(JsonObject *object, const char *name, gint64 otherwise);
bool member_true(JsonObject *object, const char *name);

/* The items of an array of texts, or of one text; no items where |name| is absent. Transfer full,
 * NULL-terminated. */
char **member_texts(JsonObject *object, const char *name);

/* Text of |size| bytes (-1: up to NUL) that is one JSON object. Transfer full; NULL with |error| set. */
JsonObject *object_from_text(const char *text, gssize size, GError **error);
/* Compact. Transfer full. */
char *object_to_text(JsonObject *object, bool pretty);
