/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A call is a request, who reads its answer, and what is said when Google refuses it. */

#include "daemon/token/google-kms/google-kms-client.h"
#include "daemon/json.h"
#include "daemon/token/google-kms/crc32c.h"
#include <string.h>

#define PAGE_SIZE 500
#define PAGES_MAX 200
#define VERSIONS_MAX 4096
/* Of what Ed25519 signs; Google takes no more in one request. */
#define MESSAGE_MAX_SIZE (64 * 1024)
#define DAMAGED_TRIES 3
/* For one call of many, where the whole has no deadline. */
#define CALL_SECONDS 10

enum {
    HTTP_OK = 200,
    HTTP_BAD_REQUEST = 400,
    HTTP_UNAUTHORIZED = 401,
    HTTP_FORBIDDEN = 403,
    HTTP_NOT_FOUND = 404
};

struct KmsClient {
    const GoogleEndpoints *endpoints;
    GoogleCredentials *credentials;
    GoogleSession *session;
};

const KmsPermission kms_permissions[] = {
    {"cloudkms.cryptoKeys.list", "roles/cloudkms.viewer", "Cloud KMS Viewer"},
    {"cloudkms.cryptoKeyVersions.list", "roles/cloudkms.viewer", "Cloud KMS Viewer"},
    {"cloudkms.cryptoKeyVersions.viewPublicKey", "roles/cloudkms.signerVerifier",
     "Cloud KMS CryptoKey Signer/Verifier"},
    {"cloudkms.cryptoKeyVersions.useToSign", "roles/cloudkms.signerVerifier",
     "Cloud KMS CryptoKey Signer/Verifier"},
    {NULL, NULL, NULL},
};

KmsClient *kms_client_new(GoogleHttp *http, const GoogleEndpoints *endpoints, GoogleCredentials *credentials,
                          guint requests)
{
    KmsClient *client = g_new0(KmsClient, 1);
    client->endpoints = endpoints;
    client->credentials = google_credentials_ref(credentials);
    client->session = google_session_new(http, requests);
    return client;
}

void kms_client_free(KmsClient *client)
{
    if (!client)
        return;
    google_session_free(client->session);
    google_credentials_unref(client->credentials);
    g_free(client);
}

const GoogleCredentials *kms_client_credentials(const KmsClient *client)
{
    return client->credentials;
}

/* --- one call ----------------------------------------------------------------------------------------- */

/* What is done with an answer of 200. False: as |error| says; KMS_DAMAGED has the call made again. */
typedef bool (*ReadFunc)(const HttpAnswer *answer, void *data, GError **error);

typedef struct Call {
    char *what; /* "sign with root:1" */
    char *url;
    GBytes *body;           /* or NULL */
    bool checked;           /* Google refuses it as invalid when it came damaged */
    const char *permission; /* that this call needs */
    ReadFunc read;
    void *data;
} Call;

static void call_clear(Call *call)
{
    g_free(call->what);
    g_free(call->url);
    if (call->body)
        g_bytes_unref(call->body);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Call, call_clear)

static const KmsPermission *find_permission(const char *name)
{
    for (const KmsPermission *at = kms_permissions; at->name; at++)
        if (g_strcmp0(at->name, name) == 0)
            return at;
    return NULL;
}

static void set_forbidden(const KmsClient *client, const Call *call, const char *words, GError **error)
{
    const KmsPermission *permission = find_permission(call->permission);
    g_autofree char *hint = permission
                                ? g_strdup_printf("; it needs %s, which the role %s (%s) has",
                                                  permission->name, permission->title, permission->role)
                                : g_strdup("");
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED, "Google does not let %s %s (%s)%s",
                google_credentials_account(client->credentials), call->what, words, hint);
}

static void set_refused(const KmsClient *client, const Call *call, const HttpAnswer *answer, GError **error)
{
    g_autofree char *status = NULL;
    g_autofree char *words = kms_read_error(answer->body, answer->size, &status);
    if (answer->status == HTTP_BAD_REQUEST && call->checked && g_str_equal(status, "INVALID_ARGUMENT"))
        g_set_error(error, IOTHSM_ERROR, KMS_DAMAGED, "Google did not %s (%s)", call->what, words);
    else if (answer->status == HTTP_FORBIDDEN)
        set_forbidden(client, call, words, error);
    else if (answer->status == HTTP_NOT_FOUND)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
                    "Google was asked to %s, but there is no such thing any more (%s)", call->what, words);
    else if (g_str_equal(status, "FAILED_PRECONDITION"))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED,
                    "Google can't %s now (%s); look at the key version's state in Google Cloud", call->what,
                    words);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED, "Google did not %s (%u %s: %s)",
                    call->what, answer->status, status, words);
}

typedef enum Outcome { DONE, FAILED, ACCESS_REFUSED, DAMAGED } Outcome;

static Outcome try_call(KmsClient *client, const Call *call, const KeyLimits *limits, GError **error)
{
    g_autoptr(Secret) access = google_credentials_access(client->credentials, client->session, limits, error);
    g_auto(HttpAnswer) answer = {0};
    const HttpRequest request = {.what = call->what,
                                 .url = call->url,
                                 .type = "application/json",
                                 .body = call->body,
                                 .bearer = access};
    if (!access || !google_session_send(client->session, &request, limits, &answer, error))
        return FAILED;
    if (answer.status == HTTP_UNAUTHORIZED) {
        google_credentials_refuse(client->credentials, access);
        set_refused(client, call, &answer, error);
        return ACCESS_REFUSED;
    }
    GError *failure = NULL;
    if (answer.status != HTTP_OK)
        set_refused(client, call, &answer, &failure);
    else if (call->read(&answer, call->data, &failure))
        return DONE;
    bool is_damaged = g_error_matches(failure, IOTHSM_ERROR, KMS_DAMAGED);
    g_propagate_error(error, failure);
    return is_damaged ? DAMAGED : FAILED;
}

static bool run_call(KmsClient *client, const Call *call, const KeyLimits *whole, GError **error)
{
    bool renewed = false;
    KeyLimits limits = *whole;
    if (limits.deadline == G_MAXINT64)
        limits.deadline = g_get_monotonic_time() + CALL_SECONDS * G_TIME_SPAN_SECOND;
    for (guint damaged = 0;;) {
        g_autoptr(GError) failure = NULL;
        Outcome outcome = try_call(client, call, &limits, &failure);
        if (outcome == DONE)
            return true;
        if ((outcome == ACCESS_REFUSED && !renewed) || (outcome == DAMAGED && ++damaged < DAMAGED_TRIES)) {
            renewed = renewed || outcome == ACCESS_REFUSED;
            continue;
        }
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
}

/* --- lists -------------------------------------------------------------------------------------------- */

typedef bool (*ReadPageFunc)(const char *text, gsize size, const char *member, const char *parent,
                             GPtrArray *found, char **ret_next, GError **error);

typedef struct Listing {
    ReadPageFunc read;
    const char *member;
    const char *parent;
    GPtrArray *found;
    char *next; /* page, or NULL */
} Listing;

static bool read_page(const HttpAnswer *answer, void *data, GError **error)
{
    Listing *listing = data;
    char *next = NULL;
    guint before = listing->found->len;
    if (!listing->read(answer->body, answer->size, listing->member, listing->parent, listing->found, &next,
                       error)) {
        g_ptr_array_set_size(listing->found, (int)before);
        return false;
    }
    g_free(listing->next);
    listing->next = next;
    return true;
}

static bool too_many(const Listing *listing, guint pages, GError **error)
{
    if (pages < PAGES_MAX && listing->found->len <= VERSIONS_MAX)
        return false;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                "Google lists more than %d of %s in %s; use a key ring of its own for the CAs' keys",
                VERSIONS_MAX, listing->member, *listing->parent ? listing->parent : "all projects");
    return true;
}

static bool list_all(KmsClient *client, Listing *listing, const char *url, const char *permission,
                     const KeyLimits *limits, GError **error)
{
    bool done = true;
    guint pages = 0;
    do {
        g_autofree char *token = listing->next ? g_uri_escape_string(listing->next, NULL, FALSE) : NULL;
        g_auto(Call) call = {.what = g_strdup_printf("list %s in %s", listing->member,
                                                     *listing->parent ? listing->parent : "all projects"),
                             .url = g_strdup_printf("%s?pageSize=%d%s%s", url, PAGE_SIZE,
                                                    token ? "&pageToken=" : "", token ? token : ""),
                             .permission = permission,
                             .read = read_page,
                             .data = listing};
        done = !too_many(listing, pages++, error) && run_call(client, &call, limits, error);
    } while (done && listing->next);
    g_free(listing->next);
    return done && !too_many(listing, 0, error);
}

static bool read_versions(const char *text, gsize size, const char *member, const char *parent,
                          GPtrArray *found, char **ret_next, GError **error)
{
    return kms_read_versions(text, size, parent, found, ret_next, error);
}

GPtrArray *kms_client_list(KmsClient *client, const char *parent, const char *member, const KeyLimits *limits,
                           GError **error)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func((GDestroyNotify)kms_entry_free);
    Listing listing = {.read = kms_read_entries, .member = member, .parent = parent, .found = found};
    g_autofree char *url = *parent ? g_strdup_printf("%s/v1/%s/%s", client->endpoints->kms, parent, member)
                                   : g_strdup_printf("%s/v1/projects", client->endpoints->resource_manager);
    const char *permission = g_str_equal(member, "cryptoKeys") ? "cloudkms.cryptoKeys.list" : NULL;
    return list_all(client, &listing, url, permission, limits, error) ? g_steal_pointer(&found) : NULL;
}

GPtrArray *kms_client_list_versions(KmsClient *client, const char *key_ring, const KeyLimits *limits,
                                    GError **error)
{
    g_autoptr(GPtrArray) keys = kms_client_list(client, key_ring, "cryptoKeys", limits, error);
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func((GDestroyNotify)kms_version_free);
    for (guint i = 0; keys && i < keys->len; i++) {
        const KmsEntry *key = g_ptr_array_index(keys, i);
        Listing listing = {
            .read = read_versions, .member = "cryptoKeyVersions", .parent = key->name, .found = found};
        g_autofree char *url =
            g_strdup_printf("%s/v1/%s/cryptoKeyVersions", client->endpoints->kms, key->name);
        if (key->signs && !list_all(client, &listing, url, "cloudkms.cryptoKeyVersions.list", limits, error))
            return NULL;
    }
    return keys ? g_steal_pointer(&found) : NULL;
}

/* --- keys and signatures ------------------------------------------------------------------------------ */

typedef struct PublicKeyCall {
    const KmsVersion *version;
    EVP_PKEY *key;
} PublicKeyCall;

static bool read_public_key(const HttpAnswer *answer, void *data, GError **error)
{
    PublicKeyCall *wanted = data;
    wanted->key = kms_read_public_key(answer->body, answer->size, wanted->version, error);
    return wanted->key != NULL;
}

EVP_PKEY *kms_client_public_key(KmsClient *client, const KmsVersion *version, const KeyLimits *limits,
                                GError **error)
{
    PublicKeyCall wanted = {version, NULL};
    g_auto(Call)
        call = {.what = g_strdup_printf("give the public key of %s", version->slot),
                .url = g_strdup_printf("%s/v1/%s/publicKey", client->endpoints->kms, version->resource),
                .permission = "cloudkms.cryptoKeyVersions.viewPublicKey",
                .read = read_public_key,
                .data = &wanted};
    return run_call(client, &call, limits, error) ? wanted.key : NULL;
}

/* {"digest": {"sha256": …}, "digestCrc32c": …} or {"data": …, "dataCrc32c": …}. Transfer full. */
static GBytes *sign_body(const KmsAlgorithm *algorithm, const void *input, gsize size)
{
    g_autoptr(JsonObject) body = json_object_new();
    g_autofree char *encoded = g_base64_encode(input, size);
    g_autofree char *sum = g_strdup_printf("%u", crc32c(input, size));
    if (algorithm->member) {
        JsonObject *digest = json_object_new();
        json_object_set_string_member(digest, algorithm->member, encoded);
        json_object_set_object_member(body, "digest", digest);
        json_object_set_string_member(body, "digestCrc32c", sum);
    } else {
        json_object_set_string_member(body, "data", encoded);
        json_object_set_string_member(body, "dataCrc32c", sum);
    }
    char *text = json_object_to_text(body);
    return g_bytes_new_take(text, strlen(text));
}

typedef struct SignCall {
    const char *resource;
    bool data;
    GBytes *signature;
} SignCall;

static bool read_signature(const HttpAnswer *answer, void *data, GError **error)
{
    SignCall *wanted = data;
    wanted->signature = kms_read_signature(answer->body, answer->size, wanted->resource, wanted->data, error);
    return wanted->signature != NULL;
}

GBytes *kms_client_sign(KmsClient *client, const char *resource, const char *slot,
                        const KmsAlgorithm *algorithm, const void *input, gsize size, const KeyLimits *limits,
                        GError **error)
{
    SignCall wanted = {resource, algorithm->member == NULL, NULL};
    if (wanted.data && size > MESSAGE_MAX_SIZE) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                    "%s is an Ed25519 key in Google Cloud KMS, which signs at most %d bytes at once, not %zu",
                    slot, MESSAGE_MAX_SIZE, size);
        return NULL;
    }
    g_auto(Call) call = {.what = g_strdup_printf("sign with %s", slot),
                         .url = g_strdup_printf("%s/v1/%s:asymmetricSign", client->endpoints->kms, resource),
                         .body = sign_body(algorithm, input, size),
                         .checked = true,
                         .permission = "cloudkms.cryptoKeyVersions.useToSign",
                         .read = read_signature,
                         .data = &wanted};
    return run_call(client, &call, limits, error) ? wanted.signature : NULL;
}

/* --- permissions -------------------------------------------------------------------------------------- */

typedef struct PermissionCall {
    const char *wanted[G_N_ELEMENTS(kms_permissions)];
    GStrv missing;
} PermissionCall;

static bool read_missing(const HttpAnswer *answer, void *data, GError **error)
{
    PermissionCall *call = data;
    call->missing = kms_read_missing(answer->body, answer->size, call->wanted, error);
    return call->missing != NULL;
}

GStrv kms_client_missing_permissions(KmsClient *client, const char *key_ring, const KeyLimits *limits,
                                     GError **error)
{
    PermissionCall asked = {.missing = NULL};
    g_autoptr(JsonObject) body = json_object_new();
    JsonArray *names = json_array_new();
    for (guint i = 0; kms_permissions[i].name; i++) {
        asked.wanted[i] = kms_permissions[i].name;
        json_array_add_string_element(names, kms_permissions[i].name);
    }
    json_object_set_array_member(body, "permissions", names);
    char *text = json_object_to_text(body);
    g_auto(Call)
        call = {.what = g_strdup_printf("say what is allowed on %s", key_ring),
                .url = g_strdup_printf("%s/v1/%s:testIamPermissions", client->endpoints->kms, key_ring),
                .body = g_bytes_new_take(text, strlen(text)),
                .read = read_missing,
                .data = &asked};
    return run_call(client, &call, limits, error) ? asked.missing : NULL;
}
