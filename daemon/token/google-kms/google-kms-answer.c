/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Google writes 64-bit numbers as JSON strings, and leaves out what is false, zero or empty (protobuf's JSON
 * mapping). */

#include "daemon/token/google-kms/google-kms-answer.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/google-kms/crc32c.h"
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <string.h>

#define ERROR_CHARACTERS_MAX 300
#define NAME_MAX_SIZE 512
#define PEM_MAX_SIZE (16 * 1024)
#define PAGE_TOKEN_MAX_SIZE 4096
#define ACCESS_TOKEN_MAX_SIZE (16 * 1024)
#define SIGNATURE_MAX_SIZE 1024

/* A certificate for each of them would work; PKCS #1 without a digest ("RAW"), secp256k1 and what is younger
 * than the OpenSSL here are left out. */
static const KmsAlgorithm algorithms[] = {
    {"EC_SIGN_P256_SHA256", KEY_TYPE_P256, {"SHA256", false}, "sha256"},
    {"EC_SIGN_P384_SHA384", KEY_TYPE_P384, {"SHA384", false}, "sha384"},
    {"EC_SIGN_P521_SHA512", KEY_TYPE_P521, {"SHA512", false}, "sha512"},
    {"RSA_SIGN_PKCS1_2048_SHA256", KEY_TYPE_RSA2048, {"SHA256", false}, "sha256"},
    {"RSA_SIGN_PKCS1_3072_SHA256", KEY_TYPE_RSA3072, {"SHA256", false}, "sha256"},
    {"RSA_SIGN_PKCS1_4096_SHA256", KEY_TYPE_RSA4096, {"SHA256", false}, "sha256"},
    {"RSA_SIGN_PKCS1_4096_SHA512", KEY_TYPE_RSA4096, {"SHA512", false}, "sha512"},
    {"RSA_SIGN_PSS_2048_SHA256", KEY_TYPE_RSA2048, {"SHA256", true}, "sha256"},
    {"RSA_SIGN_PSS_3072_SHA256", KEY_TYPE_RSA3072, {"SHA256", true}, "sha256"},
    {"RSA_SIGN_PSS_4096_SHA256", KEY_TYPE_RSA4096, {"SHA256", true}, "sha256"},
    {"RSA_SIGN_PSS_4096_SHA512", KEY_TYPE_RSA4096, {"SHA512", true}, "sha512"},
    {"EC_SIGN_ED25519", KEY_TYPE_ED25519, {NULL, false}, NULL},
};

const KmsAlgorithm *kms_algorithm_find(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(algorithms); i++)
        if (g_strcmp0(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

void kms_version_free(KmsVersion *version)
{
    if (!version)
        return;
    g_free(version->resource);
    g_free(version->slot);
    g_free(version->algorithm);
    g_free(version->state);
    g_free(version->protection);
    g_free(version->reason);
    g_free(version);
}

void kms_entry_free(KmsEntry *entry)
{
    if (!entry)
        return;
    g_free(entry->name);
    g_free(entry->label);
    g_free(entry);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(KmsEntry, kms_entry_free)

/* --- names -------------------------------------------------------------------------------------------- */

/* What may stand in one part of a resource name; ':' and '.' are of old projects ("example.com:name"). */
static bool is_part(const char *text)
{
    gsize size = strlen(text);
    return size > 0 && size <= 100 && !g_str_equal(text, ".") && !g_str_equal(text, "..") &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:") == size;
}

/* |name| is |parent|/COLLECTION/PART, or without a parent COLLECTION/PART. Gives PART; transfer none. */
static const char *child_of(const char *name, const char *parent, const char *collection)
{
    g_autofree char *prefix =
        *parent ? g_strdup_printf("%s/%s/", parent, collection) : g_strdup_printf("%s/", collection);
    if (!g_str_has_prefix(name, prefix))
        return NULL;
    const char *part = name + strlen(prefix);
    return is_part(part) ? part : NULL;
}

/* The number of whole (collection, part) pairs of projects/locations/keyRings; 0: not of that form. */
static guint depth_of(const char *name)
{
    static const char *const collections[] = {"projects", "locations", "keyRings"};
    g_auto(GStrv) parts = g_strsplit(name, "/", 8);
    guint count = g_strv_length(parts);
    if (count % 2 || count > 2 * G_N_ELEMENTS(collections))
        return 0;
    for (guint i = 0; i < count; i += 2)
        if (!g_str_equal(parts[i], collections[i / 2]) || !is_part(parts[i + 1]) ||
            (i > 0 && strchr(parts[i + 1], ':')))
            return 0;
    return count / 2;
}

bool kms_key_ring_check(const char *key_ring, GError **error)
{
    if (strlen(key_ring) <= NAME_MAX_SIZE && depth_of(key_ring) == 3)
        return true;
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
        "\"%.200s\" is no key ring; a key ring's name is projects/PROJECT/locations/LOCATION/keyRings/RING",
        key_ring);
    return false;
}

bool kms_parent_check(const char *parent, GError **error)
{
    if (!*parent || (strlen(parent) <= NAME_MAX_SIZE && depth_of(parent) > 0))
        return true;
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
        "\"%.200s\" can't be looked into; give nothing, projects/P, projects/P/locations/L, or a key ring",
        parent);
    return false;
}

char *kms_key_ring_serial(const char *key_ring)
{
    g_auto(GStrv) parts = g_strsplit(key_ring, "/", 7);
    return g_strdup_printf("%s:%s:%s", parts[1], parts[3], parts[5]);
}

/* --- lists -------------------------------------------------------------------------------------------- */

static bool not_understood(GError **error, const char *what, GError *cause)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Google's answer with %s can't be understood%s%s",
                what, cause ? ": " : "", cause ? cause->message : "");
    g_clear_error(&cause);
    return false;
}

static const char *text_of(JsonObject *object, const char *member, gsize longest)
{
    const char *text = json_get_string(object, member, NULL);
    return text && strlen(text) <= longest ? text : NULL;
}

/* |label| becomes fit to be shown. Transfer full. */
static char *one_line(const char *text, glong characters)
{
    g_autofree char *copy = g_strdup(text);
    GString *line = g_string_new(NULL);
    for (const char *at = g_strstrip(copy); *at && characters-- > 0; at = g_utf8_next_char(at))
        g_string_append_unichar(line, g_unichar_isprint(g_utf8_get_char(at)) ? g_utf8_get_char(at) : ' ');
    return g_string_free(line, FALSE);
}

static bool read_next_page(JsonObject *page, char **ret_next, GError **error)
{
    GError *wrong = NULL;
    const char *next = json_get_string(page, "nextPageToken", &wrong);
    if (wrong || (next && strlen(next) > PAGE_TOKEN_MAX_SIZE))
        return not_understood(error, "a list", wrong);
    *ret_next = next && *next ? g_strdup(next) : NULL;
    return true;
}

/* NULL without an error: the list is empty. */
static JsonArray *read_list(JsonObject *page, const char *member, GError **error)
{
    GError *wrong = NULL;
    JsonArray *list = json_get_array(page, member, &wrong);
    if (wrong)
        not_understood(error, "a list", wrong);
    return list;
}

static JsonObject *object_at(JsonArray *list, guint i)
{
    JsonNode *node = json_array_get_element(list, i);
    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/* Projects have a number in |name| (v3) or nothing of the kind (v1), and their id in projectId. */
static KmsEntry *read_entry(JsonObject *object, const char *member, const char *parent)
{
    g_autoptr(KmsEntry) entry = g_new0(KmsEntry, 1);
    if (g_str_equal(member, "projects")) {
        const char *id = text_of(object, "projectId", NAME_MAX_SIZE);
        const char *label = text_of(object, "name", NAME_MAX_SIZE);
        if (!id || !is_part(id))
            return NULL;
        entry->name = g_strdup_printf("projects/%s", id);
        entry->label = one_line(label && *label ? label : id, ERROR_CHARACTERS_MAX);
        return g_steal_pointer(&entry);
    }
    const char *name = text_of(object, "name", NAME_MAX_SIZE);
    const char *part = name ? child_of(name, parent, member) : NULL;
    if (!part || strchr(part, ':'))
        return NULL;
    const char *label = text_of(object, "displayName", NAME_MAX_SIZE);
    entry->name = g_strdup(name);
    entry->label = one_line(label && *label ? label : part, ERROR_CHARACTERS_MAX);
    entry->signs = g_strcmp0(text_of(object, "purpose", NAME_MAX_SIZE), "ASYMMETRIC_SIGN") == 0;
    return g_steal_pointer(&entry);
}

bool kms_read_entries(const char *text, gsize size, const char *member, const char *parent,
                      GPtrArray *entries, char **ret_next, GError **error)
{
    GError *wrong = NULL;
    g_autoptr(JsonObject) page = json_object_parse(text, size, &wrong);
    if (!page)
        return not_understood(error, "a list", wrong);
    JsonArray *list = read_list(page, member, &wrong);
    if (wrong) {
        g_propagate_error(error, wrong);
        return false;
    }
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *object = object_at(list, i);
        KmsEntry *entry = object ? read_entry(object, member, parent) : NULL;
        if (!entry)
            return not_understood(error, "a list", NULL);
        g_ptr_array_add(entries, entry);
    }
    return read_next_page(page, ret_next, error);
}

/* Why |version| can't be used; NULL: it can. Transfer full. */
static char *reason_against(const KmsVersion *version)
{
    if (!g_str_equal(version->state, "ENABLED"))
        return g_strdup_printf("it is not enabled (%s)", version->state);
    if (!kms_algorithm_find(version->algorithm))
        return g_strdup_printf("%s is no algorithm that certificates are signed with here",
                               version->algorithm);
    return NULL;
}

static KmsVersion *read_version(JsonObject *object, const char *key)
{
    const char *name = text_of(object, "name", NAME_MAX_SIZE);
    const char *number = name ? child_of(name, key, "cryptoKeyVersions") : NULL;
    const char *state = text_of(object, "state", 100);
    const char *algorithm = text_of(object, "algorithm", 100);
    const char *protection = text_of(object, "protectionLevel", 100);
    if (!number || strchr(number, ':'))
        return NULL;
    g_autoptr(KmsVersion) version = g_new0(KmsVersion, 1);
    version->resource = g_strdup(name);
    version->slot = g_strdup_printf("%s:%s", strrchr(key, '/') + 1, number);
    version->state = one_line(state ? state : "unknown", 100);
    version->algorithm = one_line(algorithm ? algorithm : "unknown", 100);
    version->protection = one_line(protection ? protection : "", 100);
    version->imported = json_object_has_member(object, "importJob");
    version->reason = reason_against(version);
    version->signs = version->reason ? NULL : kms_algorithm_find(version->algorithm);
    return g_steal_pointer(&version);
}

bool kms_read_versions(const char *text, gsize size, const char *key, GPtrArray *versions, char **ret_next,
                       GError **error)
{
    GError *wrong = NULL;
    g_autoptr(JsonObject) page = json_object_parse(text, size, &wrong);
    if (!page)
        return not_understood(error, "a key's versions", wrong);
    JsonArray *list = read_list(page, "cryptoKeyVersions", &wrong);
    if (wrong) {
        g_propagate_error(error, wrong);
        return false;
    }
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonObject *object = object_at(list, i);
        KmsVersion *version = object ? read_version(object, key) : NULL;
        if (!version)
            return not_understood(error, "a key's versions", NULL);
        g_ptr_array_add(versions, version);
    }
    return read_next_page(page, ret_next, error);
}

/* --- keys and signatures ------------------------------------------------------------------------------ */

static bool damaged(GError **error, const char *what)
{
    g_set_error(
        error, IOTHSM_ERROR, KMS_DAMAGED,
        "%s came damaged: its checksum does not match; nothing of it was used. Look at what may change "
        "the traffic between this machine and Google",
        what);
    return false;
}

/* An int64 as protobuf's JSON has it: a string, by some writers a number. */
static bool checksum_matches(JsonObject *object, const char *member, const void *data, gsize size)
{
    const char *text = text_of(object, member, 20);
    guint64 sum = 0;
    gint64 number = -1;
    if (text && g_ascii_string_to_unsigned(text, 10, 0, G_MAXUINT32, &sum, NULL))
        return sum == crc32c(data, size);
    return json_get_integer(object, member, &number, NULL) && number == (gint64)crc32c(data, size);
}

/* Nobody is asked for a passphrase, whatever the PEM says. */
static EVP_PKEY *key_of_pem(const char *pem, const KmsVersion *version, GError **error)
{
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, (int)strlen(pem));
    g_autoptr(EVP_PKEY) key = PEM_read_bio_PUBKEY(bio, NULL, NULL, (void *)"");
    KeyType type;
    if (key && key_type_of(key, &type, NULL) && type == version->signs->type)
        return g_steal_pointer(&key);
    error_set_openssl(error, IOTHSM_ERROR_BAD_KEY, "Google's public key of %s is no %s key", version->slot,
                      key_type_to_string(version->signs->type));
    return NULL;
}

EVP_PKEY *kms_read_public_key(const char *text, gsize size, const KmsVersion *version, GError **error)
{
    GError *wrong = NULL;
    g_autoptr(JsonObject) answer = json_object_parse(text, size, &wrong);
    const char *pem = answer ? text_of(answer, "pem", PEM_MAX_SIZE) : NULL;
    if (!pem)
        return not_understood(error, "a public key", wrong), NULL;
    if (!checksum_matches(answer, "pemCrc32c", pem, strlen(pem)) ||
        g_strcmp0(text_of(answer, "name", NAME_MAX_SIZE), version->resource) != 0)
        return damaged(error, "Google's answer with a public key"), NULL;
    if (g_strcmp0(text_of(answer, "algorithm", 100), version->algorithm) != 0)
        return not_understood(error, "a public key", NULL), NULL;
    return key_of_pem(pem, version, error);
}

GBytes *kms_read_signature(const char *text, gsize size, const char *resource, bool data, GError **error)
{
    GError *wrong = NULL;
    bool verified = false;
    g_autoptr(JsonObject) answer = json_object_parse(text, size, &wrong);
    const char *encoded = answer ? text_of(answer, "signature", SIGNATURE_MAX_SIZE * 4 / 3 + 4) : NULL;
    if (!encoded ||
        !json_get_bool(answer, data ? "verifiedDataCrc32c" : "verifiedDigestCrc32c", &verified, &wrong))
        return not_understood(error, "a signature", wrong), NULL;
    gsize length = 0;
    g_autofree guchar *signature = g_base64_decode(encoded, &length);
    if (!verified || length == 0 || g_strcmp0(text_of(answer, "name", NAME_MAX_SIZE), resource) != 0 ||
        !checksum_matches(answer, "signatureCrc32c", signature, length))
        return damaged(error, "Google's answer with a signature"), NULL;
    return g_bytes_new_take(g_steal_pointer(&signature), length);
}

/* --- the rest ----------------------------------------------------------------------------------------- */

GStrv kms_read_missing(const char *text, gsize size, const char *const *wanted, GError **error)
{
    GError *wrong = NULL;
    g_autoptr(JsonObject) answer = json_object_parse(text, size, &wrong);
    if (!answer)
        return not_understood(error, "permissions", wrong), NULL;
    JsonArray *held = read_list(answer, "permissions", &wrong);
    if (wrong) {
        g_propagate_error(error, wrong);
        return NULL;
    }
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    for (guint i = 0; held && i < json_array_get_length(held); i++) {
        JsonNode *node = json_array_get_element(held, i);
        if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING)
            return not_understood(error, "permissions", NULL), NULL;
        g_hash_table_add(names, (char *)json_node_get_string(node));
    }
    g_autoptr(GStrvBuilder) missing = g_strv_builder_new();
    for (guint i = 0; wanted[i]; i++)
        if (!g_hash_table_contains(names, wanted[i]))
            g_strv_builder_add(missing, wanted[i]);
    return g_strv_builder_end(missing);
}

/* It becomes a header: nothing in it may end one. */
static bool is_header_text(const char *text)
{
    for (; *text; text++)
        if (!g_ascii_isgraph(*text))
            return false;
    return true;
}

Secret *kms_read_access_token(const char *text, gsize size, gint64 *ret_seconds, GError **error)
{
    gint64 seconds = 0;
    g_autoptr(JsonObject) answer = json_object_parse(text, size, NULL);
    const char *token = answer ? text_of(answer, "access_token", ACCESS_TOKEN_MAX_SIZE) : NULL;
    const char *type = answer ? text_of(answer, "token_type", 100) : NULL;
    bool good = token && *token && is_header_text(token) &&
                (!type || g_ascii_strcasecmp(type, "Bearer") == 0) &&
                json_get_integer(answer, "expires_in", &seconds, NULL) && seconds > 0;
    Secret *secret = good ? secret_new(token, strlen(token)) : NULL;
    if (token)
        OPENSSL_cleanse((char *)token, strlen(token)); /* json-glib's copy */
    if (!secret)
        return not_understood(error, "an access token", NULL), NULL;
    *ret_seconds = MIN(seconds, 24 * 3600);
    return secret;
}

/* {"error": {"message": …, "status": …}} by the APIs, {"error": …, "error_description": …} by OAuth 2. */
char *kms_read_error(const char *text, gsize size, char **ret_status)
{
    g_autoptr(JsonObject) answer = json_object_parse(text, size, NULL);
    JsonObject *details = answer ? json_get_object(answer, "error", NULL) : NULL;
    const char *status = details ? text_of(details, "status", 100) : NULL;
    const char *message = details ? text_of(details, "message", size) : NULL;
    if (answer && !details) {
        status = text_of(answer, "error", 100);
        message = text_of(answer, "error_description", size);
    }
    g_autofree char *shown = message ? one_line(message, ERROR_CHARACTERS_MAX) : NULL;
    *ret_status = one_line(status ? status : "", 100);
    return shown && *shown ? g_steal_pointer(&shown) : g_strdup("without a word about why");
}
