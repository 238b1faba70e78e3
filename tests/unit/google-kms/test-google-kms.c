/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A key ring as a token, against a Google Cloud of one's own with real keys: what it signs is verified, and
 * what that costs is counted. */

#include "tests/unit/google-kms/scene.h"

static const char *const keys[] = {
    "--key=p256=EC_SIGN_P256_SHA256",           "--key=p384=EC_SIGN_P384_SHA384",
    "--key=p521=EC_SIGN_P521_SHA512",           "--key=ed25519=EC_SIGN_ED25519",
    "--key=rsa2048=RSA_SIGN_PKCS1_2048_SHA256", "--key=rsa4096=RSA_SIGN_PKCS1_4096_SHA512",
    "--key=pss2048=RSA_SIGN_PSS_2048_SHA256",   "--key=disk=GOOGLE_SYMMETRIC_ENCRYPTION/SOFTWARE",
    "--key=bitcoin=EC_SIGN_SECP256K1_SHA256",   NULL,
};

/* --- what there is ------------------------------------------------------------------------------------ */

static void usable_key_versions_are_slots_and_their_algorithm_decides_the_digest(void)
{
    static const struct {
        const char *slot;
        const char *type;
        int signature;
    } expected[] = {
        {"ed25519:1", "ed25519", NID_ED25519},
        {"p256:1", "p256", NID_ecdsa_with_SHA256},
        {"p384:1", "p384", NID_ecdsa_with_SHA384},
        {"p521:1", "p521", NID_ecdsa_with_SHA512},
        {"pss2048:1", "rsa2048", NID_rsassaPss},
        {"rsa2048:1", "rsa2048", NID_sha256WithRSAEncryption},
        {"rsa4096:1", "rsa4096", NID_sha512WithRSAEncryption},
    };
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, keys);
    g_assert_cmpstr(token_kind(token), ==, "google-kms");
    g_assert_cmpstr(token_label(token), ==, "authorities");
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_NOT_NEEDED);
    g_assert_cmpuint(token_slots(token)->len, ==, G_N_ELEMENTS(expected));
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        Slot *slot = g_ptr_array_index(token_slots(token), i);
        g_assert_cmpstr(slot_name(slot), ==, expected[i].slot);
        g_assert_cmpstr(slot_key_type(slot), ==, expected[i].type);
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
        g_autoptr(X509) certificate = certificate_by(slot);
        g_assert_cmpint(X509_get_signature_nid(certificate), ==, expected[i].signature);
    }
}

static void a_rotated_key_has_both_versions_after_a_reload(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    google_cloud_tell(scene.cloud, "{'do': 'rotate', 'key': 'p256'}");
    assert_slot_signs(slot_of(token, "p256:1"));
    g_assert_null(token_find_slot(token, "p256:2"));
    scene_reload(&scene, token);
    assert_slot_signs(slot_of(token, "p256:1"));
    assert_slot_signs(slot_of(token, "p256:2"));
}

static bool is_without_slots(void *token)
{
    return token_slots(token)->len == 0;
}

static void a_key_that_is_gone_is_noticed_at_its_next_use(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    google_cloud_tell(scene.cloud, "{'do': 'forget-key', 'key': 'p256'}");
    g_autofree char *sentence = assert_fails_within(slot_of(token, "p256:1"), 30000, IOTHSM_ERROR_SLOT_EMPTY);
    assert_says(sentence, "p256:1");
    test_wait_for(is_without_slots, token, 60);
}

static void a_version_that_is_not_enabled_is_named(void)
{
    static const char *const states[] = {"DISABLED", "DESTROY_SCHEDULED", "DESTROYED"};
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    for (guint i = 0; i < G_N_ELEMENTS(states); i++) {
        g_autofree char *tell =
            g_strdup_printf("{'do': 'state', 'version': 'p256/1', 'state': '%s'}", states[i]);
        google_cloud_tell(scene.cloud, tell);
        g_autofree char *sentence =
            assert_fails_within(slot_of(token, "p256:1"), 30000, IOTHSM_ERROR_CLOUD_REFUSED);
        assert_says(sentence, "p256:1");
        assert_says(sentence, states[i]);
    }
    google_cloud_tell(scene.cloud, "{'do': 'state', 'version': 'p256/1', 'state': 'ENABLED'}");
    assert_slot_signs(slot_of(token, "p256:1"));
    google_cloud_tell(scene.cloud, "{'do': 'state', 'version': 'p256/1', 'state': 'DISABLED'}");
    scene_reload(&scene, token);
    g_assert_cmpuint(token_slots(token)->len, ==, 0);
}

/* --- what it costs ------------------------------------------------------------------------------------ */

static void a_thousand_signatures_read_nothing(void)
{
    enum { SIGNATURES = 1000 };
    g_auto(Scene) scene = {0};
    (void)scene_open_with_ring(&scene, one_key);
    Token *token = scene_restart(&scene, RESET_COUNTS);
    /* A page of keys, a page of versions, a public key. */
    g_assert_cmpint(google_cloud_count(scene.cloud, "reads"), ==, 3);

    gint64 began = g_get_monotonic_time();
    g_autofree Job *jobs = g_new0(Job, SIGNATURES);
    for (guint i = 0; i < SIGNATURES; i++)
        job_start(&jobs[i], slot_of(token, "p256:1"), 120000);
    for (guint i = 0; i < SIGNATURES; i++) {
        test_wait(&jobs[i].ending.done, 120);
        g_assert_no_error(jobs[i].ending.error);
        job_clear(&jobs[i]);
    }
    g_test_message("%d signatures in %.2f s", SIGNATURES,
                   (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC);
    g_assert_cmpint(google_cloud_count(scene.cloud, "reads"), ==, 3);
    g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==, SIGNATURES);
    g_assert_cmpint(google_cloud_count(scene.cloud, "signatures"), ==, SIGNATURES);
    g_assert_cmpint(google_cloud_count(scene.cloud, "token"), ==, 1);
    /* One for each signature under way, and what the token and the keys were read over. */
    g_assert_cmpint(google_cloud_count(scene.cloud, "connections"), <=, 16 + 2);
}

/* And who closes the ring does not wait for them. */
static void several_requests_of_one_key_are_in_flight(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    scene_fault(&scene, "sign", "'kind': 'slow', 'count': 0, 'milliseconds': 600000");
    Job jobs[20] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++)
        job_start(&jobs[i], slot_of(token, "p256:1"), 600000);
    google_cloud_wait_for(scene.cloud, "signing", 16);
    g_assert_cmpint(google_cloud_count(scene.cloud, "signing"), ==, 16);
    scene_stop(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++) {
        ending_fails(&jobs[i].ending, IOTHSM_ERROR_TOKEN_GONE);
        job_clear(&jobs[i]);
    }
}

/* A list that hangs would keep it for ten seconds a page. */
static void a_ring_that_is_closed_does_not_wait_for_its_list(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    google_cloud_tell(scene.cloud, RESET_COUNTS);
    scene_fault(&scene, "keys", "'kind': 'slow', 'count': 0, 'milliseconds': 600000");
    g_auto(Ending) read = {0};
    fixture_reload(scene.fixture);
    token_refresh(token, ending_done, &read);
    google_cloud_wait_for(scene.cloud, "keys", 1);
    gint64 began = g_get_monotonic_time();
    scene_stop(&scene);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 8 * G_TIME_SPAN_SECOND);
    g_assert_error(read.error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
}

/* --- certificates ------------------------------------------------------------------------------------- */

static void a_certificate_lives_in_the_state_directory(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    g_autoptr(X509) certificate = certificate_by(slot_of(token, "p256:1"));
    g_auto(Ending) written = {0};
    slot_write_certificate(slot_of(token, "p256:1"), certificate, NULL, ending_done, &written);
    ending_ok(&written);
    g_assert_cmpint(slot_state(slot_of(token, "p256:1")), ==, SLOT_STATE_PROVISIONED);
    scene_stop(&scene);
    scene_start(&scene);
    token = scene_token(&scene);
    g_assert_cmpint(X509_cmp(slot_certificate(slot_of(token, "p256:1")), certificate), ==, 0);

    /* It is read once: writing and clearing cost Google nothing. */
    google_cloud_tell(scene.cloud, RESET_COUNTS);
    g_auto(Ending) cleared = {0};
    slot_clear(slot_of(token, "p256:1"), NULL, ending_done, &cleared);
    ending_ok(&cleared);
    g_assert_cmpint(slot_state(slot_of(token, "p256:1")), ==, SLOT_STATE_KEY_ONLY);
    g_auto(Ending) again = {0};
    slot_clear(slot_of(token, "p256:1"), NULL, ending_done, &again);
    ending_fails(&again, IOTHSM_ERROR_SLOT_EMPTY);
    assert_says(again.error->message, "managed in Google Cloud");
    g_assert_cmpint(google_cloud_count(scene.cloud, "reads"), ==, 0);
    assert_slot_signs(slot_of(token, "p256:1"));
}

static void keys_are_made_in_google_cloud_alone(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    g_auto(Ending) generated = {0};
    token_generate_key(token, "", KEY_TYPE_P256, NULL, NULL, ending_text, &generated);
    ending_fails(&generated, IOTHSM_ERROR_UNSUPPORTED);
    assert_says(generated.error->message, "managed in Google Cloud");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_key_pem(key, NULL);
    g_autoptr(Secret) secret = secret_of(pem);
    g_auto(Ending) imported = {0};
    token_import_key(token, "", secret, NULL, NULL, NULL, ending_text, &imported);
    ending_fails(&imported, IOTHSM_ERROR_UNSUPPORTED);
    assert_says(imported.error->message, "managed in Google Cloud");
    g_auto(Ending) pin = {0};
    g_autoptr(Secret) digits = secret_of("123456");
    token_set_pin(token, digits, false, NULL, ending_done, &pin);
    ending_fails(&pin, IOTHSM_ERROR_UNSUPPORTED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/google-kms/" #function, function)
    ADD(usable_key_versions_are_slots_and_their_algorithm_decides_the_digest);
    ADD(a_rotated_key_has_both_versions_after_a_reload);
    ADD(a_key_that_is_gone_is_noticed_at_its_next_use);
    ADD(a_version_that_is_not_enabled_is_named);
    ADD(a_thousand_signatures_read_nothing);
    ADD(several_requests_of_one_key_are_in_flight);
    ADD(a_ring_that_is_closed_does_not_wait_for_its_list);
    ADD(a_certificate_lives_in_the_state_directory);
    ADD(keys_are_made_in_google_cloud_alone);
    return g_test_run();
}
