/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `kms`: key rings of Google Cloud KMS become tokens, and are forgotten again. */

#include "cli/kms.h"
#include "cli/acts.h"
#include "cli/prompt.h"
#include <errno.h>
#include <unistd.h>

static char *credentials_file;
static gboolean yes;

#define CREDENTIALS_OPTION                                                                                   \
    {                                                                                                        \
        "credentials", 0, 0, G_OPTION_ARG_FILENAME, &credentials_file,                                       \
            "Key file of a service account (-: standard input); without it: the account of the machine",     \
            "FILE"                                                                                           \
    }

static const GOptionEntry browse_options[] = {
    CREDENTIALS_OPTION,
    {NULL},
};

static const GOptionEntry add_options[] = {
    CREDENTIALS_OPTION,
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &yes, "Do not ask whether the key ring is the right one", NULL},
    {NULL},
};

static const GOptionEntry remove_options[] = {
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &yes, "Do not ask whether it is meant", NULL},
    {NULL},
};

/* A descriptor with the key file, or -1: none was given. */
static bool open_credentials(Client *client, int *ret_fd, GError **error)
{
    *ret_fd = -1;
    if (!credentials_file || !*credentials_file)
        return true;
    const SecretSource source = {.file = credentials_file, .fd = -1};
    const SecretRequest request = {.what = "key file of the service account", .option = "credentials"};
    *ret_fd = secret_input(client, &source, &request, error);
    return *ret_fd >= 0;
}

static void close_credentials(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- browse ---- */

static bool run_browse(Cli *cli, char **arguments, GError **error)
{
    int credentials;
    if (!open_credentials(cli->client, &credentials, error))
        return false;
    g_autofree char *place = kms_place(arguments[0] ?: "");
    g_autoptr(JsonNode) answer = kms_browse(cli->client, place, credentials, error);
    close_credentials(credentials);
    if (!answer)
        return false;
    if (output_is_json(cli->output))
        output_json(cli->output, g_steal_pointer(&answer));
    else
        kms_print_children(cli->output, answer);
    return true;
}

/* ---- add ---- */

/* Shows on the terminal what would become of |ring|, and asks. */
static bool confirm_ring(Cli *cli, const char *ring, int credentials, GError **error)
{
    if (yes)
        return true;
    g_autoptr(JsonNode) answer = kms_browse(cli->client, ring, credentials, error);
    if (!answer)
        return false;
    g_autoptr(Output) table = output_new(JSON_OFF, false, true);
    kms_print_children(table, answer);
    g_autofree char *text = output_take_text(table);
    g_autofree char *question =
        g_strdup_printf("Check the permissions on %s and add it?", kms_place_id(ring));
    prompt_say("%s", g_strchomp(text));
    if (prompt_yes_no(question, true))
        return true;
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Nothing was changed");
    return false;
}

static bool ask_credentials(GError **error)
{
    if (credentials_file)
        return true;
    credentials_file = prompt_file(
        "Key file of the service account (empty: the account of the machine, in Google Cloud)", NULL);
    if (credentials_file)
        return true;
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Given up; nothing was changed");
    return false;
}

static char *add(Client *client, const char *ring, int credentials, GError **error)
{
    g_autoptr(sd_bus_message) reply = kms_call(client, "AddGoogleKms", ring, credentials, error);
    return reply ? client_read_path(reply, error) : NULL;
}

static void report_added(Cli *cli, const char *ring, const char *path)
{
    g_autofree char *name = act_token_name(path);
    cli_done(cli, cli_object("token", name, "path", path, "keyRing", ring, NULL),
             "The key ring is token %s now; 'iothsmctl provision --token=%s' makes a CA of one of its keys",
             name, name);
}

/* The key ring that was named, or the one that a person chooses. */
static char *find_ring(Cli *cli, const char *argument, int credentials, GError **error)
{
    if (argument)
        return kms_place(argument);
    g_autofree char *ring = kms_choose_key_ring(cli->client, credentials, error);
    return ring && confirm_ring(cli, ring, credentials, error) ? g_steal_pointer(&ring) : NULL;
}

static bool run_add(Cli *cli, char **arguments, GError **error)
{
    int credentials;
    if (!arguments[0] && !client_may_ask(cli->client)) {
        cli_set_usage_error(error, "Say which key ring: projects/P/locations/L/keyRings/R, or P/L/R; "
                                   "'iothsmctl kms browse' shows what there is");
        return false;
    }
    if ((!arguments[0] && !ask_credentials(error)) || !open_credentials(cli->client, &credentials, error))
        return false;
    g_autofree char *ring = find_ring(cli, arguments[0], credentials, error);
    g_autofree char *path = ring ? add(cli->client, ring, credentials, error) : NULL;
    close_credentials(credentials);
    if (path)
        report_added(cli, ring, path);
    return path != NULL;
}

/* ---- remove ---- */

static bool run_remove(Cli *cli, char **arguments, GError **error)
{
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    InventoryToken *token = inventory ? inventory_find_token(inventory, arguments[0], error) : NULL;
    if (!token || !act_check_kind(token, "google-kms", error))
        return false;
    const char *serial = property_text(token->properties, "serial");
    g_autofree char *question =
        g_strdup_printf("Forget key ring %s, its credentials and the certificates of its CAs? (The keys stay "
                        "in Google Cloud.)",
                        serial);
    if (!act_remove_token(cli->client, token, yes, question, error))
        return false;
    cli_done(cli, cli_object("token", serial, NULL), "Forgot key ring %s; its keys stay in Google Cloud",
             serial);
    return true;
}

const Verb verb_kms_browse = {
    .name = "kms browse",
    .arguments = "[PLACE]",
    .summary = "List projects, locations, key rings or keys in Google Cloud",
    .n_arguments_max = 1,
    .options = browse_options,
    .run = run_browse,
};

const Verb verb_kms_add = {
    .name = "kms add",
    .arguments = "[KEY_RING]",
    .summary = "Make a key ring of Google Cloud KMS a token",
    .n_arguments_max = 1,
    .options = add_options,
    .run = run_add,
};

const Verb verb_kms_remove = {
    .name = "kms remove",
    .arguments = "TOKEN",
    .summary = "Forget such a token; its keys stay in Google Cloud",
    .n_arguments_min = 1,
    .n_arguments_max = 1,
    .options = remove_options,
    .run = run_remove,
};
