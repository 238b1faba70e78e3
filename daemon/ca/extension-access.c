/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* RFC 5280 4.2.2.1 and 4.2.1.13, URIs only. */

#include "daemon/ca/extension-access.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"

static const struct {
    const char *name;
    int nid;
} methods[] = {{"OCSP", NID_ad_OCSP}, {"caIssuers", NID_ad_ca_issuers}};

static bool add_locations(AUTHORITY_INFO_ACCESS *access, int method, JsonNode *node, GError **error)
{
    JsonArray *uris = extension_texts(node, "authorityInfoAccess", error);
    if (!uris)
        return false;
    for (guint i = 0; i < json_array_get_length(uris); i++) {
        const char *uri = json_array_get_string_element(uris, i);
        if (!extension_check_uri(uri, "authorityInfoAccess", error))
            return false;
        ACCESS_DESCRIPTION *description = ACCESS_DESCRIPTION_new();
        description->method = OBJ_dup(OBJ_nid2obj(method));
        GENERAL_NAME_set0_value(description->location, GEN_URI, extension_ia5(uri));
        sk_ACCESS_DESCRIPTION_push(access, description);
    }
    return true;
}

bool authority_info_access_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid authorityInfoAccess: not an object");
    JsonObject *object = json_node_get_object(node);
    g_autoptr(GList) members = json_object_get_members(object);
    for (GList *at = members; at; at = at->next)
        if (!g_str_equal(at->data, methods[0].name) && !g_str_equal(at->data, methods[1].name))
            return refuse(error, "Invalid authorityInfoAccess: %s", (const char *)at->data);

    g_autoptr(AUTHORITY_INFO_ACCESS) access = sk_ACCESS_DESCRIPTION_new_null();
    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        JsonNode *uris = json_object_get_member(object, methods[i].name);
        if (uris && !JSON_NODE_HOLDS_NULL(uris) && !add_locations(access, methods[i].nid, uris, error))
            return false;
    }
    return sk_ACCESS_DESCRIPTION_num(access) == 0 || extension_add(to, NID_info_access, false, access, error);
}

/* Transfer full: a point whose full name is |uri| alone. */
static DIST_POINT *distribution_point(const char *uri)
{
    DIST_POINT *point = DIST_POINT_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(name, GEN_URI, extension_ia5(uri));
    point->distpoint = DIST_POINT_NAME_new();
    point->distpoint->type = 0;
    point->distpoint->name.fullname = sk_GENERAL_NAME_new_null();
    sk_GENERAL_NAME_push(point->distpoint->name.fullname, name);
    return point;
}

bool crl_distribution_points_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    JsonArray *uris = extension_texts(node, "crlDistributionPoints", error);
    if (!uris)
        return false;
    g_autoptr(CRL_DIST_POINTS) points = sk_DIST_POINT_new_null();
    for (guint i = 0; i < json_array_get_length(uris); i++) {
        const char *uri = json_array_get_string_element(uris, i);
        if (!extension_check_uri(uri, "crlDistributionPoints", error))
            return false;
        sk_DIST_POINT_push(points, distribution_point(uri));
    }
    return sk_DIST_POINT_num(points) == 0 ||
           extension_add(to, NID_crl_distribution_points, false, points, error);
}
