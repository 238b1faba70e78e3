/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Several appliances for one CA, and several tokens in one appliance: everything is signed, and once. */

#include "tests/end-to-end/appliances.h"
#include <signal.h>
#include <string.h>

#define CA "Shared"

typedef struct Figures {
    gint64 ok;
    gint64 failed;
    gint64 conflicts;
    double throughput;
} Figures;

static Figures read_figures(const char *json)
{
    g_autoptr(JsonNode) node = json_from_string(json, NULL);
    g_assert_nonnull(node);
    JsonObject *object = json_node_get_object(node);
    return (Figures){json_object_get_int_member(object, "ok"), json_object_get_int_member(object, "failed"),
                     json_object_get_int_member(object, "conflicts"),
                     json_object_get_double_member(object, "throughput")};
}

/* The platform takes the first offer: each request goes to one appliance, whichever, and is signed there. */
static void share_one_ca(guint count)
{
    g_autoptr(Scene) scene = scene_new("");
    g_autoptr(Appliances) appliances = appliances_new(scene, count, 1, "", CA);
    g_autofree char *driven = scene_platform(
        scene, 0, "drive --ca=$1 --kind=mixed --requests=60 --concurrency=6 --linger=300 --samples=3 --json",
        CA, NULL);
    Figures figures = read_figures(driven);
    g_assert_cmpint(figures.ok, ==, 60);
    g_assert_cmpint(figures.failed, ==, 0);
    g_assert_cmpint(figures.conflicts, ==, 0);
    g_assert_cmpint(appliances_all_signatures(appliances), ==, 60);
    for (guint i = 0; i < count; i++)
        g_test_message("appliance %u signed %" G_GINT64_FORMAT, i, appliances_signatures(appliances, i));
    scene_assert_no_complaints(scene);
}

static void two_appliances_share_one_ca(void)
{
    share_one_ca(2);
}

static void four_appliances_share_one_ca(void)
{
    share_one_ca(4);
}

/* One appliance dies in the middle: what it had in hand, the platform gives to another one. */
static void an_appliance_that_dies_is_replaced_by_the_other(void)
{
    g_autoptr(Scene) scene = scene_new("");
    g_autoptr(Appliances) appliances = appliances_new(scene, 2, 1, "delay-ms=20", CA);
    GSubprocess *drive = scene_begin_platform(
        scene, "drive --ca=$1 --requests=40 --concurrency=4 --attempts=4 --timeout=12 --samples=3 --json", CA,
        NULL);
    g_autofree char *counted = scene_platform(scene, 0, "wait --counter=answers --value=10", NULL);
    fixture_kill_daemon(appliances_fixture(appliances, 0));
    g_autofree char *driven = scene_end(scene, drive, 0);
    Figures figures = read_figures(driven);
    g_assert_cmpint(figures.ok, ==, 40);
    g_assert_cmpint(figures.failed, ==, 0);
}

static guint64 sample(const char *metrics, const char *name)
{
    const char *const argv[] = {"python3", g_getenv("OPENMETRICS"), name, NULL};
    g_autofree char *value = test_run(argv, metrics, 0);
    return (guint64)g_ascii_strtod(value, NULL);
}

/* Not one request fails at its first attempt, though a token is pulled out with requests in hand and waiting.
 */
static void a_token_pulled_out_costs_no_request(void)
{
    g_autoptr(Scene) scene = scene_new("");
    g_autoptr(Appliances) appliances = appliances_new(scene, 1, 4, "delay-ms=100", CA);
    GSubprocess *drive = scene_begin_platform(
        scene, "drive --ca=$1 --requests=80 --concurrency=12 --attempts=1 --timeout=25 --samples=3 --json",
        CA, NULL);
    g_autofree char *first = scene_platform(scene, 0, "wait --counter=answers --value=20", NULL);
    kill(fixture_daemon_pid(appliances_fixture(appliances, 0)), SIGUSR1);
    g_autofree char *second = scene_platform(scene, 0, "wait --counter=answers --value=50", NULL);
    kill(fixture_daemon_pid(appliances_fixture(appliances, 0)), SIGUSR2);
    g_autofree char *driven = scene_end(scene, drive, 0);
    Figures figures = read_figures(driven);
    g_assert_cmpint(figures.ok, ==, 80);
    g_assert_cmpint(figures.failed, ==, 0);
    g_assert_cmpint(figures.conflicts, ==, 0);
    g_assert_cmpint(appliances_signatures(appliances, 0), ==, 80);
    g_test_message("%.1f signatures/s", figures.throughput);
    g_autofree char *metrics = appliances_metrics(appliances, 0);
    g_assert_cmpuint(sample(metrics, "iothsm_signatures_total,kind=csr"), ==, 80);
    g_assert_cmpuint(sample(metrics, "iothsm_phase_seconds_count,phase=token"), ==, 80);
    g_assert_cmpuint(sample(metrics, "iothsm_phase_seconds_bucket,le=0.05,phase=token"), ==, 0);
    g_assert_cmpuint(sample(metrics, "iothsm_phase_seconds_count,phase=reply"), ==, 80);
    scene_assert_no_complaints(scene);
}

/* Drained in the middle: it does what it has offered, nothing fails, and then nothing more is signed there.
 */
static void a_drained_appliance_leaves_the_work_to_the_other(void)
{
    g_autoptr(Scene) scene = scene_new("");
    g_autoptr(Appliances) appliances = appliances_new(scene, 2, 1, "delay-ms=10", CA);
    Fixture *drained = appliances_fixture(appliances, 0);
    GSubprocess *drive = scene_begin_platform(
        scene, "drive --ca=$1 --requests=100 --concurrency=8 --attempts=1 --timeout=25 --samples=3 --json",
        CA, NULL);
    g_autofree char *first = scene_platform(scene, 0, "wait --counter=answers --value=20", NULL);
    sd_bus_message_unref(
        fixture_call(drained, IOTHSM_PATH "/tokens/F1", TOKEN_INTERFACE, "Drain", NULL, "b", 1));
    g_autofree char *state = fixture_get_string(drained, IOTHSM_PATH "/tokens/F1", TOKEN_INTERFACE, "State");
    g_assert_cmpstr(state, ==, "draining");
    g_autofree char *driven = scene_end(scene, drive, 0);
    Figures figures = read_figures(driven);
    g_assert_cmpint(figures.ok, ==, 100);
    g_assert_cmpint(figures.failed, ==, 0);
    gint64 before = appliances_signatures(appliances, 0);
    g_autofree char *again = scene_platform(
        scene, 0, "drive --ca=$1 --requests=40 --concurrency=8 --attempts=1 --samples=1 --json", CA, NULL);
    figures = read_figures(again);
    g_assert_cmpint(figures.ok, ==, 40);
    g_assert_cmpint(appliances_signatures(appliances, 0), ==, before);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/several/" #name, name)
    TEST(two_appliances_share_one_ca);
    TEST(four_appliances_share_one_ca);
    TEST(an_appliance_that_dies_is_replaced_by_the_other);
    TEST(a_token_pulled_out_costs_no_request);
    TEST(a_drained_appliance_leaves_the_work_to_the_other);
    return g_test_run();
}
