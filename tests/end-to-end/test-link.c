/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The link when it breaks: what the platform and the way to it can do, what the daemon says meanwhile, and
 * that it heals by itself. */

#include "tests/end-to-end/scene.h"
#include <string.h>

#define CA "Linked"

static Scene *begin(void)
{
    Scene *scene = scene_begin();
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    return scene;
}

static void misbehave(Scene *scene, const char *fault)
{
    g_autofree char *line = g_strdup_printf("misbehave %s --json", fault);
    g_autofree char *out = scene_platform(scene, 0, line, NULL);
}

static char *link_state(Scene *scene)
{
    return fixture_get_string(scene_fixture(scene), IOTHSM_PATH, MANAGER_INTERFACE, "LinkState");
}

static char *authority_path(Scene *scene)
{
    g_auto(GStrv) paths = fixture_objects(scene_fixture(scene), AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(paths), ==, 1);
    return g_strdup(paths[0]);
}

/* --- connections that end ---------------------------------------------------------------------------- */

static void test_platform_restart(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *authority = authority_path(scene);
    scene_stop_platform(scene);
    fixture_wait_string(scene_fixture(scene), authority, AUTHORITY_INTERFACE, "LinkState", "not-connected",
                        20);
    scene_restart_platform(scene);
    scene_wait_connected(scene, CA);
    scene_assert_works(scene, CA);
}

/* One attempt of the platform: what it gets, it gets because nothing was lost on the way. */
typedef struct Cut {
    const char *fault;
    bool at_once; /* with the first message ever; otherwise the agent has a place to go on from */
} Cut;

static const Cut cuts[] = {
    {"close --at=request", true},
    {"publish-unacknowledged", true},
    {"publish-lost", true},
    {"publish-unacknowledged", false},
    {"publish-error=rate-limited", true},
    {"--close-now=1001", false},
    {"handshake-status --close-now=1001", false},
    {"welcome-refuse --close-now=1001", false},
};

static void test_cut(gconstpointer data)
{
    const Cut *cut = data;
    g_autoptr(Scene) scene = begin();
    if (!cut->at_once)
        scene_assert_works(scene, CA);
    misbehave(scene, cut->fault);
    g_autofree char *pem =
        scene_platform(scene, 0, "sign-csr --ca=$1 --name=www --ttl=60 --timeout=60 --attempts=1", CA, NULL);
    g_assert_cmpint(scene_signatures(scene), ==, cut->at_once ? 1 : 2);
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
    scene_wait_connected(scene, CA);
}

/* A hello that nobody answers is no connection. */
static void test_no_welcome(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *hellos = g_strdup_printf("%" G_GINT64_FORMAT, scene_counter(scene, "hellos") + 1);
    misbehave(scene, "welcome-missing --close-now=1001");
    g_autofree char *said = scene_platform(scene, 0, "wait --counter=hellos --value=$1", hellos, NULL);
    g_autofree char *state = link_state(scene);
    g_assert_cmpstr(state, !=, "connected");
    scene_wait_connected(scene, CA);
    scene_assert_works(scene, CA);
}

/* --- bootstraps that fail ---------------------------------------------------------------------------- */

typedef struct Failure {
    const char *fault;
    const char *state;
    const char *message; /* part of it */
} Failure;

static const Failure failures[] = {
    {"bootstrap-refuse", "unregistered", "Certificate authority not found"},
    {"bootstrap-status=500", "not-connected", "500"},
    {"bootstrap-status=429", "not-connected", "429"},
    {"bootstrap-not-json", "not-connected", ""},
    {"bootstrap-null", "not-connected", ""},
    {"bootstrap-redirect", "not-connected", ""},
    {"rogue-signer --at=bootstrap", "not-connected", "not trusted"},
    {"altered --at=bootstrap", "not-connected", "signature"},
    {"wrong-recipient --at=bootstrap", "not-connected", ""},
};

static bool has_failed(void *userdata)
{
    g_autofree char *link = scene_control("link", NULL);
    return strstr(link, userdata) != NULL;
}

/* Said in `iothsmctl link`, and over with the next reload. */
static void test_bootstrap(gconstpointer data)
{
    const Failure *failure = data;
    g_autoptr(Scene) scene = begin();
    g_autofree char *authority = authority_path(scene);
    /* For ever: what passes by itself is tried again within a second. */
    g_autofree char *fault = g_strdup_printf("%s --count=0", failure->fault);
    misbehave(scene, fault);
    misbehave(scene, "--close-now=1008");
    fixture_wait_string(scene_fixture(scene), authority, AUTHORITY_INTERFACE, "LinkState", failure->state,
                        20);
    fixture_wait(scene_fixture(scene), has_failed, (void *)failure->message, 20);
    g_autofree char *status = scene_control("status", NULL);
    g_assert_true(g_str_equal(failure->state, "unregistered") ==
                  (strstr(status, "finish the import of its certificate there") != NULL));
    misbehave(scene, "--clear");
    g_autofree char *reloaded = scene_control("reload", NULL);
    scene_wait_connected(scene, CA);
    fixture_wait_string(scene_fixture(scene), authority, AUTHORITY_INTERFACE, "LinkState", "connected", 20);
    scene_assert_works(scene, CA);
}

/* --- whom it believes, and how much it takes --------------------------------------------------------- */

static void test_system_roots(void)
{
    g_autoptr(Scene) scene = scene_new("");
    g_autofree char *directory = scene_path(scene, "system-roots");
    g_autofree char *root = g_build_filename(directory, "rogue.pem", NULL);
    g_autofree char *rogue = g_build_filename(scene_platform_directory(scene), "rogue-ca.pem", NULL);
    g_assert_cmpint(g_mkdir_with_parents(directory, 0755), ==, 0);
    g_autofree char *copied = TEST_RUN("cp", rogue, root);
    g_autofree char *hashed = TEST_RUN("openssl", "rehash", directory);
    /* The rogue root is now one that every program on this machine believes. */
    scene_start(scene, NULL, (const char *const[]){"SSL_CERT_DIR", directory, "SSL_CERT_FILE", root, NULL});
    scene_token(scene, "Home");
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    g_autofree char *csr = test_request_pem("CN=forged", test_key("p256"));
    g_autofree char *csr_file = scene_write(scene, "forged.csr", csr);
    misbehave(scene, "rogue-signer --at=request");
    g_autoptr(Run) forged =
        scene_run_platform(scene, "sign-csr --ca=$1 --csr=$2 --timeout=2", CA, csr_file, NULL);
    assert_run(forged, 1);
    scene_wait_log(scene, "is not from the platform and was ignored");
    g_assert_cmpint(scene_signatures(scene), ==, 0);
    scene_assert_works(scene, CA);
}

static void test_inflated_size(void)
{
    g_autoptr(Scene) scene = scene_new("");
    scene_start(scene, "[Limits]\nInflatedSize=65536\n", NULL);
    scene_token(scene, "Home");
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    g_autofree char *data = g_strnfill(100000, 'x');
    g_autofree char *request = g_strdup_printf("{\"options\":{\"data\":\"%s\"}}", data);
    g_autofree char *file = scene_write(scene, "large.json", request);
    scene_assert_refused(scene, "The message is larger than 65536 bytes once it is uncompressed",
                         "--ca=$1 --signtype=cms --json=$2", CA, file, NULL);
    scene_assert_works(scene, CA);
}

/* The platform takes no message of that size: it gets a short one instead. */
static void test_large_answer(void)
{
    g_autoptr(Scene) scene = begin();
    scene_assert_works(scene, CA);
    g_autofree char *file = scene_write(scene, "cms.json", "{\"options\":{\"data\":\"large\"}}");
    misbehave(scene, "publish-error=too-large");
    scene_assert_refused(scene, "The result is too large for the link",
                         "--ca=$1 --signtype=cms --json=$2 --reuse-offer", CA, file, NULL);
    scene_assert_works(scene, CA);
}

/* It cuts the connection over it, without a word about why. */
static void test_cut_over_large_answer(void)
{
    g_autoptr(Scene) scene = scene_new("--message-size=60000");
    scene_start(scene, NULL, NULL);
    scene_token(scene, "Home");
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    g_autoptr(GRand) dice = g_rand_new_with_seed(1);
    g_autoptr(GString) data = g_string_new(NULL);
    while (data->len < 80000)
        g_string_append_c(data, (char)g_rand_int_range(dice, 'a', 'z' + 1));
    g_autofree char *request = g_strdup_printf("{\"options\":{\"data\":\"%s\"}}", data->str);
    g_autofree char *file = scene_write(scene, "large.json", request);
    scene_assert_works(scene, CA);
    scene_assert_refused(scene, "The result is too large for the link",
                         "--ca=$1 --signtype=cms --json=$2 --reuse-offer --ttl=60 --timeout=60", CA, file,
                         NULL);
    scene_assert_works(scene, CA);
}

/* A CRL that the platform does not take is a refusal in the platform's words. */
static void test_upload_refused(void)
{
    g_autoptr(Scene) scene = begin();
    misbehave(scene, "upload-refuse");
    g_autoptr(Run) refused = scene_run_platform(scene, "make-crl --ca=$1", CA, NULL);
    assert_run(refused, 1);
    g_assert_nonnull(strstr(refused->err, "The CRL was not accepted"));
    misbehave(scene, "upload-status=404");
    g_autoptr(Run) lost = scene_run_platform(scene, "make-crl --ca=$1", CA, NULL);
    assert_run(lost, 1);
    g_autofree char *crl = scene_platform(scene, 0, "make-crl --ca=$1", CA, NULL);
}

static void add(const char *group, const char *fault, gconstpointer data, GTestDataFunc function)
{
    g_autofree char *name = g_strdelimit(g_strdup(fault), " =", '-');
    g_autofree char *path = g_strdup_printf("/link/%s/%s", group, name);
    g_test_add_data_func(path, data, function);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/link/heals/after-a-restart-of-the-platform", test_platform_restart);
    for (gsize i = 0; i < G_N_ELEMENTS(cuts); i++)
        add(cuts[i].at_once ? "loses-nothing/at-first" : "loses-nothing/later", cuts[i].fault, &cuts[i],
            test_cut);
    g_test_add_func("/link/is-connected/only-after-the-welcome", test_no_welcome);
    for (gsize i = 0; i < G_N_ELEMENTS(failures); i++)
        add("says-and-survives", failures[i].fault, &failures[i], test_bootstrap);
    g_test_add_func("/link/believes/no-root-of-the-system", test_system_roots);
    g_test_add_func("/link/takes/no-more-than-InflatedSize", test_inflated_size);
    g_test_add_func("/link/sends/a-short-answer-where-the-result-is-too-large", test_large_answer);
    g_test_add_func("/link/does-not-send-for-ever/what-the-platform-closes-over", test_cut_over_large_answer);
    g_test_add_func("/link/says/when-a-CRL-is-not-taken", test_upload_refused);
    return g_test_run();
}
