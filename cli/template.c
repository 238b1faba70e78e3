/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `template`: what a provisioning certificate would make, without making anything. */

#include "cli/acts.h"

static bool run_template(Cli *cli, char **arguments, GError **error)
{
    g_autofree char *pem = act_read_file(arguments[0], error);
    JsonNode *description = pem ? act_describe_template(cli->client, pem, error) : NULL;
    if (!description)
        return false;
    if (output_is_json(cli->output)) {
        output_json(cli->output, description);
        return true;
    }
    act_print_template(cli->output, json_node_get_object(description));
    json_node_unref(description);
    return true;
}

const Verb verb_template = {
    .name = "template",
    .arguments = "FILE",
    .summary = "Show what a provisioning certificate would make",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .run = run_template,
};
