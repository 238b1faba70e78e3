/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A FakeToken is the hardware: it belongs to the source and survives being unplugged. A FakeBackend is one
 * plugging in of it. What threads share is in the FakeToken under its lock; the lock is never held while a
 * call waits. */

#include "daemon/token/fake.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider.h"
#include <openssl/rsa.h>
#include <string.h>

#define PIN_SIZE_MAX 64

typedef struct FakeToken {
    gint references; /* atomic */
    char *serial;
    char *label;
    char *pin; /* NULL: none is needed */
    char *so_pin;
    guint retries_max;
    guint threads;
    guint n_slots;
    GMutex lock; /* guards what follows */
    GCond released;
    guint plugging; /* counts pluggings in; odd: plugged */
    guint delay_ms;
    guint retries;
    bool logged_in;
    GHashTable *slots; /* name → SlotInfo with a private |public_key| */
    guint fail_count;
    IothsmError fail_code;
    bool hold;
    guint held;
    guint at_once;
    guint most_at_once;
    guint pins_presented;
} FakeToken;

typedef struct FakeBackend {
    Backend backend;
    BackendClass class; /* its own, as |threads| differs */
    FakeToken *token;
    guint plugging;
} FakeBackend;

typedef struct FakeSource {
    Source source;
    GHashTable *tokens; /* serial → FakeToken */
    SourceEvents events;
    bool started;
} FakeSource;

static FakeToken *fake_token_ref(FakeToken *token)
{
    g_atomic_int_inc(&token->references);
    return token;
}

static void fake_token_unref(FakeToken *token)
{
    if (!token || !g_atomic_int_dec_and_test(&token->references))
        return;
    g_free(token->serial);
    g_free(token->label);
    g_free(token->pin);
    g_free(token->so_pin);
    g_hash_table_unref(token->slots);
    g_mutex_clear(&token->lock);
    g_cond_clear(&token->released);
    g_free(token);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeToken, fake_token_unref)

static bool is_plugged(const FakeToken *token, guint plugging)
{
    return plugging % 2 == 1 && token->plugging == plugging;
}

static bool set_gone(const FakeToken *token, GError **error)
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

/* Being held, being slow, failing, being gone: what every call goes through. */
static bool pass(FakeToken *token, guint plugging, GError **error)
{
    g_mutex_lock(&token->lock);
    token->at_once++;
    token->most_at_once = MAX(token->most_at_once, token->at_once);
    token->held++;
    if (token->hold)
        g_main_context_wakeup(NULL); /* who waits for this looks again */
    while (token->hold && is_plugged(token, plugging))
        g_cond_wait(&token->released, &token->lock);
    token->held--;
    gint64 until = g_get_monotonic_time() + (gint64)token->delay_ms * G_TIME_SPAN_MILLISECOND;
    while (token->delay_ms > 0 && is_plugged(token, plugging) &&
           g_cond_wait_until(&token->released, &token->lock, until))
        continue;
    token->at_once--;
    bool passed = is_plugged(token, plugging) ? !fails_now(token, error) : set_gone(token, error);
    g_mutex_unlock(&token->lock);
    return passed;
}

static FakeBackend *fake_of(Backend *backend)
{
    return (FakeBackend *)backend;
}

/* Pass, then lock. */
static FakeToken *enter(Backend *backend, GError **error)
{
    FakeBackend *fake = fake_of(backend);
    if (!pass(fake->token, fake->plugging, error))
        return NULL;
    g_mutex_lock(&fake->token->lock);
    return fake->token;
}

static bool leave(FakeToken *token, bool result)
{
    g_mutex_unlock(&token->lock);
    return result;
}

static bool needs_login(const FakeToken *token, GError **error)
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
    return to;
}

static char *slot_name_of(guint number)
{
    return g_strdup_printf("%02x", number);
}

static TokenInfo *fake_probe(Backend *backend, GError **error)
{
    FakeToken *token = fake_of(backend)->token;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    if (!is_plugged(token, fake_of(backend)->plugging))
        return set_gone(token, error), NULL;
    if (fails_now(token, error))
        return NULL;
    TokenInfo *info = token_info_new();
    info->serial = g_strdup(token->serial);
    info->label = g_strdup(token->label);
    info->model = g_strdup("Fake");
    info->firmware = g_strdup("1.0");
    info->management_key = g_strdup("not-needed");
    info->pin_state = !token->pin           ? PIN_STATE_NOT_NEEDED
                      : token->retries == 0 ? PIN_STATE_BLOCKED
                      : token->logged_in    ? PIN_STATE_SET
                                            : PIN_STATE_MISSING;
    info->pin_retries = token->pin ? (int)token->retries : -1;

    GHashTableIter slots;
    void *slot = NULL;
    g_hash_table_iter_init(&slots, token->slots);
    while (g_hash_table_iter_next(&slots, NULL, &slot))
        g_ptr_array_add(info->slots, copy_slot(slot));
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    for (guint number = 1; number <= token->n_slots; number++) {
        g_autofree char *name = slot_name_of(number);
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
    return secret_size(pin) == strlen(right) && memcmp(secret_data(pin), right, secret_size(pin)) == 0;
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
    FakeToken *token = enter(backend, error);
    if (!token)
        return false;
    if (!insist && token->retries <= 2) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED,
            "Token %s has only %u PIN tries left, so the stored PIN was not tried; give the PIN yourself",
            token->serial, token->retries);
        return leave(token, false);
    }
    bool right = try_pin(token, pin, error);
    token->logged_in = token->logged_in || right;
    return leave(token, right);
}

static bool fake_logout(Backend *backend, GError **error)
{
    FakeToken *token = enter(backend, error);
    if (!token)
        return false;
    token->logged_in = false;
    return leave(token, true);
}

static void set_pin(FakeToken *token, const Secret *pin)
{
    g_free(token->pin);
    token->pin = g_strndup(secret_data(pin), MIN(secret_size(pin), PIN_SIZE_MAX));
    token->retries = token->retries_max;
}

static bool fake_change_pin(Backend *backend, Secret *old_pin, Secret *new_pin, GError **error)
{
    FakeToken *token = enter(backend, error);
    if (!token)
        return false;
    bool right = try_pin(token, old_pin, error);
    if (right)
        set_pin(token, new_pin);
    return leave(token, right);
}

static bool fake_unblock_pin(Backend *backend, Secret *puk, Secret *new_pin, GError **error)
{
    FakeToken *token = enter(backend, error);
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
    return leave(token, right);
}

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
    g_autofree char *right = slot_name_of((guint)number);
    bool placed = false;
    if (number < 1 || number > token->n_slots || !g_str_equal(name, right)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_SLOT, "Token %s has no slot %s", token->serial,
                    name);
    } else if (g_hash_table_contains(token->slots, name)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                    "Slot %s of token %s already holds a key; clear it first or choose another slot", name,
                    token->serial);
    } else if (!needs_login(token, error)) {
        SlotInfo *slot = slot_info_new(name);
        slot->label = g_strdup(options->label);
        slot->public_key = g_steal_pointer(&key);
        slot->has_private_key = true;
        slot->origin = origin;
        placed = g_hash_table_replace(token->slots, slot->name, slot);
    }
    EVP_PKEY_free(key);
    return placed;
}

static bool fake_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                              GCancellable *cancelled, GError **error)
{
    g_autoptr(EVP_PKEY) key = make_key(type);
    FakeToken *token = enter(backend, error);
    if (!token)
        return false;
    if (g_cancellable_is_cancelled(cancelled)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "Generating a key was cancelled");
        return leave(token, false);
    }
    return leave(token, put_key(token, slot, g_steal_pointer(&key), KEY_ORIGIN_GENERATED, options, error));
}

static bool fake_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                            GError **error)
{
    FakeToken *token = enter(backend, error);
    if (!token)
        return false;
    EVP_PKEY_up_ref(key);
    return leave(token, put_key(token, slot, key, KEY_ORIGIN_IMPORTED, options, error));
}

static SlotInfo *find_slot(const FakeToken *token, const char *name, GError **error)
{
    SlotInfo *slot = g_hash_table_lookup(token->slots, name);
    if (!slot)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY, "Slot %s of token %s is empty", name,
                    token->serial);
    return slot;
}

static bool fake_write_certificate(Backend *backend, const char *name, X509 *certificate, GError **error)
{
    FakeToken *token = enter(backend, error);
    if (!token)
        return false;
    SlotInfo *slot = find_slot(token, name, error);
    if (!slot || needs_login(token, error))
        return leave(token, false);
    X509_free(slot->certificate);
    X509_up_ref(certificate);
    slot->certificate = certificate;
    return leave(token, true);
}

static bool fake_clear_slot(Backend *backend, const char *name, GError **error)
{
    FakeToken *token = enter(backend, error);
    if (!token)
        return false;
    bool cleared = find_slot(token, name, error) && !needs_login(token, error) &&
                   g_hash_table_remove(token->slots, name);
    return leave(token, cleared);
}

/* What the EVP_PKEY of a slot calls back with. */
typedef struct FakeKey {
    FakeToken *token;
    guint plugging;
    EVP_PKEY *private_key;
} FakeKey;

static void fake_key_free(void *data)
{
    FakeKey *key = data;
    fake_token_unref(key->token);
    EVP_PKEY_free(key->private_key);
    g_free(key);
}

static bool fake_sign(void *data, KeyOperation operation, const unsigned char *input, size_t input_size,
                      unsigned char *signature, size_t *size)
{
    FakeKey *key = data;
    g_autoptr(GError) error = NULL;
    if (!pass(key->token, key->plugging, &error)) {
        key_provider_explain(g_steal_pointer(&error));
        return false;
    }
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

static EVP_PKEY *fake_open_key(Backend *backend, const char *name, GError **error)
{
    FakeToken *token = fake_of(backend)->token;
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    if (!is_plugged(token, fake_of(backend)->plugging))
        return set_gone(token, error), NULL;
    SlotInfo *slot = find_slot(token, name, error);
    if (!slot || needs_login(token, error))
        return NULL;
    FakeKey *key = g_new0(FakeKey, 1);
    EVP_PKEY_up_ref(slot->public_key);
    *key = (FakeKey){fake_token_ref(token), fake_of(backend)->plugging, slot->public_key};
    EVP_PKEY *opened = key_provider_key(slot->public_key, fake_sign, key, fake_key_free);
    if (!opened) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The key in slot %s of token %s can't be used", name,
                          token->serial);
        fake_key_free(key);
    }
    return opened;
}

static void fake_close_key(Backend *backend, EVP_PKEY *key)
{
    EVP_PKEY_free(key);
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

static void announce(FakeSource *fake, FakeToken *token)
{
    FakeBackend *backend = g_new0(FakeBackend, 1);
    backend->backend.class = &backend->class;
    backend->class = fake_class;
    backend->class.threads = token->threads;
    backend->token = fake_token_ref(token);
    backend->plugging = token->plugging;
    fake->events.appeared(&fake->source, &backend->backend, token->serial, fake->events.userdata);
}

/* Settings of a token by name; texts are replaced, numbers parsed. */
static bool set_word(FakeToken *token, const char *name, const char *value, GError **error)
{
    struct {
        const char *name;
        char **text;
        guint *number;
    } words[] = {{"serial", &token->serial, NULL},
                 {"label", &token->label, NULL},
                 {"pin", &token->pin, NULL},
                 {"so-pin", &token->so_pin, NULL},
                 {"retries", NULL, &token->retries_max},
                 {"delay-ms", NULL, &token->delay_ms},
                 {"threads", NULL, &token->threads},
                 {"slots", NULL, &token->n_slots}};
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++) {
        guint64 number = 0;
        if (!g_str_equal(name, words[i].name))
            continue;
        if (words[i].text) {
            g_free(*words[i].text);
            *words[i].text = g_strdup(value);
        } else if (g_ascii_string_to_unsigned(value, 10, 0, 100000, &number, error)) {
            *words[i].number = (guint)number;
        } else {
            return false;
        }
        return true;
    }
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "A fake token has no \"%s\"", name);
    return false;
}

static FakeToken *fake_token_new(const char *spec, GError **error)
{
    g_autoptr(FakeToken) token = g_new0(FakeToken, 1);
    *token = (FakeToken){.references = 1, .retries_max = 3, .threads = 1, .n_slots = 8};
    g_mutex_init(&token->lock);
    g_cond_init(&token->released);
    token->so_pin = g_strdup("00000000");
    token->slots = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)slot_info_free);
    g_auto(GStrv) words = g_strsplit(g_str_has_prefix(spec, "fake:") ? spec + strlen("fake:") : spec, ",", 0);
    for (guint i = 0; words[i]; i++) {
        char *value = strchr(words[i], '=');
        if (!value) {
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "\"%s\" is no NAME=VALUE of a fake token",
                        words[i]);
            return NULL;
        }
        *value = '\0';
        if (!set_word(token, words[i], value + 1, error))
            return NULL;
    }
    if (!token->serial) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "A fake token needs a serial=");
        return NULL;
    }
    if (!token->label)
        token->label = g_strdup(token->serial);
    token->retries = token->retries_max;
    return g_steal_pointer(&token);
}

typedef struct Ending {
    DoneFunc done;
    void *userdata;
} Ending;

static gboolean on_ending(gpointer data)
{
    Ending *ending = data;
    ending->done(NULL, ending->userdata);
    g_free(ending);
    return G_SOURCE_REMOVE;
}

static void done_later(DoneFunc done, void *userdata)
{
    Ending *ending = g_new0(Ending, 1);
    *ending = (Ending){done, userdata};
    g_idle_add_full(G_PRIORITY_DEFAULT, on_ending, ending, NULL);
}

static void fake_start(Source *source, const SourceEvents *events, DoneFunc done, void *userdata)
{
    FakeSource *fake = (FakeSource *)source;
    GHashTableIter tokens;
    void *token = NULL;
    fake->events = *events;
    fake->started = true;
    g_hash_table_iter_init(&tokens, fake->tokens);
    while (g_hash_table_iter_next(&tokens, NULL, &token))
        announce(fake, token);
    done_later(done, userdata);
}

static void fake_reload(Source *source, DoneFunc done, void *userdata)
{
    done_later(done, userdata);
}

static void fake_source_free(Source *source)
{
    FakeSource *fake = (FakeSource *)source;
    g_hash_table_unref(fake->tokens);
    g_free(fake);
}

static const SourceClass fake_source_class = {
    .name = "fake tokens", .start = fake_start, .reload = fake_reload, .free = fake_source_free};

Source *fake_source_new(const char *specs, GError **error)
{
    FakeSource *fake = g_new0(FakeSource, 1);
    fake->source.class = &fake_source_class;
    fake->tokens = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)fake_token_unref);
    g_auto(GStrv) lines = g_strsplit_set(specs, ";\n", 0);
    for (guint i = 0; lines[i]; i++) {
        if (g_strstrip(lines[i])[0] == '\0')
            continue;
        FakeToken *token = fake_token_new(lines[i], error);
        if (!token) {
            fake_source_free(&fake->source);
            return NULL;
        }
        token->plugging = 1;
        g_hash_table_replace(fake->tokens, token->serial, token);
    }
    return &fake->source;
}

static FakeToken *find_token(Source *source, const char *serial)
{
    FakeToken *token = g_hash_table_lookup(((FakeSource *)source)->tokens, serial);
    g_assert(token);
    return token;
}

bool fake_source_plug(Source *source, const char *spec, GError **error)
{
    FakeSource *fake = (FakeSource *)source;
    FakeToken *token = fake_token_new(spec, error);
    if (!token)
        return false;
    FakeToken *known = g_hash_table_lookup(fake->tokens, token->serial);
    if (known) {
        fake_token_unref(token);
        token = known;
    } else {
        g_hash_table_replace(fake->tokens, token->serial, token);
    }
    g_mutex_lock(&token->lock);
    bool plugged = token->plugging % 2 == 1;
    token->plugging += plugged ? 0 : 1;
    g_mutex_unlock(&token->lock);
    if (!plugged && fake->started)
        announce(fake, token);
    return true;
}

void fake_source_unplug(Source *source, const char *serial)
{
    FakeSource *fake = (FakeSource *)source;
    FakeToken *token = find_token(source, serial);
    g_mutex_lock(&token->lock);
    bool plugged = token->plugging % 2 == 1;
    token->plugging += plugged ? 1 : 0;
    token->logged_in = false;
    g_cond_broadcast(&token->released);
    g_mutex_unlock(&token->lock);
    if (plugged)
        fake->events.gone(source, serial, fake->events.userdata);
}

void fake_source_set_delay(Source *source, const char *serial, guint milliseconds)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    token->delay_ms = milliseconds;
}

void fake_source_fail_next(Source *source, const char *serial, guint count, IothsmError code)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    token->fail_count = count;
    token->fail_code = code;
}

void fake_source_hold(Source *source, const char *serial, bool hold)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    token->hold = hold;
    g_cond_broadcast(&token->released);
}

guint fake_source_held(Source *source, const char *serial)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    return token->hold ? token->held : 0;
}

guint fake_source_pins_presented(Source *source, const char *serial)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    return token->pins_presented;
}

guint fake_source_most_at_once(Source *source, const char *serial)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    return token->most_at_once;
}
