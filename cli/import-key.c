/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `import-key`: a key that was made elsewhere, onto the token. */

#include "cli/acts.h"

static SecretSource passphrase = SECRET_SOURCE_NONE;
static KeyChoice choice;

static const GOptionEntry options[] = {
    SECRET_OPTIONS("passphrase", "the passphrase of the key", passphrase),
    KEY_CHOICE_OPTIONS(choice),
    {NULL},
};

static bool run_import_key(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    const char *slot = NULL;
    InventoryToken *token = inventory ? inventory_find_place(inventory, arguments[0], &slot, error) : NULL;
    g_autofree char *path =
        token ? act_import_key(cli->client, token, slot, arguments[1], &passphrase, &choice, error) : NULL;
    if (!path)
        return false;
    act_report_key(cli, path, "Imported the key into");
    return true;
}

const Verb verb_import_key = {
    .name = "import-key",
    .arguments = "TOKEN[/SLOT] FILE",
    .summary = "Import a private key in PEM",
    .n_arguments_min = 2,
    .n_arguments_max = 2,
    .options = options,
    .run = run_import_key,
};
