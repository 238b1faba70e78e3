/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `complete`: names for the shells' completion, one a line, with what they are behind a tab. Not for people.
 * Says nothing where there is no service, and never makes a shell wait for one. */

#include "cli/cli.h"
#include "cli/inventory.h"
#include <string.h>

static void print_name(Output *output, const char *name, const char *slot, const char *description)
{
    g_autofree char *printable = output_printable(description);
    output_text(output, "%s%s%s\t%s\n", name, slot ? "/" : "", slot ? slot : "", printable);
}

static void print_tokens(Output *output, const InventoryToken *token)
{
    const char *label = property_text(token->properties, "label");
    print_name(output, property_text(token->properties, "serial"), NULL,
               *label ? label : property_text(token->properties, "kind"));
}

static void print_slots(Output *output, const InventoryToken *token)
{
    for (guint i = 0; i < token->slots->len; i++) {
        const InventorySlot *slot = g_ptr_array_index(token->slots, i);
        const char *subject = property_text(slot->properties, "subject");
        print_name(output, property_text(token->properties, "serial"),
                   property_text(slot->properties, "name"),
                   *subject ? subject : property_text(slot->properties, "keyType"));
    }
}

static void print_free_slots(Output *output, const InventoryToken *token)
{
    JsonArray *names = property_array(token->properties, "freeSlots");
    guint n = names ? json_array_get_length(names) : 0;
    for (guint i = 0; i < n; i++)
        print_name(output, property_text(token->properties, "serial"),
                   json_array_get_string_element(names, i), "free");
}

static const struct {
    const char *kind;
    void (*print[2])(Output *output, const InventoryToken *token);
} kinds[] = {
    {"tokens", {print_tokens, NULL}},
    {"slots", {print_slots, NULL}},
    {"places", {print_tokens, print_slots}},
    {"free", {print_tokens, print_free_slots}},
};

static bool run_complete(Cli *cli, char **arguments, GError **error)
{
    client_be_brief(cli->client);
    g_autoptr(Inventory) inventory = inventory_read(cli->client, NULL);
    for (guint i = 0; inventory && i < G_N_ELEMENTS(kinds); i++) {
        if (!g_str_equal(kinds[i].kind, arguments[0]))
            continue;
        for (guint k = 0; k < inventory->tokens->len; k++)
            for (guint p = 0; p < G_N_ELEMENTS(kinds[i].print) && kinds[i].print[p]; p++)
                kinds[i].print[p](cli->output, g_ptr_array_index(inventory->tokens, k));
    }
    return true;
}

const Verb verb_complete = {
    .name = "complete",
    .arguments = "KIND",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .run = run_complete,
};
