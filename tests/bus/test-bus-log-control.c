/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The log of the running service is turned up and down over org.freedesktop.LogControl1, by root alone;
 * and what it says about calls. */

#include "tests/bus/fixture.h"
#include <string.h>
#include <unistd.h>

#define LOG_PATH "/org/freedesktop/LogControl1"
#define LOG_INTERFACE "org.freedesktop.LogControl1"
#define TOKEN_PATH IOTHSM_PATH "/tokens/F1"
#define PROPERTIES "org.freedesktop.DBus.Properties"

static void set_up(Fixture **fixture, gconstpointer data)
{
    *fixture = fixture_new();
    fixture_keep_log(*fixture);
    fixture_start_daemon(*fixture, NULL, "[Tokens]\nSoftHsm=no\n",
                         (const char *const[]){"--fake=fake:serial=F1,label=One", NULL}, NULL);
}

static void tear_down(Fixture **fixture, gconstpointer data)
{
    fixture_free(*fixture);
}

static void set(Fixture *fixture, const char *property, const char *value)
{
    sd_bus_message_unref(
        fixture_call(fixture, LOG_PATH, PROPERTIES, "Set", NULL, "ssv", LOG_INTERFACE, property, "s", value));
}

static void is(Fixture *fixture, const char *property, const char *value)
{
    g_autofree char *found = fixture_get_string(fixture, LOG_PATH, LOG_INTERFACE, property);
    g_assert_cmpstr(found, ==, value);
}

/* Whether a reload, which is logged as a call, leaves a trace. */
static bool reload_is_logged(Fixture *fixture)
{
    g_autofree char *before = fixture_log(fixture);
    sd_bus_message_unref(fixture_call(fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Reload", NULL, ""));
    g_autofree char *after = fixture_log(fixture);
    return strlen(after) > strlen(before);
}

static void starts_as_it_was_told(Fixture **fixture, gconstpointer data)
{
    is(*fixture, "LogLevel", "info");
    is(*fixture, "LogTarget", "auto");
    is(*fixture, "SyslogIdentifier", "iothsmd");
}

static void the_level_decides_what_is_logged(Fixture **fixture, gconstpointer data)
{
    set(*fixture, "LogLevel", "debug");
    is(*fixture, "LogLevel", "debug");
    g_assert_true(reload_is_logged(*fixture));
    set(*fixture, "LogLevel", "emerg");
    g_assert_false(reload_is_logged(*fixture));
}

static void the_target_decides_where_to(Fixture **fixture, gconstpointer data)
{
    set(*fixture, "LogLevel", "debug");
    set(*fixture, "LogTarget", "null");
    g_assert_false(reload_is_logged(*fixture));
    set(*fixture, "LogTarget", "console");
    is(*fixture, "LogTarget", "console");
    g_assert_true(reload_is_logged(*fixture));
}

static void an_administrator_reads_who_did_what(Fixture **fixture, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    sd_bus_message_unref(fixture_call(*fixture, TOKEN_PATH, TOKEN_INTERFACE, "ForgetPin", NULL, ""));
    fixture_polkit(*fixture, POLKIT_NO);
    g_autofree char *refused = fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, TOKEN_PATH,
                                               TOKEN_INTERFACE, "ForgetPin", NULL);
    g_assert_true(g_str_has_prefix(refused, SD_BUS_ERROR_ACCESS_DENIED));
    g_autofree char *log = fixture_log(*fixture);
    g_autofree char *done = g_strdup_printf("ForgetPin on token F1 is done for user %u (:1.", geteuid());
    g_autofree char *failed = g_strdup_printf("ForgetPin on token F1 failed for user %d (:1.", OTHER_UID);
    g_assert_nonnull(strstr(log, done));
    g_assert_nonnull(strstr(log, failed));
}

static void what_can_not_be_meant_changes_nothing(Fixture **fixture, gconstpointer data)
{
    static const char *const wrong[][2] = {
        {"LogLevel", "loud"}, {"LogLevel", ""}, {"LogTarget", "syslog"}, {"LogTarget", "Journal"}};
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++)
        g_free(fixture_refused(*fixture, SD_BUS_ERROR_INVALID_ARGS, LOG_PATH, PROPERTIES, "Set", "ssv",
                               LOG_INTERFACE, wrong[i][0], "s", wrong[i][1]));
    starts_as_it_was_told(fixture, NULL);
}

static void nobody_but_root_reaches_it(Fixture **fixture, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    g_autofree char *answer = fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, LOG_PATH, PROPERTIES,
                                              "GetAll", (const char *const[]){LOG_INTERFACE, NULL});
    g_assert_true(g_str_has_prefix(answer, SD_BUS_ERROR_ACCESS_DENIED));
    is(*fixture, "LogLevel", "info");
}

#define ADD(test) g_test_add("/bus-log-control/" #test, Fixture *, NULL, set_up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(starts_as_it_was_told);
    ADD(the_level_decides_what_is_logged);
    ADD(the_target_decides_where_to);
    ADD(what_can_not_be_meant_changes_nothing);
    ADD(nobody_but_root_reaches_it);
    ADD(an_administrator_reads_who_did_what);
    return g_test_run();
}
