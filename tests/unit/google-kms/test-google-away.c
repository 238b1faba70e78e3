/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is known of a key ring while Google can't be asked, and what callers at the same time have to do with
 * each other. */

#include "tests/unit/google-kms/scene.h"
#include <string.h>

#define BUSY "'kind': 'status', 'status': 503, 'count': 0"

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

/* The first one waits for a token as long as it may, the others wait for it. */
static void who_has_more_time_does_not_fail_with_who_had_less(void)
{
    g_auto(Scene) scene = {0};
    Slot *slot = slot_of(scene_open_with_ring(&scene, one_key), "p256:1");
    google_cloud_tell(scene.cloud, "{'do': 'tokens', 'expire': true}");
    google_cloud_tell(scene.cloud, RESET_COUNTS);
    scene_fault(&scene, "token", BUSY);
    g_auto(Job) hurried = {0};
    Job patient[3] = {0};
    job_start(&hurried, slot, 1500);
    while (google_cloud_count(scene.cloud, "token") == 0)
        g_main_context_iteration(NULL, FALSE);
    for (guint i = 0; i < G_N_ELEMENTS(patient); i++)
        job_start(&patient[i], slot, 30000);
    test_wait(&hurried.ending.done, 60);
    g_assert_nonnull(hurried.ending.error);
    google_cloud_tell(scene.cloud, "{'do': 'clear-faults'}");
    for (guint i = 0; i < G_N_ELEMENTS(patient); i++) {
        job_ok(&patient[i], slot);
        job_clear(&patient[i]);
    }
}

static void the_same_ring_is_added_by_one_of_two_at_once(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene, one_key);
    g_autoptr(Secret) secret = scene_credentials(&scene, "signer");
    g_auto(Ending) first = {0};
    g_auto(Ending) second = {0};
    google_kms_source_add(scene.fixture->source, RING, secret, NULL, ending_text, &first);
    google_kms_source_add(scene.fixture->source, RING, NULL, NULL, ending_text, &second);
    ending_fails(&second, IOTHSM_ERROR_TOKEN_BUSY);
    ending_ok(&first);
    g_assert_cmpuint(scene.fixture->tokens->len, ==, 1);
    /* What is kept for the next start is what the first one gave. */
    scene_stop(&scene);
    google_cloud_tell(scene.cloud, RESET_COUNTS);
    scene_start(&scene);
    assert_slot_signs(slot_of(scene_token(&scene), "p256:1"));
    g_assert_cmpint(google_cloud_count(scene.cloud, "metadata"), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/google-away/" #function, function)
    ADD(a_reload_without_google_keeps_what_was_known);
    ADD(a_ring_that_google_refuses_to_list_is_failed);
    ADD(who_has_more_time_does_not_fail_with_who_had_less);
    ADD(the_same_ring_is_added_by_one_of_two_at_once);
    return g_test_run();
}
