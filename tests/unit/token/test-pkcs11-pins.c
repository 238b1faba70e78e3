/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How often a PKCS#11 token is handed a PIN: SoftHSM2, with the module's own function list counting. */

#include "daemon/token/pkcs11-token.h"
#include "daemon/token/pkcs11.h"
#include "daemon/token/token-private.h"
#include "tests/unit/token/fixture.h"
#include <string.h>

#define PIN "123456"
#define OTHER_PIN "another pin"
#define SO_PIN "87654321"

/* A token of its own, with its PIN given, and what is counted of it. */
typedef struct Scene {
    Fixture *fixture;
    char *serial;
    Token *token;
    CK_FUNCTION_LIST *functions;
    CK_C_Login login;
    CK_C_SetPIN set_pin;
} Scene;

static guint logins;
static guint changes;
static CK_C_Login real_login;

static CK_RV counting_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG size)
{
    logins++;
    return real_login(session, user, pin, size);
}

/* Whether it has compared the old one, nobody knows. */
static CK_RV removed_while_it_changes(CK_SESSION_HANDLE session, CK_UTF8CHAR *old_pin, CK_ULONG old_size,
                                      CK_UTF8CHAR *new_pin, CK_ULONG new_size)
{
    changes++;
    return CKR_DEVICE_REMOVED;
}

static void scene_open(Scene *scene)
{
    g_autoptr(Secret) so_pin = secret_of(SO_PIN);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) created = {0};
    scene->fixture = fixture_new(pkcs11_source_new(g_getenv("IOTHSM_TEST_SOFTHSM_MODULE"), true), true);
    softhsm_create_token(scene->fixture->source, "Pins", so_pin, pin, ending_text, &created);
    ending_ok(&created);
    scene->serial = g_strdup(created.text);
    scene->token = fixture_token(scene->fixture, scene->serial);
    set_pin(scene->token, PIN);
    scene->functions = ((Pkcs11Token *)scene->token->driver->backend)->module->functions;
    scene->login = real_login = scene->functions->C_Login;
    scene->set_pin = scene->functions->C_SetPIN;
    logins = changes = 0;
    scene->functions->C_Login = counting_login;
}

static void scene_close(Scene *scene)
{
    g_auto(Ending) deleted = {0};
    scene->functions->C_Login = scene->login;
    scene->functions->C_SetPIN = scene->set_pin;
    softhsm_delete_token(scene->fixture->source, scene->serial, ending_done, &deleted);
    ending_ok(&deleted);
    fixture_free(scene->fixture);
    g_free(scene->serial);
}

/* Another process would do the same to the daemon: its sessions are lost, and the PIN is another one. */
static void change_pin_elsewhere(const Scene *scene)
{
    CK_SESSION_HANDLE session;
    CK_SLOT_ID slot = ((Pkcs11Token *)scene->token->driver->backend)->slot_id;
    g_assert_cmpuint(
        scene->functions->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &session), ==,
        CKR_OK);
    g_assert_cmpuint(
        scene->set_pin(session, (CK_UTF8CHAR *)PIN, strlen(PIN), (CK_UTF8CHAR *)OTHER_PIN, strlen(OTHER_PIN)),
        ==, CKR_OK);
    g_assert_cmpuint(scene->functions->C_CloseAllSessions(slot), ==, CKR_OK);
}

static void a_pin_refused_while_the_token_is_opened_again_is_not_tried_for_who_types_it(void)
{
    Scene scene;
    scene_open(&scene);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) typed = {0};
    change_pin_elsewhere(&scene);
    token_set_pin(scene.token, pin, false, NULL, ending_done, &typed);
    ending_fails(&typed, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(logins, ==, 1);
    g_assert_cmpint(token_pin_state(scene.token), ==, PIN_STATE_WRONG);
    set_pin(scene.token, OTHER_PIN);
    scene_close(&scene);
}

static void the_same_holds_for_who_changes_it(void)
{
    Scene scene;
    scene_open(&scene);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_autoptr(Secret) next = secret_of("the next pin");
    g_auto(Ending) typed = {0};
    change_pin_elsewhere(&scene);
    scene.functions->C_SetPIN = removed_while_it_changes;
    token_change_pin(scene.token, pin, next, NULL, ending_done, &typed);
    ending_fails(&typed, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(logins, ==, 1);
    g_assert_cmpuint(changes, ==, 0);
    scene_close(&scene);
}

static void a_pin_is_not_changed_a_second_time_after_the_token_was_lost(void)
{
    Scene scene;
    scene_open(&scene);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_autoptr(Secret) next = secret_of("the next pin");
    g_auto(Ending) typed = {0};
    scene.functions->C_SetPIN = removed_while_it_changes;
    token_change_pin(scene.token, pin, next, NULL, ending_done, &typed);
    ending_fails(&typed, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_cmpuint(changes, ==, 1);
    scene_close(&scene);
}

/* As in test-pkcs11.c: SoftHSM2's leak is known by its name in whole stacks. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "fast_unwind_on_malloc=0:malloc_context_size=14";
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    const char *module = g_getenv("IOTHSM_TEST_SOFTHSM_MODULE");
    if (!module || !g_file_test(module, G_FILE_TEST_EXISTS)) {
        g_print("1..0 # SKIP no SoftHSM2 module\n");
        return 0;
    }
    g_autoptr(GError) error = NULL;
    g_autofree char *directory = test_directory();
    g_unsetenv("SOFTHSM2_CONF");
    secret_memory_init();
    softhsm_prepare(directory, &error);
    g_assert_no_error(error);
#define ADD(function) g_test_add_func("/pkcs11-pins/" #function, function)
    ADD(a_pin_refused_while_the_token_is_opened_again_is_not_tried_for_who_types_it);
    ADD(the_same_holds_for_who_changes_it);
    ADD(a_pin_is_not_changed_a_second_time_after_the_token_was_lost);
    return g_test_run();
}
