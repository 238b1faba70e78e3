/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What goes wrong between a key ring and Google ends in the right retry or the right sentence. */

#include "tests/unit/google-kms/scene.h"

static void what_passes_is_tried_again(void)
{
    static const struct {
        const char *fault;
        gint64 tries;
    } cases[] = {
        {"'kind': 'status', 'status': 401", 2},
        {"'kind': 'status', 'status': 429, 'count': 2", 3},
        {"'kind': 'status', 'status': 500", 2},
        {"'kind': 'status', 'status': 503, 'count': 3", 4},
        {"'kind': 'drop'", 2},
        {"'kind': 'wrong-crc'", 2},
        {"'kind': 'damaged', 'count': 2", 3},
        {"'kind': 'request-damaged'", 2},
        {"'kind': 'unverified'", 2},
        {"'kind': 'wrong-name'", 2},
        {"'kind': 'slow', 'milliseconds': 300", 1},
    };
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        google_cloud_tell(scene.cloud, RESET_COUNTS);
        scene_fault(&scene, "sign", cases[i].fault);
        assert_slot_signs(slot_of(token, "p256:1"));
        g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==, cases[i].tries);
        g_assert_cmpint(google_cloud_count(scene.cloud, "reads"), ==, 0);
    }
}

static void what_stays_ends_in_a_sentence(void)
{
    static const struct {
        const char *fault;
        IothsmError code;
        const char *words;
        gint64 milliseconds; /* most end before */
    } cases[] = {
        {"'kind': 'status', 'status': 401", IOTHSM_ERROR_CLOUD_REFUSED, "401", 60000},
        {"'kind': 'status', 'status': 403", IOTHSM_ERROR_CLOUD_REFUSED, "roles/cloudkms.signerVerifier",
         60000},
        {"'kind': 'status', 'status': 429", IOTHSM_ERROR_LIMITS_EXCEEDED, "quota", 3000},
        {"'kind': 'status', 'status': 500", IOTHSM_ERROR_LINK_DOWN, "own error 500", 3000},
        {"'kind': 'slow', 'milliseconds': 60000", IOTHSM_ERROR_TIMED_OUT, "did not answer in time", 1000},
        {"'kind': 'drop'", IOTHSM_ERROR_LINK_DOWN, "No connection to 127.0.0.1", 60000},
        {"'kind': 'not-json'", IOTHSM_ERROR_FAILED, "can't be understood", 60000},
        {"'kind': 'large'", IOTHSM_ERROR_LIMITS_EXCEEDED, "larger than", 60000},
        {"'kind': 'wrong-crc'", IOTHSM_ERROR_TOKEN_SUSPECT, "checksum", 60000},
        {"'kind': 'damaged'", IOTHSM_ERROR_TOKEN_SUSPECT, "nothing of it was used", 60000},
        {"'kind': 'unverified'", IOTHSM_ERROR_TOKEN_SUSPECT, "checksum", 60000},
        {"'kind': 'wrong-name'", IOTHSM_ERROR_TOKEN_SUSPECT, "nothing of it was used", 60000},
    };
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *fault = g_strdup_printf("'count': 0, %s", cases[i].fault);
        scene_fault(&scene, "sign", fault);
        g_autofree char *sentence =
            assert_fails_within(slot_of(token, "p256:1"), cases[i].milliseconds, cases[i].code);
        assert_says(sentence, cases[i].words);
        google_cloud_tell(scene.cloud, "{'do': 'clear-faults'}");
        assert_slot_signs(slot_of(token, "p256:1"));
    }
}

/* What is asked before there is anything to sign with, and for credentials: nothing of a damaged answer gets
 * into the list, and what passes costs one question more. */
static void what_passes_while_keys_are_listed_is_tried_again(void)
{
    static const struct {
        const char *fault;
        const char *place;
        gint64 tries;
    } cases[] = {
        {"'kind': 'wrong-crc'", "public-key", 2},        {"'kind': 'damaged'", "public-key", 2},
        {"'kind': 'wrong-name'", "public-key", 2},       {"'kind': 'drop'", "public-key", 2},
        {"'kind': 'status', 'status': 429", "keys", 2},  {"'kind': 'status', 'status': 503", "versions", 2},
        {"'kind': 'status', 'status': 401", "keys", 2},  {"'kind': 'status', 'status': 500", "token", 2},
        {"'kind': 'status', 'status': 429", "token", 2},
    };
    g_auto(Scene) scene = {0};
    (void)scene_open_with_ring(&scene, one_key);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        scene_stop(&scene);
        google_cloud_tell(scene.cloud, RESET_COUNTS);
        scene_fault(&scene, cases[i].place, cases[i].fault);
        scene_start(&scene);
        Token *token = scene_token(&scene);
        g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
        g_assert_cmpint(google_cloud_count(scene.cloud, cases[i].place), ==, cases[i].tries);
        assert_slot_signs(slot_of(token, "p256:1"));
    }
}

/* The token says so, and nobody signs with a key that may be another one. */
static void a_public_key_that_stays_damaged_is_not_used(void)
{
    g_auto(Scene) scene = {0};
    (void)scene_open_with_ring(&scene, one_key);
    Token *token =
        scene_restart(&scene, "{'do': 'fault', 'at': 'public-key', 'kind': 'damaged', 'count': 0}");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_FAILED);
    assert_says(token_message(token), "checksum does not match");
    g_assert_cmpuint(token_slots(token)->len, ==, 0);
}

static void a_version_that_google_refuses_does_not_take_the_others_along(void)
{
    static const char *const options[] = {"--key=one=EC_SIGN_P256_SHA256", "--key=two=EC_SIGN_P256_SHA256",
                                          NULL};
    g_auto(Scene) scene = {0};
    (void)scene_open_with_ring(&scene, options);
    Token *token =
        scene_restart(&scene, "{'do': 'fault', 'at': 'public-key', 'kind': 'status', 'status': 403}");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    g_assert_cmpuint(token_slots(token)->len, ==, 1);
    assert_slot_signs(token_slots(token)->pdata[0]);
    scene_reload(&scene, token);
    g_assert_cmpuint(token_slots(token)->len, ==, 2);

    token = scene_restart(&scene,
                          "{'do': 'fault', 'at': 'public-key', 'kind': 'status', 'status': 403, 'count': 0}");
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_FAILED);
    assert_says(token_message(token), "cloudkms.cryptoKeyVersions.viewPublicKey");
}

static void a_used_up_quota_waits_inside_the_deadline(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    scene_fault(&scene, "sign", "'kind': 'status', 'status': 429, 'retry_after': 1");
    gint64 began = g_get_monotonic_time();
    assert_slot_signs(slot_of(token, "p256:1"));
    g_assert_cmpint(g_get_monotonic_time() - began, >=, G_TIME_SPAN_SECOND);
    scene_fault(&scene, "sign", "'kind': 'status', 'status': 429, 'retry_after': 30");
    began = g_get_monotonic_time();
    g_autofree char *sentence =
        assert_fails_within(slot_of(token, "p256:1"), 20000, IOTHSM_ERROR_LIMITS_EXCEEDED);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 10 * G_TIME_SPAN_SECOND);
}

/* What Google said tells more than that the time was over. */
static void a_busy_google_is_named_when_the_time_is_over(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    scene_fault(&scene, "sign", "'kind': 'status', 'status': 503");
    scene_fault(&scene, "sign", "'kind': 'slow', 'milliseconds': 600000, 'count': 0");
    g_autofree char *sentence = assert_fails_within(slot_of(token, "p256:1"), 3000, IOTHSM_ERROR_LINK_DOWN);
    assert_says(sentence, "own error 503");
}

static bool is_failed(void *token)
{
    return token_state(token) == TOKEN_STATE_FAILED;
}

static bool is_ready(void *token)
{
    return token_state(token) == TOKEN_STATE_READY;
}

static void a_ring_without_network_heals_by_itself(void)
{
    g_auto(Scene) scene = {0};
    (void)scene_open_with_ring(&scene, one_key);
    scene_stop(&scene);
    google_cloud_stop(scene.cloud);
    scene_start(&scene);
    Token *token = scene_token(&scene);
    test_wait_for(is_failed, token, 60);
    assert_says(token_message(token), "No connection to 127.0.0.1");
    google_cloud_start_again(scene.cloud);
    test_wait_for(is_ready, token, 60);
    assert_slot_signs(slot_of(token, "p256:1"));

    google_cloud_stop(scene.cloud);
    g_autofree char *sentence = assert_fails_within(slot_of(token, "p256:1"), 30000, IOTHSM_ERROR_LINK_DOWN);
    assert_says(sentence, "No connection to 127.0.0.1");
    google_cloud_start_again(scene.cloud);
    assert_slot_signs(slot_of(token, "p256:1"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/google-kms/" #function, function)
    ADD(what_passes_is_tried_again);
    ADD(what_stays_ends_in_a_sentence);
    ADD(what_passes_while_keys_are_listed_is_tried_again);
    ADD(a_public_key_that_stays_damaged_is_not_used);
    ADD(a_version_that_google_refuses_does_not_take_the_others_along);
    ADD(a_used_up_quota_waits_inside_the_deadline);
    ADD(a_busy_google_is_named_when_the_time_is_over);
    ADD(a_ring_without_network_heals_by_itself);
    return g_test_run();
}
