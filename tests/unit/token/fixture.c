/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/token/fixture.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include <string.h>

#define PATIENCE 60 /* seconds; nothing here comes near it */

static const unsigned char message[] = "what the token signs";

static void on_changed(Token *token, void *userdata)
{
    Fixture *fixture = userdata;
    fixture->changed++;
    if (token_operation(token)[0]) {
        TokenState state = token_state(token);
        g_assert_true(state == TOKEN_STATE_BUSY || state == TOKEN_STATE_TOUCH_NEEDED);
        fixture->busy_seen = true;
    }
}

static void on_slot_added(Token *token, Slot *slot, void *userdata)
{
    ((Fixture *)userdata)->slots_added++;
    g_assert_true(token_find_slot(token, slot_name(slot)) == slot);
}

static void on_slot_removed(Token *token, Slot *slot, void *userdata)
{
    ((Fixture *)userdata)->slots_removed++;
    g_assert_null(token_find_slot(token, slot_name(slot)));
}

static void on_slot_changed(Token *token, Slot *slot, void *userdata)
{
    ((Fixture *)userdata)->slots_changed++;
}

static void on_appeared(Source *source, Backend *backend, const char *serial, void *userdata)
{
    Fixture *fixture = userdata;
    const TokenEvents events = {on_changed, on_slot_added, on_slot_removed, on_slot_changed, fixture};
    Token *token = token_new(backend, serial, source, fixture->store, &events);
    g_ptr_array_add(fixture->tokens, token);
    token_start(token, NULL, NULL);
}

static void on_gone(Source *source, const char *serial, void *userdata)
{
    Fixture *fixture = userdata;
    for (guint i = 0; i < fixture->tokens->len; i++) {
        g_autoptr(Token) token = token_ref(fixture->tokens->pdata[i]);
        if (!g_str_equal(token_serial(token), serial))
            continue;
        g_ptr_array_remove_index(fixture->tokens, i);
        token_gone(token);
        return;
    }
    g_assert_not_reached();
}

Fixture *fixture_new_in(Source *source, const char *directory, bool sealing_key)
{
    g_autoptr(GError) error = NULL;
    Fixture *fixture = g_new0(Fixture, 1);
    fixture->directory = g_strdup(directory);
    fixture->tokens = g_ptr_array_new_with_free_func((GDestroyNotify)token_unref);
    if (sealing_key) {
        g_autofree char *key = test_write(directory, "iothsm.key", "0123456789abcdef0123456789abcdef");
    }
    fixture->sealing = sealing_new(directory, sealing_key ? directory : NULL, &error);
    g_assert_no_error(error);
    fixture->store = pin_store_new(fixture->sealing, &error);
    g_assert_no_error(error);
    fixture->source = source;
    g_auto(Ending) started = {0};
    const SourceEvents events = {.appeared = on_appeared, .gone = on_gone, .userdata = fixture};
    source->class->start(source, &events, ending_done, &started);
    g_assert_false(started.done);
    ending_ok(&started);
    return fixture;
}

Fixture *fixture_new(Source *source, bool sealing_key)
{
    g_autofree char *directory = test_directory();
    return fixture_new_in(source, directory, sealing_key);
}

void fixture_free(Fixture *fixture)
{
    for (guint i = 0; i < fixture->tokens->len; i++)
        token_close_and_join(fixture->tokens->pdata[i]);
    g_ptr_array_unref(fixture->tokens);
    fixture->source->class->free(fixture->source);
    pin_store_unref(fixture->store);
    sealing_unref(fixture->sealing);
    g_free(fixture->directory);
    g_free(fixture);
}

static bool is_started(void *token)
{
    return token_state(token) != TOKEN_STATE_STARTING;
}

Token *fixture_token(Fixture *fixture, const char *serial)
{
    for (guint i = 0; i < fixture->tokens->len; i++) {
        Token *token = fixture->tokens->pdata[i];
        if (!serial || g_str_equal(token_serial(token), serial)) {
            test_wait_for(is_started, token, PATIENCE);
            return token;
        }
    }
    g_error("no token %s", serial);
}

void fixture_reload(Fixture *fixture)
{
    g_auto(Ending) reloaded = {0};
    fixture->source->class->reload(fixture->source, ending_done, &reloaded);
    ending_ok(&reloaded);
}

void ending_clear(Ending *ending)
{
    g_clear_error(&ending->error);
    g_clear_pointer(&ending->text, g_free);
    ending->done = false;
}

void ending_done(const GError *error, void *userdata)
{
    Ending *ending = userdata;
    g_assert_false(ending->done);
    ending->done = true;
    ending->error = error ? g_error_copy(error) : NULL;
}

void ending_text(const char *text, const GError *error, void *userdata)
{
    ((Ending *)userdata)->text = g_strdup(text);
    ending_done(error, userdata);
}

void ending_ok(Ending *ending)
{
    test_wait(&ending->done, PATIENCE);
    g_assert_no_error(ending->error);
}

void ending_fails(Ending *ending, IothsmError code)
{
    test_wait(&ending->done, PATIENCE);
    g_assert_error(ending->error, IOTHSM_ERROR, (int)code);
    g_assert_null(strchr(ending->error->message, '\n'));
    g_assert_null(ending->text);
}

Secret *secret_of(const char *text)
{
    return secret_new(text, strlen(text));
}

void set_pin(Token *token, const char *pin)
{
    g_autoptr(Secret) secret = secret_of(pin);
    g_auto(Ending) set = {0};
    token_set_pin(token, secret, false, NULL, ending_done, &set);
    ending_ok(&set);
}

char *generate(Token *token, const char *slot, KeyType type)
{
    g_auto(Ending) generated = {0};
    token_generate_key(token, slot, type, NULL, NULL, ending_text, &generated);
    ending_ok(&generated);
    g_assert_nonnull(token_find_slot(token, generated.text));
    return g_steal_pointer(&generated.text);
}

bool sign_message(EVP_PKEY *key, void *data, GError **error)
{
    Signed *made = data;
    g_autoptr(EVP_MD_CTX) signer = EVP_MD_CTX_new();
    const EVP_MD *digest = EVP_PKEY_is_a(key, "ED25519") ? NULL : EVP_sha256();
    made->size = sizeof made->bytes;
    if (EVP_DigestSignInit(signer, NULL, digest, NULL, key) > 0 &&
        EVP_DigestSign(signer, made->bytes, &made->size, message, sizeof message) > 0)
        return true;
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "No signature");
    return false;
}

bool verifies(EVP_PKEY *public_key, const Signed *made)
{
    g_autoptr(EVP_MD_CTX) check = EVP_MD_CTX_new();
    const EVP_MD *digest = EVP_PKEY_is_a(public_key, "ED25519") ? NULL : EVP_sha256();
    return EVP_DigestVerifyInit(check, NULL, digest, NULL, public_key) > 0 &&
           EVP_DigestVerify(check, made->bytes, made->size, message, sizeof message) > 0;
}

void assert_signs(Slot *slot, EVP_PKEY *public_key)
{
    Signed made = {0};
    g_autoptr(GError) error = NULL;
    g_auto(Ending) signed_ = {0};
    bool submitted = slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done,
                                  &signed_, &error);
    g_assert_no_error(error);
    g_assert_true(submitted);
    ending_ok(&signed_);
    g_assert_true(verifies(public_key ? public_key : slot_public_key(slot), &made));
}
