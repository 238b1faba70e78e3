/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files: DIR/authorities/CHANNEL/{name, template.pem, certificate.pem, index.txt}. Each is written whole or
 * not at all. */

#include "tests/platform/authority.h"
#include "tests/platform/pki.h"
#include <glib/gstdio.h>
#include <openssl/evp.h>
#include <string.h>

struct Registry {
    char *directory;
    GPtrArray *authorities;
};

static const long DAY = 24 * 60 * 60;

static void authority_free(gpointer data)
{
    Authority *authority = data;
    g_free(authority->name);
    g_free(authority->channel);
    g_free(authority->folder);
    X509_free(authority->template);
    X509_free(authority->certificate);
    X509_STORE_free(authority->anchors);
    g_free(authority->serial);
    g_free(authority->thumbprint);
    g_string_free(authority->index, TRUE);
    g_free(authority);
}

char *normalised_serial(X509 *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    GString *hex = g_string_new(NULL);
    for (int i = 0; i < serial->length; i++)
        g_string_append_printf(hex, "%02x", serial->data[i]);
    return g_string_free(hex, FALSE);
}

char *normalised_thumbprint(X509 *certificate)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    g_assert(X509_digest(certificate, EVP_sha1(), digest, &size) == 1);
    GString *hex = g_string_new(NULL);
    for (unsigned i = 0; i < size; i++)
        g_string_append_printf(hex, "%02x", digest[i]);
    return g_string_free(hex, FALSE);
}

static bool save(const Authority *authority, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(authority->folder, name, NULL);
    return g_file_set_contents_full(path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, error);
}

static char *read_text(const Authority *authority, const char *name, GError **error)
{
    g_autofree char *path = g_build_filename(authority->folder, name, NULL);
    char *text = NULL;
    g_file_get_contents(path, &text, NULL, error);
    return text;
}

static void set_certificate(Authority *authority, X509 *certificate)
{
    X509_free(authority->certificate);
    X509_STORE_free(authority->anchors);
    g_free(authority->serial);
    g_free(authority->thumbprint);
    X509_up_ref(certificate);
    authority->certificate = certificate;
    authority->anchors = X509_STORE_new();
    X509_STORE_add_cert(authority->anchors, certificate);
    X509_STORE_set_flags(authority->anchors, X509_V_FLAG_PARTIAL_CHAIN);
    X509_STORE_set_purpose(authority->anchors, X509_PURPOSE_ANY);
    authority->serial = normalised_serial(certificate);
    authority->thumbprint = normalised_thumbprint(certificate);
}

static bool load(Registry *registry, const char *channel, GError **error)
{
    Authority *authority = g_new0(Authority, 1);
    g_ptr_array_add(registry->authorities, authority);
    authority->channel = g_strdup(channel);
    authority->folder = g_build_filename(registry->directory, channel, NULL);
    authority->index = g_string_new(NULL);
    authority->name = read_text(authority, "name", error);
    g_autofree char *template_pem = authority->name ? read_text(authority, "template.pem", error) : NULL;
    if (!template_pem)
        return false;
    authority->template = certificate_from_pem(template_pem, -1, error);
    if (!authority->template)
        return false;
    g_autofree char *certificate_pem = read_text(authority, "certificate.pem", NULL);
    g_autofree char *index = read_text(authority, "index.txt", NULL);
    if (index)
        g_string_assign(authority->index, index);
    if (!certificate_pem)
        return true;
    g_autoptr(X509) certificate = certificate_from_pem(certificate_pem, -1, error);
    if (certificate)
        set_certificate(authority, certificate);
    return certificate != NULL;
}

Registry *registry_open(const char *directory, GError **error)
{
    g_autoptr(Registry) registry = g_new0(Registry, 1);
    registry->directory = g_build_filename(directory, "authorities", NULL);
    registry->authorities = g_ptr_array_new_with_free_func(authority_free);
    g_mkdir_with_parents(registry->directory, 0700);
    g_autoptr(GDir) folders = g_dir_open(registry->directory, 0, error);
    if (!folders)
        return NULL;
    for (const char *channel = g_dir_read_name(folders); channel; channel = g_dir_read_name(folders))
        if (!load(registry, channel, error)) {
            g_prefix_error(error, "The authority %s/%s can't be read: ", registry->directory, channel);
            return NULL;
        }
    return g_steal_pointer(&registry);
}

void registry_free(Registry *registry)
{
    if (!registry)
        return;
    g_free(registry->directory);
    g_ptr_array_unref(registry->authorities);
    g_free(registry);
}

guint registry_size(const Registry *registry)
{
    return registry->authorities->len;
}

Authority *registry_at(const Registry *registry, guint index)
{
    return g_ptr_array_index(registry->authorities, index);
}

static Authority *find_named(Registry *registry, const char *name)
{
    for (guint i = 0; i < registry->authorities->len; i++) {
        Authority *authority = registry_at(registry, i);
        if (g_str_equal(authority->name, name) || g_str_equal(authority->channel, name) ||
            g_strcmp0(authority->thumbprint, name) == 0)
            return authority;
    }
    return NULL;
}

Authority *registry_find(Registry *registry, const char *name, GError **error)
{
    Authority *found = name ? find_named(registry, name) : NULL;
    if (!found && !name && registry->authorities->len == 1)
        return registry_at(registry, 0);
    if (found)
        return found;
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < registry->authorities->len; i++)
        g_string_append_printf(names, "%s\"%s\"", i ? ", " : "", registry_at(registry, i)->name);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                "There is no authority \"%s\" here; --ca= can be: %s", name ?: "",
                names->len ? names->str : "none yet, see create-ca");
    return NULL;
}

Authority *registry_find_channel(Registry *registry, const char *channel)
{
    for (guint i = 0; i < registry->authorities->len; i++)
        if (g_str_equal(registry_at(registry, i)->channel, channel))
            return registry_at(registry, i);
    return NULL;
}

guint registry_index(const Registry *registry, const char *channel)
{
    guint index = 0;
    while (index < registry->authorities->len && !g_str_equal(registry_at(registry, index)->channel, channel))
        index++;
    return index;
}

/* What the original agent reads off the line after the serial number (protocol.md section 5). */
static bool is_quirk_serial(const Authority *authority, const char *serial)
{
    const ASN1_INTEGER *number = X509_get0_serialNumber(authority->certificate);
    bool is_short = number->length < 8 || (number->length == 8 && number->data[0] < 0x80);
    return is_short && g_str_has_prefix(serial, "signature algorithm ");
}

Authority *registry_find_registered(Registry *registry, const char *serial, const char *thumbprint)
{
    for (guint i = 0; i < registry->authorities->len; i++) {
        Authority *authority = registry_at(registry, i);
        if (g_strcmp0(authority->thumbprint, thumbprint) == 0 &&
            (g_str_equal(authority->serial, serial) || is_quirk_serial(authority, serial)))
            return authority;
    }
    return NULL;
}

/* ---- templates ---- */

/* "C=US, CN=Name" to pairs. */
static char **subject_pairs(const char *subject, GError **error)
{
    g_autoptr(GPtrArray) pairs = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) parts = g_strsplit(subject, ",", -1);
    for (char **part = parts; *part; part++) {
        g_auto(GStrv) halves = g_strsplit(g_strstrip(*part), "=", 2);
        if (g_strv_length(halves) != 2 || OBJ_txt2nid(halves[0]) == NID_undef) {
            g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                        "The subject \"%s\" is not of the form \"C=US, O=Example, CN=Name\"", subject);
            return NULL;
        }
        g_ptr_array_add(pairs, g_strdup(halves[0]));
        g_ptr_array_add(pairs, g_strdup(halves[1]));
    }
    g_ptr_array_add(pairs, NULL);
    return (char **)g_ptr_array_free(g_steal_pointer(&pairs), FALSE);
}

static X509 *make_template(const AuthorityPlan *plan, GError **error)
{
    const char *const usual_subject[] = {"C", "US", "O", "IoT-HSM platform stand-in", "CN", plan->name, NULL};
    g_auto(GStrv) given_subject = plan->subject ? subject_pairs(plan->subject, error) : NULL;
    if (plan->subject && !given_subject)
        return NULL;
    g_autofree char *constraints =
        plan->path_length >= 0
            ? g_strdup_printf("critical,CA:TRUE,pathlen:%" G_GINT64_FORMAT, plan->path_length)
            : g_strdup("critical,CA:TRUE");
    g_autofree char *crl = plan->crl_url ? g_strconcat("URI:", plan->crl_url, NULL) : NULL;
    g_autofree char *issuer = plan->issuer_url ? g_strconcat("caIssuers;URI:", plan->issuer_url, NULL) : NULL;
    const char *extensions[] = {"subjectKeyIdentifier",
                                "hash",
                                "authorityKeyIdentifier",
                                "keyid:always",
                                "basicConstraints",
                                constraints,
                                "keyUsage",
                                "critical,keyCertSign,cRLSign",
                                NULL,
                                NULL,
                                NULL,
                                NULL,
                                NULL};
    gsize at = 8;
    if (crl) {
        extensions[at++] = "crlDistributionPoints";
        extensions[at++] = crl;
    }
    if (issuer) {
        extensions[at++] = "authorityInfoAccess";
        extensions[at++] = issuer;
    }
    CertificatePlan certificate = {.subject =
                                       given_subject ? (const char *const *)given_subject : usual_subject,
                                   .extensions = extensions,
                                   .starts_in = 0,
                                   .lasts = plan->days * DAY};
    g_autoptr(EVP_PKEY) throw_away = pki_new_key("p256", error);
    return throw_away ? pki_issue(&certificate, throw_away, NULL, NULL, error) : NULL;
}

Authority *registry_create(Registry *registry, const AuthorityPlan *plan, GError **error)
{
    if (find_named(registry, plan->name)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS,
                    "There is an authority \"%s\" already; choose another name", plan->name);
        return NULL;
    }
    g_autoptr(X509) template = make_template(plan, error);
    if (!template)
        return NULL;
    Authority *authority = g_new0(Authority, 1);
    authority->name = g_strdup(plan->name);
    authority->channel = g_uuid_string_random();
    authority->folder = g_build_filename(registry->directory, authority->channel, NULL);
    authority->index = g_string_new(NULL);
    authority->template = g_steal_pointer(&template);
    g_autofree char *pem = certificate_to_pem(authority->template);
    g_mkdir_with_parents(authority->folder, 0700);
    if (!save(authority, "name", authority->name, error) || !save(authority, "template.pem", pem, error)) {
        authority_free(authority);
        return NULL;
    }
    g_ptr_array_add(registry->authorities, authority);
    return authority;
}

/* ---- import ---- */

static bool refused(GError **error, const char *why)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "This certificate can't be registered: %s", why);
    return false;
}

/* Every extension of the template, apart from the key identifiers, is there with the same bytes, and no
 * other. */
static bool same_extensions(X509 *template, X509 *certificate, GError **error)
{
    if (X509_get_ext_by_NID(certificate, NID_subject_key_identifier, -1) < 0)
        return refused(error, "it has no subject key identifier");
    int others = 0;
    for (int i = 0; i < X509_get_ext_count(certificate); i++) {
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(X509_get_ext(certificate, i)));
        others += nid != NID_subject_key_identifier && nid != NID_authority_key_identifier;
    }
    for (int i = 0; i < X509_get_ext_count(template); i++) {
        X509_EXTENSION *wanted = X509_get_ext(template, i);
        ASN1_OBJECT *object = X509_EXTENSION_get_object(wanted);
        int nid = OBJ_obj2nid(object);
        if (nid == NID_subject_key_identifier || nid == NID_authority_key_identifier)
            continue;
        int at = X509_get_ext_by_OBJ(certificate, object, -1);
        X509_EXTENSION *found = at >= 0 ? X509_get_ext(certificate, at) : NULL;
        if (!found || X509_EXTENSION_get_critical(found) != X509_EXTENSION_get_critical(wanted) ||
            ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(found), X509_EXTENSION_get_data(wanted)) != 0)
            return refused(error, "one of the provisioning certificate's extensions is missing or different");
        others--;
    }
    return others == 0 || refused(error, "it has extensions that the provisioning certificate doesn't have");
}

/* The SKI must be made from the new key (SHA-1 of its bits), never copied from the template. */
static bool own_key_identifier(X509 *certificate, GError **error)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const ASN1_OCTET_STRING *identifier = X509_get0_subject_key_id(certificate);
    if (!identifier || X509_pubkey_digest(certificate, EVP_sha1(), digest, &size) != 1 ||
        ASN1_STRING_length(identifier) != (int)size ||
        memcmp(ASN1_STRING_get0_data(identifier), digest, size) != 0)
        return refused(error, "its subject key identifier is not the SHA-1 of its key");
    return true;
}

static bool check_import(const Authority *authority, X509 *certificate, GError **error)
{
    X509 *template = authority->template;
    g_autoptr(EVP_PKEY) throw_away = X509_get_pubkey(template);
    if (X509_NAME_cmp(X509_get_subject_name(template), X509_get_subject_name(certificate)) != 0)
        return refused(error, "its subject is not the provisioning certificate's");
    if (EVP_PKEY_eq(throw_away, X509_get0_pubkey(certificate)) == 1)
        return refused(error, "it is the provisioning certificate itself, not the one that was made from it");
    if (ASN1_TIME_compare(X509_get0_notAfter(certificate), X509_get0_notAfter(template)) > 0)
        return refused(error, "it ends later than the provisioning certificate");
    bool self_signed =
        X509_NAME_cmp(X509_get_subject_name(certificate), X509_get_issuer_name(certificate)) == 0;
    if (self_signed && X509_verify(certificate, X509_get0_pubkey(certificate)) != 1)
        return refused(error, "its own signature doesn't verify");
    if (X509_check_ca(certificate) != 1)
        return refused(error, "it is not a CA certificate");
    return same_extensions(template, certificate, error) && own_key_identifier(certificate, error);
}

static Authority *find_by_subject(Registry *registry, X509 *certificate)
{
    for (guint i = 0; i < registry->authorities->len; i++) {
        Authority *authority = registry_at(registry, i);
        if (X509_NAME_cmp(X509_get_subject_name(authority->template), X509_get_subject_name(certificate)) ==
            0)
            return authority;
    }
    return NULL;
}

Authority *registry_import(Registry *registry, const char *pem, const char *name, GError **error)
{
    g_autoptr(X509) certificate = certificate_from_pem(pem, -1, error);
    if (!certificate)
        return NULL;
    Authority *authority =
        name ? registry_find(registry, name, error) : find_by_subject(registry, certificate);
    if (!authority) {
        if (!name)
            refused(error, "no provisioning certificate of this platform has its subject");
        return NULL;
    }
    g_autofree char *own_pem = certificate_to_pem(certificate);
    if (!check_import(authority, certificate, error) || !save(authority, "certificate.pem", own_pem, error))
        return NULL;
    set_certificate(authority, certificate);
    return authority;
}

/* ---- index ---- */

static char *index_time(const ASN1_TIME *time)
{
    struct tm broken;
    g_assert(ASN1_TIME_to_tm(time, &broken) == 1);
    return g_strdup_printf(broken.tm_year < 150 ? "%02d%02d%02d%02d%02d%02dZ" : "20%02d%02d%02d%02d%02d%02dZ",
                           broken.tm_year % 100, broken.tm_mon + 1, broken.tm_mday, broken.tm_hour,
                           broken.tm_min, broken.tm_sec);
}

bool authority_note_issued(Authority *authority, X509 *certificate, GError **error)
{
    g_autofree char *expiry = index_time(X509_get0_notAfter(certificate));
    g_autofree char *serial = normalised_serial(certificate);
    g_autofree char *upper = g_ascii_strup(serial, -1);
    char *subject = X509_NAME_oneline(X509_get_subject_name(certificate), NULL, 0);
    g_string_append_printf(authority->index, "V\t%s\t\t%s\tunknown\t%s\n", expiry, upper, subject);
    OPENSSL_free(subject);
    return save(authority, "index.txt", authority->index->str, error);
}

/* The line with |serial| (upper-case hex) as R, the other lines as they are. */
static char *revoked_line(const char *line, const char *serial, const char *when)
{
    g_auto(GStrv) fields = g_strsplit(line, "\t", 6);
    if (g_strv_length(fields) != 6 || g_ascii_strcasecmp(fields[3], serial) != 0)
        return NULL;
    return g_strdup_printf("R\t%s\t%s\t%s\tunknown\t%s", fields[1], when, fields[3], fields[5]);
}

bool authority_revoke(Authority *authority, const char *what, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(what, ",", 2);
    g_autofree char *serial = parts[0] ? g_ascii_strup(parts[0], -1) : NULL;
    if (!serial || !*serial || strlen(serial) % 2 || strspn(serial, "0123456789ABCDEF") != strlen(serial)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT,
                    "\"%s\" is not SERIAL or SERIAL,REASON with an even number of hex digits", what);
        return false;
    }
    g_autoptr(ASN1_TIME) now = X509_gmtime_adj(NULL, 0);
    g_autoptr(ASN1_TIME) next_year = X509_gmtime_adj(NULL, 365 * DAY);
    g_autofree char *now_text = index_time(now);
    g_autofree char *expiry = index_time(next_year);
    g_autofree char *when = parts[1] ? g_strconcat(now_text, ",", parts[1], NULL) : g_strdup(now_text);
    g_auto(GStrv) lines = g_strsplit(authority->index->str, "\n", -1);
    g_autoptr(GString) index = g_string_new(NULL);
    bool found = false;
    for (char **line = lines; *line; line++) {
        g_autofree char *revoked = revoked_line(*line, serial, when);
        found |= revoked != NULL;
        if (**line)
            g_string_append_printf(index, "%s\n", revoked ?: *line);
    }
    if (!found)
        g_string_append_printf(index, "R\t%s\t%s\t%s\tunknown\t/CN=unknown\n", expiry, when, serial);
    g_string_assign(authority->index, index->str);
    return save(authority, "index.txt", authority->index->str, error);
}
