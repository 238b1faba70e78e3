/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table is everything: which attributes there are, their order, their ASN.1 type and length. */

#include "daemon/ca/subject.h"
#include "daemon/ca/characters.h"
#include "daemon/ca/refusal.h"
#include "daemon/openssl-cleanup.h"
#include <string.h>

enum { VALUES_MAX = 100 };

typedef struct Attribute {
    const char *name; /* as the platform calls it */
    int nid;
    int type;    /* the ASN.1 string type */
    glong least; /* length in characters */
    glong most;  /* RFC 5280 appendix A where it has a bound, else 1024 */
} Attribute;

/* In the order of the original's policy, which is the order of the issued subject. */
static const Attribute attributes[] = {
    {"countryName", NID_countryName, V_ASN1_PRINTABLESTRING, 2, 2},
    {"stateOrProvinceName", NID_stateOrProvinceName, V_ASN1_UTF8STRING, 1, 128},
    {"localityName", NID_localityName, V_ASN1_UTF8STRING, 1, 128},
    {"postalCode", NID_postalCode, V_ASN1_UTF8STRING, 1, 1024},
    {"streetAddress", NID_streetAddress, V_ASN1_UTF8STRING, 1, 1024},
    {"organizationName", NID_organizationName, V_ASN1_UTF8STRING, 1, 64},
    {"organizationalUnitName", NID_organizationalUnitName, V_ASN1_UTF8STRING, 1, 64},
    {"commonName", NID_commonName, V_ASN1_UTF8STRING, 1, 64},
    {"emailAddress", NID_pkcs9_emailAddress, V_ASN1_IA5STRING, 1, 128},
    {"jurisdictionCountryName", NID_jurisdictionCountryName, V_ASN1_PRINTABLESTRING, 2, 2},
    {"jurisdictionStateOrProvinceName", NID_jurisdictionStateOrProvinceName, V_ASN1_UTF8STRING, 1, 1024},
    {"jurisdictionLocalityName", NID_jurisdictionLocalityName, V_ASN1_UTF8STRING, 1, 1024},
    {"businessCategory", NID_businessCategory, V_ASN1_UTF8STRING, 1, 1024},
    {"serialNumber", NID_serialNumber, V_ASN1_PRINTABLESTRING, 1, 64},
    {"domainComponent", NID_domainComponent, V_ASN1_IA5STRING, 1, 1024},
    {"surname", NID_surname, V_ASN1_UTF8STRING, 1, 32768},
    {"title", NID_title, V_ASN1_UTF8STRING, 1, 64},
    {"givenName", NID_givenName, V_ASN1_UTF8STRING, 1, 32768},
    {"UID", NID_userId, V_ASN1_UTF8STRING, 1, 1024},
    {"initials", NID_initials, V_ASN1_UTF8STRING, 1, 32768},
    {"generationQualifier", NID_generationQualifier, V_ASN1_UTF8STRING, 1, 32768},
    {"dnQualifier", NID_dnQualifier, V_ASN1_PRINTABLESTRING, 1, 1024},
    {"pseudonym", NID_pseudonym, V_ASN1_UTF8STRING, 1, 128},
};

static bool refuse_value(GError **error, const Attribute *attribute, const char *reason)
{
    return refuse(error, "Invalid subject value of %s: %s", attribute->name, reason);
}

/* |type|: the ASN.1 string type that |value| has or gets. */
static bool check_value(const Attribute *attribute, int type, const char *value, GError **error)
{
    glong length = g_utf8_strlen(value, -1);

    if (length == 0)
        return refuse_value(error, attribute, "it is empty");
    if (attribute->least == attribute->most && length != attribute->most)
        return refuse(error, "Invalid subject value of %s: it must have %ld letters", attribute->name,
                      attribute->most);
    if (length > attribute->most)
        return refuse(error, "Invalid subject value of %s: it is longer than %ld characters", attribute->name,
                      attribute->most);
    if (characters_have_control(value))
        return refuse_value(error, attribute, "it has control characters");
    if (type == V_ASN1_PRINTABLESTRING && !characters_are_printable_string(value))
        return refuse_value(error, attribute, "it has characters that a PrintableString cannot hold");
    if (type == V_ASN1_IA5STRING && !characters_are_ascii(value, true))
        return refuse_value(error, attribute, "it has characters that an IA5String cannot hold");
    return true;
}

static bool add_value(X509_NAME *name, const Attribute *attribute, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
        return refuse_value(error, attribute, "it is not a text");
    const char *value = json_node_get_string(node);
    if (!check_value(attribute, attribute->type, value, error))
        return false;
    if (X509_NAME_entry_count(name) >= VALUES_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid subject: more than %d values",
                         VALUES_MAX);

    /* The bytes of PrintableString and IA5String are ASCII here, so they are themselves in each of the three.
     */
    if (X509_NAME_add_entry_by_NID(name, attribute->nid, attribute->type, (const unsigned char *)value, -1,
                                   -1, 0) != 1)
        return refuse_value(error, attribute, "it cannot be encoded");
    return true;
}

static bool add_member(X509_NAME *name, const Attribute *attribute, JsonNode *node, GError **error)
{
    if (!JSON_NODE_HOLDS_ARRAY(node))
        return add_value(name, attribute, node, error);
    JsonArray *values = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(values); i++)
        if (!add_value(name, attribute, json_array_get_element(values, i), error))
            return false;
    return true;
}

static bool is_known(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        if (g_str_equal(attributes[i].name, name))
            return true;
    return false;
}

X509_NAME *subject_from_json(JsonObject *subject, GError **error)
{
    g_autoptr(GList) members = json_object_get_members(subject);
    for (GList *at = members; at; at = at->next)
        if (!is_known(at->data))
            return refuse(error, "Invalid subject: %s", (const char *)at->data), NULL;

    g_autoptr(X509_NAME) name = X509_NAME_new();
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++) {
        JsonNode *node = json_object_get_member(subject, attributes[i].name);
        if (node && !add_member(name, &attributes[i], node, error))
            return NULL;
    }
    return g_steal_pointer(&name);
}

static bool copy_entry(X509_NAME *name, const Attribute *attribute, const X509_NAME_ENTRY *entry,
                       GError **error)
{
    const ASN1_STRING *string = X509_NAME_ENTRY_get_data(entry);
    unsigned char *text = NULL;
    int size = ASN1_STRING_to_UTF8(&text, string);
    bool readable = size >= 0 && g_utf8_validate((char *)text, size, NULL) && !memchr(text, 0, (gsize)size);
    bool good = readable ? check_value(attribute, ASN1_STRING_type(string), (char *)text, error)
                         : refuse_value(error, attribute, "it is not a readable text");
    if (size >= 0)
        OPENSSL_free(text);
    if (!good)
        return false;
    if (X509_NAME_add_entry(name, entry, -1, 0) != 1)
        return refuse_value(error, attribute, "it cannot be copied");
    return true;
}

X509_NAME *subject_from_name(const X509_NAME *name, GError **error)
{
    g_autoptr(X509_NAME) ordered = X509_NAME_new();
    int count = X509_NAME_entry_count(name);

    if (count > VALUES_MAX)
        return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid subject: more than %d values",
                         VALUES_MAX),
               NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++)
        for (int at = -1; (at = X509_NAME_get_index_by_NID(name, attributes[i].nid, at)) >= 0;)
            if (!copy_entry(ordered, &attributes[i], X509_NAME_get_entry(name, at), error))
                return NULL;

    for (int i = 0; i < count && X509_NAME_entry_count(ordered) < count; i++) {
        const ASN1_OBJECT *object = X509_NAME_ENTRY_get_object(X509_NAME_get_entry(name, i));
        if (X509_NAME_get_index_by_OBJ(ordered, object, -1) < 0) {
            char text[128];
            OBJ_obj2txt(text, sizeof text, object, 0);
            return refuse(error, "Invalid subject: %s", text), NULL;
        }
    }
    return g_steal_pointer(&ordered);
}
