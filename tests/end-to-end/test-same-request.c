/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A request is signed once, however often and whenever it comes: again later, twice at the same moment, from
 * somebody who recorded it, and across kill -9. */

#include "tests/end-to-end/scene.h"
#include <string.h>

#define CA "Once"

static Scene *begin(void)
{
    Scene *scene = scene_begin();
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    return scene;
}

static char *write_csr(Scene *scene)
{
    g_autofree char *pem = test_request_pem("CN=once", test_key("p256"));
    return scene_write(scene, "once.csr", pem);
}

static void test_again(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *csr = write_csr(scene);
    g_autofree char *first =
        scene_platform(scene, 0, "sign-csr --ca=$1 --csr=$2 --siguuid=request-1 --days=90", CA, csr, NULL);
    g_autofree char *second =
        scene_platform(scene, 0, "sign-csr --ca=$1 --csr=$2 --siguuid=request-1 --days=90", CA, csr, NULL);
    g_assert_cmpstr(first, ==, second);
    g_assert_cmpint(scene_signatures(scene), ==, 1);
    /* Also after a restart, which has no PIN. */
    fixture_stop_daemon(scene_fixture(scene));
    scene_start_again(scene);
    g_autofree char *set = scene_control("pin set Home --pin-file=$1", scene_pin_file(scene), NULL);
    scene_wait_connected(scene, CA);
    g_autofree char *third =
        scene_platform(scene, 0, "sign-csr --ca=$1 --csr=$2 --siguuid=request-1 --days=90", CA, csr, NULL);
    g_assert_cmpstr(first, ==, third);
    g_assert_cmpint(scene_signatures(scene), ==, 0);
    scene_assert_no_complaints(scene);
}

static void test_other_content(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *csr = write_csr(scene);
    g_autofree char *first =
        scene_platform(scene, 0, "sign-csr --ca=$1 --csr=$2 --siguuid=request-1 --days=90", CA, csr, NULL);
    g_autoptr(Run) other =
        scene_run_platform(scene, "sign-csr --ca=$1 --csr=$2 --siguuid=request-1 --days=91", CA, csr, NULL);
    assert_run(other, 1);
    g_assert_nonnull(strstr(other->err, "refused: The siguuid was used for another request"));
    g_assert_cmpint(scene_signatures(scene), ==, 1);
}

static void test_twice_at_once(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *fault =
        scene_platform(scene, 0, "misbehave duplicate --at=request --count=0 --json", NULL);
    g_autofree char *drive = scene_platform(
        scene, 0, "drive --ca=$1 --kind=mixed --requests=40 --concurrency=8 --linger=300 --json", CA, NULL);
    g_assert_cmpint(scene_signatures(scene), ==, 40);
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
    g_assert_cmpint(scene_counter(scene, "messages delivered"), >=, 80);
    g_autofree char *denied = scene_control_member("denied", "status", NULL);
    g_assert_cmpstr(denied, ==, "0");
    scene_assert_no_complaints(scene);
}

static void test_replayed(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *first = scene_sign(scene, CA);
    g_autofree char *fault = scene_platform(scene, 0, "misbehave replay --count=5 --json", NULL);
    for (int i = 0; i < 5; i++) {
        g_autofree char *serial = scene_sign(scene, CA);
    }
    g_assert_cmpint(scene_signatures(scene), ==, 6);
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
    scene_assert_no_complaints(scene);
}

/* The envelope is not signed: whoever changes the name outside changes nothing. */
static void test_outer_name(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *fault = scene_platform(scene, 0, "misbehave siguuid-differs --json", NULL);
    g_autofree char *serial = scene_sign(scene, CA);
    g_assert_cmpint(scene_signatures(scene), ==, 1);
}

static void test_misrouted(void)
{
    g_autoptr(Scene) scene = begin();
    g_autofree char *fault = scene_platform(
        scene, 0, "misbehave duplicate reorder delay=50 --at=message --probability=0.2 --seed=7 --json",
        NULL);
    g_autofree char *drive = scene_platform(scene, 0,
                                            "drive --ca=$1 --kind=mixed --requests=60 --concurrency=8 "
                                            "--attempts=5 --timeout=10 --linger=1200 --json",
                                            CA, NULL);
    g_assert_cmpint(scene_signatures(scene), ==, 60);
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
}

/* A power cut, twice, while requests are under way. The PIN is sealed, so nobody has to come. */
static void test_killed(void)
{
    g_autoptr(Scene) scene = scene_new("");
    scene_give_sealing_key(scene);
    scene_start(scene, NULL, NULL);
    scene_token(scene, "Home");
    g_autofree char *ca_file = scene_root(scene, CA, "Home/01", "p256");
    GSubprocess *drive = scene_begin_platform(
        scene, "drive --ca=$1 --requests=120 --concurrency=8 --attempts=20 --timeout=3 --linger=500 --json",
        CA, NULL);
    for (int i = 0; i < 2; i++) {
        g_autofree char *value = g_strdup_printf("%d", 20 + 40 * i);
        g_autofree char *counted = scene_platform(scene, 0, "wait --counter=answers --value=$1", value, NULL);
        fixture_kill_daemon(scene_fixture(scene));
        scene_start_again(scene);
    }
    g_autofree char *figures = scene_end(scene, drive, 0);
    g_autoptr(JsonNode) node = json_from_string(figures, NULL);
    g_assert_cmpint(json_object_get_int_member(json_node_get_object(node), "ok"), ==, 120);
    g_assert_cmpint(json_object_get_int_member(json_node_get_object(node), "failed"), ==, 0);
    g_assert_cmpint(scene_counter(scene, "conflicts"), ==, 0);
    scene_assert_no_complaints(scene);
    scene_assert_works(scene, CA);
}

/* Without a key to seal with, the PIN is gone after a restart, and the daemon says what to do. */
static void test_pin_lost(void)
{
    g_autoptr(Scene) scene = begin();
    fixture_stop_daemon(scene_fixture(scene));
    scene_start_again(scene);
    g_autofree char *state = scene_control_member("pinState", "show Home", NULL);
    g_assert_cmpstr(state, ==, "missing");
    scene_wait_log(scene, "There is no sealing key");
    g_autofree char *status = scene_control("status", NULL);
    g_assert_nonnull(strstr(status, "has no PIN to sign with: iothsmctl pin set"));
    g_autofree char *set = scene_control("pin set Home --pin-file=$1", scene_pin_file(scene), NULL);
    scene_wait_connected(scene, CA);
    scene_assert_works(scene, CA);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/same-request/again-gets-the-same-certificate", test_again);
    g_test_add_func("/same-request/with-other-content-is-refused", test_other_content);
    g_test_add_func("/same-request/twice-at-once-is-signed-once", test_twice_at_once);
    g_test_add_func("/same-request/replayed-by-somebody-is-not-signed-again", test_replayed);
    g_test_add_func("/same-request/is-named-by-what-is-signed", test_outer_name);
    g_test_add_func("/same-request/late-doubled-and-out-of-order-is-signed-once", test_misrouted);
    g_test_add_func("/same-request/across-kill-9-is-signed-once", test_killed);
    g_test_add_func("/same-request/after-a-restart-without-a-sealed-pin-waits-for-the-pin", test_pin_lost);
    return g_test_run();
}
