/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `drain`: a token takes no new work, so that it can be unplugged or worked on; back again with --undo. */

#include "cli/cli.h"
#include "cli/inventory.h"

static gboolean undo;

static const GOptionEntry options[] = {
    {"undo", 0, 0, G_OPTION_ARG_NONE, &undo, "Let it work again", NULL},
    {NULL},
};

static bool run_drain(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    if (!token)
        return false;
    g_autoptr(sd_bus_message) reply =
        client_invoke(cli->client, token->path, BUS_TOKEN, "Drain", error, "b", !undo);
    if (!reply)
        return false;
    g_autofree char *title = inventory_token_title(token);
    JsonObject *object = cli_object("token", property_text(token->properties, "serial"), "state",
                                    undo ? "ready" : "draining", NULL);
    if (undo)
        cli_done(cli, object, "Token %s takes work again", title);
    else
        cli_done(cli, object, "Token %s is drained: nothing runs on it, and it takes no new work", title);
    return true;
}

const Verb verb_drain = {
    .name = "drain",
    .arguments = "TOKEN",
    .summary = "Let a token finish its work and take no more of it",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = options,
    .run = run_drain,
};
