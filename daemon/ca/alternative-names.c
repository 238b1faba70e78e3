/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One reader for each type of name. */

#include "daemon/ca/alternative-names.h"
#include "daemon/ca/asn1-value.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/subject.h"
#include "daemon/ca/x509-cleanup.h"
#include <string.h>

enum { DNS_LENGTH_MAX = 253, EMAIL_LENGTH_MAX = 254 };

/* NULL: the text is no such name. Transfer full. */
typedef GENERAL_NAME *(*NameReader)(const char *text);

static GENERAL_NAME *general_name(int type, void *value)
{
    GENERAL_NAME *name = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(name, type, value);
    return name;
}

static GENERAL_NAME *read_dns(const char *text)
{
    gsize length = strlen(text);
    if (length == 0 || length > DNS_LENGTH_MAX || text[0] == '.' || strstr(text, ".."))
        return NULL;
    for (const char *at = text; *at; at++)
        if (!g_ascii_isalnum(*at) && !strchr("-._*", *at))
            return NULL;
    return general_name(GEN_DNS, extension_ia5(text));
}

static GENERAL_NAME *read_ip(const char *text)
{
    ASN1_OCTET_STRING *address = a2i_IPADDRESS(text);
    return address ? general_name(GEN_IPADD, address) : NULL;
}

static GENERAL_NAME *read_uri(const char *text)
{
    return extension_check_uri(text, "SANs", NULL) ? general_name(GEN_URI, extension_ia5(text)) : NULL;
}

static GENERAL_NAME *read_email(const char *text)
{
    const char *at = strchr(text, '@');
    if (!at || at == text || !at[1] || strchr(at + 1, '@') || strlen(text) > EMAIL_LENGTH_MAX ||
        !characters_are_ascii(text, false))
        return NULL;
    return general_name(GEN_EMAIL, extension_ia5(text));
}

static GENERAL_NAME *read_registered_id(const char *text)
{
    ASN1_OBJECT *object = asn1_object_from_dotted(text);
    return object ? general_name(GEN_RID, object) : NULL;
}

/* "1.2.3.4;UTF8:text", or a name that OpenSSL knows in place of the numbers ("msUPN"). */
static GENERAL_NAME *read_other_name(const char *text)
{
    const char *separator = strchr(text, ';');
    if (!separator || separator - text > 128)
        return NULL;
    g_autofree char *type = g_strndup(text, (gsize)(separator - text));
    int nid = OBJ_txt2nid(type);
    g_autoptr(OTHERNAME) other = OTHERNAME_new();
    ASN1_TYPE_free(other->value);
    other->value = asn1_value_from_text(separator + 1);
    ASN1_OBJECT_free(other->type_id);
    other->type_id = nid != NID_undef ? OBJ_dup(OBJ_nid2obj(nid)) : asn1_object_from_dotted(type);
    return other->value && other->type_id ? general_name(GEN_OTHERNAME, g_steal_pointer(&other)) : NULL;
}

static const struct {
    const char *type;
    NameReader read;
} readers[] = {
    {"DNS", read_dns},           {"IP", read_ip},
    {"URI", read_uri},           {"email", read_email},
    {"RID", read_registered_id}, {"otherName", read_other_name},
};

static bool add_names(GENERAL_NAMES *names, const char *type, NameReader read, JsonNode *node, GError **error)
{
    g_autofree char *what = g_strconcat("SANs ", type, NULL);
    JsonArray *texts = extension_texts(node, what, error);
    if (!texts)
        return false;
    for (guint i = 0; i < json_array_get_length(texts); i++) {
        const char *text = json_array_get_string_element(texts, i);
        GENERAL_NAME *name = read(text);
        if (!name)
            return refuse(error, "Invalid %s: %s", what, text);
        sk_GENERAL_NAME_push(names, name);
    }
    return true;
}

static bool add_directory_names(GENERAL_NAMES *names, JsonNode *node, GError **error)
{
    JsonArray *subjects = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint length = subjects ? json_array_get_length(subjects) : 0;
    if (length > EXTENSION_LIST_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid SANs dirName: more than %d entries",
                         EXTENSION_LIST_MAX);
    for (guint i = 0; i < length; i++) {
        JsonNode *subject = json_array_get_element(subjects, i);
        if (!JSON_NODE_HOLDS_OBJECT(subject))
            subjects = NULL, length = 0;
    }
    if (!subjects)
        return refuse(error, "Invalid SANs dirName: not a list of objects");
    for (guint i = 0; i < length; i++) {
        X509_NAME *name = subject_from_json(json_array_get_object_element(subjects, i), error);
        if (!name)
            return false;
        sk_GENERAL_NAME_push(names, general_name(GEN_DIRNAME, name));
    }
    return true;
}

static bool add_type(GENERAL_NAMES *names, const char *type, JsonNode *node, GError **error)
{
    bool directory = g_str_equal(type, "dirName");
    for (gsize i = 0; i < G_N_ELEMENTS(readers); i++)
        if (g_str_equal(readers[i].type, type))
            return JSON_NODE_HOLDS_NULL(node) || add_names(names, type, readers[i].read, node, error);
    if (!directory)
        return refuse(error, "Invalid SANs type : \"%s\"", type);
    return JSON_NODE_HOLDS_NULL(node) || add_directory_names(names, node, error);
}

bool alternative_names_build(JsonNode *node, X509_EXTENSIONS *to, GError **error)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return refuse(error, "Invalid SANs: not an object");
    JsonObject *object = json_node_get_object(node);
    g_autoptr(GENERAL_NAMES) names = sk_GENERAL_NAME_new_null();
    g_autoptr(GList) members = json_object_get_members(object);

    for (GList *at = members; at; at = at->next)
        if (!add_type(names, at->data, json_object_get_member(object, at->data), error))
            return false;
    return sk_GENERAL_NAME_num(names) == 0 || extension_add(to, NID_subject_alt_name, false, names, error);
}
