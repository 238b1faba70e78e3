/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads Describe() of the daemon into tokens and slots, and finds what a person names. */

#include "cli/inventory.h"
#include "cli/cli.h"
#include <string.h>

static void token_free(InventoryToken *token)
{
    g_free(token->path);
    g_ptr_array_unref(token->slots);
    g_free(token);
}

static void slot_free(InventorySlot *slot)
{
    g_free(slot->path);
    g_free(slot);
}

void inventory_free(Inventory *inventory)
{
    if (!inventory)
        return;
    g_ptr_array_unref(inventory->tokens);
    json_node_unref(inventory->document);
    g_free(inventory);
}

static char *encode_path(const char *prefix, const char *name)
{
    char *encoded = NULL;
    if (sd_bus_path_encode(prefix, name, &encoded) < 0)
        return g_strdup(prefix);
    char *path = g_strdup(encoded);
    free(encoded);
    return path;
}

static void add_slot(JsonArray *slots, guint index, JsonNode *node, gpointer userdata)
{
    InventoryToken *token = userdata;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return;
    InventorySlot *slot = g_new0(InventorySlot, 1);
    slot->properties = json_node_get_object(node);
    g_autofree char *prefix = g_strconcat(token->path, "/slots", NULL);
    slot->path = encode_path(prefix, property_text(slot->properties, "name"));
    slot->token = token;
    g_ptr_array_add(token->slots, slot);
}

static void add_token(JsonArray *tokens, guint index, JsonNode *node, gpointer userdata)
{
    Inventory *inventory = userdata;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return;
    InventoryToken *token = g_new0(InventoryToken, 1);
    token->properties = json_node_get_object(node);
    token->path = encode_path(BUS_ROOT "/tokens", property_text(token->properties, "serial"));
    token->slots = g_ptr_array_new_with_free_func((GDestroyNotify)slot_free);
    JsonArray *slots = property_array(token->properties, "slots");
    if (slots)
        json_array_foreach_element(slots, add_slot, token);
    g_ptr_array_add(inventory->tokens, token);
}

Inventory *inventory_read(Client *client, GError **error)
{
    g_autoptr(sd_bus_message) reply = client_query(client, BUS_ROOT, BUS_MANAGER, "Describe", error, "");
    g_autoptr(JsonNode) document = reply ? client_read_json(reply, error) : NULL;
    if (!document)
        return NULL;
    if (!JSON_NODE_HOLDS_OBJECT(document)) {
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "The service's answer is not understood");
        return NULL;
    }
    Inventory *inventory = g_new0(Inventory, 1);
    inventory->document = g_steal_pointer(&document);
    inventory->manager = json_node_get_object(inventory->document);
    inventory->tokens = g_ptr_array_new_with_free_func((GDestroyNotify)token_free);
    inventory->authorities = property_array(inventory->manager, "authorities");
    JsonArray *tokens = property_array(inventory->manager, "tokens");
    if (tokens)
        json_array_foreach_element(tokens, add_token, inventory);
    return inventory;
}

InventorySlot *inventory_slot_at(Inventory *inventory, const char *path)
{
    for (guint i = 0; i < inventory->tokens->len; i++) {
        InventoryToken *token = g_ptr_array_index(inventory->tokens, i);
        for (guint k = 0; k < token->slots->len; k++) {
            InventorySlot *slot = g_ptr_array_index(token->slots, k);
            if (g_str_equal(slot->path, path))
                return slot;
        }
    }
    return NULL;
}

char *inventory_token_title(const InventoryToken *token)
{
    const char *label = property_text(token->properties, "label");
    const char *serial = property_text(token->properties, "serial");
    bool named = *label && !g_str_equal(label, serial);
    return named ? g_strdup_printf("%s (%s)", serial, label) : g_strdup(serial);
}

char *inventory_slot_title(const InventorySlot *slot)
{
    return g_strdup_printf("%s/%s", property_text(slot->token->properties, "serial"),
                           property_text(slot->properties, "name"));
}

/* All tokens that |name| can mean. A serial or an object id means one; only a label can mean several. */
static GPtrArray *candidates(Inventory *inventory, const char *name)
{
    g_autoptr(GPtrArray) found = g_ptr_array_new();
    for (guint i = 0; i < inventory->tokens->len; i++) {
        InventoryToken *token = g_ptr_array_index(inventory->tokens, i);
        const char *id = strrchr(token->path, '/') + 1;
        if (g_str_equal(property_text(token->properties, "serial"), name) || g_str_equal(id, name) ||
            g_str_equal(token->path, name)) {
            g_ptr_array_set_size(found, 0);
            g_ptr_array_add(found, token);
            break;
        }
        if (g_str_equal(property_text(token->properties, "label"), name))
            g_ptr_array_add(found, token);
    }
    return g_steal_pointer(&found);
}

static void set_ambiguous(GPtrArray *found, const char *name, GError **error)
{
    g_autoptr(GString) serials = g_string_new(NULL);
    for (guint i = 0; i < found->len; i++) {
        InventoryToken *token = g_ptr_array_index(found, i);
        g_string_append_printf(serials, "%s%s", i > 0 ? ", " : "",
                               property_text(token->properties, "serial"));
    }
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "%u tokens are labelled \"%s\"; name one by its serial number: %s", found->len, name,
                serials->str);
}

InventoryToken *inventory_find_token(Inventory *inventory, const char *name, GError **error)
{
    g_autoptr(GPtrArray) found = candidates(inventory, name);
    if (found->len == 1)
        return g_ptr_array_index(found, 0);
    if (found->len > 1)
        set_ambiguous(found, name, error);
    else if (inventory->tokens->len == 0)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_TOKEN,
                    "There is no token \"%s\": no token is present", name);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_TOKEN,
                    "There is no token \"%s\"; 'iothsmctl list' shows the tokens that are present", name);
    return NULL;
}

InventoryToken *inventory_find_place(Inventory *inventory, const char *name, const char **ret_slot,
                                     GError **error)
{
    /* A label may contain a slash, so the whole is tried first. */
    g_autoptr(GPtrArray) whole = candidates(inventory, name);
    const char *slash = strrchr(name, '/');
    if (whole->len > 0 || !slash) {
        InventoryToken *token = inventory_find_token(inventory, name, error);
        if (token)
            *ret_slot = "";
        return token;
    }
    g_autofree char *token_name = g_strndup(name, (gsize)(slash - name));
    InventoryToken *token = inventory_find_token(inventory, token_name, error);
    if (!token)
        return NULL;
    if (!slash[1]) {
        cli_set_usage_error(error, "\"%s\" names no slot behind the slash", name);
        return NULL;
    }
    *ret_slot = slash + 1;
    return token;
}

InventorySlot *inventory_token_slot(const InventoryToken *token, const char *name)
{
    static const char *const members[] = {"name", "otherName"};
    for (gsize k = 0; k < G_N_ELEMENTS(members); k++)
        for (guint i = 0; i < token->slots->len; i++) {
            InventorySlot *slot = g_ptr_array_index(token->slots, i);
            if (g_ascii_strcasecmp(property_text(slot->properties, members[k]), name) == 0)
                return slot;
        }
    return NULL;
}

InventorySlot *inventory_find_slot(Inventory *inventory, const char *name, GError **error)
{
    const char *slot_name = NULL;
    InventoryToken *token = inventory_find_place(inventory, name, &slot_name, error);
    if (!token)
        return NULL;
    if (!*slot_name) {
        cli_set_usage_error(error, "\"%s\" is a token; name a slot on it as TOKEN/SLOT", name);
        return NULL;
    }
    InventorySlot *slot = inventory_token_slot(token, slot_name);
    if (slot)
        return slot;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_SLOT,
                "Token %s has nothing in a slot \"%s\"; 'iothsmctl show %s' lists its slots",
                property_text(token->properties, "serial"), slot_name,
                property_text(token->properties, "serial"));
    return NULL;
}
