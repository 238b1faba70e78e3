/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `trust`: whose messages the service believes. */

#include "cli/acts.h"

static char *purpose;

static const GOptionEntry add_options[] = {
    {"for", 0, 0, G_OPTION_ARG_FILENAME, &purpose,
     "platform: who signs the platform's messages; yubico: who attests YubiKeys", "PURPOSE"},
    {NULL},
};

static bool run_add(Cli *cli, char **arguments, GError **error)
{
    if (!purpose) {
        cli_set_usage_error(error,
                            "--for=platform or --for=yubico is needed: what the certificate is trusted for");
        return false;
    }
    g_autofree char *pem = act_read_file(arguments[0], error);
    g_autoptr(sd_bus_message) reply =
        pem ? client_invoke(cli->client, BUS_ROOT, BUS_MANAGER, "AddTrustAnchor", error, "ss", purpose, pem)
            : NULL;
    if (!reply)
        return false;
    cli_done(
        cli, cli_object("purpose", purpose, NULL), "The certificate is trusted for %s from now on%s", purpose,
        g_str_equal(purpose, "platform") ? "; 'iothsmctl trust show' says whether it is PKIaaS.io's" : "");
    return true;
}

static void add_anchor(JsonArray *anchors, guint index, JsonNode *node, gpointer userdata)
{
    Table *table = userdata;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return;
    JsonObject *anchor = json_node_get_object(node);
    g_autofree char *until = output_date(property_number(anchor, "notAfter"));
    table_row(table,
              (const char *const[]){
                  property_text(anchor, "purpose"),
                  property_text(anchor, "subject"),
                  until,
                  property_is_true(anchor, "known") ? "PKIaaS.io" : "",
                  property_text(anchor, "fingerprint"),
              },
              -1, EMPHASIS_NONE);
}

static bool run_show(Cli *cli, char **arguments, GError **error)
{
    static const char *const titles[] = {"PURPOSE", "SUBJECT>", "UNTIL", "KNOWN AS", "SHA-256>", NULL};
    g_autoptr(sd_bus_message) reply =
        client_query(cli->client, BUS_ROOT, BUS_MANAGER, "ListTrustAnchors", error, "");
    g_autoptr(JsonNode) anchors = reply ? client_read_json(reply, error) : NULL;
    if (!anchors)
        return false;
    if (output_is_json(cli->output)) {
        output_json(cli->output, g_steal_pointer(&anchors));
        return true;
    }
    if (!JSON_NODE_HOLDS_ARRAY(anchors) || json_array_get_length(json_node_get_array(anchors)) == 0) {
        output_text(cli->output,
                    "No certificate is trusted yet; 'iothsmctl trust add --for=platform FILE' adds one\n");
        return true;
    }
    Table *table = table_new(titles);
    json_array_foreach_element(json_node_get_array(anchors), add_anchor, table);
    output_table(cli->output, table);
    return true;
}

const Verb verb_trust_add = {
    .name = "trust add",
    .arguments = "FILE",
    .summary = "Trust a CA certificate for what --for= says",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = add_options,
    .run = run_add,
};

const Verb verb_trust_show = {
    .name = "trust show",
    .arguments = "",
    .summary = "List the certificates that are trusted",
    .run = run_show,
};
