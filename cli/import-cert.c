/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `import-cert`: the certificate that another CA signed for a slot's key, or that of a key which was moved
 * here. */

#include "cli/acts.h"

static bool run_import_cert(Cli *cli, char **arguments, GError **error)
{
    g_autofree char *pem = act_read_file(arguments[1], error);
    g_autoptr(Inventory) inventory = pem ? inventory_read(cli->client, error) : NULL;
    InventorySlot *slot = inventory ? inventory_find_slot(inventory, arguments[0], error) : NULL;
    if (!slot || !act_import_certificate(cli->client, slot, pem, error))
        return false;
    g_autofree char *title = inventory_slot_title(slot);
    cli_done(cli,
             cli_object("token", property_text(slot->token->properties, "serial"), "slot",
                        property_text(slot->properties, "name"), NULL),
             "Imported the certificate into slot %s", title);
    return true;
}

const Verb verb_import_cert = {
    .name = "import-cert",
    .arguments = "TOKEN/SLOT FILE",
    .summary = "Import the certificate that was signed for a slot's key",
    .n_arguments_min = 2,
    .n_arguments_max = 2,
    .run = run_import_cert,
};
