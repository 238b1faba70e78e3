/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `pin`: the PIN with which the service signs, and the PIN of the token itself. */

#include "cli/acts.h"
#include <unistd.h>

static SecretSource pin = SECRET_SOURCE_NONE;
static SecretSource new_pin = SECRET_SOURCE_NONE;
static SecretSource puk = SECRET_SOURCE_NONE;
static gboolean persist;
static gboolean memory_only;
static gboolean factory;

static const GOptionEntry set_options[] = {
    SECRET_OPTIONS("pin", "the PIN", pin),
    {"persist", 0, 0, G_OPTION_ARG_NONE, &persist, "Fail unless the PIN can be kept, sealed, over a restart",
     NULL},
    {"memory-only", 0, 0, G_OPTION_ARG_NONE, &memory_only, "Forget the PIN when the service ends", NULL},
    {"factory", 0, 0, G_OPTION_ARG_NONE, &factory, "The factory PIN, where the token says that it has it",
     NULL},
    {NULL},
};

static const GOptionEntry change_options[] = {
    SECRET_OPTIONS("pin", "the present PIN", pin),
    SECRET_OPTIONS("new-pin", "the new PIN", new_pin),
    {NULL},
};

static const GOptionEntry unblock_options[] = {
    SECRET_OPTIONS("puk", "the PUK (SoftHSM2: the security officer's PIN)", puk),
    SECRET_OPTIONS("new-pin", "the new PIN", new_pin),
    {NULL},
};

static int ask_for(Client *client, const SecretSource *source, const char *what, const char *option,
                   const InventoryToken *token, bool twice, GError **error)
{
    g_autofree char *title = inventory_token_title(token);
    g_autofree char *text = g_strdup_printf("%s of token %s", what, title);
    const SecretRequest request = {.what = text, .option = option, .twice = twice};
    return secret_input(client, source, &request, error);
}

static JsonObject *describe(const InventoryToken *token)
{
    return cli_object("token", property_text(token->properties, "serial"), NULL);
}

static bool check_set_options(GError **error)
{
    if (persist && memory_only)
        cli_set_usage_error(error, "--persist and --memory-only can't be given together");
    else if (factory && (pin.file || pin.fd >= 0))
        cli_set_usage_error(error, "--factory says which PIN it is; leave out --pin-file and --pin-fd");
    else
        return true;
    return false;
}

static bool give_pin(Cli *cli, const InventoryToken *token, bool keep, GError **error)
{
    int fd = ask_for(cli->client, &pin, "PIN", "pin", token, false, error);
    if (fd < 0)
        return false;
    g_autoptr(sd_bus_message) reply =
        client_invoke(cli->client, token->path, BUS_TOKEN, "SetPin", error, "hb", fd, (int)keep);
    close(fd);
    return reply != NULL;
}

static bool give_factory_pin(Cli *cli, const InventoryToken *token, bool keep, GError **error)
{
    g_autoptr(sd_bus_message) reply =
        client_invoke(cli->client, token->path, BUS_TOKEN, "UseFactoryPin", error, "b", (int)keep);
    return reply != NULL;
}

static bool run_set(Cli *cli, char **arguments, GError **error)
{
    if (!check_set_options(error))
        return false;
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    if (!token)
        return false;
    bool keep = persist || (!memory_only && property_is_true(inventory->manager, "pinsSealed"));
    if (!(factory ? give_factory_pin : give_pin)(cli, token, keep, error))
        return false;
    cli_done(cli, describe(token), "The service has the PIN of token %s%s%s",
             property_text(token->properties, "serial"),
             keep          ? ", and keeps it sealed"
             : memory_only ? " until it ends"
                           : " until it ends: it has no sealing key to keep PINs with",
             factory ? "; everybody knows it: change it with 'iothsmctl pin change'" : "");
    return true;
}

/* change and unblock: two secrets, the old one and the new one. */
static bool exchange(Cli *cli, const InventoryToken *token, const SecretSource *old, const char *old_what,
                     const char *old_option, const char *method, GError **error)
{
    int old_fd = ask_for(cli->client, old, old_what, old_option, token, false, error);
    if (old_fd < 0)
        return false;
    int new_fd = ask_for(cli->client, &new_pin, "new PIN", "new-pin", token, true, error);
    g_autoptr(sd_bus_message) reply =
        new_fd < 0 ? NULL
                   : client_invoke(cli->client, token->path, BUS_TOKEN, method, error, "hh", old_fd, new_fd);
    close(old_fd);
    if (new_fd >= 0)
        close(new_fd);
    return reply != NULL;
}

static bool run_change(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    if (!token || !exchange(cli, token, &pin, "PIN", "pin", "ChangePin", error))
        return false;
    cli_done(cli, describe(token), "Changed the PIN of token %s", property_text(token->properties, "serial"));
    return true;
}

static bool run_unblock(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    if (!token || !exchange(cli, token, &puk, "PUK", "puk", "UnblockPin", error))
        return false;
    cli_done(cli, describe(token), "Token %s has a new PIN", property_text(token->properties, "serial"));
    return true;
}

static bool run_forget(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    g_autoptr(sd_bus_message) reply =
        token ? client_invoke(cli->client, token->path, BUS_TOKEN, "ForgetPin", error, "") : NULL;
    if (!reply)
        return false;
    cli_done(cli, describe(token), "The service has forgotten the PIN of token %s",
             property_text(token->properties, "serial"));
    return true;
}

const Verb verb_pin_set = {
    .name = "pin set",
    .arguments = "TOKEN",
    .summary = "Give the service the PIN to sign with",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = set_options,
    .run = run_set,
};

const Verb verb_pin_change = {
    .name = "pin change",
    .arguments = "TOKEN",
    .summary = "Change the PIN of a token",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = change_options,
    .run = run_change,
};

const Verb verb_pin_unblock = {
    .name = "pin unblock",
    .arguments = "TOKEN",
    .summary = "Give a token a new PIN with its PUK",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = unblock_options,
    .run = run_unblock,
};

const Verb verb_pin_forget = {
    .name = "pin forget",
    .arguments = "TOKEN",
    .summary = "Make the service forget a token's PIN",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .run = run_forget,
};
