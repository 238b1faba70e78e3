/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two locks: |listing| lets one thread at a time ask Google what there is; |lock| guards what is known, and
 * is never held while anybody is asked. */

#include "daemon/token/google-kms/google-kms-token.h"
#include "daemon/log.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider.h"
#include <openssl/err.h>
#include <string.h>

#define SIGN_SECONDS 30 /* where the request has no deadline of its own */

struct KmsStale {
    gint references; /* atomic */
    gint raised;     /* atomic */
};

/* One usable key version. Immutable. */
typedef struct KmsKey {
    KmsVersion *version;
    EVP_PKEY *public_key;
    EVP_PKEY *key; /* for signing */
} KmsKey;

typedef struct KmsToken {
    Backend backend;
    KmsClient *client; /* or NULL */
    GError *failure;   /* why there is no client */
    char *key_ring;
    char *serial;
    KmsStore store;
    KmsStale *stale;
    GMutex listing;
    GMutex lock;
    GHashTable *keys; /* KmsKey by slot; NULL: never listed. Guarded by lock */
} KmsToken;

/* What a signature needs, for as long as the EVP_PKEY lives; the token outlives it. */
typedef struct Signer {
    KmsToken *token;
    const KmsAlgorithm *algorithm;
    char *resource;
    char *slot;
} Signer;

KmsStale *kms_stale_new(void)
{
    KmsStale *stale = g_new0(KmsStale, 1);
    stale->references = 1;
    stale->raised = 1;
    return stale;
}

KmsStale *kms_stale_ref(KmsStale *stale)
{
    g_atomic_int_inc(&stale->references);
    return stale;
}

void kms_stale_unref(KmsStale *stale)
{
    if (g_atomic_int_dec_and_test(&stale->references))
        g_free(stale);
}

void kms_stale_raise(KmsStale *stale)
{
    g_atomic_int_set(&stale->raised, 1);
}

static KmsToken *token_of(Backend *backend)
{
    return (KmsToken *)backend;
}

static void key_free(void *data)
{
    KmsKey *key = data;
    if (!key)
        return;
    kms_version_free(key->version);
    EVP_PKEY_free(key->public_key);
    EVP_PKEY_free(key->key);
    g_free(key);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(KmsKey, key_free)

/* --- signing ------------------------------------------------------------------------------------------ */

static void signer_free(void *data)
{
    Signer *signer = data;
    g_free(signer->resource);
    g_free(signer->slot);
    g_free(signer);
}

static KeyLimits limits_of_request(void)
{
    KeyLimits limits = *key_provider_limits();
    limits.deadline = MIN(limits.deadline, g_get_monotonic_time() + SIGN_SECONDS * G_TIME_SPAN_SECOND);
    return limits;
}

static bool sign(void *data, KeyOperation operation, const unsigned char *input, size_t input_size,
                 unsigned char *signature, size_t *size)
{
    const Signer *signer = data;
    KmsToken *token = signer->token;
    const KeyLimits limits = limits_of_request();
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) made = kms_client_sign(token->client, signer->resource, signer->slot, signer->algorithm,
                                             input, input_size, &limits, &error);
    if (!made) {
        if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY))
            kms_stale_raise(token->stale);
        key_provider_explain(g_steal_pointer(&error));
        return false;
    }
    gsize length = 0;
    const void *bytes = g_bytes_get_data(made, &length);
    if (length > *size) {
        key_provider_explain(g_error_new(IOTHSM_ERROR, KMS_DAMAGED,
                                         "Google's signature by %s has %zu bytes, which no such key makes",
                                         signer->slot, length));
        return false;
    }
    memcpy(signature, bytes, length);
    *size = length;
    return true;
}

/* Transfer full. */
static EVP_PKEY *signing_key(KmsToken *token, const KmsVersion *version, EVP_PKEY *public_key, GError **error)
{
    Signer *signer = g_new0(Signer, 1);
    *signer = (Signer){.token = token,
                       .algorithm = version->signs,
                       .resource = g_strdup(version->resource),
                       .slot = g_strdup(version->slot)};
    ERR_clear_error();
    EVP_PKEY *key = key_provider_bound_key(public_key, &version->signs->scheme, sign, signer, signer_free);
    if (key)
        return key;
    signer_free(signer);
    error_set_openssl(error, IOTHSM_ERROR_UNSUPPORTED, "The key %s of key ring %s can't be used here",
                      version->slot, token->serial);
    return NULL;
}

static EVP_PKEY *kms_open_key(Backend *backend, const char *slot, GError **error)
{
    KmsToken *token = token_of(backend);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    KmsKey *key = token->keys ? g_hash_table_lookup(token->keys, slot) : NULL;
    if (!key) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
            "Key ring %s has no usable key version %s; if there should be one, look at its state in Google "
            "Cloud and run: iothsmctl reload",
            token->serial, slot);
        return NULL;
    }
    EVP_PKEY_up_ref(key->key);
    return key->key;
}

static void kms_close_key(Backend *backend, EVP_PKEY *key)
{
    EVP_PKEY_free(key);
}

/* --- what there is ------------------------------------------------------------------------------------ */

/* The public key is known from the last listing, or fetched. Takes |version|. Transfer full. */
static KmsKey *make_key(KmsToken *token, KmsVersion *version, const KeyLimits *limits, GError **error)
{
    g_autoptr(KmsKey) key = g_new0(KmsKey, 1);
    key->version = version;
    g_mutex_lock(&token->lock);
    const KmsKey *known = token->keys ? g_hash_table_lookup(token->keys, version->slot) : NULL;
    if (known && known->version->signs == version->signs && EVP_PKEY_up_ref(known->public_key))
        key->public_key = known->public_key;
    g_mutex_unlock(&token->lock);
    if (!key->public_key)
        key->public_key = kms_client_public_key(token->client, version, limits, error);
    if (!key->public_key)
        return NULL;
    key->key = signing_key(token, version, key->public_key, error);
    return key->key ? g_steal_pointer(&key) : NULL;
}

static bool is_of_one_key(const GError *failure)
{
    return g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY) ||
           g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED) ||
           g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_BAD_KEY);
}

/* What Google refuses of one version is no reason to do without the others; |refusal| has the first such
 * sentence. One that vanishes while the list is read is nothing to speak of. */
static bool add_key(KmsToken *token, GHashTable *keys, KmsVersion *version, const KeyLimits *limits,
                    GError **refusal, GError **error)
{
    g_autoptr(GError) failure = NULL;
    KmsKey *key = make_key(token, version, limits, &failure);
    if (key) {
        g_hash_table_replace(keys, key->version->slot, key);
        return true;
    }
    if (!is_of_one_key(failure)) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (!g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY)) {
        log_warning("A key version of key ring %s can't be used: %s", token->serial, failure->message);
        if (!*refusal)
            *refusal = g_steal_pointer(&failure);
    }
    return true;
}

static GHashTable *list_keys(KmsToken *token, GError **error)
{
    const KeyLimits limits = *key_provider_limits();
    g_autoptr(GError) refusal = NULL;
    g_autoptr(GHashTable) keys = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, key_free);
    g_autoptr(GPtrArray) versions = kms_client_list_versions(token->client, token->key_ring, &limits, error);
    for (guint i = 0; versions && i < versions->len; i++) {
        KmsVersion *version = g_ptr_array_index(versions, i);
        if (!version->signs)
            continue;
        g_ptr_array_index(versions, i) = NULL;
        if (!add_key(token, keys, version, &limits, &refusal, error))
            return NULL;
    }
    if (!versions)
        return NULL;
    if (refusal && g_hash_table_size(keys) == 0) {
        g_propagate_error(error, g_steal_pointer(&refusal));
        return NULL;
    }
    return g_steal_pointer(&keys);
}

static bool list_when_stale(KmsToken *token, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->listing);
    if (!g_atomic_int_compare_and_exchange(&token->stale->raised, 1, 0))
        return true;
    GHashTable *keys = list_keys(token, error);
    if (!keys) {
        kms_stale_raise(token->stale);
        return false;
    }
    g_mutex_lock(&token->lock);
    GHashTable *before = token->keys;
    token->keys = keys;
    g_mutex_unlock(&token->lock);
    if (before)
        g_hash_table_unref(before);
    return true;
}

/* Tables are replaced, never changed. NULL: none was ever listed. Transfer full. */
static GHashTable *known_keys(KmsToken *token)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    return token->keys ? g_hash_table_ref(token->keys) : NULL;
}

/* It did not answer, or not so that it could be understood; that it refused something is an answer. */
static bool was_not_told(const GError *failure)
{
    return g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN) ||
           g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT) ||
           g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED) ||
           g_error_matches(failure, IOTHSM_ERROR, KMS_DAMAGED);
}

/* What Google says now, or |*ret_outdated| and what it said before. Transfer full. */
static GHashTable *current_keys(KmsToken *token, GError **ret_outdated, GError **error)
{
    g_autoptr(GError) failure = NULL;
    bool listed = list_when_stale(token, &failure);
    g_autoptr(GHashTable) keys = known_keys(token);
    if (!listed && !(keys && was_not_told(failure))) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    if (!listed)
        g_set_error(ret_outdated, IOTHSM_ERROR, failure->code,
                    "Key ring %s is as it was known before, since its keys can't be listed now: %s",
                    token->serial, failure->message);
    return g_steal_pointer(&keys);
}

static SlotInfo *slot_info_of(const KmsToken *token, const KmsKey *key, GError **error)
{
    GError *failure = NULL;
    g_autoptr(SlotInfo) slot = slot_info_new(key->version->slot);
    slot->certificate = kms_store_certificate(&token->store, token->serial, slot->name, &failure);
    if (failure) {
        g_propagate_error(error, failure);
        return NULL;
    }
    slot->label = g_strndup(slot->name, strcspn(slot->name, ":"));
    EVP_PKEY_up_ref(key->public_key);
    slot->public_key = key->public_key;
    slot->has_private_key = true;
    slot->origin = key->version->imported ? KEY_ORIGIN_IMPORTED : KEY_ORIGIN_GENERATED;
    return g_steal_pointer(&slot);
}

static TokenInfo *kms_probe(Backend *backend, GError **error)
{
    KmsToken *token = token_of(backend);
    if (!token->client) {
        g_propagate_error(error, g_error_copy(token->failure));
        return NULL;
    }
    g_autoptr(TokenInfo) info = token_info_new();
    g_autoptr(GHashTable) keys = current_keys(token, &info->outdated, error);
    if (!keys)
        return NULL;
    info->serial = g_strdup(token->serial);
    info->label = g_strdup(strrchr(token->serial, ':') + 1);
    info->model = g_strdup("Google Cloud KMS");
    info->pin_state = PIN_STATE_NOT_NEEDED;

    GHashTableIter iter;
    gpointer key = NULL;
    g_hash_table_iter_init(&iter, keys);
    while (g_hash_table_iter_next(&iter, NULL, &key)) {
        SlotInfo *slot = slot_info_of(token, key, error);
        if (!slot)
            return NULL;
        g_ptr_array_add(info->slots, slot);
    }
    return g_steal_pointer(&info);
}

/* --- what people ask for ------------------------------------------------------------------------------ */

static bool no_pin(const KmsToken *token, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                "Key ring %s has no PIN; who may use it is decided in Google Cloud", token->serial);
    return false;
}

static bool kms_login(Backend *backend, Secret *pin, bool insist, GError **error)
{
    return no_pin(token_of(backend), error);
}

static bool kms_logout(Backend *backend, GError **error)
{
    return true; /* there is nothing to forget */
}

static bool kms_change_pin(Backend *backend, Secret *old_pin, Secret *new_pin, GError **error)
{
    return no_pin(token_of(backend), error);
}

static bool managed_in_the_cloud(const KmsToken *token, const char *what, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                "Keys of key ring %s are managed in Google Cloud: %s there, for asymmetric signing, and run: "
                "iothsmctl reload",
                token->serial, what);
    return false;
}

static bool kms_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                             GCancellable *cancelled, GError **error)
{
    return managed_in_the_cloud(token_of(backend), "make one", error);
}

static bool kms_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                           GError **error)
{
    return managed_in_the_cloud(token_of(backend), "import it", error);
}

static bool kms_write_certificate(Backend *backend, const char *slot, X509 *certificate, GError **error)
{
    KmsToken *token = token_of(backend);
    return kms_store_set_certificate(&token->store, token->serial, slot, certificate, error);
}

static bool kms_clear_slot(Backend *backend, const char *slot, GError **error)
{
    KmsToken *token = token_of(backend);
    return kms_store_clear_certificate(&token->store, token->serial, slot, error);
}

static void kms_free(Backend *backend)
{
    KmsToken *token = token_of(backend);
    if (token->keys)
        g_hash_table_unref(token->keys);
    kms_client_free(token->client);
    g_clear_error(&token->failure);
    kms_stale_unref(token->stale);
    sealing_unref(token->store.sealing);
    g_mutex_clear(&token->listing);
    g_mutex_clear(&token->lock);
    g_free(token->key_ring);
    g_free(token->serial);
    g_free(token);
}

Backend *kms_token_new(KmsClient *client, const GError *failure, const char *key_ring, const KmsStore *store,
                       KmsStale *stale)
{
    static const BackendClass class = {
        .kind = "google-kms",
        .threads = KMS_REQUESTS_MAX,
        .remote = true,
        .free = kms_free,
        .probe = kms_probe,
        .login = kms_login,
        .logout = kms_logout,
        .change_pin = kms_change_pin,
        .unblock_pin = kms_change_pin,
        .generate_key = kms_generate_key,
        .import_key = kms_import_key,
        .write_certificate = kms_write_certificate,
        .clear_slot = kms_clear_slot,
        .open_key = kms_open_key,
        .close_key = kms_close_key,
    };
    KmsToken *token = g_new0(KmsToken, 1);
    token->backend.class = &class;
    token->client = client;
    token->failure = failure ? g_error_copy(failure) : NULL;
    token->key_ring = g_strdup(key_ring);
    token->serial = kms_key_ring_serial(key_ring);
    token->store.sealing = sealing_ref(store->sealing);
    token->stale = kms_stale_ref(stale);
    g_mutex_init(&token->listing);
    g_mutex_init(&token->lock);
    return &token->backend;
}
