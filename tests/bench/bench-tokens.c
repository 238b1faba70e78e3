/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Four tokens that take 100 ms for a signature can make 40 a second together. What the daemon makes of them
 * is measured end to end, and the bound fails when a token ever waits for work that is there. */

#include "tests/end-to-end/appliances.h"

#define TOKENS 4
#define REQUESTS 300
#define SIGNATURES_A_SECOND_MIN 38.0

static void four_tokens_are_kept_busy(void)
{
    g_autoptr(Scene) scene = scene_new("");
    g_autoptr(Appliances) appliances = appliances_new(scene, 1, TOKENS, "delay-ms=100", "Busy");
    g_autofree char *requests = g_strdup_printf("%d", REQUESTS);
    g_autofree char *driven = scene_platform(
        scene, 0, "drive --ca=$1 --requests=$2 --concurrency=24 --attempts=1 --samples=0 --json", "Busy",
        requests, NULL);
    g_autoptr(JsonNode) node = json_from_string(driven, NULL);
    JsonObject *figures = json_node_get_object(node);
    double throughput = json_object_get_double_member(figures, "throughput");
    g_test_message("%d tokens of 100 ms: %.1f signatures/s of %.1f, p50 %.0f ms, p99 %.0f ms", TOKENS,
                   throughput, TOKENS * 10.0, json_object_get_double_member(figures, "p50"),
                   json_object_get_double_member(figures, "p99"));
    g_assert_cmpint(json_object_get_int_member(figures, "ok"), ==, REQUESTS);
    g_assert_cmpfloat(throughput, >=, SIGNATURES_A_SECOND_MIN);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench/four-tokens-are-kept-busy", four_tokens_are_kept_busy);
    return g_test_run();
}
