/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* JSON from outside. json-glib's parser recurses and accepts what it likes, so bytes pass a gate first: valid
 * UTF-8 without NUL, nesting no deeper than JSON_DEPTH_MAX, an object at the top, no member named twice in
 * one object. Then typed getters that answer in words: "options.days is not an integer". */

#include <json-glib/json-glib.h>
#include <stdbool.h>

#define JSON_DEPTH_MAX 64

/* Transfer full. IOTHSM_ERROR_INVALID with one short line on anything else than a JSON object. */
JsonObject *json_object_parse(const char *text, gsize size, GError **error);

/* Transfer none. The member |name| if it is a string; absent or null: NULL without an error; another type is
 * IOTHSM_ERROR_INVALID "|name| is not a string". */
const char *json_get_string(JsonObject *object, const char *name, GError **error);

/* As above for objects and arrays; absent or null is NULL without an error. */
JsonObject *json_get_object(JsonObject *object, const char *name, GError **error);
JsonArray *json_get_array(JsonObject *object, const char *name, GError **error);

/* |ret_value| is untouched when the member is absent or null. False only on a wrong type. */
bool json_get_bool(JsonObject *object, const char *name, bool *ret_value, GError **error);
bool json_get_integer(JsonObject *object, const char *name, gint64 *ret_value, GError **error);

/* Transfer full: compact text of |object|, slashes not escaped. */
char *json_object_to_text(JsonObject *object);
