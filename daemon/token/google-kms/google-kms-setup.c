/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Looking around in Google Cloud, checking a key ring, and adding it. An inquiry runs on a thread of the
 * source with a client of its own, which is gone when it is over; what it found is JSON. */

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/google-kms/google-kms-source.h"
#include <openssl/rsa.h>
#include <string.h>

#define SECONDS_MAX 60
#define CONNECTIONS 4
/* It is signed as it stands, or its digest is: nothing that anybody could take for something else. */
#define TRIAL_TEXT "IoT-HSM asks whether this key can sign."

typedef struct Inquiry {
    KmsSource *source; /* main thread */
    KmsStore store;
    const GoogleEndpoints *endpoints;
    GoogleHttp *http;
    char *name; /* parent, or key ring */
    Secret *json;
    gint64 deadline;
    TextDoneFunc done;
    void *userdata;
    /* Results, of the thread */
    char *text;
    GoogleCredentials *credentials;
    bool saved;
    /* Main thread */
    const char *adding; /* of the source's list, or NULL */
    bool reported;
} Inquiry;

/* --- answers as JSON ---------------------------------------------------------------------------------- */

static JsonObject *describe_version(const KmsVersion *version)
{
    JsonObject *object = json_object_new();
    json_object_set_string_member(object, "name", version->slot);
    json_object_set_string_member(object, "label", version->resource);
    json_object_set_string_member(object, "algorithm", version->algorithm);
    json_object_set_string_member(object, "state", version->state);
    json_object_set_string_member(object, "protection", version->protection);
    json_object_set_boolean_member(object, "usable", version->signs != NULL);
    json_object_set_string_member(object, "reason", version->reason ? version->reason : "");
    return object;
}

static JsonArray *describe_versions(GPtrArray *versions)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < versions->len; i++)
        json_array_add_object_element(list, describe_version(g_ptr_array_index(versions, i)));
    return list;
}

static JsonArray *describe_entries(GPtrArray *entries)
{
    JsonArray *list = json_array_new();
    for (guint i = 0; i < entries->len; i++) {
        const KmsEntry *entry = g_ptr_array_index(entries, i);
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "name", entry->name);
        json_object_set_string_member(object, "label", entry->label);
        json_array_add_object_element(list, object);
    }
    return list;
}

static JsonArray *describe_missing(const char *const *missing)
{
    JsonArray *list = json_array_new();
    for (const KmsPermission *at = kms_permissions; at->name; at++) {
        if (!g_strv_contains(missing, at->name))
            continue;
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "permission", at->name);
        json_object_set_string_member(object, "role", at->role);
        json_object_set_string_member(object, "title", at->title);
        json_array_add_object_element(list, object);
    }
    return list;
}

/* --- browsing ----------------------------------------------------------------------------------------- */

static JsonArray *list_children(KmsClient *client, const char *parent, const KeyLimits *limits,
                                GError **error)
{
    if (strstr(parent, "/keyRings/")) {
        g_autoptr(GPtrArray) versions = kms_client_list_versions(client, parent, limits, error);
        return versions ? describe_versions(versions) : NULL;
    }
    const char *member = !*parent ? "projects" : strstr(parent, "/locations/") ? "keyRings" : "locations";
    g_autoptr(GPtrArray) entries = kms_client_list(client, parent, member, limits, error);
    return entries ? describe_entries(entries) : NULL;
}

static bool browse(Inquiry *inquiry, KmsClient *client, const KeyLimits *limits, GError **error)
{
    JsonArray *children = list_children(client, inquiry->name, limits, error);
    if (!children)
        return false;
    g_autoptr(JsonObject) object = json_object_new();
    json_object_set_string_member(object, "parent", inquiry->name);
    json_object_set_array_member(object, "children", children);
    inquiry->text = json_object_to_text(object);
    return true;
}

/* --- checking ----------------------------------------------------------------------------------------- */

static bool verifies(EVP_PKEY *key, const KmsAlgorithm *algorithm, GBytes *signature)
{
    const EVP_MD *digest = algorithm->member ? EVP_get_digestbyname(algorithm->scheme.digest) : NULL;
    g_autoptr(EVP_MD_CTX) context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *settings = NULL;
    gsize size = 0;
    const void *bytes = g_bytes_get_data(signature, &size);
    return EVP_DigestVerifyInit(context, &settings, digest, NULL, key) > 0 &&
           (!algorithm->scheme.pss ||
            (EVP_PKEY_CTX_set_rsa_padding(settings, RSA_PKCS1_PSS_PADDING) > 0 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(settings, RSA_PSS_SALTLEN_DIGEST) > 0)) &&
           EVP_DigestVerify(context, bytes, size, (const unsigned char *)TRIAL_TEXT, strlen(TRIAL_TEXT)) > 0;
}

static bool sign_trial(KmsClient *client, const KmsVersion *version, const KeyLimits *limits, GError **error)
{
    const KmsAlgorithm *algorithm = version->signs;
    unsigned char digest[EVP_MAX_MD_SIZE];
    const void *input = TRIAL_TEXT;
    size_t size = strlen(TRIAL_TEXT);
    g_autoptr(EVP_PKEY) key = kms_client_public_key(client, version, limits, error);
    if (!key)
        return false;
    if (algorithm->member) {
        EVP_Q_digest(NULL, algorithm->scheme.digest, NULL, TRIAL_TEXT, strlen(TRIAL_TEXT), digest, &size);
        input = digest;
    }
    g_autoptr(GBytes) signature =
        kms_client_sign(client, version->resource, version->slot, algorithm, input, size, limits, error);
    if (!signature)
        return false;
    if (verifies(key, algorithm, signature))
        return true;
    g_set_error(error, IOTHSM_ERROR, KMS_DAMAGED,
                "The trial signature with %s does not verify under the public key that Google gave",
                version->slot);
    return false;
}

static const KmsVersion *first_usable(GPtrArray *versions)
{
    for (guint i = 0; i < versions->len; i++) {
        const KmsVersion *version = g_ptr_array_index(versions, i);
        if (version->signs)
            return version;
    }
    return NULL;
}

/* What a check found. */
typedef struct Finding {
    GStrv missing;
    GPtrArray *versions; /* NULL: not looked at, as permissions are missing */
    const KmsVersion *trial;
} Finding;

static void finding_clear(Finding *finding)
{
    g_strfreev(finding->missing);
    if (finding->versions)
        g_ptr_array_unref(finding->versions);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Finding, finding_clear)

static bool find_out(const Inquiry *inquiry, KmsClient *client, const KeyLimits *limits, Finding *ret_finding,
                     GError **error)
{
    g_auto(Finding) finding = {0};
    finding.missing = kms_client_missing_permissions(client, inquiry->name, limits, error);
    if (!finding.missing)
        return false;
    if (!finding.missing[0]) {
        finding.versions = kms_client_list_versions(client, inquiry->name, limits, error);
        finding.trial = finding.versions ? first_usable(finding.versions) : NULL;
        if (!finding.versions || (finding.trial && !sign_trial(client, finding.trial, limits, error)))
            return false;
    }
    *ret_finding = finding;
    memset(&finding, 0, sizeof finding);
    return true;
}

static void describe_finding(Inquiry *inquiry, const Finding *finding)
{
    g_autoptr(JsonObject) object = json_object_new();
    g_autofree char *serial = kms_key_ring_serial(inquiry->name);
    json_object_set_string_member(object, "keyRing", inquiry->name);
    json_object_set_string_member(object, "serial", serial);
    json_object_set_string_member(object, "account", google_credentials_account(inquiry->credentials));
    json_object_set_array_member(object, "missing", describe_missing((const char *const *)finding->missing));
    json_object_set_array_member(object, "slots",
                                 finding->versions ? describe_versions(finding->versions) : json_array_new());
    json_object_set_string_member(object, "trial", finding->trial ? finding->trial->slot : "");
    json_object_set_boolean_member(object, "ready", finding->trial != NULL);
    inquiry->text = json_object_to_text(object);
}

static bool check(Inquiry *inquiry, KmsClient *client, const KeyLimits *limits, GError **error)
{
    g_auto(Finding) finding = {0};
    if (!find_out(inquiry, client, limits, &finding, error))
        return false;
    describe_finding(inquiry, &finding);
    return true;
}

/* --- adding ------------------------------------------------------------------------------------------- */

/* The roles of |missing|, each once: "Cloud KMS Viewer (roles/cloudkms.viewer)". Transfer full. */
static char *roles_of(const char *const *missing)
{
    g_autoptr(GPtrArray) roles = g_ptr_array_new_with_free_func(g_free);
    for (const KmsPermission *at = kms_permissions; at->name; at++) {
        g_autofree char *role = g_strdup_printf("%s (%s)", at->title, at->role);
        if (g_strv_contains(missing, at->name) &&
            !g_ptr_array_find_with_equal_func(roles, role, g_str_equal, NULL))
            g_ptr_array_add(roles, g_steal_pointer(&role));
    }
    g_ptr_array_add(roles, NULL);
    return g_strjoinv(" and ", (char **)roles->pdata);
}

static bool is_usable(const Inquiry *inquiry, const Finding *finding, GError **error)
{
    if (finding->trial)
        return true;
    if (finding->missing[0]) {
        g_autofree char *names = g_strjoinv(", ", finding->missing);
        g_autofree char *roles = roles_of((const char *const *)finding->missing);
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED,
                    "%s lacks on %s: %s. Give it the roles that have them, %s, and try again",
                    google_credentials_account(inquiry->credentials), inquiry->name, names, roles);
    } else {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
            "%s has no enabled key version that can sign certificates; make a key for asymmetric signing in "
            "Google Cloud, then try again",
            inquiry->name);
    }
    return false;
}

static bool add(Inquiry *inquiry, KmsClient *client, const KeyLimits *limits, GError **error)
{
    g_auto(Finding) finding = {0};
    if (!find_out(inquiry, client, limits, &finding, error) || !is_usable(inquiry, &finding, error))
        return false;
    if (g_cancellable_is_cancelled(limits->cancelled)) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "Adding the key ring was given up");
        return false;
    }
    inquiry->saved = kms_store_save(&inquiry->store, inquiry->name, inquiry->json, error);
    inquiry->text = kms_key_ring_serial(inquiry->name);
    return inquiry->saved;
}

/* --- the way there and back --------------------------------------------------------------------------- */

/* What was saved appears, also when whoever asked for it went away at the last moment. */
static void report_saved(Inquiry *inquiry)
{
    if (inquiry->reported || !inquiry->saved || inquiry->source->closing)
        return;
    inquiry->reported = true;
    inquiry->source->changes++;
    kms_source_report(inquiry->source, inquiry->name, inquiry->credentials, NULL);
}

static void inquiry_free(void *data)
{
    Inquiry *inquiry = data;
    report_saved(inquiry);
    if (inquiry->adding)
        g_ptr_array_remove(inquiry->source->adding, (char *)inquiry->adding);
    google_credentials_unref(inquiry->credentials);
    secret_unref(inquiry->json);
    g_free(inquiry->name);
    g_free(inquiry->text);
    g_free(inquiry);
}

static void inquiry_done(const GError *error, void *userdata)
{
    Inquiry *inquiry = userdata;
    if (!error)
        report_saved(inquiry);
    inquiry->done(error ? NULL : inquiry->text, error, inquiry->userdata);
}

static bool run(Inquiry *inquiry, GCancellable *cancelled,
                bool (*work)(Inquiry *, KmsClient *, const KeyLimits *, GError **), GError **error)
{
    const KeyLimits limits = {inquiry->deadline, cancelled};
    inquiry->credentials = kms_source_credentials(inquiry->endpoints, inquiry->json, error);
    if (!inquiry->credentials)
        return false;
    g_autoptr(KmsClient) client =
        kms_client_new(inquiry->http, inquiry->endpoints, inquiry->credentials, CONNECTIONS);
    return work(inquiry, client, &limits, error);
}

static bool run_browse(void *data, GCancellable *cancelled, GError **error)
{
    return run(data, cancelled, browse, error);
}

static bool run_check(void *data, GCancellable *cancelled, GError **error)
{
    return run(data, cancelled, check, error);
}

static bool run_add(void *data, GCancellable *cancelled, GError **error)
{
    return run(data, cancelled, add, error);
}

static Inquiry *inquiry_new(KmsSource *source, const char *name, Secret *json, TextDoneFunc done,
                            void *userdata)
{
    Inquiry *inquiry = g_new0(Inquiry, 1);
    *inquiry = (Inquiry){.source = source,
                         .store = source->store,
                         .endpoints = &source->endpoints,
                         .http = source->http,
                         .name = g_strdup(name),
                         .json = json ? secret_ref(json) : NULL,
                         .deadline = g_get_monotonic_time() + SECONDS_MAX * G_TIME_SPAN_SECOND,
                         .done = done,
                         .userdata = userdata};
    return inquiry;
}

static void submit(Inquiry *inquiry, WorkerRunFunc work, GCancellable *cancellable, GError *refused)
{
    kms_source_submit(inquiry->source->worker, &(KmsJob){work, inquiry, inquiry_free, inquiry_done},
                      inquiry->deadline, cancellable, refused);
}

void google_kms_browse(Source *source, const char *parent, Secret *credentials, GCancellable *cancellable,
                       TextDoneFunc done, void *userdata)
{
    GError *error = NULL;
    Inquiry *inquiry = inquiry_new((KmsSource *)source, parent, credentials, done, userdata);
    (void)kms_parent_check(parent, &error);
    submit(inquiry, run_browse, cancellable, error);
}

void google_kms_check(Source *source, const char *key_ring, Secret *credentials, GCancellable *cancellable,
                      TextDoneFunc done, void *userdata)
{
    GError *error = NULL;
    Inquiry *inquiry = inquiry_new((KmsSource *)source, key_ring, credentials, done, userdata);
    (void)kms_key_ring_check(key_ring, &error);
    submit(inquiry, run_check, cancellable, error);
}

static bool check_new(const KmsSource *source, const char *serial, const Secret *credentials, GError **error)
{
    if (kms_source_find(source, serial))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "Key ring %s is there already; remove it first to give it other credentials", serial);
    else if (g_ptr_array_find_with_equal_func(source->adding, serial, g_str_equal, NULL))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_BUSY,
                    "Key ring %s is being added at this moment; look whether it is there when that is over",
                    serial);
    else if (source->rings->len + source->adding->len >= KMS_RINGS_MAX)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                    "There are %d key rings already, and no more are kept; remove one first", KMS_RINGS_MAX);
    else if (credentials && !sealing_available(source->store.sealing))
        g_set_error_literal(
            error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
            "There is no sealing key to keep the credentials under; give the service the credential "
            "iothsm.key, or on a machine in Google Cloud leave out the credentials");
    else
        return true;
    return false;
}

void google_kms_source_add(Source *source, const char *key_ring, Secret *credentials,
                           GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    GError *error = NULL;
    Inquiry *inquiry = inquiry_new((KmsSource *)source, key_ring, credentials, done, userdata);
    GPtrArray *adding = inquiry->source->adding;
    g_autofree char *serial = kms_key_ring_check(key_ring, &error) ? kms_key_ring_serial(key_ring) : NULL;
    if (serial && check_new(inquiry->source, serial, credentials, &error)) {
        inquiry->adding = serial;
        g_ptr_array_add(adding, g_steal_pointer(&serial));
    }
    submit(inquiry, run_add, cancellable, error);
}
