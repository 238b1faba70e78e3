/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `management-key`: what a PIV token wants before keys and certificates on it are changed. */

#include "cli/acts.h"
#include <unistd.h>

static SecretSource key = SECRET_SOURCE_NONE;
static SecretSource new_key = SECRET_SOURCE_NONE;
static char *algorithm;
static gboolean persist;
static gboolean memory_only;

#define ALGORITHM_OPTION                                                                                     \
    {                                                                                                        \
        "algorithm", 0, 0, G_OPTION_ARG_FILENAME, &algorithm,                                                \
            "Kind of the new key: 3des, aes128, aes192 or aes256", "ALGORITHM"                               \
    }
#define PERSIST_OPTION                                                                                       \
    {                                                                                                        \
        "persist", 0, 0, G_OPTION_ARG_NONE, &persist,                                                        \
            "Fail unless the key can be kept, sealed, over a restart", NULL                                  \
    }
#define MEMORY_ONLY_OPTION                                                                                   \
    {                                                                                                        \
        "memory-only", 0, 0, G_OPTION_ARG_NONE, &memory_only, "Forget the key when the service ends", NULL   \
    }

static const GOptionEntry set_options[] = {
    SECRET_OPTIONS("key", "the management key", key),
    PERSIST_OPTION,
    MEMORY_ONLY_OPTION,
    {NULL},
};

static const GOptionEntry change_options[] = {
    SECRET_OPTIONS("key", "the present management key", key),
    SECRET_OPTIONS("new-key", "the new management key", new_key),
    ALGORITHM_OPTION,
    PERSIST_OPTION,
    MEMORY_ONLY_OPTION,
    {NULL},
};

static const GOptionEntry protect_options[] = {
    SECRET_OPTIONS("key", "the present management key", key),
    ALGORITHM_OPTION,
    {NULL},
};

static int ask_for(Client *client, const SecretSource *source, const char *what, const char *option,
                   const InventoryToken *token, bool twice, GError **error)
{
    g_autofree char *title = inventory_token_title(token);
    g_autofree char *text = g_strdup_printf("%s of token %s (hexadecimal)", what, title);
    const SecretRequest request = {.what = text, .option = option, .twice = twice};
    return secret_input(client, source, &request, error);
}

/* The present key: from where the options say, or typed where the service has none that would do. -1 without
 * an error: not needed. */
static int present_key(Client *client, const InventoryToken *token, GError **error)
{
    bool given = key.file || key.fd >= 0;
    bool missing = g_str_equal(property_text(token->properties, "managementKeyState"), "missing");
    return given || missing ? ask_for(client, &key, "Present management key", "key", token, false, error)
                            : -1;
}

static bool decide_to_keep(const Inventory *inventory, bool *ret_keep, GError **error)
{
    if (persist && memory_only) {
        cli_set_usage_error(error, "--persist and --memory-only can't be given together");
        return false;
    }
    *ret_keep = persist || (!memory_only && property_is_true(inventory->manager, "pinsSealed"));
    return true;
}

static JsonObject *describe(const InventoryToken *token)
{
    return cli_object("token", property_text(token->properties, "serial"), NULL);
}

static bool run_set(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    bool keep = false;
    if (!token || !decide_to_keep(inventory, &keep, error))
        return false;
    int fd = ask_for(cli->client, &key, "Management key", "key", token, false, error);
    if (fd < 0)
        return false;
    g_autoptr(sd_bus_message) reply = client_invoke(cli->client, token->path, BUS_TOKEN, "SetManagementKey",
                                                    error, "ha{sv}", fd, 1, "persist", "b", (int)keep);
    close(fd);
    if (!reply)
        return false;
    cli_done(cli, describe(token), "The service has the management key of token %s%s",
             property_text(token->properties, "serial"), keep ? ", and keeps it sealed" : " until it ends");
    return true;
}

/* What ChangeManagementKey gets. */
typedef struct Change {
    int current;     /* -1: not given */
    int replacement; /* -1: the token is to protect a random one */
    bool keep;
} Change;

static int append_change(sd_bus_message *call, const Change *change)
{
    int r = sd_bus_message_open_container(call, 'a', "{sv}");
    if (r >= 0 && change->current >= 0)
        r = sd_bus_message_append(call, "{sv}", "current", "h", change->current);
    if (r >= 0 && change->replacement >= 0)
        r = sd_bus_message_append(call, "{sv}", "new", "h", change->replacement);
    else if (r >= 0)
        r = sd_bus_message_append(call, "{sv}", "protect", "b", 1);
    if (r >= 0 && algorithm)
        r = sd_bus_message_append(call, "{sv}", "algorithm", "s", algorithm);
    if (r >= 0 && change->keep)
        r = sd_bus_message_append(call, "{sv}", "persist", "b", 1);
    return r < 0 ? r : sd_bus_message_close_container(call);
}

static bool send_change(Cli *cli, const InventoryToken *token, const Change *change, GError **error)
{
    g_autoptr(sd_bus_message) call =
        client_message(cli->client, token->path, BUS_TOKEN, "ChangeManagementKey", error);
    if (!call)
        return false;
    int r = append_change(call, change);
    if (r < 0) {
        client_set_error(error, r, "Making the call failed");
        return false;
    }
    g_autoptr(sd_bus_message) reply = client_call_token(cli->client, call, token->path, error);
    return reply != NULL;
}

/* |change|'s descriptors are closed. */
static bool change_and_close(Cli *cli, const InventoryToken *token, const Change *change, GError **error)
{
    bool done = send_change(cli, token, change, error);
    if (change->current >= 0)
        close(change->current);
    if (change->replacement >= 0)
        close(change->replacement);
    return done;
}

static bool run_change(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    Change change = {-1, -1, false};
    if (!token || !decide_to_keep(inventory, &change.keep, error))
        return false;
    change.current = present_key(cli->client, token, &failure);
    if (!failure)
        change.replacement =
            ask_for(cli->client, &new_key, "new management key", "new-key", token, true, &failure);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        if (change.current >= 0)
            close(change.current);
        return false;
    }
    if (!change_and_close(cli, token, &change, error))
        return false;
    cli_done(cli, describe(token), "Token %s has a new management key%s",
             property_text(token->properties, "serial"),
             change.keep ? ", and the service keeps it sealed" : "");
    return true;
}

static bool run_protect(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    if (!token)
        return false;
    const Change change = {present_key(cli->client, token, &failure), -1, false};
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (!change_and_close(cli, token, &change, error))
        return false;
    cli_done(cli, describe(token),
             "Token %s has a random management key, which it gives to whoever has its PIN",
             property_text(token->properties, "serial"));
    return true;
}

static bool run_forget(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    g_autoptr(sd_bus_message) reply =
        token ? client_invoke(cli->client, token->path, BUS_TOKEN, "ForgetManagementKey", error, "") : NULL;
    if (!reply)
        return false;
    cli_done(cli, describe(token), "The service has forgotten the management key of token %s",
             property_text(token->properties, "serial"));
    return true;
}

const Verb verb_management_key_set = {
    .name = "management-key set",
    .arguments = "TOKEN",
    .summary = "Give the service a token's management key",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = set_options,
    .run = run_set,
};

const Verb verb_management_key_change = {
    .name = "management-key change",
    .arguments = "TOKEN",
    .summary = "Change the management key of a token",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = change_options,
    .run = run_change,
};

const Verb verb_management_key_protect = {
    .name = "management-key protect",
    .arguments = "TOKEN",
    .summary = "Have a token protect a new one with its PIN",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = protect_options,
    .run = run_protect,
};

const Verb verb_management_key_forget = {
    .name = "management-key forget",
    .arguments = "TOKEN",
    .summary = "Make the service forget a management key",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .run = run_forget,
};
