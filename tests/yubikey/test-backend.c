/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A YubiKey's backend against the virtual key, on each firmware: what it reads, and what its keys sign. */

#include "daemon/token/slot.h"
#include "tests/yubikey/scene.h"
#include <string.h>

static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5, FIRMWARE_57};

static void a_new_key_is_read_without_its_pin(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        g_autoptr(TokenInfo) info = probe(scene);
        bool old = i == 0;
        g_assert_cmpstr(info->serial, ==, SERIAL);
        g_assert_cmpstr(info->label, ==, "YubiKey " SERIAL);
        g_assert_cmpstr(info->model, ==, old ? "YubiKey 4" : "YubiKey 5");
        g_assert_cmpstr(info->firmware, ==, firmwares[i]);
        g_assert_cmpint(info->pin_state, ==, old ? PIN_STATE_MISSING : PIN_STATE_FACTORY);
        g_assert_cmpint(info->pin_retries, ==, 3);
        g_assert_cmpint(info->puk_retries, ==, old ? -1 : 3);
        g_assert_cmpstr(info->management_key, ==, "factory");
        g_assert_cmpuint(g_strv_length(info->free_slots), ==, 24);
        g_assert_cmpstr(info->free_slots[0], ==, "9c");
        g_assert_cmpstr(info->free_slots[23], ==, "9e");
        g_assert_cmpuint(info->slots->len, ==, 1);
        const SlotInfo *f9 = find_slot(info, "f9");
        g_assert_true(f9->attestation && f9->has_private_key && f9->certificate && f9->public_key);
        g_assert_cmpint(g_strv_contains((const char *const *)info->key_types, "ed25519"), ==, i == 2);
        g_assert_true(g_strv_contains((const char *const *)info->key_types, "rsa2048"));
        g_assert_false(g_strv_contains((const char *const *)info->key_types, "p521"));
        g_assert_cmpint(pin_tries(scene), ==, 3);
    }
}

static void generated_keys_of_all_types_sign(void)
{
    static const struct {
        const char *slot;
        KeyType type;
    } old[] = {{"9c", KEY_TYPE_P256}, {"82", KEY_TYPE_P384}, {"95", KEY_TYPE_RSA2048}},
      new[] = {{"9c", KEY_TYPE_ED25519}, {"9a", KEY_TYPE_RSA3072}, {"9d", KEY_TYPE_P256}};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        log_in(scene);
        gsize count = i == 1 ? 2 : 3; /* RSA takes its time, and is made as on the older one */
        for (gsize k = 0; k < count; k++) {
            const char *slot = i == 2 ? new[k].slot : old[k].slot;
            KeyType type = i == 2 ? new[k].type : old[k].type;
            generate(scene, slot, type, NULL);
            g_autoptr(TokenInfo) info = probe(scene);
            const SlotInfo *made = find_slot(info, slot);
            KeyType read;
            g_assert_nonnull(made);
            g_assert_true(made->has_private_key);
            g_assert_false(is_free(info, slot));
            g_assert_cmpint(made->origin, ==, KEY_ORIGIN_GENERATED);
            g_assert_cmpstr(made->pin_policy, ==, k == 0 ? "always" : "once");
            g_assert_cmpstr(made->touch_policy, ==, "never");
            g_assert_true(key_type_of(made->public_key, &read, NULL));
            g_assert_cmpint(read, ==, type);
            assert_signs(scene, slot, made->public_key);
            assert_signs(scene, slot, made->public_key);
        }
        g_assert_cmpint(pin_tries(scene), ==, 3);
    }
}

static bool try_import(Scene *scene, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                       GError **error)
{
    static const KeyOptions none = {NULL, NULL, NULL};
    return scene->backend->class->import_key(scene->backend, slot, key, options ? options : &none, error);
}

static void import_key(Scene *scene, const char *slot, EVP_PKEY *key)
{
    g_autoptr(GError) error = NULL;
    (void)try_import(scene, slot, key, NULL, &error);
    g_assert_no_error(error);
}

static void imported_keys_of_all_types_sign(void)
{
    static const struct {
        const char *firmware, *slot, *type;
    } imports[] = {
        {FIRMWARE_4, "9a", "rsa2048"},  {FIRMWARE_4, "9c", "p256"},     {FIRMWARE_4, "9d", "p384"},
        {FIRMWARE_5, "9a", "rsa2048"},  {FIRMWARE_5, "9c", "p384"},     {FIRMWARE_57, "9a", "rsa3072"},
        {FIRMWARE_57, "9c", "rsa4096"}, {FIRMWARE_57, "82", "ed25519"}, {FIRMWARE_57, "83", "p256"},
    };
    g_autoptr(Scene) scene = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(imports); i++) {
        if (i == 0 || !g_str_equal(imports[i].firmware, imports[i - 1].firmware)) {
            scene_free(scene);
            scene = scene_new(imports[i].firmware);
            log_in(scene);
        }
        g_autoptr(EVP_PKEY) key = test_key(imports[i].type);
        import_key(scene, imports[i].slot, key);
        g_autoptr(TokenInfo) info = probe(scene);
        const SlotInfo *slot = find_slot(info, imports[i].slot);
        g_assert_cmpint(slot->origin, ==, KEY_ORIGIN_IMPORTED);
        g_assert_true(slot->has_private_key);
        g_assert_cmpint(EVP_PKEY_eq(slot->public_key, key), ==, 1);
        assert_signs(scene, imports[i].slot, key);
    }
}

/* Before firmware 5.3 nothing else would show that there is a key. */
static void an_old_card_shows_an_imported_key_by_a_temporary_certificate(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_4);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    import_key(scene, "82", key);
    g_autoptr(TokenInfo) info = probe(scene);
    const SlotInfo *slot = find_slot(info, "82");
    char name[64] = "";
    g_assert_nonnull(slot->certificate);
    X509_NAME_get_text_by_NID(X509_get_subject_name(slot->certificate), NID_commonName, name, sizeof name);
    g_assert_cmpstr(name, ==, SLOT_TEMPORARY_SUBJECT);
    g_assert_cmpint(X509_verify(slot->certificate, key), ==, 1);
}

static void policies_are_what_was_asked_for(void)
{
    static const KeyOptions wishes[] = {
        {"never", "never", NULL}, {"once", "always", NULL}, {"always", "cached", NULL}};
    static const char *const firmwares_with_traces[] = {FIRMWARE_4, FIRMWARE_5};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares_with_traces); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares_with_traces[i]);
        for (gsize k = 0; k < G_N_ELEMENTS(wishes); k++) {
            g_autofree char *slot = g_strdup_printf("8%zu", k + 2);
            generate(scene, slot, KEY_TYPE_P256, &wishes[k]);
            g_autoptr(TokenInfo) info = probe(scene);
            g_assert_cmpstr(find_slot(info, slot)->pin_policy, ==, wishes[k].pin_policy);
            g_assert_cmpstr(find_slot(info, slot)->touch_policy, ==, wishes[k].touch_policy);
        }
    }
}

static void assert_generate_fails(Scene *scene, const char *slot, KeyType type, const KeyOptions *options,
                                  IothsmError code)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(scene->backend->class->generate_key(scene->backend, slot, type, options, NULL, &error));
    assert_code(error, code);
}

static void what_a_card_can_not_do_is_refused_in_words(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(EVP_PKEY) small = test_key("rsa1024");
    KeyOptions none = {NULL, NULL, NULL};
    generate(scene, "9a", KEY_TYPE_P256, NULL);
    reset_count(scene);
    assert_generate_fails(scene, "9a", KEY_TYPE_P384, &none, IOTHSM_ERROR_SLOT_OCCUPIED);
    assert_generate_fails(scene, "9A", KEY_TYPE_P384, &none, IOTHSM_ERROR_SLOT_OCCUPIED);
    assert_generate_fails(scene, "01", KEY_TYPE_P384, &none, IOTHSM_ERROR_SLOT_OCCUPIED);
    assert_generate_fails(scene, "9c", KEY_TYPE_P521, &none, IOTHSM_ERROR_UNSUPPORTED);
    assert_generate_fails(scene, "9c", KEY_TYPE_ED25519, &none, IOTHSM_ERROR_UNSUPPORTED);
    assert_generate_fails(scene, "9c", KEY_TYPE_RSA4096, &none, IOTHSM_ERROR_UNSUPPORTED);
    assert_generate_fails(scene, "f9", KEY_TYPE_P256, &none, IOTHSM_ERROR_UNSUPPORTED);
    assert_generate_fails(scene, "9b", KEY_TYPE_P256, &none, IOTHSM_ERROR_INVALID);
    assert_generate_fails(scene, "96", KEY_TYPE_P256, &none, IOTHSM_ERROR_INVALID);
    assert_generate_fails(scene, "9c", KEY_TYPE_P256, &(KeyOptions){.pin_policy = "often"},
                          IOTHSM_ERROR_INVALID);
    assert_generate_fails(scene, "9c", KEY_TYPE_P256, &(KeyOptions){.touch_policy = "twice"},
                          IOTHSM_ERROR_INVALID);
    g_assert_false(try_import(scene, "9a", key, NULL, &error));
    assert_code(error, IOTHSM_ERROR_SLOT_OCCUPIED);
    g_clear_error(&error);
    g_assert_false(try_import(scene, "9c", small, NULL, &error));
    assert_code(error, IOTHSM_ERROR_UNSUPPORTED);
    g_clear_error(&error);
    g_assert_false(try_import(scene, "f9", key, NULL, &error));
    assert_code(error, IOTHSM_ERROR_UNSUPPORTED);
    g_assert_cmpuint(seen(scene, "47"), ==, 0);
    g_assert_cmpuint(seen(scene, "fe"), ==, 0);
}

static void weak_rsa_keys_are_not_generated(void)
{
    g_autoptr(Scene) scene = scene_new("4.3.4");
    g_autoptr(TokenInfo) info = probe(scene);
    g_autoptr(EVP_PKEY) key = test_key("rsa2048");
    g_assert_false(g_strv_contains((const char *const *)info->key_types, "rsa2048"));
    assert_generate_fails(scene, "9a", KEY_TYPE_RSA2048, &(KeyOptions){NULL, NULL, NULL},
                          IOTHSM_ERROR_UNSUPPORTED);
    import_key(scene, "9a", key);
    log_in(scene);
    assert_signs(scene, "9a", key);
}

static void write_certificate(Scene *scene, const char *slot, X509 *certificate)
{
    g_autoptr(GError) error = NULL;
    (void)scene->backend->class->write_certificate(scene->backend, slot, certificate, &error);
    g_assert_no_error(error);
}

/* |room| more bytes, which compress well. */
static X509 *big_certificate(EVP_PKEY *key, gsize room)
{
    g_autofree char *text = g_strnfill(room, 'x');
    const char *extensions[] = {"nsComment", text, NULL};
    return test_certificate(&(TestCertificate){.subject = "CN=Big", .extensions = extensions}, key, NULL,
                            key);
}

static void certificates_are_kept_also_long_ones(void)
{
    static const gsize rooms[] = {0, 1500, 6000};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        g_autoptr(EVP_PKEY) key = test_key("p256");
        import_key(scene, "9c", key);
        for (gsize k = 0; k < G_N_ELEMENTS(rooms); k++) {
            g_autoptr(X509) certificate = big_certificate(key, rooms[k]);
            write_certificate(scene, "9c", certificate);
            g_autoptr(TokenInfo) info = probe(scene);
            g_assert_cmpint(X509_cmp(find_slot(info, "9c")->certificate, certificate), ==, 0);
        }
    }
}

static void a_certificate_that_does_not_fit_is_refused(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(GString) noise = g_string_new(NULL);
    for (guint i = 0; i < 6000; i++)
        g_string_append_c(noise, (char)('a' + g_random_int_range(0, 26)));
    const char *extensions[] = {"nsComment", noise->str, NULL};
    g_autoptr(X509) certificate =
        test_certificate(&(TestCertificate){.subject = "CN=Big", .extensions = extensions}, key, NULL, key);
    g_assert_false(scene->backend->class->write_certificate(scene->backend, "9c", certificate, &error));
    assert_code(error, IOTHSM_ERROR_LIMITS_EXCEEDED);
    g_clear_error(&error);
    g_assert_false(scene->backend->class->write_certificate(scene->backend, "f9", certificate, &error));
    assert_code(error, IOTHSM_ERROR_UNSUPPORTED);
}

static bool clear(Scene *scene, const char *slot, GError **error)
{
    return scene->backend->class->clear_slot(scene->backend, slot, error);
}

static void a_cleared_slot_is_free_on_every_firmware(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        g_autoptr(GError) error = NULL;
        g_autoptr(EVP_PKEY) key = test_key("p256");
        log_in(scene);
        generate(scene, "9a", KEY_TYPE_P384, NULL);
        import_key(scene, "82", key);
        g_autoptr(X509) certificate = test_ca("A CA", key);
        write_certificate(scene, "82", certificate);
        assert_signs(scene, "82", key);
        (void)clear(scene, "9a", &error);
        g_assert_no_error(error);
        (void)clear(scene, "82", &error);
        g_assert_no_error(error);
        g_autoptr(TokenInfo) info = probe(scene);
        g_assert_null(find_slot(info, "9a"));
        g_assert_null(find_slot(info, "82"));
        g_assert_true(is_free(info, "9a") && is_free(info, "82"));
        assert_sign_fails(scene, "9a", IOTHSM_ERROR_SLOT_EMPTY);
        g_assert_false(clear(scene, "9a", &error));
        assert_code(error, IOTHSM_ERROR_SLOT_EMPTY);
        g_clear_error(&error);
        g_assert_false(clear(scene, "f9", &error));
        assert_code(error, IOTHSM_ERROR_UNSUPPORTED);
        generate(scene, "82", KEY_TYPE_P256, NULL);
        assert_signs(scene, "82", NULL);
    }
}

/* Where the firmware can't delete it, the old private key is overwritten all the same. */
static void a_cleared_key_signs_no_more(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    g_autoptr(Other) other = other_connect(false);
    generate(scene, "9a", KEY_TYPE_P384, &(KeyOptions){.pin_policy = "never"});
    (void)clear(scene, "9a", &error);
    g_assert_no_error(error);
    /* P-384's algorithm does not fit the key that is there now. */
    g_assert_cmphex(other_send(other, "0087149A 36 7C34 8200 8130 "
                                      "000000000000000000000000000000000000000000000000"
                                      "000000000000000000000000000000000000000000000000"),
                    ==, 0x6a80);
}

static void a_new_key_takes_no_old_certificate_over(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_57);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509) certificate = test_ca("A CA", key);
    write_certificate(scene, "9c", certificate);
    g_autoptr(TokenInfo) before = probe(scene);
    g_assert_false(find_slot(before, "9c")->has_private_key);
    generate(scene, "9c", KEY_TYPE_P256, NULL);
    g_autoptr(TokenInfo) info = probe(scene);
    g_assert_true(find_slot(info, "9c")->has_private_key);
    g_assert_null(find_slot(info, "9c")->certificate);
}

static void a_key_comes_back_to_its_certificate(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_57);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(EVP_PKEY) other = test_key("p384");
    g_autoptr(X509) certificate = test_ca("A CA", key);
    write_certificate(scene, "9c", certificate);
    write_certificate(scene, "9d", certificate);
    import_key(scene, "9c", key);
    import_key(scene, "9d", other);
    g_autoptr(TokenInfo) info = probe(scene);
    g_assert_cmpint(X509_cmp(find_slot(info, "9c")->certificate, certificate), ==, 0);
    g_assert_null(find_slot(info, "9d")->certificate);
}

typedef struct Signer {
    Backend *backend;
    EVP_PKEY *public_key;
    guint failures;
} Signer;

static gpointer sign_often(gpointer data)
{
    Signer *signer = data;
    Scene scene = {.backend = signer->backend};
    for (guint i = 0; i < 20; i++)
        signer->failures += !try_sign(&scene, "9a", signer->public_key, NULL);
    return NULL;
}

static void two_keys_at_once_do_not_mix(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autofree char *directory = test_directory();
    g_autofree char *serial = NULL;
    const char *options[] = {"--serial=22222222", NULL};
    g_autoptr(VirtualKey) second = virtual_key_start(directory, pcsc_port(scene->pcsc, 1), options);
    pcsc_wait_card(scene->pcsc, 1, true);
    Scene other = {.key = second, .backend = yubikey_new(pcsc_reader_name(1), &serial, NULL)};
    g_assert_cmpstr(serial, ==, "22222222");
    Scene *scenes[] = {scene, &other};
    Signer signers[2];
    GThread *threads[2];
    for (guint i = 0; i < 2; i++) {
        generate(scenes[i], "9a", KEY_TYPE_P256, NULL);
        log_in(scenes[i]);
        g_autoptr(TokenInfo) info = probe(scenes[i]);
        signers[i] = (Signer){scenes[i]->backend, g_steal_pointer(&find_slot(info, "9a")->public_key), 0};
    }
    g_assert_cmpint(EVP_PKEY_eq(signers[0].public_key, signers[1].public_key), ==, 0);
    for (guint i = 0; i < 2; i++)
        threads[i] = g_thread_new("signer", sign_often, &signers[i]);
    for (guint i = 0; i < 2; i++) {
        g_thread_join(threads[i]);
        g_assert_cmpuint(signers[i].failures, ==, 0);
        g_assert_cmpuint(seen(scenes[i], "87"), >=, 20);
        EVP_PKEY_free(signers[i].public_key);
    }
    other.backend->class->free(other.backend);
}

static void the_token_vouches_for_what_it_generated(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        g_autoptr(GError) error = NULL;
        g_autoptr(EVP_PKEY) key = test_key("p256");
        Backend *backend = scene->backend;
        generate(scene, "9c", KEY_TYPE_P256, NULL);
        import_key(scene, "9d", key);
        g_autoptr(TokenInfo) info = probe(scene);
        g_autoptr(GPtrArray) chain = backend->class->attest(backend, "9c", &error);
        g_assert_no_error(error);
        g_assert_cmpuint(chain->len, ==, 2);
        g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(chain->pdata[0]), find_slot(info, "9c")->public_key), ==,
                        1);
        g_assert_cmpint(X509_verify(chain->pdata[0], X509_get0_pubkey(chain->pdata[1])), ==, 1);
        g_assert_null(backend->class->attest(backend, "9d", &error));
        assert_code(error, IOTHSM_ERROR_UNSUPPORTED);
        g_clear_error(&error);
        g_assert_null(backend->class->attest(backend, "95", &error));
        assert_code(error, IOTHSM_ERROR_SLOT_EMPTY);
    }
}

static void slots_are_known_by_both_their_names(void)
{
    g_assert_cmpstr(yubikey_slot_name("9C"), ==, "9c");
    g_assert_cmpstr(yubikey_slot_name("02"), ==, "9c");
    g_assert_cmpstr(yubikey_slot_name("18"), ==, "95");
    g_assert_cmpstr(yubikey_slot_name("10"), ==, "8d");
    g_assert_cmpstr(yubikey_slot_name("19"), ==, "f9");
    g_assert_null(yubikey_slot_name("00"));
    g_assert_null(yubikey_slot_name("9b"));
    g_assert_null(yubikey_slot_name("9"));
    g_assert_null(yubikey_slot_name(""));
    g_assert_null(yubikey_slot_name("label=x"));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
#define TEST(name) g_test_add_func("/backend/" #name, name)
    TEST(a_new_key_is_read_without_its_pin);
    TEST(generated_keys_of_all_types_sign);
    TEST(imported_keys_of_all_types_sign);
    TEST(an_old_card_shows_an_imported_key_by_a_temporary_certificate);
    TEST(policies_are_what_was_asked_for);
    TEST(what_a_card_can_not_do_is_refused_in_words);
    TEST(weak_rsa_keys_are_not_generated);
    TEST(certificates_are_kept_also_long_ones);
    TEST(a_certificate_that_does_not_fit_is_refused);
    TEST(a_cleared_slot_is_free_on_every_firmware);
    TEST(a_cleared_key_signs_no_more);
    TEST(a_new_key_takes_no_old_certificate_over);
    TEST(a_key_comes_back_to_its_certificate);
    TEST(two_keys_at_once_do_not_mix);
    TEST(the_token_vouches_for_what_it_generated);
    TEST(slots_are_known_by_both_their_names);
    return g_test_run();
}
