/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys of the fake token: made, used, attested. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake/fake-private.h"
#include "daemon/token/key-provider.h"
#include "daemon/token/piv/piv.h"
#include <fcntl.h>
#include <openssl/rsa.h>
#include <string.h>
#include <unistd.h>

#define TOUCH_CACHED_SECONDS 15

static EVP_PKEY *make_key(KeyType type)
{
    static const char *const curves[N_KEY_TYPES] = {
        [KEY_TYPE_P256] = "P-256", [KEY_TYPE_P384] = "P-384", [KEY_TYPE_P521] = "P-521"};
    static const size_t bits[N_KEY_TYPES] = {
        [KEY_TYPE_RSA2048] = 2048, [KEY_TYPE_RSA3072] = 3072, [KEY_TYPE_RSA4096] = 4096};
    if (bits[type] > 0)
        return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", bits[type]);
    return curves[type] ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", curves[type])
                        : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
}

/* Takes |key|. Called with the lock. */
static bool put_key(FakeToken *token, const char *name, EVP_PKEY *key, KeyOrigin origin,
                    const KeyOptions *options, GError **error)
{
    char *end = NULL;
    guint64 number = g_ascii_strtoull(name, &end, 16);
    g_autofree char *right = fake_slot_name((guint)number);
    bool placed = false;
    if (number < 1 || number > token->n_slots || !g_str_equal(name, right)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_SLOT, "Token %s has no slot %s", token->serial,
                    name);
    } else if (g_hash_table_contains(token->slots, name)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                    "Slot %s of token %s already holds a key; clear it first or choose another slot", name,
                    token->serial);
    } else if (!fake_needs_login(token, error) && !fake_needs_management_key(token, error)) {
        SlotInfo *slot = slot_info_new(name);
        if (token->piv) {
            slot->pin_policy = g_strdup(options->pin_policy ? options->pin_policy : "once");
            slot->touch_policy = g_strdup(options->touch_policy ? options->touch_policy : "never");
        }
        slot->label = g_strdup(options->label);
        slot->public_key = g_steal_pointer(&key);
        slot->has_private_key = true;
        slot->origin = origin;
        placed = g_hash_table_replace(token->slots, slot->name, slot);
    }
    EVP_PKEY_free(key);
    return placed;
}

bool fake_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                       GCancellable *cancelled, GError **error)
{
    g_autoptr(EVP_PKEY) key = make_key(type);
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    if (g_cancellable_is_cancelled(cancelled)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "Generating a key was cancelled");
        return fake_leave(token, false);
    }
    return fake_leave(token,
                      put_key(token, slot, g_steal_pointer(&key), KEY_ORIGIN_GENERATED, options, error));
}

bool fake_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                     GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    EVP_PKEY_up_ref(key);
    return fake_leave(token, put_key(token, slot, key, KEY_ORIGIN_IMPORTED, options, error));
}

static SlotInfo *find_slot(const FakeToken *token, const char *name, GError **error)
{
    SlotInfo *slot = g_hash_table_lookup(token->slots, name);
    if (!slot)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY, "Slot %s of token %s is empty", name,
                    token->serial);
    return slot;
}

bool fake_write_certificate(Backend *backend, const char *name, X509 *certificate, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    SlotInfo *slot = find_slot(token, name, error);
    if (!slot || fake_needs_login(token, error) || fake_needs_management_key(token, error))
        return fake_leave(token, false);
    X509_free(slot->certificate);
    X509_up_ref(certificate);
    slot->certificate = certificate;
    return fake_leave(token, true);
}

bool fake_clear_slot(Backend *backend, const char *name, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    bool cleared = find_slot(token, name, error) && !fake_needs_login(token, error) &&
                   !fake_needs_management_key(token, error) && g_hash_table_remove(token->slots, name);
    return fake_leave(token, cleared);
}

GPtrArray *fake_attest(Backend *backend, const char *name, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return NULL;
    token->attestations++;
    const SlotInfo *slot = find_slot(token, name, error);
    GPtrArray *chain = NULL;
    if (slot && slot->origin == KEY_ORIGIN_GENERATED) {
        guint8 policies[2] = {0, 0};
        (void)piv_pin_policy_from_string(slot->pin_policy, &policies[0], NULL);
        (void)piv_touch_policy_from_string(slot->touch_policy, &policies[1], NULL);
        guint64 serial = g_ascii_strtoull(token->serial, NULL, 10);
        chain = fake_attester_attest(token->attester, slot->public_key, serial, policies);
    } else if (slot) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "The key in slot %s of token %s was not made there", name, token->serial);
    }
    fake_leave(token, true);
    return chain;
}

/* What the EVP_PKEY of a slot calls back with. */
typedef struct FakeKey {
    Backend *backend; /* outlives every use of the key */
    FakeToken *token;
    guint plugging;
    EVP_PKEY *private_key;
    char *slot;
    bool touch;
    bool touch_cached;
} FakeKey;

static void fake_key_free(void *data)
{
    FakeKey *key = data;
    fake_token_unref(key->token);
    EVP_PKEY_free(key->private_key);
    g_free(key->slot);
    g_free(key);
}

/* A finger from now on, or within |limit|. With the lock. */
static bool wait_for_finger(FakeToken *token, const FakeKey *key)
{
    gint64 from = g_get_monotonic_time() - (key->touch_cached ? TOUCH_CACHED_SECONDS * G_USEC_PER_SEC : 0);
    gint64 until = g_get_monotonic_time() + (gint64)token->touch_limit_ms * G_TIME_SPAN_MILLISECOND;
    token->waits++;
    while (fake_is_plugged(token, key->plugging) && (token->touched_at == 0 || token->touched_at < from) &&
           g_cond_wait_until(&token->released, &token->lock, until))
        continue;
    token->waits--;
    return token->touched_at > 0 && token->touched_at >= from;
}

static bool is_touched(FakeKey *key, GError **error)
{
    FakeToken *token = key->token;
    if (!key->touch)
        return true;
    const BackendReports *reports = &key->backend->reports;
    reports->touch(key->backend, key->slot, true, reports->userdata);
    g_mutex_lock(&token->lock);
    bool touched = wait_for_finger(token, key);
    bool plugged = fake_is_plugged(token, key->plugging);
    g_mutex_unlock(&token->lock);
    reports->touch(key->backend, key->slot, false, reports->userdata);
    if (!plugged)
        return fake_set_gone(token, error);
    if (!touched)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOUCH_TIMEOUT,
                    "Nobody touched token %s in time; touch it when it asks for that", token->serial);
    return touched;
}

/* One write, so that it is there as a whole or not at all when the process is killed. */
static void write_ledger(const char *path, const char *digest)
{
    g_autofree char *line = g_strconcat(digest, "\n", NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    g_assert(fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line));
    close(fd);
}

static void note_content(FakeToken *token, const unsigned char *input, size_t input_size)
{
    char *digest = g_compute_checksum_for_data(G_CHECKSUM_SHA256, input, input_size);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    if (token->ledger)
        write_ledger(token->ledger, digest);
    g_hash_table_add(token->signed_contents, digest);
}

static bool fake_sign(void *data, KeyOperation operation, const unsigned char *input, size_t input_size,
                      unsigned char *signature, size_t *size)
{
    FakeKey *key = data;
    g_autoptr(GError) error = NULL;
    if (!fake_pass(key->token, key->plugging, &error) || !is_touched(key, &error)) {
        key_provider_explain(g_steal_pointer(&error));
        return false;
    }
    note_content(key->token, input, input_size);
    if (operation == KEY_OPERATION_EDDSA_MESSAGE) {
        g_autoptr(EVP_MD_CTX) message = EVP_MD_CTX_new();
        return EVP_DigestSignInit(message, NULL, NULL, NULL, key->private_key) > 0 &&
               EVP_DigestSign(message, signature, size, input, input_size) > 0;
    }
    g_autoptr(EVP_PKEY_CTX) signer = EVP_PKEY_CTX_new_from_pkey(NULL, key->private_key, NULL);
    return EVP_PKEY_sign_init(signer) > 0 &&
           (operation != KEY_OPERATION_RSA_BLOCK ||
            EVP_PKEY_CTX_set_rsa_padding(signer, RSA_NO_PADDING) > 0) &&
           EVP_PKEY_sign(signer, signature, size, input, input_size) > 0;
}

EVP_PKEY *fake_open_key(Backend *backend, const char *name, GError **error)
{
    const FakeBackend *fake = (const FakeBackend *)backend;
    FakeToken *token = fake->token;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    if (!fake_is_plugged(token, fake->plugging))
        return fake_set_gone(token, error), NULL;
    SlotInfo *slot = find_slot(token, name, error);
    if (!slot || fake_needs_login(token, error))
        return NULL;
    FakeKey *key = g_new0(FakeKey, 1);
    EVP_PKEY_up_ref(slot->public_key);
    *key = (FakeKey){.backend = backend,
                     .token = fake_token_ref(token),
                     .plugging = fake->plugging,
                     .private_key = slot->public_key,
                     .slot = g_strdup(name),
                     .touch = slot->touch_policy && strcmp(slot->touch_policy, "never") != 0,
                     .touch_cached = g_strcmp0(slot->touch_policy, "cached") == 0};
    EVP_PKEY *opened = key_provider_key(slot->public_key, fake_sign, key, fake_key_free);
    if (!opened) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The key in slot %s of token %s can't be used", name,
                          token->serial);
        fake_key_free(key);
    }
    return opened;
}

void fake_close_key(Backend *backend, EVP_PKEY *key)
{
    EVP_PKEY_free(key);
}
