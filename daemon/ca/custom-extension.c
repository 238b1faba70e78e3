/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* OpenSSL's generic extension syntax without what refers to a configuration. */

#include "daemon/ca/custom-extension.h"
#include "daemon/ca/asn1-value.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/json.h"
#include <openssl/err.h>
#include <string.h>

enum { VALUE_LENGTH_MAX = 65536 };

/* Transfer full: the extension's value, or NULL. */
static ASN1_OCTET_STRING *encode_value(const char *text)
{
    unsigned char *bytes = NULL;
    long size = 0;

    if (g_str_has_prefix(text, "DER:")) {
        bytes = OPENSSL_hexstr2buf(text + 4, &size);
    } else if (g_str_has_prefix(text, "ASN1:")) {
        g_autoptr(ASN1_TYPE) value = asn1_value_from_text(text + 5);
        size = value ? i2d_ASN1_TYPE(value, &bytes) : 0;
    }
    if (!bytes || size <= 0 || !asn1_is_one_value(bytes, (gsize)size)) {
        OPENSSL_free(bytes);
        ERR_clear_error();
        return NULL;
    }
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    ASN1_STRING_set0(value, bytes, (int)size);
    return value;
}

static bool add_extension(X509_EXTENSIONS *to, JsonObject *object, GError **error)
{
    g_autoptr(GError) wrong = NULL;
    const char *identifier = json_get_string(object, "OID", &wrong);
    const char *text = wrong ? NULL : json_get_string(object, "value", &wrong);
    if (wrong || !identifier || !text)
        return refuse(error, "Invalid customOIDs: %s", wrong ? wrong->message : "OID and value are needed");
    g_autoptr(ASN1_OBJECT) oid = asn1_object_from_dotted(identifier);
    if (!oid)
        return refuse(error, "Invalid customOIDs: %s", identifier);

    bool critical = g_str_has_prefix(text, "critical,");
    const char *value = critical ? text + strlen("critical,") : text;
    while (critical && *value == ' ')
        value++;
    g_autoptr(ASN1_OCTET_STRING) encoded =
        strlen(text) <= VALUE_LENGTH_MAX && !characters_have_control(text) ? encode_value(value) : NULL;
    if (!encoded)
        return refuse(error, "Invalid customOIDs: the value of %s is not DER:hex or ASN1:TYPE:value",
                      identifier);

    X509_EXTENSION *extension = X509_EXTENSION_create_by_OBJ(NULL, oid, critical, encoded);
    sk_X509_EXTENSION_push(to, extension);
    /* Otherwise nobody could read the certificate. */
    return extension_is_readable(extension) ||
           refuse(error, "Invalid customOIDs: the value of %s is of another kind", identifier);
}

bool custom_extension_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    JsonArray *list = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    if (list && json_array_get_length(list) > EXTENSION_LIST_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid customOIDs: more than %d entries",
                         EXTENSION_LIST_MAX);
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonNode *element = json_array_get_element(list, i);
        if (!JSON_NODE_HOLDS_OBJECT(element))
            return refuse(error, "Invalid customOIDs: not a list of objects");
        if (!add_extension(to, json_node_get_object(element), error))
            return false;
    }
    return list || refuse(error, "Invalid customOIDs: not a list of objects");
}
