/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Nothing in an envelope is signed, so nothing here is an error: a member of the wrong type is as good as
 * none. */

#include "daemon/link/message/wire.h"

#include "daemon/json.h"

/* Nobody waits longer for a signature; it also keeps the arithmetic in range. */
#define TTL_MAX (24.0 * 3600.0)

WireType wire_type(JsonObject *envelope)
{
    const char *type = json_get_string(envelope, "type", NULL);
    if (g_strcmp0(type, "solicit signature") == 0)
        return WIRE_SOLICIT;
    return g_strcmp0(type, "signature request") == 0 ? WIRE_REQUEST : WIRE_OTHER;
}

bool wire_is_for(JsonObject *envelope, const char *uuid)
{
    JsonNode *node = json_object_get_member(envelope, "uuid");
    return !node || JSON_NODE_HOLDS_NULL(node) ||
           g_strcmp0(json_get_string(envelope, "uuid", NULL), uuid) == 0;
}

bool wire_caindex_is(JsonObject *envelope, guint caindex)
{
    JsonNode *node = json_object_get_member(envelope, "caindex");
    if (!node || JSON_NODE_HOLDS_NULL(node))
        return true;
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64 &&
           json_node_get_int(node) == (gint64)caindex;
}

gint64 wire_deadline(const TransportMessage *message, guint default_ttl)
{
    JsonNode *node = json_object_get_member(message->envelope, "ttl");
    double ttl = 0;
    if (node && JSON_NODE_HOLDS_VALUE(node)) {
        GType type = json_node_get_value_type(node);
        if (type == G_TYPE_INT64 || type == G_TYPE_DOUBLE)
            ttl = json_node_get_double(node);
    }
    if (!(ttl > 0))
        ttl = default_ttl;
    return message->received - message->age_ms * 1000 + (gint64)(MIN(ttl, TTL_MAX) * G_USEC_PER_SEC);
}

JsonObject *wire_bootstrap_content(const char *serial, const char *thumbprint)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "serial", serial);
    json_object_set_string_member(object, "thumbprint", thumbprint);
    return object;
}

JsonObject *wire_bootstrap(const char *serial, const char *thumbprint)
{
    return wire_bootstrap_content(serial, thumbprint);
}

JsonObject *wire_offer_content(const char *uuid, guint caindex, const char *siguuid)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "uuid", uuid);
    json_object_set_int_member(object, "caindex", caindex);
    json_object_set_string_member(object, "siguuid", siguuid);
    return object;
}

JsonObject *wire_offer(const char *publisher, const char *siguuid)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "type", "services offerred"); /* the protocol's spelling */
    json_object_set_string_member(object, "uuid", publisher);
    json_object_set_string_member(object, "siguuid", siguuid);
    return object;
}

JsonObject *wire_answer_content(bool success, const char *siguuid, const char *text)
{
    JsonObject *object = json_object_new();
    json_object_set_boolean_member(object, "success", success);
    json_object_set_string_member(object, "siguuid", siguuid);
    json_object_set_string_member(object, "message", text);
    return object;
}

JsonObject *wire_answer(const char *siguuid, const char *publisher)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "type", "signature response");
    json_object_set_string_member(object, "siguuid", siguuid);
    json_object_set_string_member(object, "uuid", publisher);
    return object;
}

JsonObject *wire_delivery(void)
{
    return json_object_new();
}
