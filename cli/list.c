/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `list`: all tokens with their slots, a line each. */

#include "cli/cli.h"
#include "cli/inventory.h"

static const char *const titles[] = {"TOKEN", "LABEL>", "SLOT",     "KEY", "STATE",
                                     "UNTIL", "LINK",   "SUBJECT>", NULL};
enum { COLUMN_STATE = 4 };

static void add_slot(Table *table, const InventorySlot *slot)
{
    const char *state = property_text(slot->properties, "state");
    g_autofree char *until = output_date(property_number(slot->properties, "notAfter"));
    table_row(table,
              (const char *const[]){
                  property_text(slot->token->properties, "serial"),
                  property_text(slot->token->properties, "label"),
                  property_text(slot->properties, "name"),
                  property_text(slot->properties, "keyType"),
                  state,
                  until,
                  property_text(slot->properties, "linkState"),
                  property_text(slot->properties, "subject"),
              },
              COLUMN_STATE, output_emphasis_of_state(state));
}

static void add_token(Table *table, const InventoryToken *token)
{
    const char *state = property_text(token->properties, "state");
    for (guint i = 0; i < token->slots->len; i++)
        add_slot(table, g_ptr_array_index(token->slots, i));
    /* An empty token is there, too; its own state stands in for a slot's. */
    if (token->slots->len == 0)
        table_row(table,
                  (const char *const[]){
                      property_text(token->properties, "serial"),
                      property_text(token->properties, "label"),
                      "",
                      "",
                      state,
                      "",
                      "",
                      "",
                  },
                  COLUMN_STATE, output_emphasis_of_state(state));
}

static bool run_list(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    if (!inventory)
        return false;
    if (output_is_json(cli->output)) {
        JsonArray *tokens = property_array(inventory->manager, "tokens");
        JsonNode *node = json_node_new(JSON_NODE_ARRAY);
        json_node_take_array(node, tokens ? json_array_ref(tokens) : json_array_new());
        output_json(cli->output, node);
        return true;
    }
    Table *table = table_new(titles);
    for (guint i = 0; i < inventory->tokens->len; i++)
        add_token(table, g_ptr_array_index(inventory->tokens, i));
    output_table(cli->output, table);
    return true;
}

const Verb verb_list = {
    .name = "list",
    .arguments = "",
    .summary = "List all tokens with their slots",
    .run = run_list,
};
