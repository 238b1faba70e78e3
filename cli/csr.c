/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `csr`: a request for a certificate that another CA signs; nothing is stored. */

#include "cli/acts.h"

static SignChoice choice;
static char *output_file;

static const GOptionEntry options[] = {
    SIGN_CHOICE_OPTIONS(choice),
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &output_file,
     "Write the PEM to FILE instead of the standard output", "FILE"},
    {NULL},
};

static bool run_csr(Cli *cli, char **arguments, GError **error)
{
    return act_use_template(cli, arguments, act_create_csr, &choice, output_file, "csr", error);
}

const Verb verb_csr = {
    .name = "csr",
    .arguments = "TOKEN/SLOT TEMPLATE",
    .summary = "Make a certificate request from a provisioning certificate",
    .n_arguments_min = 2,
    .n_arguments_max = 2,
    .options = options,
    .run = run_csr,
};
