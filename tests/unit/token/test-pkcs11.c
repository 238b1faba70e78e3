/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PKCS#11 tokens against SoftHSM2 itself. The process has a SoftHSM2 configuration of its own, and each test
 * makes its own token, so that none sees another's. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/pkcs11-token.h"
#include "daemon/token/pkcs11.h"
#include "tests/unit/token/fixture.h"
#include <dlfcn.h>
#include <openssl/cms.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>

#define PIN "123456"
#define SO_PIN "87654321"

static const char *module_path;

static Fixture *softhsm_fixture(void)
{
    return fixture_new(pkcs11_source_new(module_path, true), true);
}

static char *create_token(Fixture *fixture, const char *label)
{
    g_autoptr(Secret) so_pin = secret_of(SO_PIN);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) created = {0};
    softhsm_create_token(fixture->source, label, so_pin, pin, ending_text, &created);
    g_assert_false(created.done);
    ending_ok(&created);
    return g_steal_pointer(&created.text);
}

static void delete_token(Fixture *fixture, const char *serial)
{
    g_auto(Ending) deleted = {0};
    softhsm_delete_token(fixture->source, serial, ending_done, &deleted);
    ending_ok(&deleted);
}

/* A token with the PIN given. */
static Token *ready_token(Fixture *fixture, const char *label, char **ret_serial)
{
    *ret_serial = create_token(fixture, label);
    Token *token = fixture_token(fixture, *ret_serial);
    set_pin(token, PIN);
    return token;
}

static void test_new_token_is_reported_before_its_serial_is(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    guint before = fixture->tokens->len;
    g_autofree char *serial = create_token(fixture, "Näme");
    g_assert_cmpuint(fixture->tokens->len, ==, before + 1);
    Token *token = fixture_token(fixture, serial);
    g_assert_cmpstr(token_kind(token), ==, "softhsm2");
    g_assert_cmpstr(token_serial(token), ==, serial);
    g_assert_cmpstr(token_label(token), ==, "Näme");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    g_assert_cmpint(token_pin_retries(token), ==, -1);
    g_assert_cmpuint(g_strv_length((char **)token_free_slots(token)), ==, 32);
    g_assert_cmpstr(token_free_slots(token)[0], ==, "01");
    g_assert_cmpstr(token_free_slots(token)[31], ==, "20");
    for (int type = 0; type < N_KEY_TYPES; type++)
        g_assert_true(g_strv_contains(token_key_types(token), key_type_to_string((KeyType)type)));
    g_autofree char *other = create_token(fixture, "Second");
    g_assert_cmpstr(other, !=, serial);
    delete_token(fixture, serial);
    g_assert_cmpuint(fixture->tokens->len, ==, before + 1);
    g_assert_cmpstr(token_serial(fixture_token(fixture, other)), ==, other);
    delete_token(fixture, other);
}

static void test_bad_token_requests_are_refused(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autoptr(Secret) good = secret_of(SO_PIN);
    g_autoptr(Secret) short_pin = secret_of("123");
    g_auto(Ending) no_label = {0};
    g_auto(Ending) long_label = {0};
    g_auto(Ending) bad_pin = {0};
    g_auto(Ending) unknown = {0};
    softhsm_create_token(fixture->source, "", good, good, ending_text, &no_label);
    softhsm_create_token(fixture->source, "123456789012345678901234567890123", good, good, ending_text,
                         &long_label);
    softhsm_create_token(fixture->source, "x", good, short_pin, ending_text, &bad_pin);
    softhsm_delete_token(fixture->source, "0123456789abcdef", ending_done, &unknown);
    ending_fails(&no_label, IOTHSM_ERROR_INVALID);
    ending_fails(&long_label, IOTHSM_ERROR_INVALID);
    ending_fails(&bad_pin, IOTHSM_ERROR_INVALID);
    ending_fails(&unknown, IOTHSM_ERROR_FAILED);
}

static void test_broken_module_is_an_error_in_words(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *file = test_write(directory, "module.so", "no library");
    Source *source = pkcs11_source_new(file, false);
    const SourceEvents events = {0};
    g_auto(Ending) started = {0};
    source->class->start(source, &events, ending_done, &started);
    ending_fails(&started, IOTHSM_ERROR_FAILED);
    g_assert_nonnull(strstr(started.error->message, file));
    source->class->free(source);
}

/* Each key signs; private keys never show. */
static void test_every_type_is_generated_and_signs(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Types", &serial);
    for (int type = 0; type < N_KEY_TYPES; type++) {
        fixture->busy_seen = false;
        g_autofree char *name = generate(token, "", (KeyType)type);
        Slot *slot = token_find_slot(token, name);
        g_assert_true(fixture->busy_seen);
        g_assert_cmpstr(slot_key_type(slot), ==, key_type_to_string((KeyType)type));
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
        g_assert_cmpint(slot_origin(slot), ==, KEY_ORIGIN_GENERATED);
        assert_signs(slot, NULL);
        assert_signs(slot, NULL);
        g_assert_cmpuint(slot_signatures(slot), ==, 2);
    }
    g_assert_cmpuint(token_slots(token)->len, ==, N_KEY_TYPES);
    g_assert_cmpuint(fixture->slots_added, ==, N_KEY_TYPES);
    g_assert_cmpstr(token_free_slots(token)[0], ==, "08");

    g_autofree char *listed =
        test_run((const char *const[]){"pkcs11-tool", "--module", module_path, "--token-label", "Types", "-O",
                                       "--login", "--pin", PIN, NULL},
                 NULL, 0);
    g_assert_nonnull(strstr(listed, "sensitive, always sensitive, never extractable, local"));
    g_assert_null(strstr(listed, "decrypt,"));
    delete_token(fixture, serial);
}

static void test_occupied_slot_is_kept(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Occupied", &serial);
    g_autofree char *name = generate(token, "0a", KEY_TYPE_P256);
    g_assert_cmpstr(name, ==, "0a");
    g_autoptr(EVP_PKEY) key = slot_public_key(token_find_slot(token, "0a"));
    EVP_PKEY_up_ref(key);
    g_auto(Ending) again = {0};
    token_generate_key(token, "0a", KEY_TYPE_P384, NULL, NULL, ending_text, &again);
    ending_fails(&again, IOTHSM_ERROR_SLOT_OCCUPIED);
    static const char *const bad_names[] = {"0A", "1", "9c1", "slot", "label=", "../01"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad_names); i++) {
        g_auto(Ending) bad = {0};
        token_generate_key(token, bad_names[i], KEY_TYPE_P256, NULL, NULL, ending_text, &bad);
        ending_fails(&bad, IOTHSM_ERROR_INVALID);
    }
    g_assert_true(EVP_PKEY_eq(key, slot_public_key(token_find_slot(token, "0a"))) == 1);
    assert_signs(token_find_slot(token, "0a"), key);
    delete_token(fixture, serial);
}

/* A slot that was cleared and filled again signs with the new key. */
static void test_cleared_slot_is_free_and_forgets_its_key(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Clear", &serial);
    for (int round = 0; round < 4; round++) {
        g_autofree char *name = generate(token, "01", round % 2 ? KEY_TYPE_P256 : KEY_TYPE_ED25519);
        Slot *slot = token_find_slot(token, name);
        assert_signs(slot, NULL);
        g_autoptr(X509) certificate = test_ca("Clear", test_key("p256"));
        g_auto(Ending) cleared = {0};
        slot_clear(slot, NULL, ending_done, &cleared);
        ending_ok(&cleared);
        g_assert_null(token_find_slot(token, "01"));
        g_assert_cmpstr(token_free_slots(token)[0], ==, "01");
    }
    g_assert_cmpuint(fixture->slots_removed, ==, 4);
    delete_token(fixture, serial);
}

static void import(Token *token, const char *pem, const char *passphrase, const char *slot, Ending *imported)
{
    g_autoptr(Secret) key = secret_of(pem);
    g_autoptr(Secret) phrase = passphrase ? secret_of(passphrase) : NULL;
    const KeyOptions options = {.label = "Imported key"};
    token_import_key(token, slot, key, phrase, &options, NULL, ending_text, imported);
}

static void test_keys_of_every_type_are_imported_and_sign(void)
{
    static const char *const types[] = {"rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521", "ed25519"};
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Import", &serial);
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        EVP_PKEY *key = test_key(types[i]);
        g_autofree char *pem = test_key_pem(key, i % 2 ? "open sesame" : NULL);
        g_auto(Ending) imported = {0};
        import(token, pem, i % 2 ? "open sesame" : NULL, "", &imported);
        ending_ok(&imported);
        Slot *slot = token_find_slot(token, imported.text);
        g_assert_cmpstr(slot_key_type(slot), ==, types[i]);
        g_assert_cmpstr(slot_label(slot), ==, "Imported key");
        g_assert_cmpint(slot_origin(slot), ==, KEY_ORIGIN_IMPORTED);
        assert_signs(slot, key);
    }
    g_auto(Ending) occupied = {0};
    g_autofree char *pem = test_key_pem(test_key("p256"), NULL);
    import(token, pem, NULL, "01", &occupied);
    ending_fails(&occupied, IOTHSM_ERROR_SLOT_OCCUPIED);
    delete_token(fixture, serial);
}

static void test_certificate_replaces_the_old_one(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Certificate", &serial);
    g_autofree char *pem = test_key_pem(test_key("rsa2048"), NULL);
    g_auto(Ending) imported = {0};
    import(token, pem, NULL, "05", &imported);
    ending_ok(&imported);
    g_autoptr(Slot) slot = slot_ref(token_find_slot(token, "05"));
    static const char *const names[] = {"First CA", "Second CA"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autoptr(X509) certificate = test_ca(names[i], test_key("rsa2048"));
        g_auto(Ending) written = {0};
        guint changes = fixture->slots_changed;
        slot_write_certificate(slot, certificate, NULL, ending_done, &written);
        ending_ok(&written);
        g_assert_cmpint(X509_cmp(slot_certificate(slot), certificate), ==, 0);
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_PROVISIONED);
        g_assert_cmpuint(fixture->slots_changed, ==, changes + 1);
    }
    g_autofree char *listed =
        TEST_RUN("pkcs11-tool", "--module", module_path, "--token-label", "Certificate", "-O");
    char *first = strstr(listed, "Certificate Object");
    g_assert_nonnull(first);
    g_assert_null(strstr(first + 1, "Certificate Object"));

    g_autoptr(X509) foreign = test_ca("Other", test_key("p256"));
    g_auto(Ending) refused = {0};
    slot_write_certificate(slot, foreign, NULL, ending_done, &refused);
    ending_fails(&refused, IOTHSM_ERROR_KEY_MISMATCH);
    delete_token(fixture, serial);
    g_auto(Ending) gone = {0};
    slot_write_certificate(slot, slot_certificate(slot), NULL, ending_done, &gone);
    ending_fails(&gone, IOTHSM_ERROR_TOKEN_GONE);
}

static void test_slots_are_seen_without_the_pin(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Locked", &serial);
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_auto(Ending) forgotten = {0};
    token_forget_pin(token, NULL, ending_done, &forgotten);
    ending_ok(&forgotten);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    Slot *slot = token_find_slot(token, name);
    g_assert_true(slot_has_private_key(slot));
    g_assert_cmpstr(slot_key_type(slot), ==, "p256");

    Signed made = {0};
    g_auto(Ending) refused = {0};
    g_assert_true(
        slot_use_key(slot, sign_message, &made, NULL, WORKER_NO_DEADLINE, NULL, ending_done, &refused, NULL));
    ending_fails(&refused, IOTHSM_ERROR_PIN_REQUIRED);
    g_auto(Ending) not_made = {0};
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &not_made);
    ending_fails(&not_made, IOTHSM_ERROR_PIN_REQUIRED);
    set_pin(token, PIN);
    assert_signs(slot, NULL);
    delete_token(fixture, serial);
}

static void test_wrong_pin_is_tried_once_and_the_login_stays(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Wrong", &serial);
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    g_autoptr(Secret) wrong = secret_of("000000");
    g_auto(Ending) first = {0};
    g_auto(Ending) second = {0};
    token_set_pin(token, wrong, false, NULL, ending_done, &first);
    ending_fails(&first, IOTHSM_ERROR_PIN_WRONG);
    assert_signs(token_find_slot(token, name), NULL);
    token_set_pin(token, wrong, false, NULL, ending_done, &second);
    ending_fails(&second, IOTHSM_ERROR_PIN_WRONG);
    g_assert_nonnull(strstr(second.error->message, "before"));
    delete_token(fixture, serial);
}

static void test_pin_is_changed_and_unblocked(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Change", &serial);
    g_autofree char *ed25519 = generate(token, "", KEY_TYPE_ED25519);
    g_autofree char *p256 = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, p256);
    assert_signs(slot, NULL);
    g_autoptr(Secret) old_pin = secret_of(PIN);
    g_autoptr(Secret) second = secret_of("second pin");
    g_autoptr(Secret) third = secret_of("third pin");
    g_autoptr(Secret) so_pin = secret_of(SO_PIN);
    g_auto(Ending) changed = {0};
    token_change_pin(token, old_pin, second, NULL, ending_done, &changed);
    ending_ok(&changed);
    assert_signs(slot, NULL);
    g_auto(Ending) not_changed = {0};
    token_change_pin(token, old_pin, third, NULL, ending_done, &not_changed);
    ending_fails(&not_changed, IOTHSM_ERROR_PIN_WRONG);
    g_auto(Ending) unblocked = {0};
    token_unblock_pin(token, so_pin, third, NULL, ending_done, &unblocked);
    ending_ok(&unblocked);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    assert_signs(slot, NULL);
    assert_signs(token_find_slot(token, ed25519), NULL);
    g_auto(Ending) wrong_officer = {0};
    token_unblock_pin(token, second, third, NULL, ending_done, &wrong_officer);
    ending_fails(&wrong_officer, IOTHSM_ERROR_PIN_WRONG);
    assert_signs(slot, NULL);
    fixture_reload(fixture);
    assert_signs(slot, NULL);
    delete_token(fixture, serial);
}

static void test_sealed_pin_opens_the_token_at_the_next_start(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = create_token(fixture, "Sealed");
    Token *token = fixture_token(fixture, serial);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) set = {0};
    token_set_pin(token, pin, true, NULL, ending_done, &set);
    ending_ok(&set);
    g_autofree char *directory = g_strdup(fixture->directory);
    fixture_free(g_steal_pointer(&fixture));

    g_autoptr(Fixture) next = fixture_new_in(pkcs11_source_new(module_path, true), directory, true);
    token = fixture_token(next, serial);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    assert_signs(token_find_slot(token, name), NULL);
    delete_token(next, serial);
}

/* Objects that other programs made: no id, an id of their own, private keys without public ones. */
static void test_objects_of_other_programs_are_named(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Foreign", &serial);
    g_autofree char *directory = test_directory();
    g_autofree char *pem = test_key_pem(test_key("rsa2048"), NULL);
    g_autofree char *file = test_write(directory, "key.pem", pem);
    g_autofree char *imported = TEST_RUN("softhsm2-util", "--import", file, "--token", "Foreign", "--label",
                                         "long id", "--id", "0102030405060708090a0b0c", "--pin", PIN);
    g_autofree char *made =
        test_run((const char *const[]){"pkcs11-tool", "--module", module_path, "--token-label", "Foreign",
                                       "--login", "--pin", PIN, "--keypairgen", "--key-type", "EC:secp384r1",
                                       "--label", "no id here", NULL},
                 NULL, 0);
    fixture_reload(fixture);
    g_auto(Ending) refreshed = {0};
    token_refresh(token, ending_done, &refreshed);
    ending_ok(&refreshed);
    Slot *slot = token_find_slot(token, "0102030405060708090a0b0c");
    g_assert_nonnull(slot);
    g_assert_cmpstr(slot_label(slot), ==, "long id");
    assert_signs(slot, test_key("rsa2048"));
    slot = token_find_slot(token, "label=no id here");
    g_assert_nonnull(slot);
    assert_signs(slot, NULL);
    g_auto(Ending) cleared = {0};
    slot_clear(slot, NULL, ending_done, &cleared);
    ending_ok(&cleared);
    g_assert_null(token_find_slot(token, "label=no id here"));
    delete_token(fixture, serial);
}

static bool certificate_and_cms(EVP_PKEY *key, void *data, GError **error)
{
    X509 *certificate = data;
    g_autoptr(BIO) content = BIO_new_mem_buf("data", 4);
    if (X509_sign(certificate, key, EVP_sha384()) <= 0) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "X509_sign");
        return false;
    }
    g_autoptr(CMS_ContentInfo) cms = CMS_sign(certificate, key, NULL, content, CMS_BINARY);
    if (!cms)
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "CMS_sign");
    return cms != NULL;
}

static void test_certificates_and_cms_are_signed(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Documents", &serial);
    static const KeyType types[] = {KEY_TYPE_RSA2048, KEY_TYPE_P384};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autofree char *name = generate(token, "", types[i]);
        Slot *slot = token_find_slot(token, name);
        g_autoptr(X509) certificate = test_ca("Documents", test_key("p256"));
        g_assert_true(X509_set_pubkey(certificate, slot_public_key(slot)));
        g_auto(Ending) signed_ = {0};
        g_assert_true(slot_use_key(slot, certificate_and_cms, certificate, NULL, WORKER_NO_DEADLINE, NULL,
                                   ending_done, &signed_, NULL));
        ending_ok(&signed_);
        g_assert_cmpint(X509_verify(certificate, slot_public_key(slot)), ==, 1);
        g_autofree char *pem = test_certificate_pem(certificate);
        g_autofree char *file = test_write(fixture->directory, "certificate.pem", pem);
        g_autofree char *verified = TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", file, file);
    }
    delete_token(fixture, serial);
}

/* Signatures without pause, from as many jobs as the token has threads. */
typedef struct Stream {
    Slot *slot;
    bool stop;
    bool ended;
    guint made;
    Signed now;
} Stream;

static void stream_next(Stream *stream);

static void on_streamed(const GError *error, void *data)
{
    Stream *stream = data;
    g_assert_no_error(error);
    g_assert_true(verifies(slot_public_key(stream->slot), &stream->now));
    stream->made++;
    if (stream->stop)
        stream->ended = true;
    else
        stream_next(stream);
}

static void stream_next(Stream *stream)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(slot_use_key(stream->slot, sign_message, &stream->now, NULL, WORKER_NO_DEADLINE, NULL,
                               on_streamed, stream, &error));
    g_assert_no_error(error);
}

typedef struct Mark {
    const Stream *stream;
    guint made;
} Mark;

static bool has_grown(void *data)
{
    const Mark *mark = data;
    return mark->stream->made > mark->made;
}

static void on_exited(GObject *process, GAsyncResult *result, void *data)
{
    g_autoptr(GError) error = NULL;
    g_subprocess_wait_check_finish(G_SUBPROCESS(process), result, &error);
    ending_done(error, data);
}

static void test_no_request_fails_because_of_a_reload(void)
{
    static const KeyType types[] = {KEY_TYPE_RSA2048, KEY_TYPE_P256, KEY_TYPE_ED25519, KEY_TYPE_P384};
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Stress", &serial);
    Stream streams[G_N_ELEMENTS(types)] = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autofree char *name = generate(token, "", types[i]);
        streams[i].slot = token_find_slot(token, name);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        stream_next(&streams[i]);
    guint before = fixture->tokens->len;
    for (int round = 0; round < 20; round++) {
        g_auto(Ending) exited = {0};
        g_autoptr(GError) error = NULL;
        g_autoptr(GSubprocess) other =
            round % 2 == 0 ? g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error, "softhsm2-util",
                                              "--init-token", "--free", "--label", "Other process",
                                              "--so-pin", SO_PIN, "--pin", PIN, NULL)
                           : g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error, "softhsm2-util",
                                              "--delete-token", "--token", "Other process", NULL);
        g_assert_no_error(error);
        g_subprocess_wait_check_async(other, NULL, on_exited, &exited);
        ending_ok(&exited);
        fixture_reload(fixture);
        g_assert_cmpuint(fixture->tokens->len, ==, round % 2 == 0 ? before + 1 : before);
        /* Signatures go on between two reloads. */
        for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
            Mark mark = {&streams[i], streams[i].made};
            test_wait_for(has_grown, &mark, 60);
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        streams[i].stop = true;
        test_wait(&streams[i].ended, 60);
        g_test_message("%s: %u signatures over 20 reloads", key_type_to_string(types[i]), streams[i].made);
    }
    delete_token(fixture, serial);
}

/* Slots are filled and emptied while another slot signs without pause. */
static void test_signing_goes_on_while_slots_change(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Changing", &serial);
    g_autofree char *name = generate(token, "", KEY_TYPE_RSA2048);
    Stream stream = {.slot = token_find_slot(token, name)};
    stream_next(&stream);
    for (int round = 0; round < 12; round++) {
        g_autofree char *other = generate(token, "", KEY_TYPE_P256);
        assert_signs(token_find_slot(token, other), NULL);
        if (round % 3 == 2) {
            g_auto(Ending) cleared = {0};
            slot_clear(token_find_slot(token, other), NULL, ending_done, &cleared);
            ending_ok(&cleared);
        }
    }
    stream.stop = true;
    test_wait(&stream.ended, 60);
    delete_token(fixture, serial);
}

/* Pulls all sessions away, as a token does that is unplugged and put back. */
static void close_all_sessions(void)
{
    void *library = dlopen(module_path, RTLD_LAZY | RTLD_LOCAL);
    CK_C_GetFunctionList get_function_list;
    CK_FUNCTION_LIST *functions = NULL;
    CK_SLOT_ID slots[64];
    CK_ULONG n_slots = G_N_ELEMENTS(slots);
    *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    g_assert_cmpuint(get_function_list(&functions), ==, CKR_OK);
    g_assert_cmpuint(functions->C_GetSlotList(CK_TRUE, slots, &n_slots), ==, CKR_OK);
    for (CK_ULONG i = 0; i < n_slots; i++)
        g_assert_cmpuint(functions->C_CloseAllSessions(slots[i]), ==, CKR_OK);
    dlclose(library);
}

/* As another program does it, in the middle of our work. */
static void change_pin_elsewhere(const char *serial, const char *old_pin, const char *new_pin)
{
    void *library = dlopen(module_path, RTLD_LAZY | RTLD_LOCAL);
    CK_C_GetFunctionList get_function_list;
    CK_FUNCTION_LIST *functions = NULL;
    CK_SLOT_ID slots[64];
    CK_ULONG n_slots = G_N_ELEMENTS(slots);
    guint changed = 0;
    *(void **)&get_function_list = dlsym(library, "C_GetFunctionList");
    g_assert_cmpuint(get_function_list(&functions), ==, CKR_OK);
    g_assert_cmpuint(functions->C_GetSlotList(CK_TRUE, slots, &n_slots), ==, CKR_OK);
    for (CK_ULONG i = 0; i < n_slots; i++) {
        CK_TOKEN_INFO info;
        CK_SESSION_HANDLE session;
        g_assert_cmpuint(functions->C_GetTokenInfo(slots[i], &info), ==, CKR_OK);
        g_autofree char *found = module_token_serial(&info);
        if (!g_str_equal(found, serial))
            continue;
        g_assert_cmpuint(
            functions->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), ==,
            CKR_OK);
        g_assert_cmpuint(functions->C_SetPIN(session, (CK_UTF8CHAR *)old_pin, strlen(old_pin),
                                             (CK_UTF8CHAR *)new_pin, strlen(new_pin)),
                         ==, CKR_OK);
        g_assert_cmpuint(functions->C_CloseAllSessions(slots[i]), ==, CKR_OK);
        changed++;
    }
    g_assert_cmpuint(changed, ==, 1);
    dlclose(library);
}

/* The PIN that the token had accepted is presented once more when its sessions are lost. Changed elsewhere
 * meanwhile, it is refused, and then it counts as every refused PIN: not at the next start either. */
static void test_a_pin_changed_elsewhere_is_presented_once(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = create_token(fixture, "Elsewhere");
    Token *token = fixture_token(fixture, serial);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) set = {0};
    token_set_pin(token, pin, true, NULL, ending_done, &set);
    ending_ok(&set);
    change_pin_elsewhere(serial, PIN, "another pin");
    g_auto(Ending) refreshed = {0};
    token_refresh(token, ending_done, &refreshed);
    ending_ok(&refreshed);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_WRONG);
    g_auto(Ending) again = {0};
    token_set_pin(token, pin, false, NULL, ending_done, &again);
    ending_fails(&again, IOTHSM_ERROR_PIN_WRONG);
    g_assert_nonnull(strstr(again.error->message, "before"));
    g_autofree char *directory = g_strdup(fixture->directory);
    fixture_free(g_steal_pointer(&fixture));

    g_autoptr(Fixture) next = fixture_new_in(pkcs11_source_new(module_path, true), directory, true);
    token = fixture_token(next, serial);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_WRONG);
    set_pin(token, "another pin");
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    delete_token(next, serial);
}

static void test_lost_sessions_are_opened_again(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = NULL;
    Token *token = ready_token(fixture, "Lost", &serial);
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, name);
    assert_signs(slot, NULL);
    close_all_sessions();
    assert_signs(slot, NULL);
    close_all_sessions();
    g_autofree char *other = generate(token, "", KEY_TYPE_ED25519);
    assert_signs(token_find_slot(token, other), NULL);
    close_all_sessions();
    g_auto(Ending) refreshed = {0};
    token_refresh(token, ending_done, &refreshed);
    ending_ok(&refreshed);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    delete_token(fixture, serial);
}

static void test_tries_left_are_read_from_the_flags(void)
{
    Module *softhsm = module_new("unused", true);
    Module *other = module_new("unused", false);
    g_assert_cmpint(pkcs11_pin_retries(other, 0), ==, -1);
    g_assert_cmpint(pkcs11_pin_retries(other, CKF_USER_PIN_COUNT_LOW), ==, 2);
    g_assert_cmpint(pkcs11_pin_retries(other, CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY), ==, 1);
    g_assert_cmpint(pkcs11_pin_retries(other, CKF_USER_PIN_LOCKED | CKF_USER_PIN_FINAL_TRY), ==, 0);
    g_assert_cmpint(pkcs11_pin_retries(softhsm, CKF_USER_PIN_COUNT_LOW), ==, -1);
    module_unref(softhsm);
    module_unref(other);
}

/* The same module as one of another kind, whose flags count: one wrong PIN, by another process, is enough. */
static void test_stored_pin_stays_back_when_the_flags_warn(void)
{
    g_autoptr(Fixture) fixture = softhsm_fixture();
    g_autofree char *serial = create_token(fixture, "Warned");
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) set = {0};
    token_set_pin(fixture_token(fixture, serial), pin, true, NULL, ending_done, &set);
    ending_ok(&set);
    g_autofree char *directory = g_strdup(fixture->directory);
    fixture_free(g_steal_pointer(&fixture));
    g_autofree char *wrong =
        test_run((const char *const[]){"pkcs11-tool", "--module", module_path, "--token-label", "Warned",
                                       "--login", "--pin", "000000", "-O", NULL},
                 NULL, -1);

    g_autoptr(Fixture) other = fixture_new_in(pkcs11_source_new(module_path, false), directory, true);
    Token *token = fixture_token(other, serial);
    g_assert_cmpstr(token_kind(token), ==, "pkcs11");
    g_assert_cmpint(token_pin_retries(token), ==, 2);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_MISSING);
    g_assert_nonnull(strstr(token_message(token), "few PIN tries"));
    set_pin(token, PIN);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
    g_assert_cmpint(token_pin_retries(token), ==, -1);
    g_auto(Ending) created = {0};
    g_auto(Ending) deleted = {0};
    softhsm_create_token(other->source, "x", pin, pin, ending_text, &created);
    softhsm_delete_token(other->source, serial, ending_done, &deleted);
    ending_fails(&created, IOTHSM_ERROR_UNSUPPORTED);
    ending_fails(&deleted, IOTHSM_ERROR_UNSUPPORTED);
    fixture_free(g_steal_pointer(&other));
    g_autoptr(Fixture) last = softhsm_fixture();
    delete_token(last, serial);
}

static void test_tokens_are_kept_where_nobody_else_reads(void)
{
    struct stat status;
    const char *file = g_getenv("SOFTHSM2_CONF");
    g_autofree char *directory = g_path_get_dirname(file);
    g_autofree char *tokens = g_build_filename(directory, "softhsm", NULL);
    g_assert_cmpint(stat(tokens, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0700);
    g_assert_cmpint(stat(file, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);
    /* What is set is left alone. */
    g_autoptr(GError) error = NULL;
    g_assert_true(softhsm_prepare("/nonexistent", &error));
    g_assert_no_error(error);
    g_assert_cmpstr(g_getenv("SOFTHSM2_CONF"), ==, file);
}

/* SoftHSM2 2.6.1 loses 37 bytes at each Ed25519 signature. Leaks are told by who allocated, so the module
 * stays loaded (main) and stacks are walked through libraries without frame pointers. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libsofthsm2.so\n";
}

const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0:malloc_context_size=14";
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    module_path = g_getenv("IOTHSM_TEST_SOFTHSM_MODULE");
    if (!module_path || !g_file_test(module_path, G_FILE_TEST_EXISTS)) {
        g_print("1..0 # SKIP no SoftHSM2 module\n");
        return 0;
    }
    g_assert_nonnull(dlopen(module_path, RTLD_LAZY | RTLD_LOCAL | RTLD_NODELETE));
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = test_directory();
    g_unsetenv("SOFTHSM2_CONF");
    secret_memory_init();
    if (!softhsm_prepare(directory, &error))
        g_error("%s", error->message);

    g_test_add_func("/pkcs11/new-token-is-reported-before-its-serial-is",
                    test_new_token_is_reported_before_its_serial_is);
    g_test_add_func("/pkcs11/bad-token-requests-are-refused", test_bad_token_requests_are_refused);
    g_test_add_func("/pkcs11/broken-module-is-an-error-in-words", test_broken_module_is_an_error_in_words);
    g_test_add_func("/pkcs11/every-type-is-generated-and-signs", test_every_type_is_generated_and_signs);
    g_test_add_func("/pkcs11/occupied-slot-is-kept", test_occupied_slot_is_kept);
    g_test_add_func("/pkcs11/cleared-slot-is-free-and-forgets-its-key",
                    test_cleared_slot_is_free_and_forgets_its_key);
    g_test_add_func("/pkcs11/keys-of-every-type-are-imported-and-sign",
                    test_keys_of_every_type_are_imported_and_sign);
    g_test_add_func("/pkcs11/certificate-replaces-the-old-one", test_certificate_replaces_the_old_one);
    g_test_add_func("/pkcs11/slots-are-seen-without-the-pin", test_slots_are_seen_without_the_pin);
    g_test_add_func("/pkcs11/wrong-pin-is-tried-once-and-the-login-stays",
                    test_wrong_pin_is_tried_once_and_the_login_stays);
    g_test_add_func("/pkcs11/pin-is-changed-and-unblocked", test_pin_is_changed_and_unblocked);
    g_test_add_func("/pkcs11/sealed-pin-opens-the-token-at-the-next-start",
                    test_sealed_pin_opens_the_token_at_the_next_start);
    g_test_add_func("/pkcs11/objects-of-other-programs-are-named", test_objects_of_other_programs_are_named);
    g_test_add_func("/pkcs11/certificates-and-cms-are-signed", test_certificates_and_cms_are_signed);
    g_test_add_func("/pkcs11/no-request-fails-because-of-a-reload",
                    test_no_request_fails_because_of_a_reload);
    g_test_add_func("/pkcs11/signing-goes-on-while-slots-change", test_signing_goes_on_while_slots_change);
    g_test_add_func("/pkcs11/lost-sessions-are-opened-again", test_lost_sessions_are_opened_again);
    g_test_add_func("/pkcs11/a-pin-changed-elsewhere-is-presented-once",
                    test_a_pin_changed_elsewhere_is_presented_once);
    g_test_add_func("/pkcs11/tries-left-are-read-from-the-flags", test_tries_left_are_read_from_the_flags);
    g_test_add_func("/pkcs11/stored-pin-stays-back-when-the-flags-warn",
                    test_stored_pin_stays_back_when_the_flags_warn);
    g_test_add_func("/pkcs11/tokens-are-kept-where-nobody-else-reads",
                    test_tokens_are_kept_where_nobody_else_reads);
    return g_test_run();
}
