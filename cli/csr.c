/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `csr`: a request for a certificate that another CA signs; nothing is stored. */

#include "cli/acts.h"

static SignChoice choice;
static char *output_file;

static const GOptionEntry options[] = {
    SIGN_CHOICE_OPTIONS(choice),
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_file,
     "Write the PEM to FILE instead of the standard output", "FILE"},
    {NULL},
};

static bool run_csr(Cli *cli, char **arguments, GError **error)
{
    g_autofree char *template_pem = act_read_file(arguments[1], error);
    g_autoptr(Inventory) inventory = template_pem ? inventory_read(cli->client, error) : NULL;
    InventorySlot *slot = inventory ? inventory_find_slot(inventory, arguments[0], error) : NULL;
    g_autofree char *pem = slot ? act_create_csr(cli->client, slot, template_pem, &choice, error) : NULL;
    return pem && act_write_pem(cli->output, output_file, "csr", pem, error);
}

const Verb verb_csr = {
    .name = "csr",
    .arguments = "TOKEN/SLOT TEMPLATE",
    .summary = "Make a certificate request from a provisioning certificate",
    .n_arguments_min = 2,
    .n_arguments_max = 2,
    .options = options,
    .run = run_csr,
};
