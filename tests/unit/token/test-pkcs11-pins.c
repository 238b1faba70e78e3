/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How often a PKCS#11 token is handed a PIN: SoftHSM2, with the module's own function list counting. */

#include "daemon/token/token-private.h"
#include "tests/unit/token/softhsm-fixture.h"

#define OTHER_PIN "another pin"

/* A token of its own, with its PIN given, and what is counted of it. */
typedef struct Scene {
    SoftToken soft;
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
    scene->token = soft_token_ready(&scene->soft, "Pins");
    scene->functions = ((Pkcs11Token *)scene->token->driver->backend)->module->functions;
    scene->login = real_login = scene->functions->C_Login;
    scene->set_pin = scene->functions->C_SetPIN;
    logins = changes = 0;
    scene->functions->C_Login = counting_login;
}

static void scene_clear(Scene *scene)
{
    scene->functions->C_Login = scene->login;
    scene->functions->C_SetPIN = scene->set_pin;
    soft_token_clear(&scene->soft);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Scene, scene_clear)

static void a_pin_refused_while_the_token_is_opened_again_is_not_tried_for_who_types_it(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_auto(Ending) typed = {0};
    change_pin_elsewhere(&scene.soft, OTHER_PIN);
    token_set_pin(scene.token, pin, false, NULL, ending_done, &typed);
    ending_fails(&typed, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(logins, ==, 1);
    g_assert_cmpint(token_pin_state(scene.token), ==, PIN_STATE_WRONG);
    set_pin(scene.token, OTHER_PIN);
}

static void the_same_holds_for_who_changes_it(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_autoptr(Secret) next = secret_of("the next pin");
    g_auto(Ending) typed = {0};
    change_pin_elsewhere(&scene.soft, OTHER_PIN);
    scene.functions->C_SetPIN = removed_while_it_changes;
    token_change_pin(scene.token, pin, next, NULL, ending_done, &typed);
    ending_fails(&typed, IOTHSM_ERROR_PIN_WRONG);
    g_assert_cmpuint(logins, ==, 1);
    g_assert_cmpuint(changes, ==, 0);
}

static void a_pin_is_not_changed_a_second_time_after_the_token_was_lost(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene);
    g_autoptr(Secret) pin = secret_of(PIN);
    g_autoptr(Secret) next = secret_of("the next pin");
    g_auto(Ending) typed = {0};
    scene.functions->C_SetPIN = removed_while_it_changes;
    token_change_pin(scene.token, pin, next, NULL, ending_done, &typed);
    ending_fails(&typed, IOTHSM_ERROR_TOKEN_GONE);
    g_assert_cmpuint(changes, ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!softhsm_test_prepare())
        return 0;
#define ADD(function) g_test_add_func("/pkcs11-pins/" #function, function)
    ADD(a_pin_refused_while_the_token_is_opened_again_is_not_tried_for_who_types_it);
    ADD(the_same_holds_for_who_changes_it);
    ADD(a_pin_is_not_changed_a_second_time_after_the_token_was_lost);
    return g_test_run();
}
