/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A virtual YubiKey as a token, through the real driver and a real pcscd: its PIN over restarts and replugs,
 * management keys, touch, attestation. The source here is the test's own hand at the desk. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/attestation.h"
#include "daemon/token/yubikey/yubikey.h"
#include "tests/unit/token/fixture.h"
#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/virtual-yubikey/test/virtual-key.h"
#include <openssl/pem.h>
#include <string.h>

#define SERIAL "12345678"
#define OWN_KEY "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7"
#define OLD_KEY_24 "010203040506070801020304050607080102030405060708"
#define ROUNDS 200
#define REPLUGS 5 /* of these; pulling a card out of a reader takes its time */

/* One key in one reader, as a source of tokens. */
typedef struct Desk {
    Source source;
    SourceEvents events;
    Pcsc *pcsc;
    VirtualKey *key;
    char *directory; /* the key's, with the root that attests it */
} Desk;

static void announce(Desk *desk)
{
    g_autofree char *serial = NULL;
    g_autoptr(GError) error = NULL;
    Backend *backend = yubikey_new(pcsc_reader_name(0), &serial, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(serial, ==, SERIAL);
    desk->events.appeared(&desk->source, backend, serial, desk->events.userdata);
}

typedef struct Later {
    DoneFunc done;
    void *userdata;
} Later;

static gboolean on_later(gpointer data)
{
    g_autofree Later *later = data;
    later->done(NULL, later->userdata);
    return G_SOURCE_REMOVE;
}

static void desk_start(Source *source, const SourceEvents *events, DoneFunc done, void *userdata)
{
    Desk *desk = (Desk *)source;
    Later *later = g_new0(Later, 1);
    *later = (Later){done, userdata};
    desk->events = *events;
    announce(desk);
    g_idle_add(on_later, later);
}

static void desk_reload(Source *source, DoneFunc done, void *userdata)
{
    done(NULL, userdata);
}

static void desk_free(Source *source)
{
    Desk *desk = (Desk *)source;
    virtual_key_free(desk->key);
    pcsc_free(desk->pcsc);
    g_free(desk->directory);
    g_free(desk);
}

static Fixture *fixture_with_key(const char *firmware)
{
    static const SourceClass class = {
        .name = "desk", .start = desk_start, .reload = desk_reload, .free = desk_free};
    Desk *desk = g_new0(Desk, 1);
    desk->source.class = &class;
    desk->directory = test_directory();
    desk->pcsc = pcsc_start();
    g_autofree char *version = g_strconcat("--firmware=", firmware, NULL);
    g_autofree char *root = g_strconcat("--attestation-root=", desk->directory, NULL);
    const char *const options[] = {"--serial=" SERIAL, version, root, NULL};
    desk->key = virtual_key_start(desk->directory, pcsc_port(desk->pcsc, 0), options);
    pcsc_wait_card(desk->pcsc, 0, true);
    return fixture_new(&desk->source, true);
}

static Desk *desk_of(const Fixture *fixture)
{
    return (Desk *)fixture->source;
}

static Token *token_of(Fixture *fixture)
{
    return fixture_token(fixture, SERIAL);
}

static void replug(Fixture *fixture)
{
    Desk *desk = desk_of(fixture);
    desk->events.gone(&desk->source, SERIAL, desk->events.userdata);
    virtual_key_tell(desk->key, "unplug");
    pcsc_wait_card(desk->pcsc, 0, false);
    virtual_key_tell(desk->key, "plug");
    pcsc_wait_card(desk->pcsc, 0, true);
    announce(desk);
}

/* The daemon's end and its next start: other objects over the same files, and the card in the reader. */
static void restart(Fixture *fixture)
{
    Desk *desk = desk_of(fixture);
    g_autoptr(GError) error = NULL;
    desk->events.gone(&desk->source, SERIAL, desk->events.userdata);
    pin_store_unref(fixture->store);
    sealing_unref(fixture->sealing);
    fixture->sealing = sealing_new(fixture->directory, fixture->directory, &error);
    fixture->store = pin_store_new(fixture->sealing, &error);
    g_assert_no_error(error);
    announce(desk);
}

static void change_pin(Fixture *fixture, const char *from, const char *to)
{
    g_autoptr(Secret) old = secret_of(from);
    g_autoptr(Secret) new = secret_of(to);
    g_auto(Ending) changed = {0};
    token_change_pin(token_of(fixture), old, new, NULL, ending_done, &changed);
    ending_ok(&changed);
}

static void a_wrong_kept_pin_costs_one_try_in_200_restarts_and_replugs(void)
{
    g_autoptr(Fixture) fixture = fixture_with_key("5.4.3");
    VirtualKey *key = desk_of(fixture)->key;
    g_autoptr(Secret) kept = secret_of("111111");
    g_autoptr(GError) error = NULL;
    change_pin(fixture, "123456", "654321");
    g_assert_true(pin_store_save(fixture->store, SERIAL, kept, &error));
    virtual_key_tell(key, "count reset");
    gint64 began = g_get_monotonic_time();
    for (guint round = 0; round < ROUNDS; round++) {
        (round % (ROUNDS / REPLUGS) == 0 ? replug : restart)(fixture);
        g_assert_cmpint(token_pin_state(token_of(fixture)), ==, PIN_STATE_WRONG);
        g_assert_cmpint(token_pin_retries(token_of(fixture)), ==, 2);
    }
    g_autofree char *tries = virtual_key_ask(key, "tries");
    g_assert_true(g_str_has_prefix(tries, "pin=2/3"));
    g_assert_cmpuint(virtual_key_count(key, "compared"), ==, 1);
    g_test_message("%d restarts and %d replugs in %.1f s: the card compared one PIN", ROUNDS - REPLUGS,
                   REPLUGS, (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC);
}

/* It says that it is fresh from the factory: then a PIN that is kept for it can't be right. */
static void a_reset_token_is_not_asked_about_the_kept_pin(void)
{
    g_autoptr(Fixture) fixture = fixture_with_key("5.7.1");
    g_autoptr(Secret) kept = secret_of("111111");
    g_autoptr(GError) error = NULL;
    (void)token_of(fixture);
    g_assert_true(pin_store_save(fixture->store, SERIAL, kept, &error));
    restart(fixture);
    g_assert_cmpint(token_pin_state(token_of(fixture)), ==, PIN_STATE_FACTORY);
    g_assert_cmpuint(virtual_key_count(desk_of(fixture)->key, "compared"), ==, 0);
    g_auto(Ending) used = {0};
    token_use_factory_pin(token_of(fixture), true, NULL, ending_done, &used);
    ending_ok(&used);
    g_assert_cmpint(token_pin_state(token_of(fixture)), ==, PIN_STATE_SET);
    restart(fixture);
    g_assert_cmpint(token_pin_state(token_of(fixture)), ==, PIN_STATE_SET);
}

/* Without metadata nobody knows, and so nobody tries. */
static void an_old_token_does_not_tell_and_is_not_tried(void)
{
    g_autoptr(Fixture) fixture = fixture_with_key("4.3.7");
    g_auto(Ending) refused = {0};
    token_use_factory_pin(token_of(fixture), false, NULL, ending_done, &refused);
    ending_fails(&refused, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(virtual_key_count(desk_of(fixture)->key, "compared"), ==, 0);
}

static Slot *make_key(Fixture *fixture, const char *name, const KeyOptions *options)
{
    g_auto(Ending) made = {0};
    token_generate_key(token_of(fixture), name, KEY_TYPE_P256, options, NULL, ending_text, &made);
    ending_ok(&made);
    return token_find_slot(token_of(fixture), name);
}

static void a_kept_pin_signs_again_after_a_replug(void)
{
    g_autoptr(Fixture) fixture = fixture_with_key("5.4.3");
    g_autoptr(Secret) pin = secret_of("123456");
    g_auto(Ending) set = {0};
    token_set_pin(token_of(fixture), pin, true, NULL, ending_done, &set);
    ending_ok(&set);
    assert_signs(make_key(fixture, "9c", NULL), NULL);
    replug(fixture);
    assert_signs(token_find_slot(token_of(fixture), "9c"), NULL);
}

static void a_slot_is_made_by_either_name_and_listed_by_one(void)
{
    g_autoptr(Fixture) fixture = fixture_with_key("5.4.3");
    static const char *const spellings[] = {"02", "9A", "05"}, *const names[] = {"9c", "9a", "82"};
    for (gsize i = 0; i < G_N_ELEMENTS(spellings); i++) {
        g_auto(Ending) made = {0};
        token_generate_key(token_of(fixture), spellings[i], KEY_TYPE_P256, NULL, NULL, ending_text, &made);
        ending_ok(&made);
        g_assert_cmpstr(made.text, ==, names[i]);
        g_assert_nonnull(token_find_slot(token_of(fixture), names[i]));
    }
}

typedef struct Refusal {
    Fixture *fixture;
    bool was_noted; /* when the signature had failed */
    Ending ending;
} Refusal;

static void on_refused(const GError *error, void *userdata)
{
    Refusal *refusal = userdata;
    g_autoptr(Secret) pin = secret_of("123456");
    refusal->was_noted = pin_store_was_refused(refusal->fixture->store, SERIAL, pin);
    ending_done(error, &refusal->ending);
}

/* Somebody changed it at another machine: the token refuses it once, whatever comes next. */
static void a_pin_that_a_signature_found_wrong_is_noted_before_the_token_can_go(void)
{
    g_autoptr(Fixture) fixture = fixture_with_key("5.4.3");
    VirtualKey *key = desk_of(fixture)->key;
    g_autoptr(Secret) pin = secret_of("123456");
    g_autoptr(GError) error = NULL;
    g_auto(Ending) set = {0};
    Signed made = {0};
    Refusal refusal = {.fixture = fixture};
    token_set_pin(token_of(fixture), pin, true, NULL, ending_done, &set);
    ending_ok(&set);
    Slot *slot = make_key(fixture, "9c", NULL);
    g_autofree char *changed =
        test_run((const char *const[]){"yubico-piv-tool", "--reader", pcsc_reader_name(0), "--action",
                                       "change-pin", "--pin", "123456", "--new-pin", "654321", NULL},
                 NULL, 0);
    virtual_key_tell(key, "count reset");
    g_assert_true(slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, on_refused,
                               &refusal, &error));
    ending_fails(&refusal.ending, IOTHSM_ERROR_PIN_WRONG);
    g_assert_true(refusal.was_noted);
    replug(fixture);
    g_assert_cmpint(token_pin_state(token_of(fixture)), ==, PIN_STATE_WRONG);
    g_assert_cmpuint(virtual_key_count(key, "compared"), ==, 1);
}

static void change_management_key(Fixture *fixture, const ManagementKeyChange *change, bool persist)
{
    g_auto(Ending) changed = {0};
    token_change_management_key(token_of(fixture), change, persist, NULL, ending_done, &changed);
    ending_ok(&changed);
}

static void expect_management_key(Fixture *fixture, const char *state)
{
    g_assert_cmpstr(token_management_key_state(token_of(fixture)), ==, state);
}

static void management_keys_are_kept_and_protected(void)
{
    static const char *const firmwares[] = {"4.3.7", "5.7.1"};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Fixture) fixture = fixture_with_key(firmwares[i]);
        g_autoptr(Secret) factory = secret_of(OLD_KEY_24);
        g_autoptr(Secret) own = secret_of(OWN_KEY);
        change_management_key(fixture, &(ManagementKeyChange){.current = factory, .replacement = own}, true);
        expect_management_key(fixture, "set");
        replug(fixture);
        expect_management_key(fixture, "set");
        g_assert_nonnull(make_key(fixture, "9a", NULL));

        set_pin(token_of(fixture), "123456");
        change_management_key(fixture, &(ManagementKeyChange){.protect = true}, false);
        expect_management_key(fixture, "protected");
        restart(fixture);
        expect_management_key(fixture, "protected");
        set_pin(token_of(fixture), "123456");
        g_assert_nonnull(make_key(fixture, "9d", NULL));
    }
}

static X509 *read_root(const Desk *desk)
{
    g_autofree char *path = g_build_filename(desk->directory, "attestation-root.pem", NULL);
    g_autoptr(BIO) bio = BIO_new_file(path, "r");
    return PEM_read_bio_X509(bio, NULL, NULL, NULL);
}

typedef struct Attested {
    GPtrArray *chain;
    Ending ending;
} Attested;

static void on_attested(GPtrArray *chain, const GError *error, void *userdata)
{
    Attested *attested = userdata;
    attested->chain = chain ? g_ptr_array_ref(chain) : NULL;
    ending_done(error, &attested->ending);
}

static void a_key_is_attested_and_the_vendors_root_vouches_for_it(void)
{
    static const char *const firmwares[] = {"4.3.7", "5.7.1"};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Fixture) fixture = fixture_with_key(firmwares[i]);
        const KeyOptions options = {.pin_policy = "never", .touch_policy = "cached"};
        Slot *slot = make_key(fixture, "9c", &options);
        g_autoptr(X509) root = read_root(desk_of(fixture));
        g_autoptr(X509_STORE) roots = X509_STORE_new();
        g_autoptr(GError) error = NULL;
        X509_STORE_add_cert(roots, root);
        Attested attested[3] = {0};
        virtual_key_tell(desk_of(fixture)->key, "count reset");
        for (gsize k = 0; k < G_N_ELEMENTS(attested); k++)
            slot_attest(slot, on_attested, &attested[k]);
        for (gsize k = 0; k < G_N_ELEMENTS(attested); k++)
            ending_ok(&attested[k].ending);
        GPtrArray *chain = attested[0].chain;
        attestation_verify(chain, slot_public_key(slot), SERIAL, roots, &error);
        g_assert_no_error(error);
        g_autoptr(Attestation) claims = attestation_read(chain->pdata[0], &error);
        g_assert_cmpstr(claims->firmware, ==, firmwares[i]);
        g_assert_cmpstr(claims->pin_policy, ==, "never");
        g_assert_cmpstr(claims->touch_policy, ==, "cached");
        g_assert_cmpuint(virtual_key_count(desk_of(fixture)->key, "f9"), ==, 1);
        for (gsize k = 0; k < G_N_ELEMENTS(attested); k++)
            g_ptr_array_unref(attested[k].chain);
    }
}

static bool wants_touch(void *token)
{
    return token_state(token) == TOKEN_STATE_TOUCH_NEEDED;
}

static bool is_ready(void *token)
{
    return token_state(token) == TOKEN_STATE_READY;
}

static void a_finger_is_asked_for_and_ends_the_wait(void)
{
    g_autoptr(Fixture) fixture = fixture_with_key("5.4.3");
    const KeyOptions options = {.pin_policy = "never", .touch_policy = "always"};
    Slot *slot = make_key(fixture, "82", &options);
    Signed made = {0};
    g_auto(Ending) ending = {0};
    g_autoptr(GError) error = NULL;
    g_assert_true(slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done,
                               &ending, &error));
    test_wait_for(wants_touch, token_of(fixture), 60);
    g_assert_cmpstr(token_touch_slot(token_of(fixture)), ==, "82");
    virtual_key_tell(desk_of(fixture)->key, "touch");
    ending_ok(&ending);
    g_assert_true(verifies(slot_public_key(slot), &made));
    test_wait_for(is_ready, token_of(fixture), 60);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)secret_memory_init();
    if (pcsc_is_missing())
        return 0;
    g_test_add_func("/yubikey-token/a-wrong-kept-pin-costs-one-try-in-200-restarts-and-replugs",
                    a_wrong_kept_pin_costs_one_try_in_200_restarts_and_replugs);
    g_test_add_func("/yubikey-token/a-reset-token-is-not-asked-about-the-kept-pin",
                    a_reset_token_is_not_asked_about_the_kept_pin);
    g_test_add_func("/yubikey-token/an-old-token-does-not-tell-and-is-not-tried",
                    an_old_token_does_not_tell_and_is_not_tried);
    g_test_add_func("/yubikey-token/a-kept-pin-signs-again-after-a-replug",
                    a_kept_pin_signs_again_after_a_replug);
    g_test_add_func("/yubikey-token/a-slot-is-made-by-either-name-and-listed-by-one",
                    a_slot_is_made_by_either_name_and_listed_by_one);
    g_test_add_func("/yubikey-token/a-pin-that-a-signature-found-wrong-is-noted-before-the-token-can-go",
                    a_pin_that_a_signature_found_wrong_is_noted_before_the_token_can_go);
    g_test_add_func("/yubikey-token/management-keys-are-kept-and-protected",
                    management_keys_are_kept_and_protected);
    g_test_add_func("/yubikey-token/a-key-is-attested-and-the-vendors-root-vouches-for-it",
                    a_key_is_attested_and_the_vendors_root_vouches_for_it);
    g_test_add_func("/yubikey-token/a-finger-is-asked-for-and-ends-the-wait",
                    a_finger_is_asked_for_and_ends_the_wait);
    return g_test_run();
}
