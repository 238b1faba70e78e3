/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon over PubNub: everything is signed, whatever PubNub does on the way is survived, and where the
 * platform offers a WebSocket as well, each takes over from the other. */

#include "tests/end-to-end/scene.h"
#include <string.h>

#define CA "Polled"

static Scene *begin_with(const char *serve, const char *configuration)
{
    Scene *scene = scene_new(serve);
    scene_start(scene, configuration, NULL);
    scene_token(scene, "Home");
    return scene;
}

static Scene *begin(void)
{
    Scene *scene = begin_with("--transports=pubnub", NULL);
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    return scene;
}

static void misbehave(Scene *scene, const char *fault)
{
    g_autofree char *line = g_strdup_printf("misbehave %s --json", fault);
    g_autofree char *out = scene_platform(scene, 0, line, NULL);
}

static void wait_transport(Scene *scene, const char *transport)
{
    fixture_wait_string(scene_fixture(scene), IOTHSM_PATH, MANAGER_INTERFACE, "LinkTransport", transport, 30);
}

static void test_everything(void)
{
    g_autoptr(Scene) scene = begin_with("--transports=pubnub --tls", NULL);
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    wait_transport(scene, "pubnub");
    g_autofree char *serial = scene_sign(scene, CA);
    g_autofree char *crl = scene_platform(scene, 0, "make-crl --ca=$1", CA, NULL);
    g_autofree char *cms = scene_platform(scene, 0, "make-cms --ca=$1 --data=hello", CA, NULL);
    g_autofree char *drive = scene_platform(
        scene, 0, "drive --ca=$1 --kind=mixed --requests=40 --concurrency=8 --linger=300 --json", CA, NULL);
    g_assert_cmpint(scene_signatures(scene), ==, 43);
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
    scene_assert_no_complaints(scene);
    g_autofree char *status = scene_control("link", NULL);
    g_assert_nonnull(strstr(status, "pubnub"));
}

/* What strikes while a request is on its way; it is answered at the first attempt all the same. */
static const char *const accidents[] = {
    "poll-cut",
    "poll-status=403",
    "poll-status=503",
    "poll-truncated",
    "poll-not-json",
    "poll-odd",
    "--close-now=1001",
    "publish-unacknowledged",
    "publish-lost",
    "post-status=503",
    "post-status=403",
    "publish-error=rate-limited",
    "time-status=503 --close-now=1001",
};

static void test_accidents(void)
{
    g_autoptr(Scene) scene = begin();
    scene_assert_works(scene, CA);
    for (gsize i = 0; i < G_N_ELEMENTS(accidents); i++) {
        g_test_message("%s", accidents[i]);
        misbehave(scene, accidents[i]);
        g_autofree char *pem = scene_platform(
            scene, 0, "sign-csr --ca=$1 --name=www --ttl=60 --timeout=60 --attempts=1", CA, NULL);
        scene_wait_connected(scene, CA);
    }
    g_assert_cmpint(scene_signatures(scene), ==, 1 + G_N_ELEMENTS(accidents));
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
    scene_assert_works(scene, CA);
}

static void test_forbidden(void)
{
    g_autoptr(Scene) scene = begin();
    misbehave(scene, "poll-status=403 --count=3 --close-now=1001");
    g_auto(GStrv) paths = fixture_objects(scene_fixture(scene), AUTHORITY_INTERFACE);
    fixture_wait_string(scene_fixture(scene), paths[0], AUTHORITY_INTERFACE, "LinkMessage",
                        "PubNub answered with 403 Forbidden: Forbidden", 20);
    fixture_wait_string(scene_fixture(scene), paths[0], AUTHORITY_INTERFACE, "LinkState", "connected", 30);
    scene_assert_works(scene, CA);
}

/* 40 kB that do not compress: more than PubNub takes. */
static void test_too_large(void)
{
    g_autoptr(Scene) scene = begin();
    g_autoptr(GString) data = g_string_new(NULL);
    g_autoptr(GRand) dice = g_rand_new_with_seed(1);
    while (data->len < 40000)
        g_string_append_c(data, (char)g_rand_int_range(dice, 'a', 'z' + 1));
    g_autofree char *request = g_strdup_printf("{\"options\":{\"data\":\"%s\"}}", data->str);
    g_autofree char *file = scene_write(scene, "large.json", request);
    scene_assert_works(scene, CA);
    scene_assert_refused(scene, "The result is too large for the link",
                         "--ca=$1 --signtype=cms --json=$2 --reuse-offer", CA, file, NULL);
    scene_assert_works(scene, CA);
    scene_assert_no_complaints(scene);
}

static void test_key_sets(void)
{
    g_autoptr(Scene) scene = begin_with("--transports=pubnub --key-sets=2", NULL);
    g_autofree char *one = scene_root(scene, "One", "Home/01", "p256");
    g_autofree char *two = scene_root(scene, "Two", "Home/02", "p256");
    scene_assert_works(scene, "One");
    scene_assert_works(scene, "Two");
    scene_assert_no_complaints(scene);
}

static void test_fallback(void)
{
    g_autoptr(Scene) scene = begin_with("--transports=both", NULL);
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    wait_transport(scene, "websocket");
    scene_assert_works(scene, CA);
    misbehave(scene, "handshake-status --count=0 --close-now=1001");
    wait_transport(scene, "pubnub");
    scene_assert_works(scene, CA);
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
}

static void test_choice(void)
{
    g_autoptr(Scene) scene = begin_with("--transports=both", "Transport=pubnub\n");
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    wait_transport(scene, "pubnub");
    scene_assert_works(scene, CA);
    g_assert_cmpint(scene_counter(scene, "connections opened"), ==, 0);
}

static bool is_said(void *userdata)
{
    g_autofree char *link = scene_control("link", NULL);
    return strstr(link, "Transport=websocket in iothsmd.conf takes no other") != NULL;
}

static void test_not_offered(void)
{
    g_autoptr(Scene) scene = begin_with("--transports=pubnub", "Transport=websocket\n");
    g_autofree char *template_file = scene_path(scene, "template.pem");
    g_autofree char *ca_file = scene_path(scene, "ca.pem");
    g_autofree char *created =
        scene_platform(scene, 0, "create-ca --name=$1 --out=$2", CA, template_file, NULL);
    g_autofree char *generated = scene_control("generate Home/01 --type=p256", NULL);
    g_autofree char *made = scene_control("self-sign Home/01 $1 --output=$2", template_file, ca_file, NULL);
    g_autofree char *answer = scene_platform(scene, 0, "import-certificate --ca=$1 $2", CA, ca_file, NULL);
    g_autofree char *reloaded = scene_control("reload", NULL);
    fixture_wait(scene_fixture(scene), is_said, NULL, 30);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pubnub/signs-everything", test_everything);
    g_test_add_func("/pubnub/loses-nothing", test_accidents);
    g_test_add_func("/pubnub/says-what-PubNub-said", test_forbidden);
    g_test_add_func("/pubnub/sends-a-short-answer-where-32-KiB-are-not-enough", test_too_large);
    g_test_add_func("/pubnub/has-a-subscription-for-each-key-set", test_key_sets);
    g_test_add_func("/pubnub/takes-over-where-the-websocket-fails-three-times", test_fallback);
    g_test_add_func("/pubnub/can-be-chosen", test_choice);
    g_test_add_func("/pubnub/is-not-taken-where-it-was-not-chosen", test_not_offered);
    return g_test_run();
}
