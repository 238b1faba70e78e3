/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/google-kms/scene.h"
#include <openssl/err.h>
#include <string.h>

#define PATIENCE_MS 30000

const char *const one_key[] = {"--key=p256=EC_SIGN_P256_SHA256", NULL};

void scene_start(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    scene->sealing = sealing_new(scene->directory, scene->directory, &error);
    g_assert_no_error(error);
    const char *url = google_cloud_url(scene->cloud);
    const GoogleEndpoints endpoints = {.kms = url, .resource_manager = url, .metadata = url};
    scene->fixture =
        fixture_new_in(google_kms_source_new(scene->sealing, &endpoints), scene->directory, true);
}

void scene_stop(Scene *scene)
{
    g_clear_pointer(&scene->fixture, fixture_free);
    g_clear_pointer(&scene->sealing, sealing_unref);
}

Token *scene_restart(Scene *scene, const char *tell)
{
    scene_stop(scene);
    google_cloud_tell(scene->cloud, tell);
    scene_start(scene);
    return scene_token(scene);
}

void scene_open(Scene *scene, const char *const *options)
{
    g_autofree char *world = test_directory();
    scene->directory = test_directory();
    scene->cloud = google_cloud_start(world, options);
    google_cloud_tell(scene->cloud, "{'do': 'make-keys'}");
    g_autofree char *key = test_write(scene->directory, "iothsm.key", "0123456789abcdef0123456789abcdef");
    scene_start(scene);
}

Token *scene_open_with_ring(Scene *scene, const char *const *options)
{
    scene_open(scene, options);
    return scene_add_ring(scene, "signer");
}

void scene_clear(Scene *scene)
{
    scene_stop(scene);
    g_clear_pointer(&scene->cloud, google_cloud_free);
    g_clear_pointer(&scene->directory, g_free);
}

void scene_reload(Scene *scene, Token *token)
{
    g_auto(Ending) read = {0};
    fixture_reload(scene->fixture);
    token_refresh(token, ending_done, &read);
    ending_ok(&read);
}

void scene_fault(Scene *scene, const char *at, const char *how)
{
    g_autofree char *tell = g_strdup_printf("{'do': 'fault', 'at': '%s', %s}", at, how);
    g_test_message("%s", tell);
    google_cloud_tell(scene->cloud, tell);
}

Secret *scene_credentials(const Scene *scene, const char *account)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = google_cloud_credentials(scene->cloud, account);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, &error));
    return secret_of(text);
}

Token *scene_token(const Scene *scene)
{
    return fixture_token(scene->fixture, SERIAL);
}

Token *scene_add_ring(Scene *scene, const char *account)
{
    g_autoptr(Secret) secret = account ? scene_credentials(scene, account) : NULL;
    g_auto(Ending) added = {0};
    google_kms_source_add(scene->fixture->source, RING, secret, NULL, ending_text, &added);
    ending_ok(&added);
    g_assert_cmpstr(added.text, ==, SERIAL);
    Token *token = scene_token(scene);
    if (token_state(token) != TOKEN_STATE_READY)
        g_error("%s", token_message(token));
    return token;
}

Slot *slot_of(Token *token, const char *name)
{
    Slot *slot = token_find_slot(token, name);
    if (!slot)
        g_error("there is no slot %s", name);
    return slot;
}

static bool sign_certificate(EVP_PKEY *key, void *data, GError **error)
{
    Job *job = data;
    if (X509_sign(job->certificate, key, digest_for_key(key, NULL)) > 0)
        return true;
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "The CA key could not sign");
    return false;
}

void job_start(Job *job, Slot *slot, gint64 milliseconds)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) any = test_key("p256");
    job->certificate = test_ca("Cloud", any);
    g_assert_cmpint(X509_set_pubkey(job->certificate, slot_public_key(slot)), ==, 1);
    bool taken = slot_use_key(slot, sign_certificate, job, NULL,
                              g_get_monotonic_time() + milliseconds * G_TIME_SPAN_MILLISECOND, NULL,
                              ending_done, &job->ending, &error);
    g_assert_no_error(error);
    g_assert_true(taken);
}

void job_clear(Job *job)
{
    g_clear_pointer(&job->certificate, X509_free);
    ending_clear(&job->ending);
}

void job_ok(Job *job, Slot *slot)
{
    ending_ok(&job->ending);
    g_assert_cmpint(X509_verify(job->certificate, slot_public_key(slot)), ==, 1);
}

X509 *certificate_by(Slot *slot)
{
    g_auto(Job) job = {0};
    job_start(&job, slot, PATIENCE_MS);
    job_ok(&job, slot);
    return g_steal_pointer(&job.certificate);
}

void assert_slot_signs(Slot *slot)
{
    g_autoptr(X509) certificate = certificate_by(slot);
}

char *assert_fails_within(Slot *slot, gint64 milliseconds, IothsmError code)
{
    g_auto(Job) job = {0};
    job_start(&job, slot, milliseconds);
    ending_fails(&job.ending, code);
    return g_strdup(job.ending.error->message);
}

void assert_says(const char *sentence, const char *words)
{
    if (!strstr(sentence, words))
        g_error("\"%s\" does not say \"%s\"", sentence, words);
}
