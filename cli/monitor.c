/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `monitor`: what happens, as it happens, until Ctrl-C; with --json=short one JSON object a line. */

#include "cli/cli.h"
#include "cli/message-json.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <systemd/sd-event.h>

G_DEFINE_AUTOPTR_CLEANUP_FUNC(sd_event, sd_event_unref)

static void print_text(Output *output, const char *time, const char *id, JsonObject *fields)
{
    JsonObjectIter iterator;
    const char *name = NULL;
    JsonNode *value = NULL;
    g_autofree char *printable = output_printable(id);
    output_text(output, "%s  %s%s%s", time, output_begin(output, EMPHASIS_STRONG), printable,
                output_end(output));
    json_object_iter_init_ordered(&iterator, fields);
    while (json_object_iter_next_ordered(&iterator, &name, &value)) {
        bool text = JSON_NODE_HOLDS_VALUE(value) && json_node_get_value_type(value) == G_TYPE_STRING;
        g_autofree char *raw = text ? json_node_dup_string(value) : json_to_string(value, FALSE);
        g_autofree char *shown = output_printable(raw);
        output_text(output, "  %s=%s", name, shown);
    }
    output_text(output, "\n");
}

/* Takes |fields|. */
static int print_event(Cli *cli, const char *id, JsonObject *fields)
{
    g_autoptr(GDateTime) now =
        output_is_json(cli->output) ? g_date_time_new_now_utc() : g_date_time_new_now_local();
    if (output_is_json(cli->output)) {
        g_autofree char *time = g_date_time_format_iso8601(now);
        JsonObject *event = cli_object("time", time, "event", id, NULL);
        json_object_set_object_member(event, "fields", fields);
        JsonNode *node = json_node_new(JSON_NODE_OBJECT);
        json_node_take_object(node, event);
        output_json(cli->output, node);
    } else {
        g_autofree char *time = g_date_time_format(now, "%Y-%m-%d %H:%M:%S");
        print_text(cli->output, time, id, fields);
        json_object_unref(fields);
    }
    return output_flush(cli->output, NULL) ? 0 : -EPIPE;
}

static int on_event(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    g_autoptr(JsonNode) body = message_to_json(message, NULL);
    JsonArray *arguments = body ? json_node_get_array(body) : NULL;
    if (!arguments || json_array_get_length(arguments) < 2 ||
        !JSON_NODE_HOLDS_OBJECT(json_array_get_element(arguments, 1)))
        return 0;
    return print_event(userdata, json_array_get_string_element(arguments, 0),
                       json_object_ref(json_array_get_object_element(arguments, 1)));
}

/* SignatureDone and SignatureDenied of an authority. */
static int on_signature(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    const char *request = NULL, *kind = NULL, *text = NULL;
    bool done = g_strcmp0(sd_bus_message_get_member(message), "SignatureDone") == 0;
    if (!done && g_strcmp0(sd_bus_message_get_member(message), "SignatureDenied") != 0)
        return 0;
    int r = sd_bus_message_read(message, "sss", &request, &kind, &text);
    if (r < 0)
        return 0;
    char *authority = NULL;
    const char *path = sd_bus_message_get_path(message);
    r = sd_bus_path_decode(path, BUS_ROOT "/authorities", &authority);
    JsonObject *fields = cli_object("authority", r > 0 ? authority : path, "request", request, "kind", kind,
                                    done ? "result" : "reason", text, NULL);
    free(authority);
    return print_event(userdata, done ? "signature-done" : "signature-denied", fields);
}

/* The service came or went. */
static int on_owner(sd_bus_message *message, void *userdata, sd_bus_error *ret_error)
{
    const char *name = NULL, *before = NULL, *after = NULL;
    int r = sd_bus_message_read(message, "sss", &name, &before, &after);
    return r < 0 ? r
                 : print_event(userdata, *after ? "service-started" : "service-stopped", json_object_new());
}

static int follow(Cli *cli, sd_bus *bus, sd_event *event)
{
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    int r = sigprocmask(SIG_BLOCK, &ending, NULL) < 0 ? -errno : 0;
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
    if (r >= 0)
        r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
    if (r >= 0)
        r = sd_bus_match_signal(bus, NULL, BUS_NAME, BUS_ROOT, BUS_MANAGER, "Event", on_event, cli);
    if (r >= 0)
        r = sd_bus_match_signal(bus, NULL, BUS_NAME, NULL, BUS_AUTHORITY, NULL, on_signature, cli);
    if (r >= 0)
        r = sd_bus_add_match(bus, NULL,
                             "type='signal',sender='org.freedesktop.DBus',interface='org.freedesktop.DBus',"
                             "member='NameOwnerChanged',arg0='" BUS_NAME "'",
                             on_owner, cli);
    if (r >= 0)
        r = sd_bus_set_exit_on_disconnect(bus, true);
    if (r >= 0)
        r = sd_bus_attach_event(bus, event, SD_EVENT_PRIORITY_NORMAL);
    return r;
}

static bool run_monitor(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(sd_event) event = NULL;
    sd_bus *bus = client_bus(cli->client, error);
    if (!bus)
        return false;
    int r = sd_event_new(&event);
    if (r >= 0)
        r = follow(cli, bus, event);
    if (r < 0) {
        client_set_error(error, r, "Following the service's events failed");
        return false;
    }
    /* Also starts the service where the bus can. */
    g_autoptr(sd_bus_message) here =
        client_query(cli->client, BUS_ROOT, "org.freedesktop.DBus.Peer", "Ping", error, "");
    if (!here)
        return false;
    if (!cli->settings->quiet)
        fputs("Following what happens; Ctrl-C ends.\n", stderr);
    r = sd_event_loop(event);
    sd_bus_detach_event(bus);
    if (r >= 0)
        return true;
    client_set_error(error, r, "Following the service's events failed");
    return false;
}

const Verb verb_monitor = {
    .name = "monitor",
    .arguments = "",
    .summary = "Follow what happens until Ctrl-C",
    .run = run_monitor,
};
