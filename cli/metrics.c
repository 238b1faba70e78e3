/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `metrics`: what a monitoring system wants to know, as OpenMetrics text; into a file for node_exporter. */

#include "cli/cli.h"

static char *output_file;

static const GOptionEntry options[] = {
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_file,
     "Replace FILE as a whole instead of printing to the standard output", "FILE"},
    {NULL},
};

/* Whoever collects it reads all of the old text or all of the new one, and is another user. */
static bool write_file(const char *file, const char *text, GError **error)
{
    g_autoptr(GError) failure = NULL;
    if (g_file_set_contents_full(file, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0644, &failure))
        return true;
    g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "Can't write the metrics: %s", failure->message);
    return false;
}

static bool run_metrics(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(sd_bus_message) reply = client_query(cli->client, BUS_ROOT, BUS_MANAGER, "Metrics", error, "");
    g_autofree char *text = reply ? client_read_text(reply, error) : NULL;
    if (!text || (output_file && !write_file(output_file, text, error)))
        return false;
    if (output_is_json(cli->output)) {
        JsonNode *node = json_node_new(JSON_NODE_OBJECT);
        json_node_take_object(node, cli_object("metrics", text, NULL));
        output_json(cli->output, node);
    } else if (!output_file) {
        output_text(cli->output, "%s", text);
    }
    return true;
}

const Verb verb_metrics = {
    .name = "metrics",
    .arguments = "",
    .summary = "Print what a monitoring system wants to know",
    .options = options,
    .run = run_metrics,
};
