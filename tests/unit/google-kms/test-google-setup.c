/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How a key ring becomes a token: the credentials, the walk to it through Google Cloud, the check before it
 * is added, and several of them side by side. */

#include "tests/unit/google-kms/scene.h"

/* --- credentials -------------------------------------------------------------------------------------- */

static void an_access_token_is_renewed_before_it_expires(void)
{
    static const char *const options[] = {"--key=p256=EC_SIGN_P256_SHA256", "--token-life=12", NULL};
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, options);
    google_cloud_tell(scene.cloud, RESET_COUNTS);
    gint64 start = g_get_monotonic_time(), renewals = 0, passed = 0;
    while (renewals < 2 && passed < 60) {
        assert_slot_signs(slot_of(token, "p256:1"));
        renewals = google_cloud_count(scene.cloud, "token");
        passed = (g_get_monotonic_time() - start) / G_TIME_SPAN_SECOND;
    }
    g_assert_cmpint(renewals, ==, 2);
    g_assert_cmpint(passed, >=, 1); /* not one for each signature */
    g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==,
                    google_cloud_count(scene.cloud, "signatures"));
}

static void a_token_that_was_taken_back_is_renewed_once_for_all(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    google_cloud_tell(scene.cloud, "{'do': 'tokens', 'expire': true}");
    google_cloud_tell(scene.cloud, RESET_COUNTS);
    Job jobs[16] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++)
        job_start(&jobs[i], slot_of(token, "p256:1"), 30000);
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++) {
        ending_ok(&jobs[i].ending);
        job_clear(&jobs[i]);
    }
    g_assert_cmpint(google_cloud_count(scene.cloud, "token"), ==, 1);
}

static void the_metadata_server_serves_a_machine_in_google_cloud(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene, one_key);
    Token *token = scene_add_ring(&scene, NULL);
    assert_slot_signs(slot_of(token, "p256:1"));
    g_assert_cmpint(google_cloud_count(scene.cloud, "metadata"), >=, 1);
    g_assert_cmpint(google_cloud_count(scene.cloud, "token"), ==, 0);
}

static void credentials_that_google_does_not_take_are_named(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene, one_key);
    g_autoptr(Secret) secret = scene_credentials(&scene, "signer");
    scene_fault(&scene, "token", "'kind': 'status', 'status': 400, 'count': 0");
    g_auto(Ending) added = {0};
    google_kms_source_add(scene.fixture->source, RING, secret, NULL, ending_text, &added);
    ending_fails(&added, IOTHSM_ERROR_CLOUD_REFUSED);
    assert_says(added.error->message, "signer@");
    g_auto(Ending) nonsense = {0};
    g_autoptr(Secret) text = secret_of("{\"type\": \"authorized_user\"}");
    google_kms_source_add(scene.fixture->source, RING, text, NULL, ending_text, &nonsense);
    ending_fails(&nonsense, IOTHSM_ERROR_INVALID);
    g_assert_cmpuint(scene.fixture->tokens->len, ==, 0);
}

/* No file of the daemon's holds what a thief could use. */
static void nothing_of_the_credentials_lies_open_on_disk(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    assert_slot_signs(slot_of(token, "p256:1"));
    const char *const secrets[] = {"PRIVATE KEY", "private_key", "ya29."};
    for (guint i = 0; i < G_N_ELEMENTS(secrets); i++) {
        g_autofree char *found =
            test_run((const char *const[]){"grep", "-rlaF", secrets[i], scene.directory, NULL}, NULL, 1);
        g_assert_true(!found || !*found);
    }
}

/* --- setting up --------------------------------------------------------------------------------------- */

static JsonObject *browse(Scene *scene, const char *parent)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) secret = scene_credentials(scene, "signer");
    g_auto(Ending) ending = {0};
    google_kms_browse(scene->fixture->source, parent, secret, NULL, ending_text, &ending);
    ending_ok(&ending);
    g_autoptr(JsonNode) node = json_from_string(ending.text, &error);
    g_assert_no_error(error);
    return json_node_dup_object(node);
}

static bool lists(JsonObject *listing, const char *name)
{
    JsonArray *children = json_object_get_array_member(listing, "children");
    for (guint i = 0; i < json_array_get_length(children); i++)
        if (g_str_equal(json_object_get_string_member(json_array_get_object_element(children, i), "name"),
                        name))
            return true;
    return false;
}

static void the_walk_to_a_key_ring_reads_every_page(void)
{
    static const char *const options[] = {"--page-size=1", "--key=one=EC_SIGN_P256_SHA256",
                                          "--key=two=EC_SIGN_P384_SHA384", NULL};
    static const char *const steps[] = {"", "projects/home-pki", "projects/home-pki/locations/europe-west3",
                                        RING};
    g_auto(Scene) scene = {0};
    scene_open(&scene, options);
    for (guint i = 0; i + 1 < G_N_ELEMENTS(steps); i++) {
        g_autoptr(JsonObject) listing = browse(&scene, steps[i]);
        g_assert_true(lists(listing, steps[i + 1]));
        g_assert_cmpuint(json_array_get_length(json_object_get_array_member(listing, "children")), >=, 2);
    }
    g_autoptr(JsonObject) slots = browse(&scene, RING);
    g_assert_true(lists(slots, "two:1"));
    g_auto(Ending) ending = {0};
    google_kms_browse(scene.fixture->source, "folders/1", NULL, NULL, ending_text, &ending);
    ending_fails(&ending, IOTHSM_ERROR_INVALID);
}

/* Each is given up after a minute only. */
static void a_reload_does_not_wait_for_who_looks_around(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene, one_key);
    g_autoptr(Secret) secret = scene_credentials(&scene, "signer");
    scene_fault(&scene, "projects", "'kind': 'slow', 'count': 0, 'milliseconds': 600000");
    Ending browsed[4] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(browsed); i++)
        google_kms_browse(scene.fixture->source, "", secret, NULL, ending_text, &browsed[i]);
    google_cloud_wait_for(scene.cloud, "projects", 1);
    fixture_reload(scene.fixture);
    for (guint i = 0; i < G_N_ELEMENTS(browsed); i++)
        g_assert_false(browsed[i].done);
    scene_stop(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(browsed); i++) {
        ending_fails(&browsed[i], IOTHSM_ERROR_TOKEN_GONE);
        ending_clear(&browsed[i]);
    }
}

static void a_missing_permission_is_named_with_its_role(void)
{
    g_auto(Scene) scene = {0};
    scene_open(&scene, one_key);
    g_autoptr(Secret) secret = scene_credentials(&scene, "viewer");
    g_auto(Ending) checked = {0};
    google_kms_check(scene.fixture->source, RING, secret, NULL, ending_text, &checked);
    ending_ok(&checked);
    assert_says(checked.text, "\"permission\":\"cloudkms.cryptoKeyVersions.useToSign\"");
    assert_says(checked.text, "\"ready\":false");
    g_auto(Ending) added = {0};
    google_kms_source_add(scene.fixture->source, RING, secret, NULL, ending_text, &added);
    ending_fails(&added, IOTHSM_ERROR_CLOUD_REFUSED);
    assert_says(added.error->message, "cloudkms.cryptoKeyVersions.useToSign");
    assert_says(added.error->message, "roles/cloudkms.signerVerifier");
    assert_says(added.error->message, "viewer@");
    g_assert_cmpuint(scene.fixture->tokens->len, ==, 0);
    g_autofree char *folder = g_build_filename(scene.directory, "google-kms", NULL);
    g_assert_false(g_file_test(folder, G_FILE_TEST_EXISTS));
    g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==, 0);
}

static void a_check_makes_one_trial_signature(void)
{
    static const char *const algorithms[] = {"--key=k=EC_SIGN_P384_SHA384", "--key=k=EC_SIGN_ED25519",
                                             "--key=k=RSA_SIGN_PSS_2048_SHA256"};
    for (guint i = 0; i < G_N_ELEMENTS(algorithms); i++) {
        const char *const options[] = {algorithms[i], NULL};
        g_auto(Scene) scene = {0};
        scene_open(&scene, options);
        g_autoptr(Secret) secret = scene_credentials(&scene, "signer");
        g_auto(Ending) checked = {0};
        google_kms_check(scene.fixture->source, RING, secret, NULL, ending_text, &checked);
        ending_ok(&checked);
        assert_says(checked.text, "\"ready\":true");
        assert_says(checked.text, "\"trial\":\"k:1\"");
        g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==, 1);
    }
}

static void a_ring_is_added_once_and_can_be_removed(void)
{
    g_auto(Scene) scene = {0};
    Token *token = scene_open_with_ring(&scene, one_key);
    g_autoptr(X509) certificate = certificate_by(slot_of(token, "p256:1"));
    g_auto(Ending) written = {0};
    slot_write_certificate(slot_of(token, "p256:1"), certificate, NULL, ending_done, &written);
    ending_ok(&written);
    g_auto(Ending) again = {0};
    google_kms_source_add(scene.fixture->source, RING, NULL, NULL, ending_text, &again);
    ending_fails(&again, IOTHSM_ERROR_INVALID);
    g_auto(Ending) removed = {0};
    google_kms_source_remove(scene.fixture->source, SERIAL, ending_done, &removed);
    ending_ok(&removed);
    g_assert_cmpuint(scene.fixture->tokens->len, ==, 0);
    g_autofree char *left = TEST_RUN("find", scene.directory, "-path", "*authorities*");
    g_assert_true(!left || !*left);
    g_auto(Ending) unknown = {0};
    google_kms_source_remove(scene.fixture->source, SERIAL, ending_done, &unknown);
    ending_fails(&unknown, IOTHSM_ERROR_NO_SUCH_TOKEN);
    (void)scene_add_ring(&scene, "signer");
}

/* --- several key rings -------------------------------------------------------------------------------- */

#define OTHER_RING "projects/shop/locations/us-east1/keyRings/orders"
#define OTHER_SERIAL "shop:us-east1:orders"

static void add_with(Scene *scene, const char *key_ring, const char *account, Ending *ending)
{
    g_autoptr(Secret) secret = scene_credentials(scene, account);
    google_kms_source_add(scene->fixture->source, key_ring, secret, NULL, ending_text, ending);
}

/* An account per ring, each without any right on the other's, and still so after a restart. */
static void key_rings_have_credentials_of_their_own(void)
{
#define GRANTS(ring) "roles/cloudkms.viewer@" ring ",roles/cloudkms.signerVerifier@" ring
    static const char *const options[] = {
        "--key=p256=EC_SIGN_P256_SHA256", "--key=" OTHER_RING "/cryptoKeys/p384=EC_SIGN_P384_SHA384",
        "--account=signer:" GRANTS(RING), "--account=clerk:" GRANTS(OTHER_RING), NULL};
    g_auto(Scene) scene = {0};
    (void)scene_open_with_ring(&scene, options);
    g_auto(Ending) wrong = {0};
    add_with(&scene, OTHER_RING, "signer", &wrong);
    ending_fails(&wrong, IOTHSM_ERROR_CLOUD_REFUSED);
    g_auto(Ending) added = {0};
    add_with(&scene, OTHER_RING, "clerk", &added);
    ending_ok(&added);
    scene_stop(&scene);
    scene_start(&scene);
    Token *token = scene_token(&scene);
    Token *other = fixture_token(scene.fixture, OTHER_SERIAL);
    assert_slot_signs(slot_of(token, "p256:1"));
    assert_slot_signs(slot_of(other, "p384:1"));
    google_cloud_tell(scene.cloud, "{'do': 'grant', 'account': 'clerk', 'grants': ''}");
    g_autofree char *sentence =
        assert_fails_within(slot_of(other, "p384:1"), 30000, IOTHSM_ERROR_CLOUD_REFUSED);
    assert_says(sentence, "clerk@");
    assert_says(sentence, "roles/cloudkms.signerVerifier");
    assert_slot_signs(slot_of(token, "p256:1"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/google-kms/" #function, function)
    ADD(an_access_token_is_renewed_before_it_expires);
    ADD(a_token_that_was_taken_back_is_renewed_once_for_all);
    ADD(the_metadata_server_serves_a_machine_in_google_cloud);
    ADD(credentials_that_google_does_not_take_are_named);
    ADD(nothing_of_the_credentials_lies_open_on_disk);
    ADD(the_walk_to_a_key_ring_reads_every_page);
    ADD(a_reload_does_not_wait_for_who_looks_around);
    ADD(a_missing_permission_is_named_with_its_role);
    ADD(a_check_makes_one_trial_signature);
    ADD(a_ring_is_added_once_and_can_be_removed);
    ADD(key_rings_have_credentials_of_their_own);
    return g_test_run();
}
