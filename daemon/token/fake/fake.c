/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The hardware, the source that it is plugged into, and the hands that do things to it. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake/fake-private.h"
#include "daemon/token/piv/piv-object.h"
#include <openssl/pem.h>
#include <string.h>

#define TOUCH_LIMIT_MS 15000

typedef struct FakeSource {
    Source source;
    GHashTable *tokens; /* serial → FakeToken */
    SourceEvents events;
    bool started;
} FakeSource;

FakeToken *fake_token_ref(FakeToken *token)
{
    g_atomic_int_inc(&token->references);
    return token;
}

void fake_token_unref(FakeToken *token)
{
    if (!token || !g_atomic_int_dec_and_test(&token->references))
        return;
    g_free(token->serial);
    g_free(token->label);
    g_free(token->pin);
    g_free(token->so_pin);
    g_free(token->attestation_root);
    g_free(token->key_file);
    g_free(token->certificate_file);
    g_free(token->ledger);
    g_free(token->management_key_digits);
    secret_unref(token->management_key);
    secret_unref(token->management_key_given);
    fake_attester_free(token->attester);
    g_hash_table_unref(token->slots);
    g_hash_table_unref(token->signed_contents);
    g_mutex_clear(&token->lock);
    g_cond_clear(&token->released);
    g_free(token);
}

static void announce(FakeSource *fake, FakeToken *token)
{
    fake->events.appeared(&fake->source, fake_backend_new(token), token->serial, fake->events.userdata);
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
                 {"management-key", &token->management_key_digits, NULL},
                 {"attestation-root", &token->attestation_root, NULL},
                 {"key", &token->key_file, NULL},
                 {"certificate", &token->certificate_file, NULL},
                 {"ledger", &token->ledger, NULL},
                 {"piv", NULL, &token->piv},
                 {"touch-limit-ms", NULL, &token->touch_limit_ms},
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

static bool write_root(const FakeToken *token, GError **error)
{
    g_autoptr(BIO) bio = token->attestation_root ? BIO_new_file(token->attestation_root, "w") : NULL;
    if (!token->attestation_root || (bio && PEM_write_bio_X509(bio, token->attester->root) == 1))
        return true;
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "%s can't be written", token->attestation_root);
    return false;
}

/* What a YubiKey leaves the factory with. */
static bool make_piv(FakeToken *token, GError **error)
{
    guint8 digits[sizeof piv_factory_management_key];
    memcpy(digits, piv_factory_management_key, sizeof digits);
    const char *text = token->management_key_digits;
    for (gsize i = 0; text && i < sizeof digits && strlen(text) == 2 * sizeof digits; i++)
        digits[i] = (guint8)(g_ascii_xdigit_value(text[2 * i]) << 4 | g_ascii_xdigit_value(text[2 * i + 1]));
    token->management_key = secret_new(digits, sizeof digits);
    token->management_key_algorithm = "aes192";
    token->attester = fake_attester_new();
    return write_root(token, error);
}

static bool fill_slot(FakeToken *token, GError **error)
{
    g_autoptr(BIO) key_file = BIO_new_file(token->key_file, "r");
    g_autoptr(BIO) certificate_file =
        token->certificate_file ? BIO_new_file(token->certificate_file, "r") : NULL;
    SlotInfo *slot = slot_info_new("01");
    slot->has_private_key = true;
    slot->origin = KEY_ORIGIN_IMPORTED;
    slot->public_key = key_file ? PEM_read_bio_PrivateKey(key_file, NULL, NULL, NULL) : NULL;
    slot->certificate = certificate_file ? PEM_read_bio_X509(certificate_file, NULL, NULL, NULL) : NULL;
    g_hash_table_replace(token->slots, slot->name, slot);
    if (slot->public_key && (slot->certificate || !token->certificate_file))
        return true;
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "%s can't be read", token->key_file);
    return false;
}

bool fake_token_has_factory_management_key(const FakeToken *token)
{
    return secret_is(token->management_key, piv_factory_management_key, sizeof piv_factory_management_key);
}

static FakeToken *fake_token_new(const char *spec, GError **error)
{
    g_autoptr(FakeToken) token = g_new0(FakeToken, 1);
    *token = (FakeToken){
        .references = 1, .retries_max = 3, .threads = 1, .n_slots = 8, .touch_limit_ms = TOUCH_LIMIT_MS};
    g_mutex_init(&token->lock);
    g_cond_init(&token->released);
    token->so_pin = g_strdup("00000000");
    token->slots = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, (GDestroyNotify)slot_info_free);
    token->signed_contents = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
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
    if (token->piv && !make_piv(token, error))
        return NULL;
    if (token->key_file && !fill_slot(token, error))
        return NULL;
    token->retries = token->retries_max;
    return g_steal_pointer(&token);
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
    done_later(done, userdata, NULL);
}

static void fake_reload(Source *source, DoneFunc done, void *userdata)
{
    done_later(done, userdata, NULL);
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
    g_clear_pointer(&token->management_key_given, secret_unref);
    token->touched_at = 0;
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

guint fake_source_contents_signed(Source *source, const char *serial)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    return g_hash_table_size(token->signed_contents);
}

/* One of the token's counters. */
static guint read_counter(Source *source, const char *serial, gsize offset)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    return G_STRUCT_MEMBER(guint, token, offset);
}

guint fake_source_pins_presented(Source *source, const char *serial)
{
    return read_counter(source, serial, offsetof(FakeToken, pins_presented));
}

guint fake_source_most_at_once(Source *source, const char *serial)
{
    return read_counter(source, serial, offsetof(FakeToken, most_at_once));
}

guint fake_source_waits_for_touch(Source *source, const char *serial)
{
    return read_counter(source, serial, offsetof(FakeToken, waits));
}

guint fake_source_attestations(Source *source, const char *serial)
{
    return read_counter(source, serial, offsetof(FakeToken, attestations));
}

void fake_source_touch(Source *source, const char *serial)
{
    FakeToken *token = find_token(source, serial);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&token->lock);
    token->touched_at = g_get_monotonic_time();
    g_cond_broadcast(&token->released);
}

X509 *fake_source_attestation_root(Source *source, const char *serial)
{
    return find_token(source, serial)->attester->root;
}
