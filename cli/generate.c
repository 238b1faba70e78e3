/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `generate`: a new key on the token. */

#include "cli/acts.h"

static char *type;
static KeyChoice choice;

static const GOptionEntry options[] = {
    {"type", 't', 0, G_OPTION_ARG_FILENAME, &type, "rsa2048, rsa3072, rsa4096, p256, p384, p521 or ed25519",
     "TYPE"},
    KEY_CHOICE_OPTIONS(choice),
    {NULL},
};

static bool run_generate(Cli *cli, char **arguments, GError **error)
{
    if (!type) {
        cli_set_usage_error(error,
                            "--type=TYPE is needed; 'iothsmctl show TOKEN' lists what the token can make");
        return false;
    }
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    const char *slot = NULL;
    InventoryToken *token = inventory ? inventory_find_place(inventory, arguments[0], &slot, error) : NULL;
    g_autofree char *path = token ? act_generate_key(cli->client, token, slot, type, &choice, error) : NULL;
    if (!path)
        return false;
    g_autofree char *what = g_strdup_printf("Generated the key (%s) in", type);
    act_report_key(cli, path, what);
    return true;
}

const Verb verb_generate = {
    .name = "generate",
    .arguments = "TOKEN[/SLOT]",
    .summary = "Generate a key",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = options,
    .run = run_generate,
};
