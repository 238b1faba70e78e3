/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Key rings as tokens, against a Google Cloud of one's own with real keys: what they sign is verified, what
 * goes wrong ends in the right retry or the right sentence, and what it costs is counted. */

#include "daemon/ca/issue.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/google-kms.h"
#include "tests/google-kms/test/google-cloud.h"
#include "tests/unit/token/fixture.h"
#include <openssl/err.h>
#include <string.h>

#define RING "projects/home-pki/locations/europe-west3/keyRings/authorities"
#define SERIAL "home-pki:europe-west3:authorities"
#define SECONDS 60

static const char *const keys[] = {
    "--key=p256=EC_SIGN_P256_SHA256",           "--key=p384=EC_SIGN_P384_SHA384",
    "--key=p521=EC_SIGN_P521_SHA512",           "--key=ed25519=EC_SIGN_ED25519",
    "--key=rsa2048=RSA_SIGN_PKCS1_2048_SHA256", "--key=rsa4096=RSA_SIGN_PKCS1_4096_SHA512",
    "--key=pss2048=RSA_SIGN_PSS_2048_SHA256",   "--key=disk=GOOGLE_SYMMETRIC_ENCRYPTION/SOFTWARE",
    "--key=bitcoin=EC_SIGN_SECP256K1_SHA256",   NULL,
};

/* One key is enough for what goes wrong. */
static const char *const one_key[] = {"--key=p256=EC_SIGN_P256_SHA256", NULL};

typedef struct Scene {
    char *directory; /* of the daemon */
    GoogleCloud *cloud;
    Sealing *sealing;
    Fixture *fixture;
} Scene;

static void open_source(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    scene->sealing = sealing_new(scene->directory, scene->directory, &error);
    g_assert_no_error(error);
    const char *url = google_cloud_url(scene->cloud);
    const GoogleEndpoints endpoints = {.kms = url, .resource_manager = url, .metadata = url};
    scene->fixture =
        fixture_new_in(google_kms_source_new(scene->sealing, &endpoints), scene->directory, true);
}

static void close_source(Scene *scene)
{
    fixture_free(scene->fixture);
    sealing_unref(scene->sealing);
}

static void scene_open(Scene *scene, const char *const *options)
{
    g_autofree char *world = test_directory();
    scene->directory = test_directory();
    scene->cloud = google_cloud_start(world, options);
    google_cloud_tell(scene->cloud, "{'do': 'make-keys'}");
    g_autofree char *key = test_write(scene->directory, "iothsm.key", "0123456789abcdef0123456789abcdef");
    open_source(scene);
}

static void scene_close(Scene *scene)
{
    close_source(scene);
    google_cloud_free(scene->cloud);
    g_free(scene->directory);
}

static Secret *credentials(const Scene *scene, const char *account)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *path = google_cloud_credentials(scene->cloud, account);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, &error));
    return secret_of(text);
}

/* The key ring becomes a token. */
static Token *add_ring(Scene *scene, const char *account)
{
    g_autoptr(Secret) secret = account ? credentials(scene, account) : NULL;
    g_auto(Ending) added = {0};
    google_kms_source_add(scene->fixture->source, RING, secret, NULL, ending_text, &added);
    ending_ok(&added);
    g_assert_cmpstr(added.text, ==, SERIAL);
    Token *token = fixture_token(scene->fixture, SERIAL);
    if (token_state(token) != TOKEN_STATE_READY)
        g_error("%s", token_message(token));
    return token;
}

static Slot *slot_of(Token *token, const char *name)
{
    Slot *slot = token_find_slot(token, name);
    if (!slot)
        g_error("there is no slot %s", name);
    return slot;
}

static void reload(Scene *scene, Token *token)
{
    g_auto(Ending) read = {0};
    fixture_reload(scene->fixture);
    token_refresh(token, ending_done, &read);
    ending_ok(&read);
}

/* --- one signature ------------------------------------------------------------------------------------ */

typedef struct Job {
    X509 *certificate; /* to be signed */
    Ending ending;
} Job;

static bool sign_certificate(EVP_PKEY *key, void *data, GError **error)
{
    Job *job = data;
    if (X509_sign(job->certificate, key, digest_for_key(key, NULL)) > 0)
        return true;
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "The CA key could not sign");
    return false;
}

static void start_job(Job *job, Slot *slot, gint64 milliseconds)
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

static void clear_job(Job *job)
{
    X509_free(job->certificate);
    ending_clear(&job->ending);
}

static void assert_signs_within(Slot *slot, gint64 milliseconds)
{
    Job job = {0};
    start_job(&job, slot, milliseconds);
    ending_ok(&job.ending);
    g_assert_cmpint(X509_verify(job.certificate, slot_public_key(slot)), ==, 1);
    clear_job(&job);
}

static void assert_slot_signs(Slot *slot)
{
    assert_signs_within(slot, 30000);
}

/* Gives the sentence. Transfer full. */
static char *assert_fails_within(Slot *slot, gint64 milliseconds, IothsmError code)
{
    Job job = {0};
    start_job(&job, slot, milliseconds);
    ending_fails(&job.ending, code);
    char *sentence = g_strdup(job.ending.error->message);
    clear_job(&job);
    return sentence;
}

static void assert_says(const char *sentence, const char *words)
{
    if (!strstr(sentence, words))
        g_error("\"%s\" does not say \"%s\"", sentence, words);
}

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
    Scene scene;
    scene_open(&scene, keys);
    Token *token = add_ring(&scene, "signer");
    g_assert_cmpstr(token_kind(token), ==, "google-kms");
    g_assert_cmpstr(token_label(token), ==, "authorities");
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_NOT_NEEDED);
    g_assert_cmpuint(token_slots(token)->len, ==, G_N_ELEMENTS(expected));
    for (guint i = 0; i < G_N_ELEMENTS(expected); i++) {
        Slot *slot = g_ptr_array_index(token_slots(token), i);
        g_assert_cmpstr(slot_name(slot), ==, expected[i].slot);
        g_assert_cmpstr(slot_key_type(slot), ==, expected[i].type);
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
        Job job = {0};
        start_job(&job, slot, 30000);
        ending_ok(&job.ending);
        g_assert_cmpint(X509_get_signature_nid(job.certificate), ==, expected[i].signature);
        g_assert_cmpint(X509_verify(job.certificate, slot_public_key(slot)), ==, 1);
        clear_job(&job);
    }
    scene_close(&scene);
}

static void a_rotated_key_has_both_versions_after_a_reload(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'rotate', 'key': 'p256'}");
    assert_slot_signs(slot_of(token, "p256:1"));
    g_assert_null(token_find_slot(token, "p256:2"));
    reload(&scene, token);
    assert_slot_signs(slot_of(token, "p256:1"));
    assert_slot_signs(slot_of(token, "p256:2"));
    scene_close(&scene);
}

static bool is_without_slots(void *token)
{
    return token_slots(token)->len == 0;
}

static void a_key_that_is_gone_is_noticed_at_its_next_use(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'forget-key', 'key': 'p256'}");
    g_autofree char *sentence = assert_fails_within(slot_of(token, "p256:1"), 30000, IOTHSM_ERROR_SLOT_EMPTY);
    assert_says(sentence, "p256:1");
    test_wait_for(is_without_slots, token, SECONDS);
    scene_close(&scene);
}

static void a_version_that_is_not_enabled_is_named(void)
{
    static const char *const states[] = {"DISABLED", "DESTROY_SCHEDULED", "DESTROYED"};
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
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
    reload(&scene, token);
    g_assert_cmpuint(token_slots(token)->len, ==, 0);
    scene_close(&scene);
}

/* --- what it costs ------------------------------------------------------------------------------------ */

static void a_thousand_signatures_read_nothing(void)
{
    enum { SIGNATURES = 1000 };
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    close_source(&scene);
    google_cloud_tell(scene.cloud, "{'do': 'reset-counts'}");
    open_source(&scene);
    token = fixture_token(scene.fixture, SERIAL);
    /* A page of keys, a page of versions, a public key. */
    g_assert_cmpint(google_cloud_count(scene.cloud, "reads"), ==, 3);

    gint64 began = g_get_monotonic_time();
    g_autofree Job *jobs = g_new0(Job, SIGNATURES);
    for (guint i = 0; i < SIGNATURES; i++)
        start_job(&jobs[i], slot_of(token, "p256:1"), 120000);
    for (guint i = 0; i < SIGNATURES; i++) {
        test_wait(&jobs[i].ending.done, 120);
        g_assert_no_error(jobs[i].ending.error);
        clear_job(&jobs[i]);
    }
    g_test_message("%d signatures in %.2f s", SIGNATURES,
                   (double)(g_get_monotonic_time() - began) / G_USEC_PER_SEC);
    g_assert_cmpint(google_cloud_count(scene.cloud, "reads"), ==, 3);
    g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==, SIGNATURES);
    g_assert_cmpint(google_cloud_count(scene.cloud, "signatures"), ==, SIGNATURES);
    g_assert_cmpint(google_cloud_count(scene.cloud, "token"), ==, 1);
    scene_close(&scene);
}

/* And who closes the ring does not wait for them. */
static void several_requests_of_one_key_are_in_flight(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'fault', 'kind': 'slow', 'at': 'sign', 'count': 0, "
                                   "'milliseconds': 600000}");
    Job jobs[20] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++)
        start_job(&jobs[i], slot_of(token, "p256:1"), 600000);
    gint64 until = g_get_monotonic_time() + SECONDS * G_TIME_SPAN_SECOND;
    while (google_cloud_count(scene.cloud, "signing") < 16)
        g_assert_cmpint(g_get_monotonic_time(), <, until);
    g_assert_cmpint(google_cloud_count(scene.cloud, "signing"), ==, 16);
    close_source(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++) {
        ending_fails(&jobs[i].ending, IOTHSM_ERROR_TOKEN_GONE);
        clear_job(&jobs[i]);
    }
    open_source(&scene);
    scene_close(&scene);
}

/* A list that hangs would keep it for ten seconds a page. */
static void a_ring_that_is_closed_does_not_wait_for_its_list(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'reset-counts'}");
    google_cloud_tell(scene.cloud,
                      "{'do': 'fault', 'kind': 'slow', 'at': 'keys', 'count': 0, 'milliseconds': 600000}");
    g_auto(Ending) read = {0};
    fixture_reload(scene.fixture);
    token_refresh(token, ending_done, &read);
    while (google_cloud_count(scene.cloud, "keys") == 0)
        g_main_context_iteration(NULL, FALSE);
    gint64 began = g_get_monotonic_time();
    close_source(&scene);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 8 * G_TIME_SPAN_SECOND);
    g_assert_error(read.error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE);
    open_source(&scene);
    scene_close(&scene);
}

/* --- what goes wrong ---------------------------------------------------------------------------------- */

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
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *fault = g_strdup_printf("{'do': 'fault', 'at': 'sign', %s}", cases[i].fault);
        g_test_message("%s", fault);
        google_cloud_tell(scene.cloud, "{'do': 'reset-counts'}");
        google_cloud_tell(scene.cloud, fault);
        assert_slot_signs(slot_of(token, "p256:1"));
        g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==, cases[i].tries);
        g_assert_cmpint(google_cloud_count(scene.cloud, "reads"), ==, 0);
    }
    scene_close(&scene);
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
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *fault =
            g_strdup_printf("{'do': 'fault', 'at': 'sign', 'count': 0, %s}", cases[i].fault);
        g_test_message("%s", fault);
        google_cloud_tell(scene.cloud, fault);
        g_autofree char *sentence =
            assert_fails_within(slot_of(token, "p256:1"), cases[i].milliseconds, cases[i].code);
        assert_says(sentence, cases[i].words);
        google_cloud_tell(scene.cloud, "{'do': 'clear-faults'}");
        assert_slot_signs(slot_of(token, "p256:1"));
    }
    scene_close(&scene);
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
    Scene scene;
    scene_open(&scene, one_key);
    (void)add_ring(&scene, "signer");
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *fault =
            g_strdup_printf("{'do': 'fault', 'at': '%s', %s}", cases[i].place, cases[i].fault);
        g_test_message("%s", fault);
        close_source(&scene);
        google_cloud_tell(scene.cloud, "{'do': 'reset-counts'}");
        google_cloud_tell(scene.cloud, fault);
        open_source(&scene);
        Token *token = fixture_token(scene.fixture, SERIAL);
        g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
        g_assert_cmpint(google_cloud_count(scene.cloud, cases[i].place), ==, cases[i].tries);
        assert_slot_signs(slot_of(token, "p256:1"));
    }
    scene_close(&scene);
}

/* The token says so, and nobody signs with a key that may be another one. */
static void a_public_key_that_stays_damaged_is_not_used(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    (void)add_ring(&scene, "signer");
    close_source(&scene);
    google_cloud_tell(scene.cloud, "{'do': 'fault', 'at': 'public-key', 'kind': 'damaged', 'count': 0}");
    open_source(&scene);
    Token *token = fixture_token(scene.fixture, SERIAL);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_FAILED);
    assert_says(token_message(token), "checksum does not match");
    g_assert_cmpuint(token_slots(token)->len, ==, 0);
    scene_close(&scene);
}

static void a_version_that_google_refuses_does_not_take_the_others_along(void)
{
    static const char *const options[] = {"--key=one=EC_SIGN_P256_SHA256", "--key=two=EC_SIGN_P256_SHA256",
                                          NULL};
    Scene scene;
    scene_open(&scene, options);
    (void)add_ring(&scene, "signer");
    close_source(&scene);
    google_cloud_tell(scene.cloud, "{'do': 'fault', 'at': 'public-key', 'kind': 'status', 'status': 403}");
    open_source(&scene);
    Token *token = fixture_token(scene.fixture, SERIAL);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_READY);
    g_assert_cmpuint(token_slots(token)->len, ==, 1);
    assert_slot_signs(token_slots(token)->pdata[0]);
    reload(&scene, token);
    g_assert_cmpuint(token_slots(token)->len, ==, 2);

    close_source(&scene);
    google_cloud_tell(scene.cloud,
                      "{'do': 'fault', 'at': 'public-key', 'kind': 'status', 'status': 403, 'count': 0}");
    open_source(&scene);
    token = fixture_token(scene.fixture, SERIAL);
    g_assert_cmpint(token_state(token), ==, TOKEN_STATE_FAILED);
    assert_says(token_message(token), "cloudkms.cryptoKeyVersions.viewPublicKey");
    scene_close(&scene);
}

static void a_used_up_quota_waits_inside_the_deadline(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud,
                      "{'do': 'fault', 'at': 'sign', 'kind': 'status', 'status': 429, 'retry_after': 1}");
    gint64 began = g_get_monotonic_time();
    assert_slot_signs(slot_of(token, "p256:1"));
    g_assert_cmpint(g_get_monotonic_time() - began, >=, G_TIME_SPAN_SECOND);
    google_cloud_tell(scene.cloud,
                      "{'do': 'fault', 'at': 'sign', 'kind': 'status', 'status': 429, 'retry_after': 30}");
    began = g_get_monotonic_time();
    g_autofree char *sentence =
        assert_fails_within(slot_of(token, "p256:1"), 20000, IOTHSM_ERROR_LIMITS_EXCEEDED);
    g_assert_cmpint(g_get_monotonic_time() - began, <, 10 * G_TIME_SPAN_SECOND);
    scene_close(&scene);
}

/* What Google said tells more than that the time was over. */
static void a_busy_google_is_named_when_the_time_is_over(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'fault', 'at': 'sign', 'kind': 'status', 'status': 503}");
    google_cloud_tell(scene.cloud, "{'do': 'fault', 'at': 'sign', 'kind': 'slow', 'milliseconds': 600000, "
                                   "'count': 0}");
    g_autofree char *sentence = assert_fails_within(slot_of(token, "p256:1"), 3000, IOTHSM_ERROR_LINK_DOWN);
    assert_says(sentence, "own error 503");
    scene_close(&scene);
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
    Scene scene;
    scene_open(&scene, one_key);
    (void)add_ring(&scene, "signer");
    close_source(&scene);
    google_cloud_stop(scene.cloud);
    open_source(&scene);
    Token *token = fixture_token(scene.fixture, SERIAL);
    test_wait_for(is_failed, token, SECONDS);
    assert_says(token_message(token), "No connection to 127.0.0.1");
    google_cloud_start_again(scene.cloud);
    test_wait_for(is_ready, token, SECONDS);
    assert_slot_signs(slot_of(token, "p256:1"));

    google_cloud_stop(scene.cloud);
    g_autofree char *sentence = assert_fails_within(slot_of(token, "p256:1"), 30000, IOTHSM_ERROR_LINK_DOWN);
    assert_says(sentence, "No connection to 127.0.0.1");
    google_cloud_start_again(scene.cloud);
    assert_slot_signs(slot_of(token, "p256:1"));
    scene_close(&scene);
}

/* --- credentials -------------------------------------------------------------------------------------- */

static void an_access_token_is_renewed_before_it_expires(void)
{
    static const char *const options[] = {"--key=p256=EC_SIGN_P256_SHA256", "--token-life=12", NULL};
    Scene scene;
    scene_open(&scene, options);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'reset-counts'}");
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
    scene_close(&scene);
}

static void a_token_that_was_taken_back_is_renewed_once_for_all(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'tokens', 'expire': true}");
    google_cloud_tell(scene.cloud, "{'do': 'reset-counts'}");
    Job jobs[16] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++)
        start_job(&jobs[i], slot_of(token, "p256:1"), 30000);
    for (guint i = 0; i < G_N_ELEMENTS(jobs); i++) {
        ending_ok(&jobs[i].ending);
        clear_job(&jobs[i]);
    }
    g_assert_cmpint(google_cloud_count(scene.cloud, "token"), ==, 1);
    scene_close(&scene);
}

static void the_metadata_server_serves_a_machine_in_google_cloud(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, NULL);
    assert_slot_signs(slot_of(token, "p256:1"));
    g_assert_cmpint(google_cloud_count(scene.cloud, "metadata"), >=, 1);
    g_assert_cmpint(google_cloud_count(scene.cloud, "token"), ==, 0);
    scene_close(&scene);
}

static void credentials_that_google_does_not_take_are_named(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    g_autoptr(Secret) secret = credentials(&scene, "signer");
    google_cloud_tell(scene.cloud,
                      "{'do': 'fault', 'at': 'token', 'kind': 'status', 'status': 400, 'count': 0}");
    g_auto(Ending) added = {0};
    google_kms_source_add(scene.fixture->source, RING, secret, NULL, ending_text, &added);
    ending_fails(&added, IOTHSM_ERROR_CLOUD_REFUSED);
    assert_says(added.error->message, "signer@");
    g_auto(Ending) nonsense = {0};
    g_autoptr(Secret) text = secret_of("{\"type\": \"authorized_user\"}");
    google_kms_source_add(scene.fixture->source, RING, text, NULL, ending_text, &nonsense);
    ending_fails(&nonsense, IOTHSM_ERROR_INVALID);
    g_assert_cmpuint(scene.fixture->tokens->len, ==, 0);
    scene_close(&scene);
}

/* No file of the daemon's holds what a thief could use. */
static void nothing_of_the_credentials_lies_open_on_disk(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    assert_slot_signs(slot_of(token, "p256:1"));
    const char *const secrets[] = {"PRIVATE KEY", "private_key", "ya29."};
    for (guint i = 0; i < G_N_ELEMENTS(secrets); i++) {
        g_autofree char *found =
            test_run((const char *const[]){"grep", "-rlaF", secrets[i], scene.directory, NULL}, NULL, 1);
        g_assert_true(!found || !*found);
    }
    scene_close(&scene);
}

/* --- certificates ------------------------------------------------------------------------------------- */

static X509 *certificate_for(Slot *slot)
{
    Job job = {0};
    start_job(&job, slot, 30000);
    ending_ok(&job.ending);
    X509 *certificate = g_steal_pointer(&job.certificate);
    clear_job(&job);
    return certificate;
}

static void a_certificate_lives_in_the_state_directory(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    g_autoptr(X509) certificate = certificate_for(slot_of(token, "p256:1"));
    g_auto(Ending) written = {0};
    slot_write_certificate(slot_of(token, "p256:1"), certificate, NULL, ending_done, &written);
    ending_ok(&written);
    g_assert_cmpint(slot_state(slot_of(token, "p256:1")), ==, SLOT_STATE_PROVISIONED);
    close_source(&scene);
    open_source(&scene);
    token = fixture_token(scene.fixture, SERIAL);
    g_assert_cmpint(X509_cmp(slot_certificate(slot_of(token, "p256:1")), certificate), ==, 0);

    /* It is read once: writing and clearing cost Google nothing. */
    google_cloud_tell(scene.cloud, "{'do': 'reset-counts'}");
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
    scene_close(&scene);
}

static void keys_are_made_in_google_cloud_alone(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
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
    scene_close(&scene);
}

/* --- setting up --------------------------------------------------------------------------------------- */

static JsonObject *browse(Scene *scene, const char *parent)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) secret = credentials(scene, "signer");
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
    Scene scene;
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
    scene_close(&scene);
}

/* Each is given up after a minute only. */
static void a_reload_does_not_wait_for_who_looks_around(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    g_autoptr(Secret) secret = credentials(&scene, "signer");
    google_cloud_tell(scene.cloud, "{'do': 'fault', 'kind': 'slow', 'at': 'projects', 'count': 0, "
                                   "'milliseconds': 600000}");
    Ending browsed[4] = {0};
    for (guint i = 0; i < G_N_ELEMENTS(browsed); i++)
        google_kms_browse(scene.fixture->source, "", secret, NULL, ending_text, &browsed[i]);
    while (google_cloud_count(scene.cloud, "projects") == 0)
        g_main_context_iteration(NULL, FALSE);
    fixture_reload(scene.fixture);
    for (guint i = 0; i < G_N_ELEMENTS(browsed); i++)
        g_assert_false(browsed[i].done);
    close_source(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(browsed); i++) {
        ending_fails(&browsed[i], IOTHSM_ERROR_TOKEN_GONE);
        ending_clear(&browsed[i]);
    }
    open_source(&scene);
    scene_close(&scene);
}

/* --- several key rings -------------------------------------------------------------------------------- */

#define OTHER_RING "projects/shop/locations/us-east1/keyRings/orders"
#define OTHER_SERIAL "shop:us-east1:orders"

static void add_with(Scene *scene, const char *key_ring, const char *account, Ending *ending)
{
    g_autoptr(Secret) secret = credentials(scene, account);
    google_kms_source_add(scene->fixture->source, key_ring, secret, NULL, ending_text, ending);
}

/* An account per ring, each without any right on the other's, and still so after a restart. */
static void key_rings_have_credentials_of_their_own(void)
{
#define GRANTS(ring) "roles/cloudkms.viewer@" ring ",roles/cloudkms.signerVerifier@" ring
    static const char *const options[] = {
        "--key=p256=EC_SIGN_P256_SHA256", "--key=" OTHER_RING "/cryptoKeys/p384=EC_SIGN_P384_SHA384",
        "--account=signer:" GRANTS(RING), "--account=clerk:" GRANTS(OTHER_RING), NULL};
    Scene scene;
    scene_open(&scene, options);
    (void)add_ring(&scene, "signer");
    g_auto(Ending) wrong = {0};
    add_with(&scene, OTHER_RING, "signer", &wrong);
    ending_fails(&wrong, IOTHSM_ERROR_CLOUD_REFUSED);
    g_auto(Ending) added = {0};
    add_with(&scene, OTHER_RING, "clerk", &added);
    ending_ok(&added);
    close_source(&scene);
    open_source(&scene);
    Token *token = fixture_token(scene.fixture, SERIAL);
    Token *other = fixture_token(scene.fixture, OTHER_SERIAL);
    assert_slot_signs(slot_of(token, "p256:1"));
    assert_slot_signs(slot_of(other, "p384:1"));
    google_cloud_tell(scene.cloud, "{'do': 'grant', 'account': 'clerk', 'grants': ''}");
    g_autofree char *sentence =
        assert_fails_within(slot_of(other, "p384:1"), 30000, IOTHSM_ERROR_CLOUD_REFUSED);
    assert_says(sentence, "clerk@");
    assert_says(sentence, "roles/cloudkms.signerVerifier");
    assert_slot_signs(slot_of(token, "p256:1"));
    scene_close(&scene);
}

static void a_missing_permission_is_named_with_its_role(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    g_autoptr(Secret) secret = credentials(&scene, "viewer");
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
    scene_close(&scene);
}

static void a_check_makes_one_trial_signature(void)
{
    static const char *const algorithms[] = {"--key=k=EC_SIGN_P384_SHA384", "--key=k=EC_SIGN_ED25519",
                                             "--key=k=RSA_SIGN_PSS_2048_SHA256"};
    for (guint i = 0; i < G_N_ELEMENTS(algorithms); i++) {
        const char *const options[] = {algorithms[i], NULL};
        Scene scene;
        scene_open(&scene, options);
        g_autoptr(Secret) secret = credentials(&scene, "signer");
        g_auto(Ending) checked = {0};
        google_kms_check(scene.fixture->source, RING, secret, NULL, ending_text, &checked);
        ending_ok(&checked);
        assert_says(checked.text, "\"ready\":true");
        assert_says(checked.text, "\"trial\":\"k:1\"");
        g_assert_cmpint(google_cloud_count(scene.cloud, "sign"), ==, 1);
        scene_close(&scene);
    }
}

static void a_ring_is_added_once_and_can_be_removed(void)
{
    Scene scene;
    scene_open(&scene, one_key);
    Token *token = add_ring(&scene, "signer");
    g_autoptr(X509) certificate = certificate_for(slot_of(token, "p256:1"));
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
    (void)add_ring(&scene, "signer");
    scene_close(&scene);
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
    ADD(what_passes_is_tried_again);
    ADD(what_stays_ends_in_a_sentence);
    ADD(what_passes_while_keys_are_listed_is_tried_again);
    ADD(a_public_key_that_stays_damaged_is_not_used);
    ADD(a_version_that_google_refuses_does_not_take_the_others_along);
    ADD(a_used_up_quota_waits_inside_the_deadline);
    ADD(a_busy_google_is_named_when_the_time_is_over);
    ADD(a_ring_without_network_heals_by_itself);
    ADD(an_access_token_is_renewed_before_it_expires);
    ADD(a_token_that_was_taken_back_is_renewed_once_for_all);
    ADD(the_metadata_server_serves_a_machine_in_google_cloud);
    ADD(credentials_that_google_does_not_take_are_named);
    ADD(nothing_of_the_credentials_lies_open_on_disk);
    ADD(a_certificate_lives_in_the_state_directory);
    ADD(keys_are_made_in_google_cloud_alone);
    ADD(the_walk_to_a_key_ring_reads_every_page);
    ADD(a_reload_does_not_wait_for_who_looks_around);
    ADD(key_rings_have_credentials_of_their_own);
    ADD(a_missing_permission_is_named_with_its_role);
    ADD(a_check_makes_one_trial_signature);
    ADD(a_ring_is_added_once_and_can_be_removed);
    return g_test_run();
}
