/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `clear`: a slot's key and certificate are destroyed; of a key in Google Cloud KMS, the certificate alone.
 */

#include "cli/acts.h"

static gboolean yes;

static const GOptionEntry options[] = {
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &yes, "Do not ask whether it is meant", NULL},
    {NULL},
};

static char *clear_question(const InventorySlot *slot, const char *title, bool cloud)
{
    const char *subject = property_text(slot->properties, "subject");
    const char *which = *subject ? ", which is " : "";
    if (cloud)
        return g_strdup_printf("Remove the certificate of slot %s%s%s? (Its key stays in Google Cloud.)",
                               title, which, subject);
    return g_strdup_printf("Destroy the %s key in slot %s%s%s for ever?",
                           property_text(slot->properties, "keyType"), title, which, subject);
}

static bool run_clear(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventorySlot *slot = inventory ? inventory_find_slot(inventory, arguments[0], error) : NULL;
    if (!slot)
        return false;
    g_autofree char *title = inventory_slot_title(slot);
    bool cloud = g_str_equal(property_text(slot->token->properties, "kind"), "google-kms");
    g_autofree char *question = clear_question(slot, title, cloud);
    if (!act_confirm(cli->client, yes, question, error))
        return false;
    g_autoptr(sd_bus_message) call = client_message(cli->client, slot->path, BUS_SLOT, "Clear", error);
    g_autoptr(sd_bus_message) reply =
        call ? client_call_token(cli->client, call, slot->token->path, error) : NULL;
    if (!reply)
        return false;
    cli_done(cli,
             cli_object("token", property_text(slot->token->properties, "serial"), "slot",
                        property_text(slot->properties, "name"), NULL),
             cloud ? "Removed the certificate of slot %s; its key stays in Google Cloud" : "Cleared slot %s",
             title);
    return true;
}

const Verb verb_clear = {
    .name = "clear",
    .arguments = "TOKEN/SLOT",
    .summary = "Destroy the key and the certificate in a slot",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = options,
    .run = run_clear,
};
