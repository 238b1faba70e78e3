/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A CA whose key is in Google Cloud when Google refuses it, and what becomes of everybody else when Google
 * does not answer. The key ring is in the state directory from the start, by the machine's account. */

#include "tests/end-to-end/signed.h"
#include "tests/google-kms/test/google-cloud.h"
#include <glib/gstdio.h>
#include <string.h>

#define RING "projects/home-pki/locations/europe-west3/keyRings/authorities"

typedef struct CloudScene {
    Scene *scene;
    GoogleCloud *cloud;
} CloudScene;

/* The daemon knows the key ring by the machine's account. */
static CloudScene cloud_scene_begin(const char *const *options)
{
    CloudScene cloud_scene = {.scene = scene_new("")};
    g_autofree char *world = test_directory();
    cloud_scene.cloud = google_cloud_start(world, options);
    google_cloud_tell(cloud_scene.cloud, "{'do': 'make-keys'}");
    const char *url = google_cloud_url(cloud_scene.cloud);
    g_autofree char *folder =
        g_build_filename(fixture_state_directory(scene_fixture(cloud_scene.scene)), "google-kms", NULL);
    g_assert_cmpint(g_mkdir_with_parents(folder, 0700), ==, 0);
    g_autofree char *ring = test_write(folder, "home-pki%3Aeurope-west3%3Aauthorities.json",
                                       "{\"keyRing\":\"" RING "\",\"credentials\":\"metadata\"}");
    g_autofree char *limits =
        g_strdup_printf("[GoogleKms]\nKmsUrl=%s\nResourceManagerUrl=%s\nMetadataUrl=%s\n", url, url, url);
    scene_start(cloud_scene.scene, limits, NULL);
    /* The service is ready before Google has said what there is. */
    Fixture *fixture = scene_fixture(cloud_scene.scene);
    g_auto(GStrv) tokens = fixture_objects(fixture, TOKEN_INTERFACE);
    g_assert_cmpuint(g_strv_length(tokens), ==, 1);
    fixture_wait_string(fixture, tokens[0], TOKEN_INTERFACE, "State", "ready", 60);
    return cloud_scene;
}

static void cloud_scene_end(CloudScene *cloud_scene)
{
    g_autofree char *log = fixture_log(scene_fixture(cloud_scene->scene));
    g_assert_null(strstr(log, "ya29."));
    scene_free(cloud_scene->scene);
    google_cloud_free(cloud_scene->cloud);
}

static char *create_ca(Scene *scene, const char *name)
{
    g_autofree char *file_name = g_strdup_printf("%s-template.pem", name);
    char *file = scene_path(scene, file_name);
    g_autofree char *created = scene_platform(scene, 0, "create-ca --name=$1 --out=$2", name, file, NULL);
    return file;
}

/* Transfer full: its certificate. */
static char *make_root(Scene *scene, const char *name, const char *place)
{
    g_autofree char *template_file = create_ca(scene, name);
    g_autofree char *file_name = g_strdup_printf("%s.pem", name);
    char *certificate_file = scene_path(scene, file_name);
    g_autofree char *made =
        scene_control("self-sign $1 $2 --output=$3", place, template_file, certificate_file, NULL);
    g_autofree char *verified =
        TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", certificate_file, certificate_file);
    scene_register(scene, name, certificate_file);
    return certificate_file;
}

static const char *const one_key[] = {"--key=p384=EC_SIGN_P384_SHA384", NULL};

/* Among Google's algorithms, not among those that PKIaaS.io documents. */
static void a_root_with_pss_signs_everything(void)
{
    static const char *const options[] = {"--key=pss=RSA_SIGN_PSS_2048_SHA256", NULL};
    CloudScene cloud_scene = cloud_scene_begin(options);
    Scene *scene = cloud_scene.scene;
    g_autofree char *ca_file = make_root(scene, "Salt", "authorities/pss:1");
    g_autofree char *leaf = scene_path(scene, "leaf.pem");
    assert_certificate(scene, "Salt", ca_file);
    g_autofree char *text = TEST_RUN("openssl", "x509", "-in", leaf, "-noout", "-text");
    g_assert_nonnull(strstr(text, "Signature Algorithm: rsassaPss"));
    assert_crl(scene, "Salt", ca_file);
    assert_cms(scene, "Salt", ca_file);
    cloud_scene_end(&cloud_scene);
}

/* --- when Google does not answer ----------------------------------------------------------------------- */

enum { MEASURED = 5, HANGING = 20 };

static int by_time(gconstpointer a, gconstpointer b)
{
    return (*(const gint64 *)a > *(const gint64 *)b) - (*(const gint64 *)a < *(const gint64 *)b);
}

/* Microseconds that a certificate takes from the platform's command to its end, in the middle. */
static gint64 measure(Scene *scene, const char *ca)
{
    gint64 times[MEASURED];
    for (int i = 0; i < MEASURED; i++) {
        gint64 began = g_get_monotonic_time();
        g_autofree char *serial = scene_sign(scene, ca);
        times[i] = g_get_monotonic_time() - began;
    }
    qsort(times, MEASURED, sizeof times[0], by_time);
    return times[MEASURED / 2];
}

static void other_tokens_are_not_slowed_when_google_does_not_answer(void)
{
    CloudScene cloud_scene = cloud_scene_begin(one_key);
    Scene *scene = cloud_scene.scene;
    g_autofree char *cloud_file = make_root(scene, "Cloud", "authorities/p384:1");
    scene_token(scene, "Home");
    g_autofree char *home_file = scene_root(scene, "Home", "Home/01", "p384");
    scene_assert_works(scene, "Home");
    gint64 before = measure(scene, "Home");

    google_cloud_tell(cloud_scene.cloud, "{'do': 'fault', 'kind': 'slow', 'at': 'any', 'count': 0, "
                                         "'milliseconds': 600000}");
    GSubprocess *hanging[HANGING];
    for (int i = 0; i < HANGING; i++)
        hanging[i] = scene_begin_platform(scene, "sign-csr --ca=Cloud --name=a.example.test --ttl=60", NULL);
    google_cloud_wait_for(cloud_scene.cloud, "signing", 16);
    gint64 during = measure(scene, "Home");
    g_assert_cmpint(google_cloud_count(cloud_scene.cloud, "signing"), >=, 16);
    g_test_message(
        "a certificate by a SoftHSM2 token took %.1f ms, and %.1f ms while %d requests hung at Google",
        (double)before / 1000, (double)during / 1000, HANGING);
    g_assert_cmpint(during, <, 5 * before + G_TIME_SPAN_SECOND); /* hung with it, it is 10 s */
    for (int i = 0; i < HANGING; i++) {
        g_subprocess_force_exit(hanging[i]);
        g_object_unref(hanging[i]);
    }
    google_cloud_tell(cloud_scene.cloud, "{'do': 'clear-faults'}");
    cloud_scene_end(&cloud_scene);
}

/* The platform is told in its words; the log has Google's. */
static void a_refusal_is_told_and_logged(void)
{
    CloudScene cloud_scene = cloud_scene_begin(one_key);
    Scene *scene = cloud_scene.scene;
    g_autofree char *cloud_file = make_root(scene, "Cloud", "authorities/p384:1");
    google_cloud_tell(cloud_scene.cloud, "{'do': 'state', 'version': 'p384/1', 'state': 'DISABLED'}");
    g_autofree char *options = scene_write(scene, "cms.json", "{\"options\":{\"data\":\"text\"}}");
    scene_assert_refused(scene, "HSM is not available", "--ca=Cloud --signtype=cms --json=$1", options, NULL);
    scene_wait_log(scene, "DISABLED");
    google_cloud_tell(cloud_scene.cloud, "{'do': 'state', 'version': 'p384/1', 'state': 'ENABLED'}");
    scene_assert_works(scene, "Cloud");
    cloud_scene_end(&cloud_scene);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define ADD(function) g_test_add_func("/google-outage/" #function, function)
    ADD(a_root_with_pss_signs_everything);
    ADD(other_tokens_are_not_slowed_when_google_does_not_answer);
    ADD(a_refusal_is_told_and_logged);
    return g_test_run();
}
