/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The gate in front of the JSON parser. What passes is written and passes again, unless it has a fraction:
 * json-glib writes those with more digits than the gate lets in, and nothing of ours has any. */

#include "daemon/json.h"
#include "tests/fuzz/fuzz.h"
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = json_object_parse((const char *)data, size, &error);
    g_assert_true((object == NULL) == (error != NULL));
    if (!object)
        return 0;
    g_autofree char *text = json_object_to_text(object);
    g_autoptr(JsonObject) again = json_object_parse(text, strlen(text), &error);
    if (!again)
        g_assert_cmpstr(error->message, ==, "a JSON number is too long");
    return 0;
}
