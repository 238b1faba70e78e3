/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the manager reports becomes objects, changes and signals here. Changes are gathered: however often a
 * token or a counter moves, an object is read again ten times a second at most, and always before anybody's
 * call is handled or answered, so that nobody sees an old value. */

#include "dbus/bus.h"
#include "daemon/describe.h"
#include "daemon/error.h"
#include "dbus/bus-private.h"
#include "dbus/log-control.h"
#include <errno.h>
#include <string.h>

#define BUS_NAME "org.pkiaas.IoTHSM"
#define REFRESH_INTERVAL_USEC (G_USEC_PER_SEC / 10)
#define WORKER_QUEUE 32

static char *encode(const char *prefix, const char *id)
{
    char *path = NULL;
    if (sd_bus_path_encode(prefix, id, &path) < 0)
        g_error("out of memory");
    return path;
}

char *bus_token_path(const char *serial)
{
    return encode(BUS_PATH "/tokens", serial);
}

char *bus_slot_path(const char *serial, const char *name)
{
    g_autofree char *token = bus_token_path(serial);
    g_autofree char *prefix = g_strconcat(token, "/slots", NULL);
    return encode(prefix, name);
}

char *bus_authority_path(const char *thumbprint)
{
    return encode(BUS_PATH "/authorities", thumbprint);
}

/* --- what changed ------------------------------------------------------------------------------------ */

static void refresh_all(Bus *bus)
{
    GHashTableIter iter;
    void *value;
    sd_event_now(sd_event_source_get_event(bus->refresh), CLOCK_MONOTONIC, &bus->refreshed_at);
    g_hash_table_iter_init(&iter, bus->objects);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Object *object = value;
        if (object->changed)
            object_refresh(object, bus->connection);
    }
}

void bus_refresh_now(Bus *bus)
{
    if (sd_event_source_get_enabled(bus->refresh, NULL) <= 0)
        return;
    sd_event_source_set_enabled(bus->refresh, SD_EVENT_OFF);
    refresh_all(bus);
}

static int on_refresh(sd_event_source *source, uint64_t time, void *userdata)
{
    refresh_all(userdata);
    return 0;
}

static int on_message(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    if (sd_bus_message_is_method_call(message, NULL, NULL) > 0)
        bus_refresh_now(userdata);
    else if (sd_bus_message_is_signal(message, "org.freedesktop.DBus.Local", "Disconnected") > 0)
        log_error("The system bus has closed the connection; the service ends, and systemd starts it again");
    return 0;
}

static void touch(Bus *bus, const void *subject)
{
    Object *object = g_hash_table_lookup(bus->objects, subject);
    if (object == NULL || object->changed)
        return;
    object->changed = true;
    if (sd_event_source_get_enabled(bus->refresh, NULL) > 0)
        return;
    sd_event_source_set_time(bus->refresh, bus->refreshed_at + REFRESH_INTERVAL_USEC);
    sd_event_source_set_enabled(bus->refresh, SD_EVENT_ONESHOT);
}

/* --- what the manager reports ------------------------------------------------------------------------ */

static bool add(Bus *bus, const ObjectClass *class, char *path, void *subject, bool announce)
{
    int number;
    g_autofree char *shown = g_strdup(path);
    Object *object = object_export(class, bus, bus->connection, path, subject, announce, &number);
    if (object == NULL) {
        log_error("%s can't be shown on the bus: %s", shown, g_strerror(number));
        return false;
    }
    g_hash_table_insert(bus->objects, subject, object);
    return true;
}

static void withdraw(Bus *bus, const void *subject)
{
    void *object;
    if (g_hash_table_steal_extended(bus->objects, subject, NULL, &object))
        object_withdraw(object, bus->connection);
}

static void on_changed(void *userdata)
{
    Bus *bus = userdata;
    touch(bus, bus->manager);
}

static void on_token_added(Token *token, void *userdata)
{
    add(userdata, &token_object_class, bus_token_path(token_serial(token)), token, true);
}

static void on_token_removed(Token *token, void *userdata)
{
    withdraw(userdata, token);
}

static void on_token_changed(Token *token, void *userdata)
{
    touch(userdata, token);
}

static void on_slot_added(Slot *slot, void *userdata)
{
    add(userdata, &slot_object_class, bus_slot_path(token_serial(slot_token(slot)), slot_name(slot)), slot,
        true);
}

static void on_slot_removed(Slot *slot, void *userdata)
{
    withdraw(userdata, slot);
}

static void on_slot_changed(Slot *slot, void *userdata)
{
    touch(userdata, slot);
}

/* A slot shows which authority it belongs to: when one comes or goes, any slot may be concerned. */
static void touch_all_slots(Bus *bus)
{
    GPtrArray *tokens = manager_tokens(bus->manager);
    for (guint i = 0; i < tokens->len; i++) {
        GPtrArray *slots = token_slots(g_ptr_array_index(tokens, i));
        for (guint j = 0; j < slots->len; j++)
            touch(bus, g_ptr_array_index(slots, j));
    }
}

static void on_authority_added(Authority *authority, void *userdata)
{
    add(userdata, &authority_object_class, bus_authority_path(authority_thumbprint(authority)), authority,
        true);
    touch_all_slots(userdata);
}

static void on_authority_removed(Authority *authority, void *userdata)
{
    withdraw(userdata, authority);
    touch_all_slots(userdata);
}

/* Its slots are reported by the manager. */
static void on_authority_changed(Authority *authority, void *userdata)
{
    touch(userdata, authority);
}

static void emit_outcome(Bus *bus, Authority *authority, const char *signal, const char *siguuid,
                         const char *kind, const char *text)
{
    g_autofree char *path = bus_authority_path(authority_thumbprint(authority));
    g_autofree char *id = describe_text(siguuid);
    g_autofree char *valid = describe_text(text);
    sd_bus_emit_signal(bus->connection, path, authority_object_class.interface, signal, "sss", id, kind,
                       valid);
}

static void on_signed(Authority *authority, const char *siguuid, const char *kind, const char *result,
                      void *userdata)
{
    emit_outcome(userdata, authority, "SignatureDone", siguuid, kind, result);
}

static void on_denied(Authority *authority, const char *siguuid, const char *kind, const char *reason,
                      void *userdata)
{
    emit_outcome(userdata, authority, "SignatureDenied", siguuid, kind, reason);
}

static int append_fields(sd_bus_message *signal, const LogField *fields)
{
    int r = sd_bus_message_open_container(signal, 'a', "{sv}");
    for (; r >= 0 && fields != NULL && fields->name != NULL; fields++) {
        g_autofree char *value = describe_text(fields->value);
        if (fields->value != NULL)
            r = sd_bus_message_append(signal, "{sv}", fields->name, "s", value);
    }
    return r < 0 ? r : sd_bus_message_close_container(signal);
}

static void on_event(const char *id, const LogField *fields, void *userdata)
{
    Bus *bus = userdata;
    sd_bus_message *signal = NULL;
    int r = sd_bus_message_new_signal(bus->connection, &signal, BUS_PATH, manager_object_class.interface,
                                      "Event");
    if (r >= 0)
        r = sd_bus_message_append(signal, "s", id);
    if (r >= 0)
        r = append_fields(signal, fields);
    if (r >= 0)
        sd_bus_send(bus->connection, signal, NULL);
    sd_bus_message_unref(signal);
}

static void follow_manager(Bus *bus)
{
    const ManagerEvents events = {
        .changed = on_changed,
        .token_added = on_token_added,
        .token_removed = on_token_removed,
        .token_changed = on_token_changed,
        .slot_added = on_slot_added,
        .slot_removed = on_slot_removed,
        .slot_changed = on_slot_changed,
        .authority_added = on_authority_added,
        .authority_removed = on_authority_removed,
        .authority_changed = on_authority_changed,
        .signed_request = on_signed,
        .denied_request = on_denied,
        .event = on_event,
        .userdata = bus,
    };
    manager_set_events(bus->manager, &events);
}

/* --- life -------------------------------------------------------------------------------------------- */

static void explain_connection(int number, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                "The system bus can't be reached: %s; start dbus, or set DBUS_SYSTEM_BUS_ADDRESS",
                g_strerror(number));
}

static void explain_name(int number, GError **error)
{
    if (number == EEXIST || number == EALREADY)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "The name " BUS_NAME
                    " is taken: another iothsmd runs; stop it first (systemctl stop iothsmd)");
    else if (number == EACCES || number == EPERM)
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
            "The bus does not let this user own the name " BUS_NAME ": run as the user that " BUS_NAME
            ".conf in /usr/share/dbus-1/system.d names, and reload the bus after installing that file");
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "The bus did not give us the name " BUS_NAME ": %s", g_strerror(number));
}

/* Objects come before the name, so that whoever finds the name finds them. */
static bool put_on_bus(Bus *bus, sd_event *event, GError **error)
{
    int r = sd_event_add_time(event, &bus->refresh, CLOCK_MONOTONIC, UINT64_MAX, 1, on_refresh, bus);
    if (r >= 0)
        r = sd_event_source_set_enabled(bus->refresh, SD_EVENT_OFF);
    if (r >= 0)
        r = sd_bus_open_system_with_description(&bus->connection, "iothsmd");
    if (r >= 0)
        r = sd_bus_attach_event(bus->connection, event, SD_EVENT_PRIORITY_NORMAL);
    if (r >= 0)
        r = sd_bus_set_exit_on_disconnect(bus->connection, true);
    if (r >= 0)
        r = sd_bus_add_filter(bus->connection, NULL, on_message, bus);
    if (r >= 0)
        r = sd_bus_add_object_manager(bus->connection, NULL, BUS_PATH);
    if (r >= 0)
        r = log_control_export(bus->connection);
    if (r < 0) {
        explain_connection(-r, error);
        return false;
    }
    bus->authorize = authorize_new(bus->connection);
    if (!add(bus, &manager_object_class, g_strdup(BUS_PATH), bus->manager, false)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "The objects of the bus can't be set up");
        return false;
    }
    r = sd_bus_request_name(bus->connection, BUS_NAME, 0);
    if (r < 0)
        explain_name(-r, error);
    return r >= 0;
}

Bus *bus_new(Manager *manager, sd_event *event, GError **error)
{
    g_autoptr(Bus) bus = g_new0(Bus, 1);
    bus->manager = manager;
    bus->objects = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)object_free);
    bus->calls = g_hash_table_new(NULL, NULL);
    bus->worker = worker_new("bus", 1, WORKER_QUEUE);
    if (!put_on_bus(bus, event, error))
        return NULL;
    follow_manager(bus);
    return g_steal_pointer(&bus);
}

static void abandon_calls(Bus *bus)
{
    g_autoptr(GList) calls = g_hash_table_get_keys(bus->calls);
    g_hash_table_remove_all(bus->calls);
    for (GList *each = calls; each != NULL; each = each->next)
        call_abandon(each->data);
}

void bus_free(Bus *bus)
{
    if (bus == NULL)
        return;
    const ManagerEvents nothing = {0};
    manager_set_events(bus->manager, &nothing);
    authorize_close(bus->authorize);
    abandon_calls(bus);
    worker_close_and_join(bus->worker);
    g_hash_table_unref(bus->objects);
    g_hash_table_unref(bus->calls);
    sd_event_source_disable_unref(bus->refresh);
    sd_bus_flush_close_unref(bus->connection);
    g_free(bus);
}
