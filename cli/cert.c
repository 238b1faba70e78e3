/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `cert`: the certificate in a slot, as PEM. */

#include "cli/acts.h"

static char *output_file;

static const GOptionEntry options[] = {
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_file,
     "Write the PEM to FILE instead of the standard output", "FILE"},
    {NULL},
};

static bool run_cert(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventorySlot *slot = inventory ? inventory_find_slot(inventory, arguments[0], error) : NULL;
    if (!slot)
        return false;
    const char *pem = property_text(slot->properties, "certificate");
    if (!*pem) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
                    "Slot %s has a key and no certificate yet; 'iothsmctl provision' makes one",
                    arguments[0]);
        return false;
    }
    return act_write_pem(cli->output, output_file, "certificate", pem, error);
}

const Verb verb_cert = {
    .name = "cert",
    .arguments = "TOKEN/SLOT",
    .summary = "Print the certificate in a slot",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = options,
    .run = run_cert,
};
