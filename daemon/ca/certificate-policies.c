/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each policy is built by itself, so that the notices of one cannot end up in another (in the original they
 * can). */

#include "daemon/ca/certificate-policies.h"
#include "daemon/ca/asn1-value.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"
#include "daemon/json.h"

enum { NOTICE_LENGTH_MAX = 200 /* RFC 5280 4.2.1.4 */ };

static POLICYQUALINFO *add_qualifier(POLICYINFO *policy, int nid)
{
    POLICYQUALINFO *qualifier = POLICYQUALINFO_new();
    ASN1_OBJECT_free(qualifier->pqualid);
    qualifier->pqualid = OBJ_dup(OBJ_nid2obj(nid));
    if (!policy->qualifiers)
        policy->qualifiers = sk_POLICYQUALINFO_new_null();
    sk_POLICYQUALINFO_push(policy->qualifiers, qualifier);
    return qualifier;
}

static bool add_cps(POLICYINFO *policy, const char *uri, GError **error)
{
    if (!extension_check_uri(uri, "policies CPS", error))
        return false;
    add_qualifier(policy, NID_id_qt_cps)->d.cpsuri = extension_ia5(uri);
    return true;
}

/* A text or a list of texts. */
static bool add_cps_list(POLICYINFO *policy, JsonNode *node, GError **error)
{
    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING)
        return add_cps(policy, json_node_get_string(node), error);
    JsonArray *uris = extension_texts(node, "policies CPS", error);
    if (!uris)
        return false;
    for (guint i = 0; i < json_array_get_length(uris); i++)
        if (!add_cps(policy, json_array_get_string_element(uris, i), error))
            return false;
    return true;
}

/* A DisplayText: |ascii_type| as the original makes it, UTF8String where ASCII is not enough. Transfer full.
 */
static ASN1_STRING *display_text(const char *text, int ascii_type, GError **error)
{
    glong length = g_utf8_strlen(text, -1);
    if (length == 0 || length > NOTICE_LENGTH_MAX || characters_have_control(text))
        return refuse(error, "Invalid policies: a notice text must be one line of 1 to %d characters",
                      NOTICE_LENGTH_MAX),
               NULL;
    ASN1_STRING *string =
        ASN1_STRING_type_new(characters_are_ascii(text, true) ? ascii_type : V_ASN1_UTF8STRING);
    ASN1_STRING_set(string, text, -1);
    return string;
}

static bool add_numbers(NOTICEREF *reference, JsonArray *numbers, GError **error)
{
    if (json_array_get_length(numbers) > EXTENSION_LIST_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid policies: more than %d noticeNumbers",
                         EXTENSION_LIST_MAX);
    for (guint i = 0; i < json_array_get_length(numbers); i++) {
        JsonNode *node = json_array_get_element(numbers, i);
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64)
            return refuse(error, "Invalid policies: noticeNumbers is not a list of integers");
        ASN1_INTEGER *number = ASN1_INTEGER_new();
        ASN1_INTEGER_set_int64(number, json_node_get_int(node));
        sk_ASN1_INTEGER_push(reference->noticenos, number);
    }
    return true;
}

static bool add_reference(USERNOTICE *notice, const char *organization, JsonArray *numbers, GError **error)
{
    if (!organization || !numbers || json_array_get_length(numbers) == 0)
        return refuse(error, "Invalid policies: organization and noticeNumbers need each other");
    notice->noticeref = NOTICEREF_new();
    ASN1_STRING_free(notice->noticeref->organization);
    notice->noticeref->organization = display_text(organization, V_ASN1_IA5STRING, error);
    return notice->noticeref->organization && add_numbers(notice->noticeref, numbers, error);
}

static bool add_notice(POLICYINFO *policy, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid policies: userNotice is not a list of objects");
    JsonObject *object = json_node_get_object(node);
    g_autoptr(GList) members = json_object_get_members(object);
    static const char *const known[] = {"explicitText", "organization", "noticeNumbers", NULL};
    for (GList *at = members; at; at = at->next)
        if (!g_strv_contains(known, at->data))
            return refuse(error, "Invalid policies: %s", (const char *)at->data);

    g_autoptr(GError) wrong = NULL;
    const char *text = json_get_string(object, "explicitText", &wrong);
    const char *organization = wrong ? NULL : json_get_string(object, "organization", &wrong);
    JsonArray *numbers = wrong ? NULL : json_get_array(object, "noticeNumbers", &wrong);
    if (wrong)
        return refuse(error, "Invalid policies: %s", wrong->message);

    g_autoptr(USERNOTICE) notice = USERNOTICE_new();
    if (text && !(notice->exptext = display_text(text, V_ASN1_VISIBLESTRING, error)))
        return false;
    if ((organization || numbers) && !add_reference(notice, organization, numbers, error))
        return false;
    if (notice->exptext || notice->noticeref)
        add_qualifier(policy, NID_id_qt_unotice)->d.usernotice = g_steal_pointer(&notice);
    return true;
}

static bool add_notices(POLICYINFO *policy, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(node) || json_array_get_length(json_node_get_array(node)) > EXTENSION_LIST_MAX)
        return refuse(error, "Invalid policies: userNotice is not a list of objects");
    JsonArray *notices = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(notices); i++)
        if (!add_notice(policy, json_array_get_element(notices, i), error))
            return false;
    return true;
}

static bool fill_policy(POLICYINFO *policy, JsonObject *object, GError **error)
{
    /* The original writes the addresses before the notices, whatever the order of the members. */
    JsonNode *cps = json_object_get_member(object, "CPS");
    JsonNode *notices = json_object_get_member(object, "userNotice");
    g_autoptr(GList) members = json_object_get_members(object);
    static const char *const known[] = {"policyIdentifier", "CPS", "userNotice", NULL};
    for (GList *at = members; at; at = at->next)
        if (!g_strv_contains(known, at->data))
            return refuse(error, "Invalid policies: %s", (const char *)at->data);
    return (!cps || JSON_NODE_HOLDS_NULL(cps) || add_cps_list(policy, cps, error)) &&
           (!notices || JSON_NODE_HOLDS_NULL(notices) || add_notices(policy, notices, error));
}

static bool is_listed(CERTIFICATEPOLICIES *policies, const ASN1_OBJECT *identifier)
{
    for (int i = 0; i < sk_POLICYINFO_num(policies); i++)
        if (OBJ_cmp(sk_POLICYINFO_value(policies, i)->policyid, identifier) == 0)
            return true;
    return false;
}

static bool add_policy(CERTIFICATEPOLICIES *policies, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid policies: not a list of objects");
    g_autoptr(GError) wrong = NULL;
    const char *identifier = json_get_string(json_node_get_object(node), "policyIdentifier", &wrong);
    if (wrong)
        return refuse(error, "Invalid policies: %s", wrong->message);
    if (!identifier || !*identifier)
        return true;
    g_autoptr(ASN1_OBJECT) object = asn1_object_from_dotted(identifier);
    if (!object)
        return refuse(error, "Invalid policies: %s", identifier);
    if (is_listed(policies, object)) /* RFC 5280 4.2.1.4: must not appear more than once */
        return refuse(error, "Invalid policies: %s is there twice", identifier);

    POLICYINFO *policy = POLICYINFO_new();
    policy->policyid = g_steal_pointer(&object);
    sk_POLICYINFO_push(policies, policy);
    return fill_policy(policy, json_node_get_object(node), error);
}

bool certificate_policies_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return refuse(error, "Invalid policies: not a list of objects");
    JsonArray *list = json_node_get_array(node);
    if (json_array_get_length(list) > EXTENSION_LIST_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid policies: more than %d entries",
                         EXTENSION_LIST_MAX);
    g_autoptr(CERTIFICATEPOLICIES) policies = sk_POLICYINFO_new_null();
    for (guint i = 0; i < json_array_get_length(list); i++)
        if (!add_policy(policies, json_array_get_element(list, i), error))
            return false;
    return sk_POLICYINFO_num(policies) == 0 ||
           extension_add(to, NID_certificate_policies, false, policies, error);
}
