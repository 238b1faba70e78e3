/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `attest`: what a token says about where a key comes from, as certificates for whoever wants to check it. */

#include "cli/acts.h"

static char *output_file;

static const GOptionEntry options[] = {
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_file,
     "Write the PEM to FILE instead of the standard output", "FILE"},
    {NULL},
};

static bool run_attest(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventorySlot *slot = inventory ? inventory_find_slot(inventory, arguments[0], error) : NULL;
    if (!slot)
        return false;
    g_autoptr(sd_bus_message) call = client_message(cli->client, slot->path, BUS_SLOT, "Attest", error);
    g_autoptr(sd_bus_message) reply =
        call ? client_call_token(cli->client, call, slot->token->path, error) : NULL;
    g_autofree char *pem = reply ? client_read_text(reply, error) : NULL;
    return pem && act_write_pem(cli->output, output_file, "attestation", pem, error);
}

const Verb verb_attest = {
    .name = "attest",
    .arguments = "TOKEN/SLOT",
    .summary = "Print the token's statement that it made a key",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = options,
    .run = run_attest,
};
