/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See stage.h. */

#include "tests/hotplug/stage.h"
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define SECONDS 30
/* No platform: none of these tests is about it. */
#define CONFIGURATION "[Platform]\nUrl=http://127.0.0.1:1\n[Tokens]\nSoftHsm=no\n"

static int on_event(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    Stage *stage = userdata;
    const char *id, *name, *value, *token = "", *text = "";
    g_assert_cmpint(sd_bus_message_read(message, "s", &id), >, 0);
    g_assert_cmpint(sd_bus_message_enter_container(message, 'a', "{sv}"), >, 0);
    while (sd_bus_message_read(message, "{sv}", &name, "s", &value) > 0) {
        token = strcmp(name, "token") == 0 ? value : token;
        text = strcmp(name, "message") == 0 ? value : text;
    }
    if (strcmp(id, "token-added") == 0)
        g_ptr_array_add(stage->reports, g_strconcat("+", token, NULL));
    else if (strcmp(id, "token-removed") == 0)
        g_ptr_array_add(stage->reports, g_strconcat("-", token, NULL));
    else if (strcmp(id, "trouble") == 0)
        g_ptr_array_add(stage->reports, g_strconcat("trouble: ", text, NULL));
    return 0;
}

Stage *stage_new(guint readers, bool pcscd)
{
    Stage *stage = g_new0(Stage, 1);
    stage->pcsc = pcscd ? pcsc_start_readers(readers) : pcsc_new_stopped(readers);
    stage->fixture = fixture_new();
    stage->keys = g_ptr_array_new_with_free_func((GDestroyNotify)virtual_key_free);
    stage->reports = g_ptr_array_new_with_free_func(g_free);
    fixture_keep_log(stage->fixture);
    g_assert_cmpint(sd_bus_match_signal(fixture_client(stage->fixture), &stage->match, NULL, IOTHSM_PATH,
                                        MANAGER_INTERFACE, "Event", on_event, stage),
                    >=, 0);
    return stage;
}

void stage_free(Stage *stage)
{
    sd_bus_slot_unref(stage->match);
    fixture_free(stage->fixture);
    g_ptr_array_unref(stage->keys);
    g_ptr_array_unref(stage->reports);
    pcsc_free(stage->pcsc);
    g_free(stage);
}

void stage_start(Stage *stage, const char *const *environment)
{
    g_autofree char *credentials = g_build_filename(fixture_directory(stage->fixture), "credentials", NULL);
    g_autoptr(GPtrArray) pairs = g_ptr_array_new();
    g_assert_cmpint(g_mkdir_with_parents(credentials, 0700), ==, 0);
    g_free(test_write(credentials, "iothsm.key", "0123456789abcdef0123456789abcdef"));
    g_ptr_array_add(pairs, (void *)"CREDENTIALS_DIRECTORY");
    g_ptr_array_add(pairs, credentials);
    for (; environment && *environment; environment++)
        g_ptr_array_add(pairs, (void *)*environment);
    g_ptr_array_add(pairs, NULL);
    fixture_start_daemon(stage->fixture, g_getenv("IOTHSMD"), CONFIGURATION, NULL,
                         (const char *const *)pairs->pdata);
}

char *stage_directory(const Stage *stage, const char *serial)
{
    return g_build_filename(fixture_directory(stage->fixture), serial, NULL);
}

VirtualKey *stage_key_in(Stage *stage, guint reader, const char *directory, bool plugged)
{
    const char *options[] = {plugged ? NULL : "--unplugged", NULL};
    VirtualKey *key = virtual_key_start(directory, pcsc_port(stage->pcsc, reader), options);
    g_ptr_array_add(stage->keys, key);
    return key;
}

VirtualKey *stage_key(Stage *stage, guint reader, const char *serial, bool plugged)
{
    g_autofree char *directory = stage_directory(stage, serial);
    g_autofree char *option = g_strconcat("--serial=", serial, NULL);
    const char *options[] = {option, plugged ? NULL : "--unplugged", NULL};
    VirtualKey *key = virtual_key_start(directory, pcsc_port(stage->pcsc, reader), options);
    g_ptr_array_add(stage->keys, key);
    return key;
}

typedef struct Count {
    const Stage *stage;
    guint wanted;
} Count;

static bool is_reached(void *userdata)
{
    const Count *count = userdata;
    return count->stage->reports->len >= count->wanted;
}

static void wait_for(Stage *stage, guint reports)
{
    Count count = {stage, reports};
    gint64 end = g_get_monotonic_time() + SECONDS * G_TIME_SPAN_SECOND;
    while (!is_reached(&count) && g_get_monotonic_time() < end)
        g_assert_cmpint(sd_event_run(fixture_event(stage->fixture), 100 * 1000), >=, 0);
    if (is_reached(&count))
        return;
    g_autofree char *log = fixture_log(stage->fixture);
    g_error("%u reports instead of %u within %d s; the daemon said:\n%s", stage->reports->len, reports,
            SECONDS, log);
}

void stage_assert_next(Stage *stage, const char *report)
{
    wait_for(stage, 1);
    g_autofree char *next = g_ptr_array_steal_index(stage->reports, 0);
    if (!g_str_has_prefix(next, report))
        g_error("\"%s\" instead of \"%s\"", next, report);
}

void stage_assert_all(Stage *stage, const char *const *reports)
{
    wait_for(stage, g_strv_length((char **)reports));
    for (; *reports; reports++) {
        guint at = 0;
        if (!g_ptr_array_find_with_equal_func(stage->reports, *reports, g_str_equal, &at))
            g_error("\"%s\" was not reported", *reports);
        g_ptr_array_remove_index(stage->reports, at);
    }
}

char *stage_token_path(const char *serial)
{
    char *path = NULL;
    g_assert_cmpint(sd_bus_path_encode(IOTHSM_PATH "/tokens", serial, &path), >=, 0);
    char *copy = g_strdup(path);
    free(path);
    return copy;
}

void stage_wait_state(Stage *stage, const char *serial, const char *state)
{
    g_autofree char *path = stage_token_path(serial);
    fixture_wait_string(stage->fixture, path, TOKEN_INTERFACE, "State", state, SECONDS);
}

char *stage_tokens(Stage *stage)
{
    g_auto(GStrv) paths = fixture_objects(stage->fixture, TOKEN_INTERFACE);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (char **path = paths; *path; path++) {
        char *serial = NULL;
        g_assert_cmpint(sd_bus_path_decode(*path, IOTHSM_PATH "/tokens", &serial), >, 0);
        g_strv_builder_add(builder, serial);
        free(serial);
    }
    g_auto(GStrv) serials = g_strv_builder_end(builder);
    return g_strjoinv(" ", serials);
}

char *stage_troubles(Stage *stage)
{
    char **troubles = NULL;
    sd_bus_message *reply = fixture_call(stage->fixture, IOTHSM_PATH, "org.freedesktop.DBus.Properties",
                                         "Get", NULL, "ss", MANAGER_INTERFACE, "Troubles");
    g_assert_cmpint(sd_bus_message_enter_container(reply, 'v', "as"), >, 0);
    g_assert_cmpint(sd_bus_message_read_strv(reply, &troubles), >=, 0);
    char *lines = troubles ? g_strjoinv("\n", troubles) : g_strdup("");
    for (char **each = troubles; each && *each; each++)
        free(*each);
    free(troubles);
    sd_bus_message_unref(reply);
    return lines;
}

void stage_set_pin(Stage *stage, const char *serial)
{
    g_autofree char *path = stage_token_path(serial);
    int pin = fixture_secret(STAGE_PIN);
    sd_bus_message_unref(fixture_call(stage->fixture, path, TOKEN_INTERFACE, "SetPin", NULL, "hb", pin, 1));
    close(pin);
}
