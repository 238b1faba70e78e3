/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of kinds, and the order. Also what all builders share. */

#include "daemon/ca/extensions.h"
#include "daemon/ca/alternative-names.h"
#include "daemon/ca/certificate-policies.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/custom-extension.h"
#include "daemon/ca/extension-access.h"
#include "daemon/ca/extension-usage.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"
#include <string.h>

static const struct {
    const char *name;
    ExtensionBuilder build;
} kinds[] = {
    {"basicConstraints", basic_constraints_build},
    {"keyUsage", key_usage_build},
    {"extendedKeyUsage", extended_key_usage_build},
    {"tlsfeature", tls_feature_build},
    {"authorityInfoAccess", authority_info_access_build},
    {"crlDistributionPoints", crl_distribution_points_build},
    {"policies", certificate_policies_build},
    {"customOIDs", custom_extension_build},
    {"SANs", alternative_names_build},
};

/* Taken over from a CSR that comes without options (protocol.md 6.5). */
static const int recognised[] = {NID_basic_constraints, NID_key_usage,   NID_ext_key_usage,
                                 NID_tlsfeature,        NID_info_access, NID_crl_distribution_points,
                                 NID_subject_alt_name};

bool extension_add(X509_EXTENSIONS *to, int nid, bool critical, void *structure, GError **error)
{
    X509_EXTENSION *extension = X509V3_EXT_i2d(nid, critical, structure);
    if (!extension || sk_X509_EXTENSION_push(to, extension) <= 0) {
        X509_EXTENSION_free(extension);
        return refuse(error, "Invalid extension: %s cannot be encoded", OBJ_nid2sn(nid));
    }
    return true;
}

JsonArray *extension_texts(JsonNode *node, const char *what, GError **error)
{
    JsonArray *array = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint length = array ? json_array_get_length(array) : 0;

    if (length > EXTENSION_LIST_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid %s: more than %d entries", what,
                         EXTENSION_LIST_MAX),
               NULL;
    for (guint i = 0; i < length; i++) {
        JsonNode *element = json_array_get_element(array, i);
        if (!JSON_NODE_HOLDS_VALUE(element) || json_node_get_value_type(element) != G_TYPE_STRING)
            array = NULL, length = 0;
    }
    if (!array)
        refuse(error, "Invalid %s: not a list of texts", what);
    return array;
}

bool extension_is_readable(X509_EXTENSION *extension)
{
    const X509V3_EXT_METHOD *method = X509V3_EXT_get(extension);
    if (!method)
        return true;
    void *structure = X509V3_EXT_d2i(extension);
    if (!structure)
        return false;
    if (method->it)
        ASN1_item_free(structure, ASN1_ITEM_ptr(method->it));
    else
        method->ext_free(structure);
    return true;
}

bool extension_check_uri(const char *uri, const char *what, GError **error)
{
    gsize scheme = strspn(uri, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");
    if (strlen(uri) > URI_LENGTH_MAX)
        return refuse(error, "Invalid %s: a URI is longer than %d characters", what, URI_LENGTH_MAX);
    if (!characters_are_ascii(uri, false) || !g_ascii_isalpha(uri[0]) || uri[scheme] != ':' ||
        !uri[scheme + 1])
        return refuse(error, "Invalid %s: %s", what, uri);
    return true;
}

ASN1_IA5STRING *extension_ia5(const char *text)
{
    ASN1_IA5STRING *string = ASN1_IA5STRING_new();
    ASN1_STRING_set(string, text, -1);
    return string;
}

/* RFC 5280 4.2: not more than one instance of a particular extension. */
static bool each_once(const X509_EXTENSIONS *extensions, GError **error)
{
    for (int i = 0; i < sk_X509_EXTENSION_num(extensions); i++) {
        ASN1_OBJECT *object = X509_EXTENSION_get_object(sk_X509_EXTENSION_value(extensions, i));
        int nid = OBJ_obj2nid(object);
        if (nid == NID_subject_key_identifier || nid == NID_authority_key_identifier ||
            X509v3_get_ext_by_OBJ(extensions, object, i) >= 0) {
            char text[128];
            OBJ_obj2txt(text, sizeof text, object, 0);
            return refuse(error, "Invalid extension: %s is there twice", text);
        }
    }
    return true;
}

static ExtensionBuilder find_builder(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (g_str_equal(kinds[i].name, name))
            return kinds[i].build;
    return NULL;
}

X509_EXTENSIONS *extensions_from_json(JsonObject *extensions, GError **error)
{
    g_autoptr(X509_EXTENSIONS) built = sk_X509_EXTENSION_new_null();
    g_autoptr(GList) members = json_object_get_members(extensions);
    JsonNode *names = NULL;

    for (GList *at = members; at; at = at->next) {
        JsonNode *node = json_object_get_member(extensions, at->data);
        ExtensionBuilder build = find_builder(at->data);
        if (!build)
            return refuse(error, "Invalid extension: %s", (const char *)at->data), NULL;
        if (JSON_NODE_HOLDS_NULL(node))
            continue;
        if (build == alternative_names_build)
            names = node;
        else if (!build(node, built, error))
            return NULL;
    }
    if ((names && !alternative_names_build(names, built, error)) || !each_once(built, error))
        return NULL;
    return g_steal_pointer(&built);
}

static bool is_recognised(int nid)
{
    for (gsize i = 0; i < G_N_ELEMENTS(recognised); i++)
        if (recognised[i] == nid)
            return true;
    return false;
}

static bool copy_extension(X509_EXTENSIONS *to, X509_EXTENSION *extension, GError **error)
{
    int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
    if (!extension_is_readable(extension))
        return refuse(error, "Invalid extension: %s", OBJ_nid2sn(nid));
    X509_EXTENSION *copy = X509_EXTENSION_dup(extension);
    X509_EXTENSION_set_critical(copy, nid != NID_subject_alt_name && X509_EXTENSION_get_critical(extension));
    sk_X509_EXTENSION_push(to, copy);
    return true;
}

X509_EXTENSIONS *extensions_from_request(const X509_EXTENSIONS *from, GError **error)
{
    g_autoptr(X509_EXTENSIONS) copies = sk_X509_EXTENSION_new_null();
    X509_EXTENSION *names = NULL;

    for (int i = 0; from && i < sk_X509_EXTENSION_num(from); i++) {
        X509_EXTENSION *extension = sk_X509_EXTENSION_value(from, i);
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
        if (!is_recognised(nid))
            continue;
        if (nid == NID_subject_alt_name && !names)
            names = extension;
        else if (!copy_extension(copies, extension, error))
            return NULL;
    }
    if ((names && !copy_extension(copies, names, error)) || !each_once(copies, error))
        return NULL;
    return g_steal_pointer(&copies);
}
