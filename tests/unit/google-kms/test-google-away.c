/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is known of a key ring while Google can't be asked. */

#include "tests/unit/google-kms/scene.h"
#include <string.h>

static bool is_current(void *token)
{
    return !*token_message(token);
}

/* It is still so when Google is back; a version that was made meanwhile is there a moment later. */
static void a_reload_without_google_keeps_what_was_known(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    g_autoptr(X509) before = certificate_by(slot_of(token, "p256:1"));
    google_cloud_tell(scene.cloud, "{'do': 'rotate', 'key': 'p256'}");
    google_cloud_stop(scene.cloud);
    g_auto(Ending) read = {0};
    fixture_reload(scene.fixture);
    token_refresh(token, ending_done, &read);
    ending_fails(&read, IOTHSM_ERROR_LINK_DOWN);
    assert_says(read.error->message, "as it was known before");
    assert_says(read.error->message, "No connection to 127.0.0.1");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    g_assert_cmpstr(token_message(token), ==, read.error->message);
    g_assert_cmpuint(token_slots(token)->len, ==, 1);
    google_cloud_start_again(scene.cloud);
    assert_slot_signs(slot_of(token, "p256:1"));
    test_wait_for(is_current, token, 60);
    g_assert_cmpuint(token_slots(token)->len, ==, 2);
    assert_slot_signs(slot_of(token, "p256:2"));
}

/* That is no silence, but an answer. */
static void a_ring_that_google_refuses_to_list_is_failed(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    scene_fault(&scene, "keys", "'kind': 'status', 'status': 403, 'count': 0");
    g_auto(Ending) read = {0};
    fixture_reload(scene.fixture);
    token_refresh(token, ending_done, &read);
    ending_fails(&read, IOTHSM_ERROR_CLOUD_REFUSED);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_FAILED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/google-away/" #function, function)
    ADD(a_reload_without_google_keeps_what_was_known);
    ADD(a_ring_that_google_refuses_to_list_is_failed);
    return g_test_run();
}
