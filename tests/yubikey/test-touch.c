/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys that want a finger: who waits is told so, and is told apart from who lacks the PIN. The finger comes
 * when the card blinks, from another thread, as the call waits. */

#include "tests/yubikey/scene.h"
#include <winscard.h>

typedef struct Finger {
    Scene *scene;
    const char *act; /* for the control socket */
    Other *resets;   /* or: resets the card while it blinks */
} Finger;

static gpointer leave_and_reset(gpointer other)
{
    other_leave_and_reset(other);
    return NULL;
}

static gpointer wait_and_act(gpointer data)
{
    const Finger *finger = data;
    GThread *reset = NULL;
    virtual_key_tell(finger->scene->key, "wait touch");
    if (finger->resets)
        reset = g_thread_new("reset", leave_and_reset, finger->resets);
    virtual_key_tell(finger->scene->key, finger->act);
    if (reset)
        g_thread_join(reset);
    return NULL;
}

/* Signs while |act| happens. */
static bool sign_with(Scene *scene, const char *act, GError **error)
{
    Finger finger = {.scene = scene, .act = act};
    GThread *thread = g_thread_new("finger", wait_and_act, &finger);
    bool done = try_sign(scene, "9a", NULL, error);
    g_thread_join(thread);
    return done;
}

static Scene *touch_scene(const char *firmware, const char *pin_policy, const char *touch_policy)
{
    Scene *scene = scene_new(firmware);
    KeyOptions options = {.pin_policy = pin_policy, .touch_policy = touch_policy};
    generate(scene, "9a", KEY_TYPE_P256, &options);
    log_in(scene);
    return scene;
}

static void assert_touches(Scene *scene, int count)
{
    g_assert_cmpint(g_atomic_int_get(&scene->touches_wanted), ==, count);
    g_assert_cmpint(g_atomic_int_get(&scene->touches_ended), ==, count);
}

static void a_touch_is_announced_and_waited_for(void)
{
    static const char *const firmwares[] = {FIRMWARE_4, FIRMWARE_5, FIRMWARE_57};
    for (gsize i = 0; i < G_N_ELEMENTS(firmwares); i++) {
        g_autoptr(Scene) scene = touch_scene(firmwares[i], NULL, "always");
        g_autoptr(GError) error = NULL;
        g_autoptr(TokenInfo) info = probe(scene);
        g_assert_cmpstr(find_slot(info, "9a")->touch_policy, ==, "always");
        (void)sign_with(scene, "touch", &error);
        g_assert_no_error(error);
        assert_touches(scene, 1);
        g_assert_cmpstr(scene->touch_slot, ==, "9a");
    }
}

static void a_touch_that_does_not_come_is_a_timeout(void)
{
    static const char *const policies[] = {"once", "always", "never"};
    for (gsize i = 0; i < G_N_ELEMENTS(policies); i++) {
        g_autoptr(Scene) scene = touch_scene(FIRMWARE_5, policies[i], "always");
        g_autoptr(GError) error = NULL;
        g_assert_false(sign_with(scene, "touch refuse", &error));
        assert_code(error, IOTHSM_ERROR_TOUCH_TIMEOUT);
        assert_touches(scene, 1);
        g_clear_error(&error);
        (void)sign_with(scene, "touch", &error);
        g_assert_no_error(error);
        g_assert_cmpint(pin_tries(scene), ==, 3);
    }
}

static void a_cached_touch_lasts_for_the_next_signatures(void)
{
    g_autoptr(Scene) scene = touch_scene(FIRMWARE_5, NULL, "cached");
    g_autoptr(GError) error = NULL;
    (void)sign_with(scene, "touch", &error);
    g_assert_no_error(error);
    assert_signs(scene, "9a", NULL);
    assert_touches(scene, 2);
    virtual_key_tell(scene->key, "touch forget");
    g_assert_false(sign_with(scene, "touch refuse", &error));
    assert_code(error, IOTHSM_ERROR_TOUCH_TIMEOUT);
}

static void a_key_without_touch_announces_nothing(void)
{
    g_autoptr(Scene) scene = touch_scene(FIRMWARE_5, NULL, NULL);
    assert_signs(scene, "9a", NULL);
    assert_touches(scene, 0);
}

static void a_key_that_is_pulled_out_while_it_blinks_is_gone(void)
{
    g_autoptr(Scene) scene = touch_scene(FIRMWARE_5, NULL, "always");
    g_autoptr(GError) error = NULL;
    g_assert_false(sign_with(scene, "unplug", &error));
    assert_code(error, IOTHSM_ERROR_TOKEN_GONE);
    assert_touches(scene, 1);
    g_clear_error(&error);
    pcsc_wait_card(scene->pcsc, 0, false);
    scene_plug(scene);
    (void)sign_with(scene, "touch", &error);
    g_assert_no_error(error);
}

/* pcscd resets the card for a client that leaves, whoever is in a transaction, as soon as a command ends. */
static void a_reset_inside_a_call_is_healed_in_the_next(void)
{
    g_autoptr(Scene) scene = touch_scene(FIRMWARE_5, NULL, "always");
    g_autoptr(GError) error = NULL;
    g_autoptr(Other) other = other_connect(false);
    Finger finger = {.scene = scene, .act = "touch", .resets = other};
    GThread *thread = g_thread_new("finger", wait_and_act, &finger);
    if (!try_sign(scene, "9a", NULL, &error))
        assert_code(error, IOTHSM_ERROR_TOKEN_GONE);
    g_thread_join(thread);
    g_clear_error(&error);
    (void)sign_with(scene, "touch", &error);
    g_assert_no_error(error);
    g_assert_cmpint(pin_tries(scene), ==, 3);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
#define TEST(name) g_test_add_func("/touch/" #name, name)
    TEST(a_touch_is_announced_and_waited_for);
    TEST(a_touch_that_does_not_come_is_a_timeout);
    TEST(a_cached_touch_lasts_for_the_next_signatures);
    TEST(a_key_without_touch_announces_nothing);
    TEST(a_key_that_is_pulled_out_while_it_blinks_is_gone);
    TEST(a_reset_inside_a_call_is_healed_in_the_next);
    return g_test_run();
}
