/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Calls to the daemon, and its properties, as a test makes them: the loop is served until the answer. */

#include "tests/bus/fixture.h"
#include <string.h>

#define CALL_SECONDS 60

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
    *(sd_bus_message **)userdata = sd_bus_message_ref(reply);
    return 0;
}

static bool has_reply(void *reply)
{
    return *(sd_bus_message **)reply != NULL;
}

sd_bus_message *fixture_send(Fixture *fixture, sd_bus *client, sd_bus_message *call, sd_bus_error *ret_error)
{
    sd_bus_message *reply = NULL;
    int r = sd_bus_call_async(client, NULL, call, on_reply, &reply, UINT64_MAX);
    sd_bus_message_unref(call);
    g_assert_cmpint(r, >=, 0);
    fixture_wait(fixture, has_reply, &reply, CALL_SECONDS);
    const sd_bus_error *error = sd_bus_message_get_error(reply);
    if (error == NULL)
        return reply;
    if (ret_error == NULL)
        g_error("%s: %s", error->name, error->message);
    sd_bus_error_copy(ret_error, error);
    sd_bus_message_unref(reply);
    return NULL;
}

static sd_bus_message *new_call(Fixture *fixture, const char *path, const char *interface, const char *member)
{
    sd_bus_message *call = NULL;
    g_assert_cmpint(
        sd_bus_message_new_method_call(fixture_client(fixture), &call, IOTHSM_NAME, path, interface, member),
        >=, 0);
    return call;
}

sd_bus_message *fixture_call(Fixture *fixture, const char *path, const char *interface, const char *member,
                             sd_bus_error *ret_error, const char *types, ...)
{
    sd_bus_message *call = new_call(fixture, path, interface, member);
    va_list arguments;
    va_start(arguments, types);
    g_assert_cmpint(sd_bus_message_appendv(call, types, arguments), >=, 0);
    va_end(arguments);
    return fixture_send(fixture, fixture_client(fixture), call, ret_error);
}

char *fixture_refused(Fixture *fixture, const char *error_name, const char *path, const char *interface,
                      const char *member, const char *types, ...)
{
    sd_bus_message *call = new_call(fixture, path, interface, member);
    sd_bus_error error = SD_BUS_ERROR_NULL;
    va_list arguments;
    va_start(arguments, types);
    g_assert_cmpint(sd_bus_message_appendv(call, types, arguments), >=, 0);
    va_end(arguments);
    sd_bus_message *reply = fixture_send(fixture, fixture_client(fixture), call, &error);
    if (reply != NULL)
        g_error("%s succeeded instead of failing with %s", member, error_name);
    if (g_strcmp0(error.name, error_name) != 0)
        g_error("%s failed with %s (%s) instead of %s", member, error.name, error.message, error_name);
    char *text = g_strdup(error.message);
    sd_bus_error_free(&error);
    return text;
}

static sd_bus_message *get_property(Fixture *fixture, const char *path, const char *interface,
                                    const char *property, char *ret_type)
{
    const char *contents;
    sd_bus_message *reply = fixture_call(fixture, path, "org.freedesktop.DBus.Properties", "Get", NULL, "ss",
                                         interface, property);
    g_assert_cmpint(sd_bus_message_peek_type(reply, NULL, &contents), >, 0);
    g_assert_cmpint(sd_bus_message_enter_container(reply, 'v', contents), >, 0);
    *ret_type = contents[0];
    return reply;
}

char *fixture_get_string(Fixture *fixture, const char *path, const char *interface, const char *property)
{
    char type;
    const char *text;
    sd_bus_message *reply = get_property(fixture, path, interface, property, &type);
    g_assert_cmpint(sd_bus_message_read_basic(reply, type, &text), >, 0);
    char *copy = g_strdup(text);
    sd_bus_message_unref(reply);
    return copy;
}

gint64 fixture_get_number(Fixture *fixture, const char *path, const char *interface, const char *property)
{
    char type;
    union {
        int32_t i;
        uint32_t u;
        uint64_t t;
        int b;
    } value = {0};
    sd_bus_message *reply = get_property(fixture, path, interface, property, &type);
    g_assert_nonnull(strchr("biut", type));
    g_assert_cmpint(sd_bus_message_read_basic(reply, type, &value), >, 0);
    sd_bus_message_unref(reply);
    return type == 't' ? (gint64)value.t : type == 'u' ? (gint64)value.u : (gint64)value.i;
}

void fixture_wait_string(Fixture *fixture, const char *path, const char *interface, const char *property,
                         const char *value, guint seconds)
{
    gint64 deadline = g_get_monotonic_time() + (gint64)seconds * G_USEC_PER_SEC;
    for (;;) {
        g_autofree char *now = fixture_get_string(fixture, path, interface, property);
        if (strcmp(now, value) == 0)
            return;
        if (g_get_monotonic_time() > deadline)
            g_error("%s of %s is \"%s\" instead of \"%s\" after %u s", property, path, now, value, seconds);
        g_assert_cmpint(sd_event_run(fixture_event(fixture), 20 * 1000), >=, 0);
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

GStrv fixture_objects(Fixture *fixture, const char *interface)
{
    g_autoptr(GPtrArray) paths = g_ptr_array_new();
    sd_bus_message *reply = fixture_call(fixture, IOTHSM_PATH, "org.freedesktop.DBus.ObjectManager",
                                         "GetManagedObjects", NULL, "");
    g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "{oa{sa{sv}}}"), >, 0);
    while (sd_bus_message_enter_container(reply, 'e', "oa{sa{sv}}") > 0) {
        const char *path, *name;
        g_assert_cmpint(sd_bus_message_read(reply, "o", &path), >, 0);
        g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "{sa{sv}}"), >=, 0);
        while (sd_bus_message_enter_container(reply, 'e', "sa{sv}") > 0) {
            g_assert_cmpint(sd_bus_message_read(reply, "s", &name), >, 0);
            if (strcmp(name, interface) == 0)
                g_ptr_array_add(paths, g_strdup(path));
            g_assert_cmpint(sd_bus_message_skip(reply, "a{sv}"), >, 0);
            g_assert_cmpint(sd_bus_message_exit_container(reply), >, 0);
        }
        g_assert_cmpint(sd_bus_message_exit_container(reply), >, 0);
        g_assert_cmpint(sd_bus_message_exit_container(reply), >, 0);
    }
    sd_bus_message_unref(reply);
    g_ptr_array_sort(paths, compare_names);
    g_ptr_array_add(paths, NULL);
    return (GStrv)g_ptr_array_steal(paths, NULL);
}
