/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `show`: everything about one token or one slot. */

#include "cli/cli.h"
#include "cli/inventory.h"

static char *join(JsonArray *texts)
{
    g_autoptr(GString) joined = g_string_new(NULL);
    guint n = texts ? json_array_get_length(texts) : 0;
    for (guint i = 0; i < n; i++)
        g_string_append_printf(joined, "%s%s", i > 0 ? " " : "", json_array_get_string_element(texts, i));
    return g_strdup(joined->str);
}

static void print_count(Output *output, const char *name, JsonObject *properties, const char *member)
{
    gint64 count = property_number(properties, member);
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT, count);
    output_field(output, name, count >= 0 ? text : "");
}

static void print_slots(Output *output, const InventoryToken *token)
{
    static const char *const titles[] = {"SLOT", "KEY", "STATE", "UNTIL", "SUBJECT>", NULL};
    Table *table = table_new(titles);
    for (guint i = 0; i < token->slots->len; i++) {
        const InventorySlot *slot = g_ptr_array_index(token->slots, i);
        const char *state = property_text(slot->properties, "state");
        g_autofree char *until = output_date(property_number(slot->properties, "notAfter"));
        table_row(table,
                  (const char *const[]){
                      property_text(slot->properties, "name"),
                      property_text(slot->properties, "keyType"),
                      state,
                      until,
                      property_text(slot->properties, "subject"),
                  },
                  2, output_emphasis_of_state(state));
    }
    if (token->slots->len > 0)
        output_text(output, "\n");
    output_table(output, table);
}

static void print_token(Output *output, const InventoryToken *token)
{
    JsonObject *properties = token->properties;
    g_autofree char *free_slots = join(property_array(properties, "freeSlots"));
    g_autofree char *key_types = join(property_array(properties, "keyTypes"));
    output_field(output, "Token", property_text(properties, "serial"));
    output_field(output, "Label", property_text(properties, "label"));
    output_field(output, "Kind", property_text(properties, "kind"));
    output_field(output, "Model", property_text(properties, "model"));
    output_field(output, "Firmware", property_text(properties, "firmware"));
    output_field(output, "State", property_text(properties, "state"));
    output_field(output, "Message", property_text(properties, "message"));
    output_field(output, "Operation", property_text(properties, "operation"));
    output_field(output, "PIN", property_text(properties, "pinState"));
    print_count(output, "PIN tries left", properties, "pinRetries");
    print_count(output, "PUK tries left", properties, "pukRetries");
    output_field(output, "Management key", property_text(properties, "managementKeyState"));
    output_field(output, "Key types", key_types);
    output_field(output, "Free slots", free_slots);
    output_field(output, "Object", token->path);
    print_slots(output, token);
}

/* Whether a key was made where it is, is worth a question to the token; not that a busy one is waited for. */
static JsonNode *describe_attestation(Client *client, const InventorySlot *slot)
{
    bool made_here = g_str_equal(property_text(slot->properties, "origin"), "generated");
    bool ready = g_str_equal(property_text(slot->token->properties, "state"), "ready");
    if (!made_here || !ready)
        return NULL;
    client_be_brief(client);
    g_autoptr(sd_bus_message) reply =
        client_query(client, slot->path, BUS_SLOT, "DescribeAttestation", NULL, "");
    JsonNode *judgement = reply ? client_read_json(reply, NULL) : NULL;
    if (judgement && !JSON_NODE_HOLDS_OBJECT(judgement))
        g_clear_pointer(&judgement, json_node_unref);
    return judgement;
}

static void print_attestation(Output *output, JsonObject *judgement)
{
    if (!property_is_true(judgement, "verified")) {
        g_autofree char *text = g_strdup_printf("not verified: %s", property_text(judgement, "reason"));
        output_field(output, "Attestation", text);
        return;
    }
    const char *serial = property_text(judgement, "serial");
    const char *form = property_text(judgement, "formFactor");
    g_autofree char *text =
        g_strdup_printf("verified: made by a YubiKey with firmware %s%s%s%s%s%s",
                        property_text(judgement, "firmware"), *serial ? ", serial number " : "", serial,
                        *form ? ", " : "", form, property_is_true(judgement, "fips") ? ", FIPS series" : "");
    output_field(output, "Attestation", text);
}

static const char *origin_in_words(const char *origin)
{
    if (g_str_equal(origin, "generated"))
        return "generated on the token";
    return g_str_equal(origin, "imported") ? "imported into the token" : origin;
}

static void print_slot(Output *output, const InventorySlot *slot, JsonObject *judgement)
{
    JsonObject *properties = slot->properties;
    g_autofree char *title = inventory_slot_title(slot);
    g_autofree char *not_before = output_time(property_number(properties, "notBefore"));
    g_autofree char *not_after = output_time(property_number(properties, "notAfter"));
    output_field(output, "Slot", title);
    output_field(output, "Label", property_text(properties, "label"));
    output_field(output, "Key", property_text(properties, "keyType"));
    output_field(output, "Origin", origin_in_words(property_text(properties, "origin")));
    output_field(output, "Firmware", property_text(slot->token->properties, "firmware"));
    if (judgement)
        print_attestation(output, judgement);
    output_field(output, "State", property_text(properties, "state"));
    output_field(output, "PIN policy", property_text(properties, "pinPolicy"));
    output_field(output, "Touch policy", property_text(properties, "touchPolicy"));
    output_field(output, "Subject", property_text(properties, "subject"));
    output_field(output, "Issuer", property_text(properties, "issuer"));
    output_field(output, "Serial number", property_text(properties, "serialNumber"));
    output_field(output, "Valid from", not_before);
    output_field(output, "Valid until", not_after);
    output_field(output, "Thumbprint", property_text(properties, "thumbprint"));
    output_field(output, "SHA-256", property_text(properties, "fingerprint"));
    output_field(output, "Authority", property_text(properties, "authority"));
    output_field(output, "Link", property_text(properties, "linkState"));
    output_field(output, "Link message", property_text(properties, "linkMessage"));
    print_count(output, "Signatures", properties, "signatures");
    output_field(output, "Object", slot->path);
}

static void print_json(Output *output, JsonObject *properties)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_set_object(node, properties);
    output_json(output, node);
}

static bool run_show(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    const char *slot_name = NULL;
    InventoryToken *token =
        inventory ? inventory_find_place(inventory, arguments[0], &slot_name, error) : NULL;
    if (!token)
        return false;
    InventorySlot *slot = *slot_name ? inventory_find_slot(inventory, arguments[0], error) : NULL;
    if (*slot_name && !slot)
        return false;
    g_autoptr(JsonNode) judgement = slot ? describe_attestation(cli->client, slot) : NULL;
    JsonObject *attestation = judgement ? json_node_get_object(judgement) : NULL;
    if (output_is_json(cli->output) && attestation)
        json_object_set_object_member(slot->properties, "attestation", json_object_ref(attestation));
    if (output_is_json(cli->output))
        print_json(cli->output, slot ? slot->properties : token->properties);
    else if (slot)
        print_slot(cli->output, slot, attestation);
    else
        print_token(cli->output, token);
    return true;
}

const Verb verb_show = {
    .name = "show",
    .arguments = "TOKEN[/SLOT]",
    .summary = "Show everything about a token or a slot",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .run = run_show,
};
