/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `softhsm`: tokens in software, for trying things out without hardware. */

#include "cli/acts.h"
#include <unistd.h>

static SecretSource pin = SECRET_SOURCE_NONE;
static SecretSource so_pin = SECRET_SOURCE_NONE;
static gboolean yes;

static const GOptionEntry create_options[] = {
    SECRET_OPTIONS("pin", "the PIN of the new token", pin),
    SECRET_OPTIONS("so-pin", "the security officer's PIN of the new token", so_pin),
    {NULL},
};

static const GOptionEntry delete_options[] = {
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &yes, "Do not ask whether it is meant", NULL},
    {NULL},
};

static char *create(Cli *cli, const char *label, int so_pin_fd, int pin_fd, GError **error)
{
    g_autoptr(sd_bus_message) reply = client_invoke(cli->client, BUS_ROOT, BUS_MANAGER, "CreateSoftHsmToken",
                                                    error, "shh", label, so_pin_fd, pin_fd);
    return reply ? client_read_path(reply, error) : NULL;
}

static bool run_create(Cli *cli, char **arguments, GError **error)
{
    g_autofree char *what = g_strdup_printf("PIN of the new token \"%s\"", arguments[0]);
    g_autofree char *so_what =
        g_strdup_printf("security officer's PIN of the new token \"%s\"", arguments[0]);
    const SecretRequest request = {.what = what, .option = "pin", .twice = true};
    const SecretRequest so_request = {.what = so_what, .option = "so-pin", .twice = true};
    int pin_fd = secret_input(cli->client, &pin, &request, error);
    if (pin_fd < 0)
        return false;
    int so_pin_fd = secret_input(cli->client, &so_pin, &so_request, error);
    g_autofree char *path = so_pin_fd < 0 ? NULL : create(cli, arguments[0], so_pin_fd, pin_fd, error);
    close(pin_fd);
    if (so_pin_fd >= 0)
        close(so_pin_fd);
    if (!path)
        return false;
    g_autofree char *name = act_token_name(path);
    cli_done(cli, cli_object("token", name, "path", path, NULL),
             "Created the SoftHSM2 token %s (%s); 'iothsmctl provision --token=%s' goes on from here", name,
             arguments[0], name);
    return true;
}

static bool run_delete(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    if (!token || !act_check_kind(token, "softhsm2", error))
        return false;
    g_autofree char *title = inventory_token_title(token);
    g_autofree char *question = g_strdup_printf("Delete token %s with everything in its %u slots for ever?",
                                                title, token->slots->len);
    if (!act_remove_token(cli->client, token, yes, question, error))
        return false;
    cli_done(cli, cli_object("token", property_text(token->properties, "serial"), NULL), "Deleted token %s",
             title);
    return true;
}

const Verb verb_softhsm_create = {
    .name = "softhsm create",
    .arguments = "LABEL",
    .summary = "Create a token in software (SoftHSM2)",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = create_options,
    .run = run_create,
};

const Verb verb_softhsm_delete = {
    .name = "softhsm delete",
    .arguments = "TOKEN",
    .summary = "Delete such a token with its keys",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = delete_options,
    .run = run_delete,
};
