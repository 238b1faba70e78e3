/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A driver for the fake token: what it tells, its PINs and its management key. */

#include "daemon/token/fake/fake-private.h"
#include "daemon/token/piv/piv.h"
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

#define PIN_SIZE_MAX 64

bool fake_is_plugged(const FakeToken *token, guint plugging)
{
    return plugging % 2 == 1 && token->plugging == plugging;
}

bool fake_set_gone(const FakeToken *token, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE, "Token %s is gone; plug it in again",
                token->serial);
    return false;
}

/* A failure that was ordered. Called with the lock. */
static bool fails_now(FakeToken *token, GError **error)
{
    if (token->fail_count == 0)
        return false;
    token->fail_count--;
    g_set_error(error, IOTHSM_ERROR, (int)token->fail_code, "Token %s was told to fail", token->serial);
    return true;
}

bool fake_pass(FakeToken *token, guint plugging, GError **error)
{
    g_mutex_lock(&token->lock);
    token->at_once++;
    token->most_at_once = MAX(token->most_at_once, token->at_once);
    token->held++;
    if (token->hold)
        g_main_context_wakeup(NULL); /* who waits for this looks again */
    while (token->hold && fake_is_plugged(token, plugging))
        g_cond_wait(&token->released, &token->lock);
    token->held--;
    gint64 until = g_get_monotonic_time() + (gint64)token->delay_ms * G_TIME_SPAN_MILLISECOND;
    while (token->delay_ms > 0 && fake_is_plugged(token, plugging) &&
           g_cond_wait_until(&token->released, &token->lock, until))
        continue;
    token->at_once--;
    bool passed = fake_is_plugged(token, plugging) ? !fails_now(token, error) : fake_set_gone(token, error);
    g_mutex_unlock(&token->lock);
    return passed;
}

bool fake_needs_management_key(const FakeToken *token, GError **error)
{
    if (!token->piv || fake_token_has_factory_management_key(token) || token->management_key_given ||
        (token->management_key_protected && token->logged_in))
        return false;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED,
                "Token %s wants its management key before it changes anything; give it with: iothsmctl "
                "management-key set",
                token->serial);
    return true;
}

static FakeBackend *fake_of(Backend *backend)
{
    return (FakeBackend *)backend;
}

FakeToken *fake_enter(Backend *backend, GError **error)
{
    FakeBackend *fake = fake_of(backend);
    if (!fake_pass(fake->token, fake->plugging, error))
        return NULL;
    g_mutex_lock(&fake->token->lock);
    return fake->token;
}

bool fake_leave(FakeToken *token, bool result)
{
    g_mutex_unlock(&token->lock);
    return result;
}

bool fake_needs_login(const FakeToken *token, GError **error)
{
    if (!token->pin || token->logged_in)
        return false;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED, "Token %s needs its PIN first",
                token->serial);
    return true;
}

static void fake_free(Backend *backend)
{
    fake_token_unref(fake_of(backend)->token);
    g_free(backend);
}

static SlotInfo *copy_slot(const SlotInfo *from)
{
    SlotInfo *to = slot_info_new(from->name);
    to->label = g_strdup(from->label);
    if (from->public_key) {
        unsigned char *der = NULL;
        int size = i2d_PUBKEY(from->public_key, &der);
        const unsigned char *at = der;
        to->public_key = d2i_PUBKEY(NULL, &at, size);
        OPENSSL_free(der);
    }
    if (from->certificate && X509_up_ref(from->certificate))
        to->certificate = from->certificate;
    to->has_private_key = from->has_private_key;
    to->origin = from->origin;
    to->pin_policy = g_strdup(from->pin_policy);
    to->touch_policy = g_strdup(from->touch_policy);
    return to;
}

char *fake_slot_name(guint number)
{
    return g_strdup_printf("%02x", number);
}

static PinState pin_state(const FakeToken *token)
{
    if (!token->pin)
        return PIN_STATE_NOT_NEEDED;
    if (token->retries == 0)
        return PIN_STATE_BLOCKED;
    if (token->logged_in)
        return PIN_STATE_SET;
    return token->piv && strcmp(token->pin, PIV_FACTORY_PIN) == 0 ? PIN_STATE_FACTORY : PIN_STATE_MISSING;
}

static const char *management_key_state(const FakeToken *token)
{
    if (!token->piv)
        return "not-needed";
    if (token->management_key_protected)
        return "protected";
    if (fake_token_has_factory_management_key(token))
        return "factory";
    return token->management_key_given ? "set" : "missing";
}

static TokenInfo *fake_probe(Backend *backend, GError **error)
{
    FakeToken *token = fake_of(backend)->token;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    if (!fake_is_plugged(token, fake_of(backend)->plugging))
        return fake_set_gone(token, error), NULL;
    if (fails_now(token, error))
        return NULL;
    TokenInfo *info = token_info_new();
    info->serial = g_strdup(token->serial);
    info->label = g_strdup(token->label);
    info->model = g_strdup("Fake");
    info->firmware = g_strdup(token->piv ? "5.7.1" : "1.0");
    info->management_key = g_strdup(management_key_state(token));
    info->pin_state = pin_state(token);
    info->pin_retries = token->pin ? (int)token->retries : -1;

    GHashTableIter slots;
    void *slot = NULL;
    g_hash_table_iter_init(&slots, token->slots);
    while (g_hash_table_iter_next(&slots, NULL, &slot))
        g_ptr_array_add(info->slots, copy_slot(slot));
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    for (guint number = 1; number <= token->n_slots; number++) {
        g_autofree char *name = fake_slot_name(number);
        if (!g_hash_table_contains(token->slots, name))
            g_strv_builder_add(names, name);
    }
    info->free_slots = g_strv_builder_end(names);
    g_autoptr(GStrvBuilder) types = g_strv_builder_new();
    for (int type = 0; type < N_KEY_TYPES; type++)
        g_strv_builder_add(types, key_type_to_string((KeyType)type));
    info->key_types = g_strv_builder_end(types);
    return info;
}

static bool is_pin(const Secret *pin, const char *right)
{
    return secret_is(pin, right, strlen(right));
}

/* One try. Called with the lock. */
static bool try_pin(FakeToken *token, const Secret *pin, GError **error)
{
    token->pins_presented++;
    if (token->retries == 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED, "The PIN of token %s is blocked",
                    token->serial);
        return false;
    }
    if (!token->pin || is_pin(pin, token->pin)) {
        token->retries = token->retries_max;
        return true;
    }
    token->retries--;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG, "Token %s refused the PIN; %u tries are left",
                token->serial, token->retries);
    return false;
}

static bool fake_login(Backend *backend, Secret *pin, bool insist, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    if (!insist && token->retries <= 2) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED,
            "Token %s has only %u PIN tries left, so the stored PIN was not tried; give the PIN yourself",
            token->serial, token->retries);
        return fake_leave(token, false);
    }
    bool right = try_pin(token, pin, error);
    token->logged_in = token->logged_in || right;
    return fake_leave(token, right);
}

static bool fake_logout(Backend *backend, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    token->logged_in = false;
    return fake_leave(token, true);
}

static void set_pin(FakeToken *token, const Secret *pin)
{
    g_free(token->pin);
    token->pin = g_strndup(secret_data(pin), MIN(secret_size(pin), PIN_SIZE_MAX));
    token->retries = token->retries_max;
}

static bool fake_change_pin(Backend *backend, Secret *old_pin, Secret *new_pin, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    bool right = try_pin(token, old_pin, error);
    if (right)
        set_pin(token, new_pin);
    return fake_leave(token, right);
}

static bool fake_unblock_pin(Backend *backend, Secret *puk, Secret *new_pin, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    token->pins_presented++;
    bool right = is_pin(puk, token->so_pin);
    if (right) {
        set_pin(token, new_pin);
        token->logged_in = false;
    } else {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG, "Token %s refused the PUK", token->serial);
    }
    return fake_leave(token, right);
}

static void replace_management_key(FakeToken *token, const ManagementKeyChange *change)
{
    char *bytes = NULL;
    Secret *key = change->replacement ? secret_ref(change->replacement) : secret_new_blank(24, &bytes);
    if (bytes)
        g_assert(RAND_priv_bytes((unsigned char *)bytes, 24) == 1);
    secret_unref(token->management_key);
    token->management_key = key;
    token->management_key_protected = change->protect;
    if (change->algorithm)
        token->management_key_algorithm = g_intern_string(change->algorithm);
    g_clear_pointer(&token->management_key_given, secret_unref);
    token->management_key_given = change->protect ? NULL : secret_ref(key);
}

static bool fake_set_management_key(Backend *backend, const ManagementKeyChange *change, GError **error)
{
    FakeToken *token = fake_enter(backend, error);
    if (!token)
        return false;
    if (change->current && !secret_equal(change->current, token->management_key)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_MANAGEMENT_KEY_WRONG,
                    "Token %s refused the management key", token->serial);
        return fake_leave(token, false);
    }
    if (!change->current && fake_needs_management_key(token, error))
        return fake_leave(token, false);
    if (change->protect && fake_needs_login(token, error))
        return fake_leave(token, false);
    if (change->replacement || change->protect) {
        replace_management_key(token, change);
    } else if (change->current) {
        secret_unref(token->management_key_given);
        token->management_key_given = secret_ref(change->current);
    }
    return fake_leave(token, true);
}

static void fake_forget_management_key(Backend *backend)
{
    FakeToken *token = fake_of(backend)->token;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    g_clear_pointer(&token->management_key_given, secret_unref);
}

/* One that has what a YubiKey has knows its slots by the names of PIV's retired ones, too: 82 for 01. */
#define PIV_NAMES 0x81

static const char *fake_usual_name(const char *spelling)
{
    guint64 number = g_ascii_strtoull(spelling, NULL, 16);
    g_autofree char *name = fake_slot_name((guint)(number > PIV_NAMES ? number - PIV_NAMES : number));
    return strlen(spelling) == 2 ? g_intern_string(name) : NULL;
}

static const char *fake_other_name(const char *name)
{
    g_autofree char *other = fake_slot_name((guint)g_ascii_strtoull(name, NULL, 16) + PIV_NAMES);
    return g_intern_string(other);
}

static const BackendClass fake_class = {
    .kind = "fake",
    .free = fake_free,
    .probe = fake_probe,
    .login = fake_login,
    .logout = fake_logout,
    .change_pin = fake_change_pin,
    .unblock_pin = fake_unblock_pin,
    .generate_key = fake_generate_key,
    .import_key = fake_import_key,
    .write_certificate = fake_write_certificate,
    .clear_slot = fake_clear_slot,
    .open_key = fake_open_key,
    .close_key = fake_close_key,
};

Backend *fake_backend_new(FakeToken *token)
{
    FakeBackend *backend = g_new0(FakeBackend, 1);
    backend->backend.class = &backend->class;
    backend->class = fake_class;
    backend->class.threads = token->threads;
    if (token->piv) {
        backend->class.set_management_key = fake_set_management_key;
        backend->class.forget_management_key = fake_forget_management_key;
        backend->class.attest = fake_attest;
        backend->class.slot_name = fake_usual_name;
        backend->class.slot_other_name = fake_other_name;
    }
    backend->token = fake_token_ref(token);
    backend->plugging = token->plugging;
    return &backend->backend;
}
