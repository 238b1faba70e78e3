/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `status`: where everything stands, in a few lines for somebody who sees it for the first time, and what to
 * do next. */

#include "cli/card-users.h"
#include "cli/cli.h"
#include "cli/inventory.h"
#include <string.h>

#define EXPIRES_SOON_SECONDS ((gint64)90 * 24 * 60 * 60)

static const char *link_words(const char *state)
{
    static const struct {
        const char *state, *words;
    } words[] = {
        {"unconfigured", "not configured"},
        {"offline", "offline"},
        {"bootstrapping", "introducing the authorities to the platform"},
        {"connecting", "connecting"},
        {"connected", "connected"},
        {"backing-off", "waiting before the next attempt"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(words); i++)
        if (g_str_equal(words[i].state, state))
            return words[i].words;
    return state;
}

static void print_link(Output *output, JsonObject *manager)
{
    const char *state = property_text(manager, "linkState");
    const char *message = property_text(manager, "linkMessage");
    g_autofree char *url = output_printable(property_text(manager, "platformUrl"));
    g_autofree char *printable = output_printable(message);
    const char *transport = property_text(manager, "linkTransport");
    output_text(output, "IoT-HSM %s, platform %s: %s%s%s%s%s\n", property_text(manager, "version"), url,
                output_begin(output, output_emphasis_of_state(state)), link_words(state), output_end(output),
                *transport ? " by " : "", transport);
    if (*message)
        output_text(output, "  %s\n", printable);
    gint64 next = property_number(manager, "nextAttempt") / G_USEC_PER_SEC;
    g_autofree char *time = output_time(next);
    if (next > 0)
        output_text(output, "  Next attempt: %s\n", time);
}

static void print_token(Output *output, const InventoryToken *token)
{
    const char *state = property_text(token->properties, "state");
    g_autofree char *title = inventory_token_title(token);
    g_autofree char *printable = output_printable(title);
    g_autofree char *operation = output_printable(property_text(token->properties, "operation"));
    output_text(output, "  %s %s: %s%s%s, PIN %s, %u slot%s in use", property_text(token->properties, "kind"),
                printable, output_begin(output, output_emphasis_of_state(state)), state, output_end(output),
                property_text(token->properties, "pinState"), token->slots->len,
                token->slots->len == 1 ? "" : "s");
    output_text(output, "%s%s\n", *operation ? ": " : "", operation);
}

static void print_authority(JsonArray *authorities, guint index, JsonNode *node, gpointer userdata)
{
    Output *output = userdata;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return;
    JsonObject *authority = json_node_get_object(node);
    const char *state = property_text(authority, "linkState");
    g_autofree char *subject = output_printable(property_text(authority, "subject"));
    g_autofree char *until = output_date(property_number(authority, "notAfter"));
    output_text(output,
                "  %s: %s%s%s, valid until %s, %" G_GINT64_FORMAT " signed, %" G_GINT64_FORMAT " refused\n",
                subject, output_begin(output, output_emphasis_of_state(state)), state, output_end(output),
                until, property_number(authority, "signatures"), property_number(authority, "denied"));
}

static void warn(Output *output, guint *count, const char *format, ...) G_GNUC_PRINTF(3, 4);

static void warn(Output *output, guint *count, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *printable = output_printable(text);
    if ((*count)++ == 0)
        output_text(output, "Warnings:\n");
    output_text(output, "  %s%s%s\n", output_begin(output, EMPHASIS_WARNING), printable, output_end(output));
}

static void warn_about_token(Output *output, const InventoryToken *token, guint *count)
{
    const char *serial = property_text(token->properties, "serial");
    const char *pin = property_text(token->properties, "pinState");
    const char *message = property_text(token->properties, "message");
    if (g_str_equal(pin, "missing"))
        warn(output, count, "Token %s has no PIN to sign with: iothsmctl pin set %s", serial, serial);
    else if (g_str_equal(pin, "factory"))
        warn(output, count, "Token %s still has its factory PIN: iothsmctl pin change %s", serial, serial);
    else if (g_str_equal(pin, "wrong"))
        warn(output, count, "Token %s refused the PIN that was set: iothsmctl pin set %s", serial, serial);
    else if (g_str_equal(pin, "blocked"))
        warn(output, count, "The PIN of token %s is blocked: iothsmctl pin unblock %s", serial, serial);
    else if (*message)
        warn(output, count, "Token %s: %s", serial, message);
}

static void warn_about_slot(Output *output, const InventorySlot *slot, guint *count)
{
    g_autofree char *title = inventory_slot_title(slot);
    const char *state = property_text(slot->properties, "state");
    gint64 until = property_number(slot->properties, "notAfter");
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    g_autofree char *date = output_date(until);
    if (g_str_equal(state, "mismatch"))
        warn(output, count, "Slot %s holds the certificate of another key: iothsmctl import-cert %s FILE",
             title, title);
    if (until > 0 && until < now)
        warn(output, count, "The certificate in slot %s expired on %s", title, date);
    else if (until > 0 && until - now < EXPIRES_SOON_SECONDS)
        warn(output, count, "The certificate in slot %s expires on %s", title, date);
}

static void warn_about_authorities(Output *output, const Inventory *inventory, guint *count)
{
    guint n = inventory->authorities ? json_array_get_length(inventory->authorities) : 0;
    const char *known = property_text(inventory->manager, "linkMessage");
    for (guint i = 0; i < n; i++) {
        JsonObject *authority = json_array_get_object_element(inventory->authorities, i);
        const char *message = property_text(authority, "linkMessage");
        const char *state = property_text(authority, "linkState");
        const char *subject = property_text(authority, "subject");
        if (g_str_equal(state, "unregistered"))
            warn(output, count,
                 "%s: the platform says \"%s\"; finish the import of its certificate there, then: "
                 "iothsmctl reload",
                 subject, message);
        /* What stops all of them is said once, above. */
        else if (!g_str_equal(state, "connected") && *message && !g_str_equal(message, known))
            warn(output, count, "%s: %s", subject, message);
    }
}

static void warn_about_troubles(Output *output, const Inventory *inventory, guint *count)
{
    JsonNode *node = json_object_get_member(inventory->manager, "troubles");
    JsonArray *troubles = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint n = troubles ? json_array_get_length(troubles) : 0;
    for (guint i = 0; i < n; i++)
        warn(output, count, "%s", json_array_get_string_element(troubles, i));
    bool held = n > 0;
    for (guint i = 0; i < inventory->tokens->len && !held; i++) {
        const InventoryToken *token = g_ptr_array_index(inventory->tokens, i);
        held = g_str_equal(property_text(token->properties, "state"), "held");
    }
    g_autofree char *hint = held ? card_users_hint("/proc") : NULL;
    if (hint)
        warn(output, count, "%s", hint);
}

static void print_warnings(Output *output, const Inventory *inventory)
{
    guint count = 0;
    bool needs_pin = false;
    for (guint i = 0; i < inventory->tokens->len; i++) {
        const InventoryToken *token = g_ptr_array_index(inventory->tokens, i);
        warn_about_token(output, token, &count);
        needs_pin |= !g_str_equal(property_text(token->properties, "pinState"), "not-needed");
        for (guint k = 0; k < token->slots->len; k++)
            warn_about_slot(output, g_ptr_array_index(token->slots, k), &count);
    }
    if (needs_pin && !property_is_true(inventory->manager, "pinsSealed"))
        warn(output, &count,
             "PINs are kept in memory only and are asked for again after a restart: "
             "the service has no sealing key");
    warn_about_troubles(output, inventory, &count);
    warn_about_authorities(output, inventory, &count);
}

static bool has_slot_in_state(const Inventory *inventory, const char *state)
{
    for (guint i = 0; i < inventory->tokens->len; i++) {
        const InventoryToken *token = g_ptr_array_index(inventory->tokens, i);
        for (guint k = 0; k < token->slots->len; k++) {
            const InventorySlot *slot = g_ptr_array_index(token->slots, k);
            if (g_str_equal(property_text(slot->properties, "state"), state))
                return true;
        }
    }
    return false;
}

static const char *next_step(const Inventory *inventory)
{
    if (inventory->tokens->len == 0)
        return "plug in a token, or make one in software to try things out: iothsmctl softhsm create LABEL";
    if (has_slot_in_state(inventory, "key-only"))
        return "give the key that has no certificate yet its certificate: iothsmctl provision";
    if (!inventory->authorities || json_array_get_length(inventory->authorities) == 0)
        return "make a CA key and its certificate: iothsmctl provision";
    return NULL;
}

static bool run_status(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    if (!inventory)
        return false;
    Output *output = cli->output;
    if (output_is_json(output)) {
        output_json(output, json_node_ref(inventory->document));
        return true;
    }
    print_link(output, inventory->manager);
    output_text(output, "Tokens:%s\n", inventory->tokens->len == 0 ? " none" : "");
    for (guint i = 0; i < inventory->tokens->len; i++)
        print_token(output, g_ptr_array_index(inventory->tokens, i));
    bool any = inventory->authorities && json_array_get_length(inventory->authorities) > 0;
    output_text(output, "Authorities:%s\n", any ? "" : " none");
    if (any)
        json_array_foreach_element(inventory->authorities, print_authority, output);
    print_warnings(output, inventory);
    const char *next = next_step(inventory);
    if (next)
        output_text(output, "Next: %s\n", next);
    return true;
}

const Verb verb_status = {
    .name = "status",
    .arguments = "",
    .summary = "Where everything stands and what to do next (the default)",
    .run = run_status,
};
