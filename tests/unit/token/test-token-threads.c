/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the threads of one token share, and what they must not. */

#include "daemon/token/fake/fake-private.h"
#include "daemon/token/key-provider.h"
#include "daemon/token/token-private.h"
#include "tests/unit/token/fixture.h"

static Source *fake(const char *specs)
{
    g_autoptr(GError) error = NULL;
    Source *source = fake_source_new(specs, &error);
    g_assert_no_error(error);
    return source;
}

static const KeyLimits *seen_by_attestation;

static GPtrArray *look_at_limits(Backend *backend, const char *slot, GError **error)
{
    g_atomic_pointer_set(&seen_by_attestation, key_provider_limits());
    g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "It only looks");
    return NULL;
}

static void note_attestation(GPtrArray *chain, const GError *error, void *done)
{
    *(bool *)done = true;
}

/* They lie on the stack of the job that had them. */
static void limits_end_with_their_job(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1"), false);
    Token *token = fixture_token(fixture, "F1");
    ((FakeBackend *)token->driver->backend)->class.attest = look_at_limits;
    g_autofree char *slot = generate(token, "", KEY_TYPE_P256);
    g_auto(Ending) read = {0};
    token_refresh(token, ending_done, &read);
    ending_ok(&read);
    bool attested = false;
    slot_attest(token_find_slot(token, slot), note_attestation, &attested);
    test_wait(&attested, 60);
    const KeyLimits *none = key_provider_limits(); /* nobody sets any on this thread */
    g_assert_true(g_atomic_pointer_get(&seen_by_attestation) == none);
}

/* One thread has the answer and keeps it until another one's work is done and known. */
static GMutex lock;
static GCond told;
static bool replaced; /* guarded by lock */
static int asked;
static GPtrArray *(*attest)(Backend *backend, const char *slot, GError **error);

static GPtrArray *attest_and_wait(Backend *backend, const char *slot, GError **error)
{
    GPtrArray *chain = attest(backend, slot, error);
    g_atomic_int_set(&asked, true);
    g_mutex_lock(&lock);
    while (!replaced)
        g_cond_wait(&told, &lock);
    g_mutex_unlock(&lock);
    return chain;
}

static bool is_asked(void *userdata)
{
    return g_atomic_int_get(&asked);
}

static void keep_chain(GPtrArray *chain, const GError *error, void *userdata)
{
    g_assert_no_error(error);
    *(GPtrArray **)userdata = g_ptr_array_ref(chain);
}

static bool has_chain(void *userdata)
{
    return *(GPtrArray **)userdata != NULL;
}

/* As another program does it, and the token is looked at again. */
static void replace_key(Token *token, const char *slot)
{
    FakeBackend *backend = (FakeBackend *)token->driver->backend;
    SlotInfo *info = g_hash_table_lookup(backend->token->slots, slot);
    EVP_PKEY_free(info->public_key);
    info->public_key = test_new_key("p256");
    g_auto(Ending) read = {0};
    token_refresh(token, ending_done, &read);
    ending_ok(&read);
}

static void a_key_that_is_replaced_meanwhile_is_attested_anew(void)
{
    g_autoptr(Fixture) fixture = fixture_new(fake("fake:serial=F1,piv=1,threads=2"), false);
    Token *token = fixture_token(fixture, "F1");
    FakeBackend *backend = (FakeBackend *)token->driver->backend;
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, name);
    attest = backend->class.attest;
    backend->class.attest = attest_and_wait;
    g_autoptr(GPtrArray) chain = NULL;
    slot_attest(slot, keep_chain, &chain);
    test_poll_for(is_asked, NULL, 60);
    replace_key(token, name);
    g_mutex_lock(&lock);
    replaced = true;
    g_cond_signal(&told);
    g_mutex_unlock(&lock);
    test_wait_for(has_chain, &chain, 60);
    g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(chain->pdata[0]), slot_public_key(slot)), ==, 1);
}

static void the_same_wrong_pin_twice_at_once_is_one_try(void)
{
    g_autoptr(Fixture) fixture =
        fixture_new(fake("fake:serial=F1,pin=123456,retries=8,threads=4,delay-ms=200"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autoptr(Secret) wrong = secret_of("000000");
    g_autoptr(Secret) next = secret_of("654321");
    Ending endings[4] = {0};
    token_set_pin(token, wrong, false, NULL, ending_done, &endings[0]);
    token_set_pin(token, wrong, false, NULL, ending_done, &endings[1]);
    token_change_pin(token, wrong, next, NULL, ending_done, &endings[2]);
    token_change_pin(token, wrong, next, NULL, ending_done, &endings[3]);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        ending_fails(&endings[i], IOTHSM_ERROR_PIN_WRONG);
        ending_clear(&endings[i]);
    }
    g_assert_cmpuint(fake_source_pins_presented(fixture->source, "F1"), ==, 1);
    g_assert_cmpint(token_pin_retries(token), ==, 7);
}

static void the_same_wrong_puk_twice_at_once_is_one_try(void)
{
    g_autoptr(Fixture) fixture =
        fixture_new(fake("fake:serial=F1,pin=123456,so-pin=11111111,threads=2,delay-ms=200"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autoptr(Secret) wrong = secret_of("00000000");
    g_autoptr(Secret) next = secret_of("654321");
    Ending endings[2] = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++)
        token_unblock_pin(token, wrong, next, NULL, ending_done, &endings[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        ending_fails(&endings[i], IOTHSM_ERROR_PIN_WRONG);
        ending_clear(&endings[i]);
    }
    g_assert_cmpuint(fake_source_pins_presented(fixture->source, "F1"), ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    secret_memory_init();
#define ADD(function) g_test_add_func("/token-threads/" #function, function)
    ADD(limits_end_with_their_job);
    ADD(a_key_that_is_replaced_meanwhile_is_attested_anew);
    ADD(the_same_wrong_pin_twice_at_once_is_one_try);
    ADD(the_same_wrong_puk_twice_at_once_is_one_try);
    return g_test_run();
}
