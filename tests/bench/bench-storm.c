/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Forty CAs in one daemon (with IOTHSM_CHECK_LONG=yes a thousand): how long until all are connected, how
 * long again after the connection was lost, what they ask of a platform that is out of order, and how much
 * memory each takes. The platform is in this very process: its share is in all the figures. */

#include "tests/unit/link/agent.h"
#include <string.h>
#include <unistd.h>

enum { SLOTS = 50, OUTAGE_SECONDS = 3 };

/* Each has a key pair, a certificate, an inbox and a subscription. Far below what would hurt: a thousand are
 * less than MemoryMax= of the service by a factor of ten. */
#define MEMORY_KB_MAX 200
/* Of each authority while the platform fails: after 1 s, 2 s and so on with full jitter. */
#define ATTEMPTS_MAX 4.0

static double seconds_since(gint64 start)
{
    return (double)(g_get_monotonic_time() - start) / G_USEC_PER_SEC;
}

static gint64 resident_kb(void)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents("/proc/self/statm", &text, NULL, NULL));
    g_auto(GStrv) fields = g_strsplit(text, " ", -1);
    return g_ascii_strtoll(fields[1], NULL, 10) * (gint64)sysconf(_SC_PAGESIZE) / 1024;
}

typedef struct Storm {
    Agent *agent;
    guint authorities;
} Storm;

static bool are_all_connected(void *userdata)
{
    const Storm *storm = userdata;
    return link_connected(storm->agent->link) == storm->authorities;
}

static bool is_none_connected(void *userdata)
{
    return link_connected(((const Storm *)userdata)->agent->link) == 0;
}

static double wait_connected(Storm *storm)
{
    gint64 start = g_get_monotonic_time();
    test_wait_for(are_all_connected, storm, 600);
    return seconds_since(start);
}

static char *tokens_for(guint authorities)
{
    GString *specs = g_string_new(NULL);
    for (guint i = 0; i * SLOTS < authorities; i++)
        g_string_append_printf(specs, "fake:serial=T%u,slots=%d,threads=0\n", i, SLOTS);
    return g_string_free(specs, FALSE);
}

static void provision_all(Storm *storm, ScriptedPlatform *platform)
{
    for (guint i = 0; i < storm->authorities; i++) {
        g_autofree char *token = g_strdup_printf("T%u", i / SLOTS);
        g_autofree char *name = g_strdup_printf("CA %u", i);
        agent_provision(storm->agent, platform, token, "p256", name);
    }
}

/* The platform forgets all tokens, and answers every bootstrap with 503. */
static void break_platform(Storm *storm, ScriptedPlatform *platform)
{
    GPtrArray *all = authority_set_all(storm->agent->authorities);
    platform->status = 503;
    for (guint i = 0; i < all->len; i++) {
        g_autofree char *channel = scripted_platform_channel(authority_thumbprint(all->pdata[i]));
        websocket_server_say(platform->link,
                             "{'op':'error','channel':'%s','code':'bad-token','reason':'gone'}", channel);
    }
    test_wait_for(is_none_connected, storm, 60);
}

static void many_authorities_reconnect(void)
{
    bool thorough = g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0;
    Storm storm = {.authorities = thorough ? 1000 : 40};
    g_autofree char *tokens = tokens_for(storm.authorities);
    g_autoptr(ScriptedPlatform) platform = scripted_platform_new();
    g_autoptr(Agent) agent = agent_new(platform, tokens);
    storm.agent = agent;
    Config nobody = agent->config;
    nobody.verification_ca = (char *)"/nonexistent/anchor.pem";
    agent_reload(agent, &nobody);
    provision_all(&storm, platform);

    gint64 before = resident_kb();
    agent_reload(agent, &agent->config);
    double start = wait_connected(&storm);
    double memory = (double)(resident_kb() - before) / storm.authorities;
    test_figure("%u authorities: connected after %.1f s (%.0f bootstraps/s), %.0f KiB each",
                storm.authorities, start, storm.authorities / start, memory);
    g_assert_cmpuint(platform->bootstraps, ==, storm.authorities);
    g_assert_cmpuint(platform->link->accepted, ==, 1);
    g_assert_cmpfloat(memory, <, MEMORY_KB_MAX);

    soup_websocket_connection_close(platform->link->connection, 1001, NULL);
    test_wait_for(is_none_connected, &storm, 60);
    double again = wait_connected(&storm);
    test_figure("connection lost: all connected again %.1f s later, without a bootstrap", again);
    g_assert_cmpuint(platform->bootstraps, ==, storm.authorities);
    g_assert_cmpuint(platform->link->accepted, ==, 2);

    break_platform(&storm, platform);
    guint asked = platform->bootstraps;
    test_let_pass(OUTAGE_SECONDS * 1000);
    double attempts = (double)(platform->bootstraps - asked) / storm.authorities;
    platform->status = 0;
    double healed = wait_connected(&storm);
    test_figure(
        "platform out of order for %d s: %.1f bootstraps of each authority; all connected %.1f s after",
        OUTAGE_SECONDS, attempts, healed);
    g_assert_cmpfloat(attempts, <, ATTEMPTS_MAX);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench/many-authorities-reconnect", many_authorities_reconnect);
    return g_test_run();
}
