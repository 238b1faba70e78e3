/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The management key: of the factory, of a person, and kept on the token behind the PIN. It is never lost,
 * wherever the card is pulled out while it changes. */

#include "tests/yubikey/scene.h"

#define AES128 "000102030405060708090a0b0c0d0e0f"
#define AES256 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define OTHER_24 "2122232425262728292a2b2c2d2e2f303132333435363738"
#define WEAK_DES "010101010101010101010101010101010101010101010101"

static bool change(Scene *scene, const char *current, const char *replacement, const char *algorithm,
                   bool protect, GError **error)
{
    g_autoptr(Secret) one = current ? secret_of_hex(current) : NULL;
    g_autoptr(Secret) other = replacement ? secret_of_hex(replacement) : NULL;
    const ManagementKeyChange wanted = {
        .current = one, .replacement = other, .algorithm = algorithm, .protect = protect};
    return scene->backend->class->set_management_key(scene->backend, &wanted, error);
}

static void must_change(Scene *scene, const char *current, const char *replacement, const char *algorithm,
                        bool protect)
{
    g_autoptr(GError) error = NULL;
    (void)change(scene, current, replacement, algorithm, protect, &error);
    g_assert_no_error(error);
}

static void must_fail(Scene *scene, const char *current, const char *replacement, const char *algorithm,
                      bool protect, IothsmError code)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(change(scene, current, replacement, algorithm, protect, &error));
    assert_code(error, code);
}

static void assert_state(Scene *scene, const char *expected)
{
    g_autoptr(TokenInfo) info = probe(scene);
    g_assert_cmpstr(info->management_key, ==, expected);
}

static bool try_generate(Scene *scene, GError **error)
{
    KeyOptions none = {NULL, NULL, NULL};
    return scene->backend->class->generate_key(scene->backend, "9a", KEY_TYPE_P256, &none, NULL, error);
}

static void assert_manages(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    (void)try_generate(scene, &error);
    g_assert_no_error(error);
    (void)scene->backend->class->clear_slot(scene->backend, "9a", &error);
    g_assert_no_error(error);
}

static void assert_manages_not(Scene *scene, IothsmError code)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(try_generate(scene, &error));
    assert_code(error, code);
}

/* As after a restart of the service. */
static void forget(Scene *scene)
{
    scene->backend->class->free(scene->backend);
    scene->backend = scene_open(scene);
}

static void the_factory_key_is_used_by_itself(void)
{
    static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5, FIRMWARE_57};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        assert_state(scene, "factory");
        assert_manages(scene);
    }
}

static void a_key_of_ones_own_is_used_once_given(void)
{
    static const struct {
        const char *firmware, *algorithm, *key;
    } kinds[] = {
        {FIRMWARE_4, NULL, OTHER_24},      {FIRMWARE_5, "3des", OTHER_24},  {FIRMWARE_5, "aes128", AES128},
        {FIRMWARE_57, "aes192", OTHER_24}, {FIRMWARE_57, "aes256", AES256},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        g_autoptr(Scene) scene = scene_new(kinds[i].firmware);
        must_change(scene, NULL, kinds[i].key, kinds[i].algorithm, false);
        assert_state(scene, "set");
        assert_manages(scene);
        forget(scene);
        assert_state(scene, "missing");
        assert_manages_not(scene, IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED);
        must_change(scene, kinds[i].key, NULL, NULL, false);
        assert_state(scene, "set");
        assert_manages(scene);
    }
}

static void a_forgotten_key_is_used_no_more(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    must_change(scene, NULL, OTHER_24, NULL, false);
    assert_manages(scene);
    scene->backend->class->forget_management_key(scene->backend);
    assert_state(scene, "missing");
    assert_manages_not(scene, IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED);
}

static void a_wrong_or_impossible_key_is_refused(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    must_fail(scene, OTHER_24, NULL, NULL, false, IOTHSM_ERROR_MANAGEMENT_KEY_WRONG);
    must_fail(scene, OTHER_24, OTHER_24, NULL, false, IOTHSM_ERROR_MANAGEMENT_KEY_WRONG);
    must_fail(scene, AES128, NULL, NULL, false, IOTHSM_ERROR_INVALID);
    must_fail(scene, NULL, AES128, NULL, false, IOTHSM_ERROR_INVALID);
    must_fail(scene, NULL, AES256, "aes128", false, IOTHSM_ERROR_INVALID);
    must_fail(scene, NULL, OTHER_24, "des", false, IOTHSM_ERROR_INVALID);
    must_fail(scene, NULL, NULL, NULL, false, IOTHSM_ERROR_INVALID);
    must_fail(scene, NULL, WEAK_DES, NULL, false, IOTHSM_ERROR_INVALID);
    assert_state(scene, "factory");
    assert_manages(scene);
    g_autoptr(Scene) old = NULL;
    g_clear_pointer(&scene, scene_free);
    old = scene_new(FIRMWARE_4);
    must_fail(old, NULL, AES128, "aes128", false, IOTHSM_ERROR_UNSUPPORTED);
    assert_state(old, "factory");
}

static void a_key_that_the_pin_protects_needs_nothing_but_the_pin(void)
{
    static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5, FIRMWARE_57};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = scene_new(firmwares[i]);
        must_fail(scene, NULL, NULL, NULL, true, IOTHSM_ERROR_PIN_REQUIRED);
        assert_state(scene, "factory");
        log_in(scene);
        must_change(scene, NULL, NULL, NULL, true);
        assert_state(scene, "protected");
        assert_manages(scene);
        forget(scene);
        assert_state(scene, "protected");
        assert_manages_not(scene, IOTHSM_ERROR_PIN_REQUIRED);
        log_in(scene);
        assert_manages(scene);
        must_change(scene, NULL, i == 0 ? NULL : OTHER_24, i == 0 ? NULL : "3des", true);
        assert_manages(scene);
        must_change(scene, NULL, OTHER_24, i == 0 ? NULL : "3des", false);
        assert_state(scene, "set");
        forget(scene);
        log_in(scene);
        assert_state(scene, "missing");
        assert_manages_not(scene, IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED);
    }
}

/* Others read where the key lies by the same rules. */
static void yubico_piv_tool_finds_the_protected_key(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    log_in(scene);
    must_change(scene, NULL, NULL, "3des", true);
    g_autofree char *read =
        test_run((const char *const[]){"yubico-piv-tool", "--reader", pcsc_reader_name(0), "--action",
                                       "verify-pin", "--pin", PIN, "--action", "read-object", "--id",
                                       "0x5fc109", "--format", "hex", NULL},
                 NULL, 0);
    g_assert_nonnull(strstr(read, "881a8918"));
}

static void write_object(const char *id, const char *content)
{
    g_autofree char *unused =
        test_run((const char *const[]){"yubico-piv-tool", "--reader", pcsc_reader_name(0), "--action",
                                       "write-object", "--id", id, "--format", "hex", NULL},
                 content, 0);
}

static char *read_object(const char *id)
{
    return test_run((const char *const[]){"yubico-piv-tool", "--reader", pcsc_reader_name(0), "--action",
                                          "verify-pin", "--pin", PIN, "--action", "read-object", "--id", id,
                                          "--format", "hex", NULL},
                    NULL, 0);
}

static void assert_object_contains(const char *id, const char *content)
{
    g_autofree char *read = read_object(id);
    if (!strstr(read, content))
        g_error("object %s is %s", id, read);
}

/* The flag that the PUK must not be blocked, a printed name, the time of the last change of the PIN. */
static void what_other_programs_keep_on_the_token_stays(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    write_object("0x5fc109", "01027578880381010155017a");
    write_object("0x5fff00", "800c810101820209098303010203");
    log_in(scene);
    must_change(scene, NULL, NULL, "3des", true);
    assert_object_contains("0x5fc109", "881d8918");
    assert_object_contains("0x5fc109", "8101010102757855017a");
    assert_object_contains("0x5fff00", "80088101038303010203");
    assert_manages(scene);
    must_change(scene, NULL, OTHER_24, "3des", false);
    assert_object_contains("0x5fc109", "880381010101027578");
    assert_object_contains("0x5fff00", "80088101018303010203");
}

static void a_touch_that_the_key_wanted_it_still_wants(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autofree char *unused = test_run(
        (const char *const[]){"yubico-piv-tool", "--reader", pcsc_reader_name(0), "--action", "set-mgm-key",
                              "--new-key", OTHER_24, "--touch-policy", "always", NULL},
        NULL, 0);
    virtual_key_tell(scene->key, "touch auto");
    must_change(scene, OTHER_24, AES128, "aes128", false);
    g_assert_cmpint(scene->touches_wanted, ==, 1);
    g_assert_cmpstr(scene->touch_slot, ==, "9b");
    assert_manages(scene);
    g_assert_cmpint(scene->touches_wanted, ==, 3);
    g_assert_cmpint(scene->touches_ended, ==, 3);
}

static gpointer refuse_touch(gpointer data)
{
    const Scene *scene = data;
    virtual_key_tell(scene->key, "wait touch");
    virtual_key_tell(scene->key, "touch refuse");
    return NULL;
}

/* A finger that does not come is no reason to forget the key; and nobody is asked for one when the key that
 * is kept comes back with its token. */
static void a_key_that_nobody_touched_for_is_not_lost(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_5);
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) kept = secret_of_hex(OTHER_24);
    g_autofree char *unused = test_run(
        (const char *const[]){"yubico-piv-tool", "--reader", pcsc_reader_name(0), "--action", "set-mgm-key",
                              "--new-key", OTHER_24, "--touch-policy", "always", NULL},
        NULL, 0);
    const ManagementKeyChange use = {.current = kept, .unasked = true};
    (void)scene->backend->class->set_management_key(scene->backend, &use, &error);
    g_assert_no_error(error);
    g_assert_cmpint(scene->touches_wanted, ==, 0);
    assert_state(scene, "set");

    GThread *nobody = g_thread_new("nobody", refuse_touch, scene);
    assert_manages_not(scene, IOTHSM_ERROR_TOUCH_TIMEOUT);
    g_thread_join(nobody);
    g_assert_cmpint(scene->touches_wanted, ==, 1);
    virtual_key_tell(scene->key, "touch auto");
    assert_manages(scene);
}

/* Cut before and after each command of the change, until one change takes place without a cut: whoever has
 * the PIN can manage the token at all times. */
static void a_protected_key_survives_being_pulled_out_anywhere(void)
{
    g_autoptr(Scene) scene = scene_new(FIRMWARE_57);
    bool thorough = g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0;
    guint cuts = 0;
    bool done = false;
    log_in(scene);
    must_change(scene, NULL, NULL, NULL, true);
    for (guint at = thorough ? 1 : 8; !done; at++) {
        for (guint after = thorough ? 0 : 1; after < 2 && !done; after++) {
            g_autofree char *request = g_strdup_printf("cut %u %s", at, after ? "after" : "before");
            g_autoptr(GError) error = NULL;
            virtual_key_tell(scene->key, request);
            done = change(scene, NULL, NULL, NULL, true, &error);
            virtual_key_tell(scene->key, "clear");
            if (done)
                break;
            assert_code(error, IOTHSM_ERROR_TOKEN_GONE);
            pcsc_wait_card(scene->pcsc, 0, false);
            scene_plug(scene);
            forget(scene);
            log_in(scene);
            assert_manages(scene);
            assert_state(scene, "protected");
            cuts++;
        }
    }
    g_test_message("%u cuts survived", cuts);
    g_assert_cmpuint(cuts, >=, 3);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
#define TEST(name) g_test_add_func("/management-key/" #name, name)
    TEST(the_factory_key_is_used_by_itself);
    TEST(a_key_of_ones_own_is_used_once_given);
    TEST(a_forgotten_key_is_used_no_more);
    TEST(a_wrong_or_impossible_key_is_refused);
    TEST(a_key_that_the_pin_protects_needs_nothing_but_the_pin);
    TEST(yubico_piv_tool_finds_the_protected_key);
    TEST(what_other_programs_keep_on_the_token_stays);
    TEST(a_touch_that_the_key_wanted_it_still_wants);
    TEST(a_key_that_nobody_touched_for_is_not_lost);
    TEST(a_protected_key_survives_being_pulled_out_anywhere);
    return g_test_run();
}
