/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `self-sign`: the CA signs its own certificate, which goes into the slot. */

#include "cli/acts.h"

static SignChoice choice;
static char *output_file;

static const GOptionEntry options[] = {
    SIGN_CHOICE_OPTIONS(choice),
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_file,
     "Write the PEM to FILE instead of the standard output", "FILE"},
    {NULL},
};

static bool run_self_sign(Cli *cli, char **arguments, GError **error)
{
    return act_use_template(cli, arguments, act_self_sign, &choice, output_file, "certificate", error);
}

const Verb verb_self_sign = {
    .name = "self-sign",
    .arguments = "TOKEN/SLOT TEMPLATE",
    .summary = "Make the CA's own certificate from a provisioning certificate",
    .n_arguments_min = 2,
    .n_arguments_max = 2,
    .options = options,
    .run = run_self_sign,
};
