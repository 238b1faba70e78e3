/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* RFC 5280 4.2.1.3, 4.2.1.9, 4.2.1.12 and RFC 7633, from JSON. The refusals of basicConstraints are word for
 * word those that the platform knows (protocol.md C). */

#include "daemon/ca/extension-usage.h"
#include "daemon/ca/asn1-value.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"

enum { TLS_FEATURE_STATUS_REQUEST = 5 /* RFC 6066 8 */ };

static const struct {
    const char *name;
    int bit; /* RFC 5280 4.2.1.3 */
} key_usages[] = {
    {"digitalSignature", 0}, {"nonRepudiation", 1}, {"keyEncipherment", 2},
    {"dataEncipherment", 3}, {"keyAgreement", 4},   {"keyCertSign", 5},
    {"cRLSign", 6},          {"encipherOnly", 7},   {"decipherOnly", 8},
};

static const struct {
    const char *name;
    int nid;
} extended_key_usages[] = {
    {"serverAuth", NID_server_auth},  {"clientAuth", NID_client_auth},
    {"codeSigning", NID_code_sign},   {"emailProtection", NID_email_protect},
    {"timeStamping", NID_time_stamp}, {"OCSPSigning", NID_OCSP_sign},
    {"msCodeInd", NID_ms_code_ind},   {"msCodeCom", NID_ms_code_com},
    {"msCTLSign", NID_ms_ctl_sign},   {"msEFS", NID_ms_efs},
    {"ipsecIKE", NID_ipsec_IKE},      {"ipsecEndSystem", NID_ipsecEndSystem},
    {"ipsecTunnel", NID_ipsecTunnel}, {"ipsecUser", NID_ipsecUser},
};

/* As JavaScript's typeof calls it. */
static const char *type_name(JsonNode *node)
{
    if (!JSON_NODE_HOLDS_VALUE(node))
        return "object";
    GType type = json_node_get_value_type(node);
    return type == G_TYPE_STRING ? "string" : type == G_TYPE_BOOLEAN ? "boolean" : "number";
}

static bool wants(JsonNode *node, const char *parameter, const char *type, GError **error)
{
    if (g_str_equal(type_name(node), type))
        return true;
    return refuse(error, "Provided basicConstraints parameter '%s' is type %s, %s required", parameter,
                  type_name(node), type);
}

/* |*ret_length| -1: no limit. */
static bool read_path_length(JsonNode *node, gint64 *ret_length, GError **error)
{
    if (!wants(node, "pathlen", "number", error))
        return false;
    if (json_node_get_value_type(node) != G_TYPE_INT64 || json_node_get_int(node) > G_MAXINT32)
        return refuse(error, "Invalid basicConstraints: pathlen");
    *ret_length = MAX(json_node_get_int(node), -1);
    return true;
}

static bool add_basic_constraints(X509_EXTENSIONS *to, bool critical, bool ca, gint64 path_length,
                                  GError **error)
{
    g_autoptr(BASIC_CONSTRAINTS) constraints = BASIC_CONSTRAINTS_new();
    constraints->ca = ca ? 0xff : 0;
    if (path_length >= 0) {
        /* RFC 5280 4.2.1.9 forbids it, and OpenSSL calls such a certificate invalid. */
        if (!ca)
            return refuse(error, "Invalid basicConstraints: pathlen without CA");
        constraints->pathlen = ASN1_INTEGER_new();
        ASN1_INTEGER_set_int64(constraints->pathlen, path_length);
    }
    return extension_add(to, NID_basic_constraints, critical, constraints, error);
}

bool basic_constraints_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid basicConstraints: not an object");
    JsonObject *object = json_node_get_object(node);
    bool critical = false, has_ca = false, ca = false, has_other = false;
    gint64 path_length = -1;

    g_autoptr(GList) members = json_object_get_members(object);
    for (GList *at = members; at; at = at->next) {
        const char *name = at->data;
        JsonNode *value = json_object_get_member(object, name);
        if (g_str_equal(name, "critical")) {
            if (!wants(value, name, "boolean", error))
                return false;
            critical = json_node_get_boolean(value);
            has_other = true;
        } else if (g_str_equal(name, "CA")) {
            if (!wants(value, name, "boolean", error))
                return false;
            ca = json_node_get_boolean(value);
            has_ca = true;
        } else if (!g_str_equal(name, "pathlen")) {
            return refuse(error, "Invalid basicConstraints: %s", name);
        } else if (!read_path_length(value, &path_length, error)) {
            return false;
        }
    }
    if (has_ca || path_length >= 0)
        return add_basic_constraints(to, critical, ca, path_length, error);
    return has_other ? refuse(error, "Basic constraints cannot contain only 'critical'") : true;
}

/* {critical?, usages}. |*ret_usages| NULL: nothing is asked for. */
static bool read_usages(JsonNode *node, const char *what, JsonArray **ret_usages, bool *ret_critical,
                        GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid %s: not an object", what);
    JsonObject *object = json_node_get_object(node);
    JsonArray *usages = NULL;

    g_autoptr(GList) members = json_object_get_members(object);
    for (GList *at = members; at; at = at->next) {
        JsonNode *value = json_object_get_member(object, at->data);
        if (g_str_equal(at->data, "usages")) {
            if (!JSON_NODE_HOLDS_NULL(value) && !(usages = extension_texts(value, what, error)))
                return false;
        } else if (!g_str_equal(at->data, "critical")) {
            return refuse(error, "Invalid %s: %s", what, (const char *)at->data);
        } else if (!JSON_NODE_HOLDS_NULL(value)) {
            if (!g_str_equal(type_name(value), "boolean"))
                return refuse(error, "Invalid %s: critical is not true or false", what);
            *ret_critical = json_node_get_boolean(value);
        }
    }
    if (usages && json_array_get_length(usages) == 0)
        usages = NULL;
    if (!usages && *ret_critical)
        return refuse(error, "Invalid %s: critical without usages", what);
    *ret_usages = usages;
    return true;
}

static int find_key_usage(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(key_usages); i++)
        if (g_str_equal(key_usages[i].name, name))
            return key_usages[i].bit;
    return -1;
}

bool key_usage_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    JsonArray *usages = NULL;
    bool critical = false;
    if (!read_usages(node, "keyUsage", &usages, &critical, error))
        return false;
    if (!usages)
        return true;

    g_autoptr(ASN1_BIT_STRING) bits = ASN1_BIT_STRING_new();
    for (guint i = 0; i < json_array_get_length(usages); i++) {
        const char *name = json_array_get_string_element(usages, i);
        int bit = find_key_usage(name);
        if (bit < 0)
            return refuse(error, "Invalid keyUsage: %s", name);
        ASN1_BIT_STRING_set_bit(bits, bit, 1);
    }
    return extension_add(to, NID_key_usage, critical, bits, error);
}

/* Transfer full. */
static ASN1_OBJECT *extended_key_usage_object(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(extended_key_usages); i++)
        if (g_str_equal(extended_key_usages[i].name, name))
            return OBJ_dup(OBJ_nid2obj(extended_key_usages[i].nid));
    return asn1_object_from_dotted(name);
}

bool extended_key_usage_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    JsonArray *usages = NULL;
    bool critical = false;
    if (!read_usages(node, "extendedKeyUsage", &usages, &critical, error))
        return false;
    if (!usages)
        return true;

    g_autoptr(EXTENDED_KEY_USAGE) list = sk_ASN1_OBJECT_new_null();
    for (guint i = 0; i < json_array_get_length(usages); i++) {
        const char *name = json_array_get_string_element(usages, i);
        ASN1_OBJECT *object = extended_key_usage_object(name);
        if (!object)
            return refuse(error, "Invalid extendedKeyUsage: %s", name);
        sk_ASN1_OBJECT_push(list, object);
    }
    return extension_add(to, NID_ext_key_usage, critical, list, error);
}

bool tls_feature_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    JsonArray *features = extension_texts(node, "tlsfeature", error);
    if (!features)
        return false;
    if (json_array_get_length(features) == 0)
        return true;
    for (guint i = 0; i < json_array_get_length(features); i++) {
        const char *name = json_array_get_string_element(features, i);
        if (i > 0 || !g_str_equal(name, "status_request"))
            return refuse(error, "Invalid tlsfeature: %s", name);
    }
    g_autoptr(IntegerStack) list = sk_ASN1_INTEGER_new_null();
    ASN1_INTEGER *feature = ASN1_INTEGER_new();
    ASN1_INTEGER_set_int64(feature, TLS_FEATURE_STATUS_REQUEST);
    sk_ASN1_INTEGER_push(list, feature);
    return extension_add(to, NID_tlsfeature, false, list, error);
}
