/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The connection to the daemon, and what its errors mean to the person at the terminal. */

#include "cli/client.h"
#include "cli/agent.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include <string.h>
#include <unistd.h>

#define NO_TIME_LIMIT UINT64_MAX
#define BRIEF_USEC ((uint64_t)G_USEC_PER_SEC)

struct Client {
    bool ask;
    bool quiet;
    bool brief;
    sd_bus *bus;
    Agent *agent;
};

Client *client_new(bool ask, bool quiet)
{
    Client *client = g_new0(Client, 1);
    client->ask = ask;
    client->quiet = quiet;
    return client;
}

void client_free(Client *client)
{
    if (!client)
        return;
    agent_free(client->agent);
    sd_bus_flush_close_unref(client->bus);
    g_free(client);
}

bool client_is_asking(const Client *client)
{
    return client->ask;
}

bool client_may_ask(const Client *client)
{
    return client->ask && isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

bool client_is_quiet(const Client *client)
{
    return client->quiet;
}

void client_be_brief(Client *client)
{
    client->brief = true;
}

sd_bus *client_bus(Client *client, GError **error)
{
    if (client->bus)
        return client->bus;
    int r = sd_bus_open_system_with_description(&client->bus, "iothsmctl");
    if (r >= 0)
        r = sd_bus_set_allow_interactive_authorization(client->bus, client->ask);
    if (r >= 0)
        return client->bus;
    g_set_error(error, CLI_ERROR, CLI_ERROR_NOT_REACHABLE,
                "The system bus, over which iothsmctl speaks to the service, is not reachable: %s",
                g_strerror(-r));
    client->bus = sd_bus_unref(client->bus);
    return NULL;
}

void client_set_error(GError **error, int code, const char *what)
{
    bool lost = code == -ECONNRESET || code == -ENOTCONN || code == -EPIPE;
    if (lost)
        g_set_error(error, CLI_ERROR, CLI_ERROR_NOT_REACHABLE, "%s: the connection to the bus was closed",
                    what);
    else
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s: %s", what, g_strerror(-code));
}

/* Names with which a bus or systemd says that nobody answers. */
static bool means_not_reachable(const char *name)
{
    static const char *const names[] = {
        SD_BUS_ERROR_SERVICE_UNKNOWN,
        SD_BUS_ERROR_NAME_HAS_NO_OWNER,
        SD_BUS_ERROR_NO_SERVER,
        SD_BUS_ERROR_DISCONNECTED,
        SD_BUS_ERROR_NO_REPLY,
        SD_BUS_ERROR_TIMEOUT,
        NULL,
    };
    return g_strv_contains(names, name) || g_str_has_prefix(name, "org.freedesktop.DBus.Error.Spawn.") ||
           g_str_has_prefix(name, "org.freedesktop.systemd1.");
}

static bool means_not_authorised(const char *name)
{
    static const char *const names[] = {
        SD_BUS_ERROR_ACCESS_DENIED,
        SD_BUS_ERROR_AUTH_FAILED,
        SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED,
        NULL,
    };
    return g_strv_contains(names, name);
}

static bool means_other_version(const char *name)
{
    static const char *const names[] = {
        SD_BUS_ERROR_UNKNOWN_METHOD,
        SD_BUS_ERROR_UNKNOWN_INTERFACE,
        SD_BUS_ERROR_UNKNOWN_PROPERTY,
        NULL,
    };
    return g_strv_contains(names, name);
}

void client_set_bus_error(GError **error, const sd_bus_error *bus_error)
{
    const char *name = bus_error->name ? bus_error->name : SD_BUS_ERROR_FAILED;
    const char *message = bus_error->message && *bus_error->message ? bus_error->message : name;
    IothsmError code;
    if (error_from_bus_name(name, &code))
        g_set_error_literal(error, IOTHSM_ERROR, (int)code, message);
    else if (g_str_equal(name, SD_BUS_ERROR_NO_REPLY))
        g_set_error_literal(
            error, CLI_ERROR, CLI_ERROR_NOT_REACHABLE,
            "The IoT-HSM service went away before it answered; 'journalctl -u iothsmd' says why");
    else if (means_not_reachable(name))
        g_set_error(error, CLI_ERROR, CLI_ERROR_NOT_REACHABLE,
                    "The IoT-HSM service is not running (%s); start it with 'systemctl start iothsmd'",
                    message);
    else if (means_not_authorised(name))
        g_set_error(error, CLI_ERROR, CLI_ERROR_NOT_AUTHORISED, "Not authorised: %s", message);
    else if (means_other_version(name))
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED,
                    "The running service is of another version than iothsmctl: %s", message);
    else if (g_str_equal(name, SD_BUS_ERROR_UNKNOWN_OBJECT))
        g_set_error(error, CLI_ERROR, CLI_ERROR_NO_SUCH_OBJECT, "It is not there any more: %s", message);
    else
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, message);
}

sd_bus_message *client_message(Client *client, const char *path, const char *interface, const char *method,
                               GError **error)
{
    sd_bus *bus = client_bus(client, error);
    if (!bus)
        return NULL;
    sd_bus_message *call = NULL;
    int r = sd_bus_message_new_method_call(bus, &call, BUS_NAME, path, interface, method);
    if (r >= 0)
        r = sd_bus_message_set_auto_start(call, !client->brief);
    if (r >= 0)
        return call;
    client_set_error(error, r, "Making the call failed");
    sd_bus_message_unref(call);
    return NULL;
}

sd_bus_message *client_call(Client *client, sd_bus_message *call, GError **error)
{
    g_auto(sd_bus_error) bus_error = SD_BUS_ERROR_NULL;
    sd_bus_message *reply = NULL;
    int r = sd_bus_call(client->bus, call, client->brief ? BRIEF_USEC : NO_TIME_LIMIT, &bus_error, &reply);
    if (r >= 0)
        return reply;
    if (sd_bus_error_is_set(&bus_error))
        client_set_bus_error(error, &bus_error);
    else
        client_set_error(error, r, "The call to the IoT-HSM service failed");
    return NULL;
}

static void start_agent(Client *client)
{
    if (!client->agent && client_may_ask(client) && geteuid() != 0)
        client->agent = agent_new();
}

typedef struct Waiting {
    sd_bus_message *reply;
} Waiting;

static int on_reply(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
    Waiting *waiting = userdata;
    waiting->reply = sd_bus_message_ref(reply);
    return 0;
}

static bool wait_for_reply(sd_bus *bus, Waiting *waiting, Progress *progress, GError **error)
{
    while (!waiting->reply) {
        int r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, progress_draw(progress));
        if (r < 0 && r != -EINTR) {
            client_set_error(error, r, "Waiting for the IoT-HSM service failed");
            return false;
        }
    }
    return true;
}

sd_bus_message *client_call_token(Client *client, sd_bus_message *call, const char *token_path,
                                  GError **error)
{
    start_agent(client);
    g_autoptr(Progress) progress = progress_new(client->bus, token_path, client->quiet);
    g_autoptr(sd_bus_slot) slot = NULL;
    Waiting waiting = {NULL};
    int r = sd_bus_call_async(client->bus, &slot, call, on_reply, &waiting, NO_TIME_LIMIT);
    if (r < 0) {
        client_set_error(error, r, "The call to the IoT-HSM service failed");
        return NULL;
    }
    if (!wait_for_reply(client->bus, &waiting, progress, error))
        return NULL;
    g_autoptr(sd_bus_message) reply = waiting.reply;
    if (sd_bus_message_is_method_error(reply, NULL)) {
        client_set_bus_error(error, sd_bus_message_get_error(reply));
        return NULL;
    }
    return g_steal_pointer(&reply);
}

static sd_bus_message *call_with(Client *client, const char *path, const char *interface, const char *method,
                                 GError **error, const char *types, va_list arguments)
{
    g_autoptr(sd_bus_message) call = client_message(client, path, interface, method, error);
    if (!call)
        return NULL;
    int r = sd_bus_message_appendv(call, types, arguments);
    if (r >= 0)
        return client_call(client, call, error);
    client_set_error(error, r, "Making the call failed");
    return NULL;
}

sd_bus_message *client_query(Client *client, const char *path, const char *interface, const char *method,
                             GError **error, const char *types, ...)
{
    va_list arguments;
    va_start(arguments, types);
    sd_bus_message *reply = call_with(client, path, interface, method, error, types, arguments);
    va_end(arguments);
    return reply;
}

sd_bus_message *client_invoke(Client *client, const char *path, const char *interface, const char *method,
                              GError **error, const char *types, ...)
{
    start_agent(client);
    va_list arguments;
    va_start(arguments, types);
    sd_bus_message *reply = call_with(client, path, interface, method, error, types, arguments);
    va_end(arguments);
    return reply;
}

static char *read_one(sd_bus_message *reply, char type, GError **error)
{
    const char *text = NULL;
    int r = sd_bus_message_read_basic(reply, type, &text);
    if (r <= 0) {
        client_set_error(error, r < 0 ? r : -EBADMSG, "The service's answer is not understood");
        return NULL;
    }
    return g_strdup(text);
}

char *client_read_text(sd_bus_message *reply, GError **error)
{
    return read_one(reply, SD_BUS_TYPE_STRING, error);
}

char *client_read_path(sd_bus_message *reply, GError **error)
{
    return read_one(reply, SD_BUS_TYPE_OBJECT_PATH, error);
}

JsonNode *client_read_json(sd_bus_message *reply, GError **error)
{
    g_autofree char *text = client_read_text(reply, error);
    if (!text)
        return NULL;
    g_autoptr(GError) reason = NULL;
    JsonNode *node = json_from_string(text, &reason);
    if (!node)
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "The service's answer is not understood: %s",
                    reason ? reason->message : "it is empty");
    return node;
}
