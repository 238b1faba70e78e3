/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `link`: the connection to the platform and the channel of each authority. */

#include "cli/cli.h"
#include "cli/inventory.h"

static void add_authority(Table *table, JsonObject *authority, const char *known)
{
    const char *state = property_text(authority, "linkState");
    const char *message = property_text(authority, "linkMessage");
    g_autofree char *n_signed =
        g_strdup_printf("%" G_GINT64_FORMAT, property_number(authority, "signatures"));
    g_autofree char *n_denied = g_strdup_printf("%" G_GINT64_FORMAT, property_number(authority, "denied"));
    gint64 attempt = property_number(authority, "nextAttempt");
    g_autofree char *next =
        attempt > 0 ? output_distance((attempt - g_get_real_time()) / G_USEC_PER_SEC) : g_strdup("");
    table_row(table,
              (const char *const[]){
                  property_text(authority, "thumbprint"),
                  state,
                  n_signed,
                  n_denied,
                  property_text(authority, "subject"),
                  next,
                  g_str_equal(message, known) ? "" : message,
              },
              1, output_emphasis_of_state(state));
}

static void print_link(Output *output, const Inventory *inventory)
{
    static const char *const titles[] = {"AUTHORITY>", "LINK",         "SIGNED",   "REFUSED",
                                         "SUBJECT>",   "NEXT ATTEMPT", "MESSAGE>", NULL};
    JsonObject *manager = inventory->manager;
    g_autofree char *next = output_time(property_number(manager, "nextAttempt") / G_USEC_PER_SEC);
    output_field(output, "Platform", property_text(manager, "platformUrl"));
    output_field(output, "State", property_text(manager, "linkState"));
    output_field(output, "Message", property_text(manager, "linkMessage"));
    output_field(output, "Transport", property_text(manager, "linkTransport"));
    output_field(output, "Next attempt", next);
    guint n = inventory->authorities ? json_array_get_length(inventory->authorities) : 0;
    if (n == 0)
        return;
    output_text(output, "\n");
    Table *table = table_new(titles);
    for (guint i = 0; i < n; i++)
        add_authority(table, json_array_get_object_element(inventory->authorities, i),
                      property_text(manager, "linkMessage"));
    output_table(output, table);
}

static JsonNode *link_to_json(const Inventory *inventory)
{
    static const char *const members[] = {"platformUrl",    "linkState",   "linkTransport",
                                          "linkMessage",    "nextAttempt", "connectedAuthorities",
                                          "connectedSlots", "authorities", NULL};
    JsonObject *object = json_object_new();
    for (guint i = 0; members[i]; i++) {
        JsonNode *member = json_object_get_member(inventory->manager, members[i]);
        if (member)
            json_object_set_member(object, members[i], json_node_copy(member));
    }
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, object);
    return node;
}

static bool run_link(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    if (!inventory)
        return false;
    if (output_is_json(cli->output))
        output_json(cli->output, link_to_json(inventory));
    else
        print_link(cli->output, inventory);
    return true;
}

const Verb verb_link = {
    .name = "link",
    .arguments = "",
    .summary = "Show the connection to the platform",
    .run = run_link,
};
