/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A key ring of Google Cloud KMS from the walk to it to what its keys sign, with the stand-in for Google
 * Cloud, the platform stand-in, and iothsmctl as the only hand. */

#include "tests/end-to-end/signed.h"
#include "tests/google-kms/test/google-cloud.h"
#include <glib/gstdio.h>
#include <string.h>

#define RING "projects/home-pki/locations/europe-west3/keyRings/authorities"
#define TOKEN "home-pki:europe-west3:authorities"

/* RSA keys take long to be made: the usual keys are for the test that needs them. */
#define ONE_KEY ((const char *const[]){"--key=root=EC_SIGN_P256_SHA256", NULL})
#define THREE_KEYS                                                                                           \
    ((const char *const[]){"--key=p256=EC_SIGN_P256_SHA256", "--key=p384=EC_SIGN_P384_SHA384",               \
                           "--key=p521=EC_SIGN_P521_SHA512", NULL})

typedef struct Stage {
    Scene *scene;
    GoogleCloud *cloud;
    char *credentials; /* those that suffice */
} Stage;

/* The daemon runs and knows where this Google Cloud is; no key ring is there. */
static Stage *stage_new(const char *const *options)
{
    Stage *stage = g_new0(Stage, 1);
    stage->scene = scene_new("");
    g_autofree char *directory = scene_path(stage->scene, "google");
    g_assert_cmpint(g_mkdir(directory, 0700), ==, 0);
    stage->cloud = google_cloud_start(directory, options);
    stage->credentials = google_cloud_credentials(stage->cloud, "signer");
    const char *url = google_cloud_url(stage->cloud);
    g_autofree char *configuration =
        g_strdup_printf("[GoogleKms]\nKmsUrl=%s\nResourceManagerUrl=%s\nMetadataUrl=%s\n", url, url, url);
    scene_give_sealing_key(stage->scene);
    scene_start(stage->scene, configuration, NULL);
    return stage;
}

/* What passed must not have left a secret in the log. */
static void stage_free(Stage *stage)
{
    if (stage == NULL)
        return;
    g_autofree char *log = fixture_log(scene_fixture(stage->scene));
    g_assert_null(strstr(log, "ya29."));
    g_assert_null(strstr(log, "PRIVATE KEY"));
    g_assert_null(strstr(log, "eyJ"));
    scene_free(stage->scene);
    google_cloud_free(stage->cloud);
    g_free(stage->credentials);
    g_free(stage);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Stage, stage_free)

static void add_ring(Stage *stage)
{
    g_autofree char *token =
        scene_control_member("token", "kms add " RING " --credentials=$1", stage->credentials, NULL);
    g_assert_cmpstr(token, ==, TOKEN);
}

static void assert_slot(const char *slot, const char *member, const char *expected)
{
    g_autofree char *value = scene_control_member(member, "show " TOKEN "/$1", slot, NULL);
    g_assert_cmpstr(value, ==, expected);
}

/* iothsmctl must fail with |error_name| and say |words|. */
static void assert_fails(const char *error_name, const char *words, const char *line, const char *text)
{
    g_autofree char *whole = g_strdup_printf("--json=short %s", line);
    g_autoptr(Run) run = run_iothsmctl(whole, text, NULL);
    if (run->status == 0 || strstr(run->out, error_name) == NULL || strstr(run->out, words) == NULL)
        g_error("\"%s\" ended with %d: %s; expected were %s and \"%s\"", line, run->status, run->out,
                error_name, words);
}

static void assert_no_token(void)
{
    g_autofree char *list = scene_control("status --json=short", NULL);
    g_assert_nonnull(strstr(list, "\"tokens\":[]"));
}

/* ---- the walk ---- */

static void test_browse(void)
{
    g_autoptr(Stage) stage = stage_new(THREE_KEYS);
    const char *credentials = stage->credentials;
    g_autofree char *projects = scene_control("kms browse --credentials=$1", credentials, NULL);
    g_assert_true(strstr(projects, "projects/home-pki") && strstr(projects, "projects/weather"));
    g_autofree char *locations = scene_control("kms browse home-pki --credentials=$1", credentials, NULL);
    g_assert_nonnull(strstr(locations, "projects/home-pki/locations/us-east1"));
    g_autofree char *rings =
        scene_control("kms browse home-pki/europe-west3 --credentials=$1", credentials, NULL);
    g_assert_true(strstr(rings, RING) && strstr(rings, "keyRings/test"));
    g_autofree char *keys = scene_control("kms browse " RING " --credentials=$1", credentials, NULL);
    g_assert_true(strstr(keys, "p521:1") && strstr(keys, "EC_SIGN_P384_SHA384"));
    g_autofree char *first =
        scene_control_member("children.3.name", "kms browse --credentials=$1", credentials, NULL);
    g_assert_cmpstr(first, ==, "projects/weather");
    g_autofree char *empty =
        scene_control("kms browse home-pki/europe-west4 --credentials=$1", credentials, NULL);
    g_assert_nonnull(strstr(empty, "nothing below"));
    assert_fails("Error.Invalid", "", "kms browse projects/home-pki/nonsense --credentials=$1", credentials);
    g_autofree char *none = scene_write(stage->scene, "none.json", "{\"type\":\"authorized_user\"}");
    assert_fails("Error.Invalid", "", "kms browse --credentials=$1", none);
    assert_no_token();
}

/* As a person who has only the key file goes about it. */
static void test_guided(void)
{
    g_autoptr(Stage) stage = stage_new(THREE_KEYS);
    Terminal *terminal = terminal_new(100, NULL, "kms add", NULL);
    g_autofree char *file = g_strconcat(stage->credentials, "\n", NULL);
    terminal_expect(terminal, "Key file of the service account");
    terminal_type(terminal, file);
    terminal_expect(terminal, "1) home-pki");
    terminal_expect(terminal, "Which project?");
    terminal_type(terminal, "home-pki\n");
    terminal_expect(terminal, "Which location?");
    terminal_type(terminal, "europe-west4\n");
    terminal_expect(terminal, "There is no key ring in europe-west4");
    terminal_expect(terminal, "Which location?");
    terminal_type(terminal, "europe-west3\n");
    terminal_expect(terminal, "Which key ring?");
    terminal_type(terminal, "authorities\n");
    terminal_expect(terminal, "p384:1");
    terminal_expect(terminal, "Check the permissions on authorities and add it? (Y/n)");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "iothsmctl provision --token=" TOKEN);
    g_free(terminal_finish(terminal, 0));
    assert_slot("p384:1", "state", "key-only");
}

/* Without the right to list projects the person names the project, and nothing happens after a no. */
static void test_guided_without_projects(void)
{
    g_autoptr(Stage) stage = stage_new(ONE_KEY);
    google_cloud_tell(stage->cloud,
                      "{'do': 'grant', 'account': 'signer', 'grants': "
                      "'cloudkms.locations.list,cloudkms.keyRings.list,cloudkms.cryptoKeys.list,"
                      "cloudkms.cryptoKeyVersions.list'}");
    Terminal *terminal = terminal_new(100, NULL, "kms add --credentials=$1", stage->credentials, NULL);
    terminal_expect(terminal, "The id of the project");
    terminal_type(terminal, "shop\n");
    terminal_expect(terminal, "Which location?");
    terminal_type(terminal, "us-east1\n");
    terminal_expect(terminal, "Which key ring?");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "add it?");
    terminal_type(terminal, "n\n");
    g_free(terminal_finish(terminal, 1));
    assert_no_token();
}

/* ---- permissions ---- */

static void test_missing_permissions(void)
{
    g_autoptr(Stage) stage = stage_new(ONE_KEY);
    g_autofree char *viewer = google_cloud_credentials(stage->cloud, "viewer");
    g_autofree char *stranger = google_cloud_credentials(stage->cloud, "stranger");
    assert_fails("Error.CloudRefused", "cloudkms.cryptoKeyVersions.useToSign",
                 "kms add " RING " --credentials=$1", viewer);
    assert_fails("Error.CloudRefused", "roles/cloudkms.signer", "kms add " RING " --credentials=$1", viewer);
    assert_fails("Error.CloudRefused", "roles/cloudkms.viewer", "kms add " RING " --credentials=$1",
                 stranger);
    /* The permissions are there, and the one key that there is does not sign. */
    google_cloud_tell(stage->cloud,
                      "{'do': 'fault', 'kind': 'status', 'at': 'sign', 'status': 403, 'count': 0}");
    assert_fails("Error.CloudRefused", "", "kms add " RING " --credentials=$1", stage->credentials);
    google_cloud_tell(stage->cloud, "{'do': 'clear-faults'}");
    assert_no_token();
    g_autofree char *kept = scene_path(stage->scene, "state/google-kms");
    g_autoptr(GDir) directory = g_dir_open(kept, 0, NULL);
    for (const char *name; directory != NULL && (name = g_dir_read_name(directory)) != NULL;)
        g_assert_false(g_str_has_suffix(name, ".json"));
    add_ring(stage);
}

static void test_machine_account(void)
{
    g_autoptr(Stage) stage = stage_new(ONE_KEY);
    g_autofree char *token = scene_control_member("token", "kms add home-pki/europe-west3/authorities", NULL);
    g_assert_cmpstr(token, ==, TOKEN);
    g_assert_cmpint(google_cloud_count(stage->cloud, "metadata"), >, 0);
    g_assert_cmpint(google_cloud_count(stage->cloud, "token"), ==, 0);
    assert_slot("root:1", "state", "key-only");
}

/* ---- authorities ---- */

static char *create_ca(Scene *scene, const char *name, const char *option)
{
    g_autofree char *file_name = g_strdup_printf("%s-template.pem", name);
    char *file = scene_path(scene, file_name);
    g_autofree char *made =
        scene_platform(scene, 0, "create-ca --name=$1 --out=$2 $3", name, file, option, NULL);
    return file;
}

/* A root CA of the key in |slot|, registered and connected. Transfer full: its certificate's path. */
static char *make_root(Scene *scene, const char *name, const char *slot)
{
    g_autofree char *template_file = create_ca(scene, name, "--days=3650");
    g_autofree char *file_name = g_strdup_printf("%s.pem", name);
    char *file = scene_path(scene, file_name);
    g_autofree char *said =
        scene_control("provision --token=" TOKEN " --slot=$1 --template=$2 --self-signed --yes "
                      "--output=$3",
                      slot, template_file, file, NULL);
    scene_register(scene, name, file);
    return file;
}

/* Every signature in the file |name| is of |algorithm|, as OpenSSL writes it. */
static void assert_algorithm(Scene *scene, const char *name, const char *command, const char *algorithm)
{
    g_autofree char *file = scene_path(scene, name);
    g_autofree char *expected = g_strdup_printf("Signature Algorithm: %s", algorithm);
    g_autofree char *text = TEST_RUN("openssl", command, "-in", file, "-noout", "-text");
    if (strstr(text, expected) == NULL)
        g_error("%s is not signed with %s: %s", name, algorithm, text);
}

static const struct {
    const char *key;
    const char *algorithm;
    const char *digest;
} kinds[] = {
    {"p256", "ecdsa-with-SHA256", "sha256"},
    {"p384", "ecdsa-with-SHA384", "sha384"},
    {"p521", "ecdsa-with-SHA512", "sha512"},
    {"rsa2048", "sha256WithRSAEncryption", "sha256"},
    {"rsa4096-sha512", "sha512WithRSAEncryption", "sha512"},
};

static void assert_cms_digest(Scene *scene, const char *digest)
{
    g_autofree char *file = scene_path(scene, "cms.pem");
    g_autofree char *text =
        TEST_RUN("openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "PEM", "-in", file);
    const char *algorithms = strstr(text, "digestAlgorithms");
    g_assert_nonnull(algorithms);
    g_autofree char *expected = g_strdup_printf("algorithm: %s ", digest);
    const char *found = strstr(algorithms, "algorithm: ");
    g_assert_nonnull(found);
    g_assert_true(g_str_has_prefix(found, expected));
}

static void test_every_algorithm(void)
{
    g_autoptr(Stage) stage = stage_new(NULL);
    add_ring(stage);
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        Scene *scene = stage->scene;
        g_autofree char *slot = g_strdup_printf("%s:1", kinds[i].key);
        g_autofree char *ca_file = make_root(scene, kinds[i].key, slot);
        g_autofree char *root = TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", ca_file, ca_file);
        assert_certificate(scene, kinds[i].key, ca_file);
        assert_crl(scene, kinds[i].key, ca_file);
        assert_cms(scene, kinds[i].key, ca_file);
        g_autofree char *own = g_strdup_printf("%s.pem", kinds[i].key);
        assert_algorithm(scene, own, "x509", kinds[i].algorithm);
        assert_algorithm(scene, "leaf.pem", "x509", kinds[i].algorithm);
        assert_algorithm(scene, "crl.pem", "crl", kinds[i].algorithm);
        assert_cms_digest(scene, kinds[i].digest);
        assert_slot(slot, "state", "provisioned");
    }
    scene_assert_no_complaints(stage->scene);
    /* The key that encrypts disks is no slot. */
    g_autoptr(Run) disk = run_iothsmctl("show " TOKEN "/disk:1", NULL);
    assert_run(disk, 3);
}

/* Root and intermediate are both in the key ring; the root signs the request that the other makes. */
static void test_intermediate(void)
{
    g_autoptr(Stage) stage = stage_new(
        (const char *const[]){"--key=root=EC_SIGN_P384_SHA384", "--key=issuing=EC_SIGN_P256_SHA256", NULL});
    Scene *scene = stage->scene;
    add_ring(stage);
    g_autofree char *root_file = make_root(scene, "Root", "root:1");
    g_autofree char *template_file = create_ca(scene, "Issuing", "--pathlen=0");
    g_autofree char *request = scene_path(scene, "issuing.csr");
    g_autofree char *certificate = scene_path(scene, "issuing.pem");
    g_autofree char *asked =
        scene_control("csr " TOKEN "/issuing:1 $1 --output=$2", template_file, request, NULL);
    g_autofree char *judged = TEST_RUN("openssl", "req", "-in", request, "-noout", "-verify", "-text");
    g_assert_nonnull(strstr(judged, "CA:TRUE"));
    g_autofree char *issued = scene_platform(
        scene, 0,
        "sign-csr --ca=Root --csr=$1 --pathlen=0 --key-usage=keyCertSign,cRLSign --days=1000 --out=$2",
        request, certificate, NULL);
    assert_fails("Error.KeyMismatch", "", "import-cert " TOKEN "/issuing:1 $1", root_file);
    g_autofree char *imported = scene_control("import-cert " TOKEN "/issuing:1 $1", certificate, NULL);
    scene_register(scene, "Issuing", certificate);
    g_autofree char *leaf = scene_path(scene, "leaf.pem");
    g_autofree char *made = scene_platform(
        scene, 0, "sign-csr --ca=Issuing --name=www --dns=www.example.test --eku=serverAuth --out=$1", leaf,
        NULL);
    g_autofree char *verified =
        TEST_RUN("openssl", "verify", "-CAfile", root_file, "-untrusted", certificate, leaf);
    scene_assert_no_complaints(scene);
}

/* ---- what else is done with a token ---- */

/* One key ring with a root CA, Root in slot root:1, for the tests that follow; each leaves it as it was. */
static Stage *home;
static char *home_certificate;

static Stage *come_home(void)
{
    if (home == NULL) {
        home = stage_new(ONE_KEY);
        add_ring(home);
        home_certificate = make_root(home->scene, "Root", "root:1");
    }
    return home;
}

static void test_keys_are_made_in_google_cloud(void)
{
    Stage *stage = come_home();
    g_autofree char *pem = test_key_pem(test_key("p256"), NULL);
    g_autofree char *key_file = scene_write(stage->scene, "ca.key", pem);
    assert_fails("Error.Unsupported", "managed in Google Cloud", "generate " TOKEN " --type=p256", NULL);
    assert_fails("Error.Unsupported", "managed in Google Cloud", "generate " TOKEN "/new:1 --type=p256",
                 NULL);
    assert_fails("Error.Unsupported", "managed in Google Cloud", "import-key " TOKEN "/new:1 $1", key_file);
    assert_fails("Error.Unsupported", "kms remove", "softhsm delete " TOKEN " --yes", NULL);
    assert_fails("Error.Invalid", "there already", "kms add " RING " --credentials=$1", stage->credentials);
    /* A guided provisioning finds no key without a certificate. */
    Terminal *terminal = terminal_new(200, NULL, "provision", NULL);
    terminal_expect(terminal, "keys are made in Google Cloud");
    g_free(terminal_finish(terminal, 1));
}

static void test_clear(void)
{
    Stage *stage = come_home();
    Terminal *terminal = terminal_new(200, NULL, "clear " TOKEN "/root:1", NULL);
    terminal_expect(terminal, "Remove the certificate of slot " TOKEN "/root:1");
    terminal_expect(terminal, "Its key stays in Google Cloud");
    terminal_type(terminal, "y\n");
    terminal_expect(terminal, "its key stays in Google Cloud");
    g_free(terminal_finish(terminal, 0));
    assert_slot("root:1", "state", "key-only");
    g_auto(GStrv) authorities = fixture_objects(scene_fixture(stage->scene), AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(authorities), ==, 0);
    /* The key is as it was: its certificate fits again. */
    g_autofree char *again = scene_control("import-cert " TOKEN "/root:1 $1", home_certificate, NULL);
    scene_wait_connected(stage->scene, "Root");
    scene_assert_works(stage->scene, "Root");
}

/* The key ring, its credentials and its CAs outlive the daemon. */
static void test_restart(void)
{
    Stage *stage = come_home();
    fixture_stop_daemon(scene_fixture(stage->scene));
    scene_start_again(stage->scene);
    scene_wait_connected(stage->scene, "Root");
    scene_assert_works(stage->scene, "Root");
    g_autofree char *kind = scene_control_member("tokens.0.kind", "status", NULL);
    g_assert_cmpstr(kind, ==, "google-kms");
}

/* A second version of a key is a second slot, and the first goes on; one that is disabled is none. */
static void test_rotation(void)
{
    Stage *stage = come_home();
    google_cloud_tell(stage->cloud, "{'do': 'rotate', 'key': 'root'}");
    g_autofree char *reloaded = scene_control("reload", NULL);
    assert_slot("root:2", "state", "key-only");
    assert_slot("root:1", "state", "provisioned");
    scene_assert_works(stage->scene, "Root");
    google_cloud_tell(stage->cloud, "{'do': 'state', 'version': 'root/2', 'state': 'DISABLED'}");
    g_autofree char *again = scene_control("reload", NULL);
    g_autoptr(Run) gone = run_iothsmctl("show " TOKEN "/root:2", NULL);
    assert_run(gone, 3);
}

static void test_remove(void)
{
    Stage *stage = come_home();
    g_autoptr(Run) unasked = run_iothsmctl("kms remove " TOKEN, NULL);
    assert_run(unasked, 2);
    g_autofree char *removed = scene_control("kms remove " TOKEN " --yes", NULL);
    g_assert_nonnull(strstr(removed, "its keys stay in Google Cloud"));
    assert_no_token();
    fixture_stop_daemon(scene_fixture(stage->scene));
    scene_start_again(stage->scene);
    assert_no_token();
    /* It can come back, and its certificate be imported again. */
    add_ring(stage);
    assert_slot("root:1", "state", "key-only");
    g_autofree char *again = scene_control("import-cert " TOKEN "/root:1 $1", home_certificate, NULL);
    scene_wait_connected(stage->scene, "Root");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/google-kms/key-rings-are-found-step-by-step", test_browse);
    g_test_add_func("/google-kms/a-person-is-led-to-the-key-ring", test_guided);
    g_test_add_func("/google-kms/a-person-names-the-project-where-none-is-listed",
                    test_guided_without_projects);
    g_test_add_func("/google-kms/nothing-is-saved-without-the-permissions", test_missing_permissions);
    g_test_add_func("/google-kms/the-machine's-own-account-suffices", test_machine_account);
    g_test_add_func("/google-kms/every-algorithm-signs-everything", test_every_algorithm);
    g_test_add_func("/google-kms/an-intermediate-below-a-root", test_intermediate);
    g_test_add_func("/google-kms/keys-are-made-in-google-cloud", test_keys_are_made_in_google_cloud);
    g_test_add_func("/google-kms/a-clear-leaves-the-key", test_clear);
    g_test_add_func("/google-kms/everything-is-there-after-a-restart", test_restart);
    g_test_add_func("/google-kms/a-rotated-key-is-a-second-slot", test_rotation);
    g_test_add_func("/google-kms/a-removed-key-ring-is-forgotten", test_remove);
    int status = g_test_run();
    stage_free(home);
    g_free(home_certificate);
    return status;
}
