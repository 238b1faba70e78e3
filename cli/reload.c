/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `reload`: the service reads its configuration again, looks for tokens, and tries the link at once. */

#include "cli/cli.h"

static bool run_reload(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(sd_bus_message) reply = client_invoke(cli->client, BUS_ROOT, BUS_MANAGER, "Reload", error, "");
    if (!reply)
        return false;
    cli_done(cli, NULL, "Reloaded");
    return true;
}

const Verb verb_reload = {
    .name = "reload",
    .arguments = "",
    .summary = "Read the configuration, look for tokens and try the link again",
    .run = run_reload,
};
