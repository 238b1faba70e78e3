/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each property becomes a line of an OpenSSL configuration (and sections that the line refers to), the lines
 * become extensions, and these are compared with the certificate's as DER. certificatePolicies with user
 * notices are compared by identifiers alone: the protocol leaves their string types open. */

#include "tests/platform/expected-extensions.h"
#include <openssl/conf.h>
#include <string.h>

struct ExtensionList {
    STACK_OF(X509_EXTENSION) * extensions;
    bool authority_key_id_optional; /* the issuer has no SKI to name */
    bool loose_policies;
};

typedef struct Configuration {
    GString *sections;
    GPtrArray *lines; /* name, value, name, value, … */
    guint next_section;
    bool loose_policies;
} Configuration;

static void add_line(Configuration *configuration, const char *name, char *value)
{
    g_ptr_array_add(configuration->lines, g_strdup(name));
    g_ptr_array_add(configuration->lines, value);
}

/* A value as it must stand in an OpenSSL configuration. */
static void append_escaped(GString *text, const char *value)
{
    for (; *value; value++) {
        if (strchr("\\$#\"'`;", *value))
            g_string_append_c(text, '\\');
        g_string_append_c(text, *value == '\n' || *value == '\r' ? ' ' : *value);
    }
}

/* A section with "KIND.N = value" for each text; its name. */
static guint add_section(Configuration *configuration)
{
    guint number = configuration->next_section++;
    g_string_append_printf(configuration->sections, "[s%u]\n", number);
    return number;
}

static void append_numbered(Configuration *configuration, const char *kind, JsonObject *object,
                            const char *property)
{
    g_auto(GStrv) texts = member_texts(object, property);
    for (guint i = 0; texts[i]; i++) {
        g_string_append_printf(configuration->sections, "%s.%u = ", kind, i);
        append_escaped(configuration->sections, texts[i]);
        g_string_append_c(configuration->sections, '\n');
    }
}

static char *with_critical(JsonObject *object, const char *rest)
{
    return g_strdup_printf("%s%s", member_true(object, "critical") ? "critical," : "", rest);
}

static void add_basic_constraints(Configuration *configuration, JsonObject *extensions, const char *name)
{
    JsonObject *object = member_object(extensions, name);
    if (!object || json_object_get_size(object) == 0)
        return;
    gint64 pathlen = member_integer_or(object, "pathlen", -1);
    g_autofree char *length =
        pathlen >= 0 ? g_strdup_printf(",pathlen:%" G_GINT64_FORMAT, pathlen) : g_strdup("");
    g_autofree char *rest = g_strconcat(member_true(object, "CA") ? "CA:TRUE" : "CA:FALSE", length, NULL);
    add_line(configuration, "basicConstraints", with_critical(object, rest));
}

static void add_usages(Configuration *configuration, JsonObject *extensions, const char *name)
{
    JsonObject *object = member_object(extensions, name);
    if (!object)
        return;
    g_auto(GStrv) usages = member_texts(object, "usages");
    g_autofree char *joined = g_strjoinv(",", usages);
    if (*joined)
        add_line(configuration, name, with_critical(object, joined));
}

static void add_alternative_names(Configuration *configuration, JsonObject *extensions, const char *name)
{
    static const char *const kinds[] = {"DNS", "IP", "URI", "email", "RID", "dirName", "otherName"};
    JsonObject *object = member_object(extensions, name);
    if (!object || json_object_get_size(object) == 0)
        return;
    guint section = add_section(configuration);
    g_autoptr(GList) members = json_object_get_members(object); /* names keep the order of the properties */
    for (GList *member = members; member; member = member->next)
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
            if (g_str_equal(kinds[i], member->data))
                append_numbered(configuration, kinds[i], object, kinds[i]);
    add_line(configuration, "subjectAltName", g_strdup_printf("@s%u", section));
}

static void add_feature(Configuration *configuration, JsonObject *extensions, const char *name)
{
    if (member_array(extensions, name) && json_array_get_length(member_array(extensions, name)) > 0)
        add_line(configuration, name, g_strdup("status_request"));
}

static void add_information_access(Configuration *configuration, JsonObject *extensions, const char *name)
{
    JsonObject *object = member_object(extensions, name);
    if (!object || json_object_get_size(object) == 0)
        return;
    guint section = add_section(configuration);
    append_numbered(configuration, "OCSP;URI", object, "OCSP");
    append_numbered(configuration, "caIssuers;URI", object, "caIssuers");
    add_line(configuration, name, g_strdup_printf("@s%u", section));
}

static void add_distribution_points(Configuration *configuration, JsonObject *extensions, const char *name)
{
    g_auto(GStrv) texts = member_texts(extensions, name);
    if (!texts[0])
        return;
    guint section = add_section(configuration);
    append_numbered(configuration, "URI", extensions, name);
    add_line(configuration, name, g_strdup_printf("@s%u", section));
}

static void add_policies(Configuration *configuration, JsonObject *extensions, const char *name)
{
    JsonArray *policies = member_array(extensions, name);
    g_autoptr(GString) value = g_string_new("ia5org");
    for (guint i = 0; policies && i < json_array_get_length(policies); i++) {
        JsonNode *item = json_array_get_element(policies, i);
        JsonObject *policy = JSON_NODE_HOLDS_OBJECT(item) ? json_node_get_object(item) : NULL;
        const char *identifier = member_text(policy, "policyIdentifier");
        if (!identifier)
            continue;
        guint section = add_section(configuration);
        g_string_append_printf(configuration->sections, "policyIdentifier = %s\n", identifier);
        append_numbered(configuration, "CPS", policy, "CPS");
        configuration->loose_policies |= json_object_has_member(policy, "userNotice");
        g_string_append_printf(value, ",@s%u", section);
    }
    if (value->len > strlen("ia5org"))
        add_line(configuration, "certificatePolicies", g_string_free(g_steal_pointer(&value), FALSE));
}

static void add_custom(Configuration *configuration, JsonObject *extensions, const char *name)
{
    JsonArray *custom = member_array(extensions, name);
    for (guint i = 0; custom && i < json_array_get_length(custom); i++) {
        JsonNode *item = json_array_get_element(custom, i);
        JsonObject *object = JSON_NODE_HOLDS_OBJECT(item) ? json_node_get_object(item) : NULL;
        if (member_text(object, "OID") && member_text(object, "value"))
            add_line(configuration, member_text(object, "OID"), g_strdup(member_text(object, "value")));
    }
}

typedef void (*PropertyFunc)(Configuration *configuration, JsonObject *extensions, const char *name);

static const struct {
    const char *name;
    PropertyFunc add;
} properties[] = {
    {"basicConstraints", add_basic_constraints},
    {"keyUsage", add_usages},
    {"extendedKeyUsage", add_usages},
    {"tlsfeature", add_feature},
    {"authorityInfoAccess", add_information_access},
    {"crlDistributionPoints", add_distribution_points},
    {"policies", add_policies},
    {"customOIDs", add_custom},
};

static bool add_property(Configuration *configuration, JsonObject *extensions, const char *name,
                         GError **error)
{
    if (g_str_equal(name, "SANs")) /* come last */
        return true;
    for (gsize i = 0; i < G_N_ELEMENTS(properties); i++)
        if (g_str_equal(properties[i].name, name)) {
            properties[i].add(configuration, extensions, name);
            return true;
        }
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                "A certificate was made although \"%s\" is no extension of the protocol", name);
    return false;
}

static bool read_properties(Configuration *configuration, JsonObject *extensions, X509 *issuer,
                            GError **error)
{
    add_line(configuration, "subjectKeyIdentifier", g_strdup("hash"));
    if (X509_get0_subject_key_id(issuer))
        add_line(configuration, "authorityKeyIdentifier", g_strdup("keyid:always"));
    g_autoptr(GList) names = extensions ? json_object_get_members(extensions) : NULL;
    for (GList *name = names; name; name = name->next)
        if (!add_property(configuration, extensions, name->data, error))
            return false;
    if (extensions)
        add_alternative_names(configuration, extensions, "SANs");
    return true;
}

static STACK_OF(X509_EXTENSION) *
    make_extensions(Configuration *configuration, X509 *subject, X509 *issuer, GError **error)
{
    CONF *conf = NCONF_new(NULL);
    g_autoptr(BIO) text = BIO_new_mem_buf(configuration->sections->str, (int)configuration->sections->len);
    STACK_OF(X509_EXTENSION) *made = sk_X509_EXTENSION_new_null();
    long line = 0;
    bool ok = NCONF_load_bio(conf, text, &line) == 1;
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, subject, NULL, NULL, 0);
    X509V3_set_nconf(&context, conf);
    const char *name = "its sections";
    for (guint i = 0; ok && i < configuration->lines->len; i += 2) {
        name = g_ptr_array_index(configuration->lines, i);
        X509_EXTENSION *extension =
            X509V3_EXT_nconf(conf, &context, name, g_ptr_array_index(configuration->lines, i + 1));
        ok = extension && sk_X509_EXTENSION_push(made, extension) > 0;
    }
    NCONF_free(conf);
    if (ok)
        return made;
    sk_X509_EXTENSION_pop_free(made, X509_EXTENSION_free);
    g_autofree char *what =
        g_strdup_printf("A certificate was made although OpenSSL refuses the asked %s", name);
    openssl_failed(error, what);
    return NULL;
}

ExtensionList *expected_extensions(JsonObject *extensions, X509 *subject, X509 *issuer, GError **error)
{
    Configuration configuration = {.sections = g_string_new(NULL),
                                   .lines = g_ptr_array_new_with_free_func(g_free)};
    STACK_OF(X509_EXTENSION) *made = NULL;
    if (read_properties(&configuration, extensions, issuer, error))
        made = make_extensions(&configuration, subject, issuer, error);
    g_string_free(configuration.sections, TRUE);
    g_ptr_array_unref(configuration.lines);
    if (!made)
        return NULL;
    ExtensionList *list = g_new0(ExtensionList, 1);
    list->extensions = made;
    list->authority_key_id_optional = X509_get0_subject_key_id(issuer) == NULL;
    list->loose_policies = configuration.loose_policies;
    return list;
}

void extension_list_free(ExtensionList *list)
{
    if (!list)
        return;
    sk_X509_EXTENSION_pop_free(list->extensions, X509_EXTENSION_free);
    g_free(list);
}

static const char *extension_name(X509_EXTENSION *extension)
{
    int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
    return nid == NID_undef ? "a custom extension" : OBJ_nid2ln(nid);
}

static bool same_policy_identifiers(X509_EXTENSION *a, X509_EXTENSION *b)
{
    g_autoptr(CERTIFICATEPOLICIES) first = X509V3_EXT_d2i(a);
    g_autoptr(CERTIFICATEPOLICIES) second = X509V3_EXT_d2i(b);
    if (!first || !second || sk_POLICYINFO_num(first) != sk_POLICYINFO_num(second))
        return false;
    for (int i = 0; i < sk_POLICYINFO_num(first); i++)
        if (OBJ_cmp(sk_POLICYINFO_value(first, i)->policyid, sk_POLICYINFO_value(second, i)->policyid) != 0)
            return false;
    return true;
}

static bool same_extension(const ExtensionList *list, X509_EXTENSION *wanted, X509_EXTENSION *found)
{
    if (OBJ_cmp(X509_EXTENSION_get_object(wanted), X509_EXTENSION_get_object(found)) != 0 ||
        X509_EXTENSION_get_critical(wanted) != X509_EXTENSION_get_critical(found))
        return false;
    int nid = OBJ_obj2nid(X509_EXTENSION_get_object(wanted));
    if (list->loose_policies && nid == NID_certificate_policies)
        return same_policy_identifiers(wanted, found);
    return ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(wanted), X509_EXTENSION_get_data(found)) == 0;
}

bool extension_list_matches(const ExtensionList *list, X509 *certificate, GError **error)
{
    int at = 0;
    for (int i = 0; i < sk_X509_EXTENSION_num(list->extensions); i++, at++) {
        X509_EXTENSION *wanted = sk_X509_EXTENSION_value(list->extensions, i);
        X509_EXTENSION *found = X509_get_ext(certificate, at);
        if (list->authority_key_id_optional && found &&
            OBJ_obj2nid(X509_EXTENSION_get_object(found)) == NID_authority_key_identifier)
            found = X509_get_ext(certificate, ++at);
        if (!found || !same_extension(list, wanted, found)) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                        "The certificate doesn't have the asked %s as its extension number %d (there is %s)",
                        extension_name(wanted), at + 1, found ? extension_name(found) : "none");
            return false;
        }
    }
    if (at != X509_get_ext_count(certificate)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                    "The certificate has extensions nobody asked for, as %s",
                    extension_name(X509_get_ext(certificate, at)));
        return false;
    }
    return true;
}
