/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* `provision`: from a token to a CA, step by step: slot, key, template, certificate. With all options given
 * it asks nothing; on a terminal it asks for what is missing. */

#include "cli/provision.h"
#include "cli/prompt.h"
#include <fcntl.h>
#include <glib-unix.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct {
    char *token;
    char *slot;
    char *type;
    char *key_file;
    char *template_file;
    gboolean self_signed;
    char *csr_file;
    char *certificate_file;
    char *output_file;
    gboolean yes;
} wanted;

static SecretSource passphrase = SECRET_SOURCE_NONE;
static KeyChoice key_choice;
static SignChoice sign_choice;

static const GOptionEntry options[] = {
    {"token", 0, 0, G_OPTION_ARG_FILENAME, &wanted.token, "The token: serial, label or object id", "TOKEN"},
    {"slot", 0, 0, G_OPTION_ARG_FILENAME, &wanted.slot, "The slot on it", "SLOT"},
    {"type", 't', 0, G_OPTION_ARG_FILENAME, &wanted.type, "Generate a key of this type", "TYPE"},
    {"import-key", 0, 0, G_OPTION_ARG_FILENAME, &wanted.key_file, "Import the key from a PEM file", "FILE"},
    SECRET_OPTIONS("passphrase", "the passphrase of that key", passphrase),
    {"template", 0, 0, G_OPTION_ARG_FILENAME, &wanted.template_file, "The provisioning certificate", "FILE"},
    {"self-signed", 0, 0, G_OPTION_ARG_NONE, &wanted.self_signed, "Make a root CA", NULL},
    {"csr", 0, 0, G_OPTION_ARG_FILENAME, &wanted.csr_file,
     "Write a request for an intermediate CA to FILE (-: here)", "FILE"},
    {"certificate", 0, 0, G_OPTION_ARG_FILENAME, &wanted.certificate_file,
     "Import the certificate that was signed for the key", "FILE"},
    {"output", 'o', 0, G_OPTION_ARG_FILENAME, &wanted.output_file, "Write the certificate to FILE", "FILE"},
    {"yes", 'y', 0, G_OPTION_ARG_NONE, &wanted.yes, "Do not ask whether it is meant", NULL},
    SIGN_CHOICE_OPTIONS(sign_choice),
    KEY_CHOICE_OPTIONS(key_choice),
    {NULL},
};

static bool check_options(GError **error)
{
    if (wanted.self_signed + !!wanted.csr_file + !!wanted.certificate_file > 1)
        cli_set_usage_error(error, "--self-signed, --csr and --certificate can't be given together");
    else if (wanted.type && wanted.key_file)
        cli_set_usage_error(error, "--type and --import-key can't be given together");
    else if (wanted.template_file && wanted.certificate_file)
        cli_set_usage_error(error, "--template and --certificate can't be given together");
    else
        return true;
    return false;
}

static void plan_from_options(Plan *plan)
{
    plan->key_type = g_strdup(wanted.type);
    plan->key_file = g_strdup(wanted.key_file);
    plan->key = wanted.type ? KEY_PLAN_GENERATE : wanted.key_file ? KEY_PLAN_IMPORT : KEY_PLAN_OPEN;
    if (wanted.self_signed)
        plan->certificate = CERTIFICATE_PLAN_SELF_SIGN;
    else if (wanted.csr_file)
        plan->certificate = CERTIFICATE_PLAN_REQUEST;
    else if (wanted.certificate_file)
        plan->certificate = CERTIFICATE_PLAN_IMPORT;
    plan->output_file = g_strdup(wanted.csr_file ? wanted.csr_file : wanted.output_file);
}

static bool read_files(Plan *plan, GError **error)
{
    const char *file = wanted.certificate_file ? wanted.certificate_file : wanted.template_file;
    if (file)
        plan->pem = act_read_file(file, error);
    return !file || plan->pem;
}

/* The slot that --slot names; it need not exist. */
static bool find_slot(Plan *plan, GError **error)
{
    plan->slot = inventory_token_slot(plan->token, wanted.slot);
    plan->slot_name = g_strdup(plan->slot ? property_text(plan->slot->properties, "name") : wanted.slot);
    if (!plan->slot || plan->key == KEY_PLAN_OPEN)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                "Slot %s of token %s already holds a key; leave out --type and --import-key to go on with "
                "it, or choose "
                "another slot",
                plan->slot_name, property_text(plan->token->properties, "serial"));
    return false;
}

static bool make_plan(Plan *plan, Inventory *inventory, GError **error)
{
    if (wanted.token)
        plan->token = inventory_find_token(inventory, wanted.token, error);
    else if (!plan_ask_token(plan, inventory, error))
        return false;
    if (!plan->token)
        return false;
    if (plan->guided)
        prompt_say("Token %s: %s", property_text(plan->token->properties, "serial"),
                   property_text(plan->token->properties, "label"));
    bool ok = wanted.slot ? find_slot(plan, error) : plan_ask_slot(plan, error);
    return ok && plan_ask_key(plan, error) && plan_ask_touch(plan, &key_choice, error) &&
           plan_ask_certificate(plan, error) && plan_ask_pem(plan, error) && plan_ask_output(plan, error);
}

/* Before a key is made for a template that is of no use. */
static bool check_template(const Plan *plan, JsonObject *description, GError **error)
{
    gint64 until = property_number(description, "notAfter");
    g_autofree char *date = output_date(until);
    if (sign_choice.days > 0 || plan->certificate != CERTIFICATE_PLAN_SELF_SIGN)
        return true;
    if (until == 0)
        cli_set_usage_error(
            error, "The template has no end date; say how long the certificate is valid with --days=N");
    else if (until < g_get_real_time() / G_USEC_PER_SEC)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TEMPLATE_EXPIRED,
                    "The provisioning certificate expired on %s; get a new one from the platform", date);
    else
        return true;
    return false;
}

/* What will happen, on stderr: stdout is for what comes out. */
static void show_plan(const Plan *plan, JsonObject *description)
{
    g_autoptr(Output) output = output_new(JSON_OFF, false, false);
    g_autofree char *where =
        *plan->slot_name ? g_strdup_printf("slot %s", plan->slot_name) : g_strdup("the first free slot");
    if (plan->key == KEY_PLAN_GENERATE)
        prompt_say("A new %s key is generated in %s.", plan->key_type, where);
    else if (plan->key == KEY_PLAN_IMPORT)
        prompt_say("The key in %s is imported into %s.", plan->key_file, where);
    else
        prompt_say("The %s key in %s is used.", property_text(plan->slot->properties, "keyType"), where);
    const char *touch = plan->key == KEY_PLAN_KEEP ? property_text(plan->slot->properties, "touchPolicy")
                                                   : key_choice.touch_policy;
    bool told = plan->guided && plan->key != KEY_PLAN_KEEP;
    if (g_strcmp0(touch, "always") == 0 && !told)
        prompt_say("%s", PLAN_TOUCH_ALWAYS);
    else if (g_strcmp0(touch, "cached") == 0)
        prompt_say("It signs for 15 seconds after each touch of the token.");
    if (plan->certificate == CERTIFICATE_PLAN_IMPORT)
        prompt_say("The certificate is imported if it is for that key.");
    else
        prompt_say(plan->certificate == CERTIFICATE_PLAN_REQUEST
                       ? "A request like this is made, nothing else is stored:"
                       : "A self-signed certificate like this goes into the slot:");
    if (!description)
        return;
    act_print_template(output, description);
    g_autofree char *text = output_take_text(output);
    fputs(text, stderr);
}

static bool approve_plan(Cli *cli, const Plan *plan, GError **error)
{
    g_autoptr(JsonNode) node = plan->certificate == CERTIFICATE_PLAN_IMPORT
                                   ? NULL
                                   : act_describe_template(cli->client, plan->pem, error);
    if (!node && plan->certificate != CERTIFICATE_PLAN_IMPORT)
        return false;
    JsonObject *description = node ? json_node_get_object(node) : NULL;
    if (description && !check_template(plan, description, error))
        return false;
    if (!cli->settings->quiet)
        show_plan(plan, description);
    if (!plan->guided || wanted.yes || prompt_yes_no("Go on?", true))
        return true;
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Given up; nothing was changed");
    return false;
}

static bool ask_for_pin(Cli *cli, const Plan *plan, int persist, GError **error)
{
    static const SecretSource none = SECRET_SOURCE_NONE;
    g_autofree char *title = inventory_token_title(plan->token);
    g_autofree char *what = g_strdup_printf("PIN of token %s", title);
    const SecretRequest request = {.what = what, .option = "pin"};
    int fd = secret_input(cli->client, &none, &request, error);
    if (fd < 0)
        return false;
    g_autoptr(sd_bus_message) reply =
        client_invoke(cli->client, plan->token->path, BUS_TOKEN, "SetPin", error, "hb", fd, persist);
    close(fd);
    return reply != NULL;
}

/* What is public needs no locked memory. -1 with an error. */
static int factory_pin(GError **error)
{
    static const char pin[] = "123456";
    int ends[2];
    if (!g_unix_open_pipe(ends, FD_CLOEXEC, error))
        return -1;
    bool written = write(ends[1], pin, strlen(pin)) == (ssize_t)strlen(pin);
    close(ends[1]);
    if (written)
        return ends[0];
    close(ends[0]);
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Handing on the factory PIN failed");
    return -1;
}

static bool change_factory_pin(Cli *cli, const Plan *plan, int fresh, GError **error)
{
    int factory = factory_pin(error);
    if (factory < 0)
        return false;
    g_autoptr(sd_bus_message) reply =
        client_invoke(cli->client, plan->token->path, BUS_TOKEN, "ChangePin", error, "hh", factory, fresh);
    close(factory);
    return reply != NULL;
}

/* The service has the new one then, as after `pin set`. */
static bool replace_factory_pin(Cli *cli, const Plan *plan, int persist, GError **error)
{
    static const SecretSource none = SECRET_SOURCE_NONE;
    g_autofree char *title = inventory_token_title(plan->token);
    g_autofree char *what = g_strdup_printf("new PIN (6 to 8 characters) of token %s", title);
    const SecretRequest request = {.what = what, .option = "new-pin", .twice = true};
    int fresh = secret_input(cli->client, &none, &request, error);
    if (fresh < 0)
        return false;
    g_autoptr(sd_bus_message) reply = NULL;
    if (change_factory_pin(cli, plan, fresh, error) && lseek(fresh, 0, SEEK_SET) == 0)
        reply =
            client_invoke(cli->client, plan->token->path, BUS_TOKEN, "SetPin", error, "hb", fresh, persist);
    close(fresh);
    return reply != NULL;
}

static bool offer_factory_pin(Cli *cli, const Plan *plan, int persist, GError **error)
{
    static const char *const ways[] = {
        "choose another PIN now",
        "use it as it is, and change it later",
        NULL,
    };
    g_autofree char *title = inventory_token_title(plan->token);
    prompt_say("Token %s still has its factory PIN, which everybody knows.", title);
    int choice = prompt_choice("The PIN", ways, 0);
    if (choice == 0)
        return replace_factory_pin(cli, plan, persist, error);
    if (choice < 0) {
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Given up; nothing was changed");
        return false;
    }
    g_autoptr(sd_bus_message) reply =
        client_invoke(cli->client, plan->token->path, BUS_TOKEN, "UseFactoryPin", error, "b", persist);
    return reply != NULL;
}

/* A token without its PIN can do nothing of this: ask now, not in the middle. */
static bool give_pin(Cli *cli, const Plan *plan, const Inventory *inventory, GError **error)
{
    const char *state = property_text(plan->token->properties, "pinState");
    int persist = property_is_true(inventory->manager, "pinsSealed");
    if (plan->guided && (g_str_equal(state, "missing") || g_str_equal(state, "wrong")))
        return ask_for_pin(cli, plan, persist, error);
    if (plan->guided && g_str_equal(state, "factory"))
        return offer_factory_pin(cli, plan, persist, error);
    return true;
}

static bool make_key(Cli *cli, Plan *plan, char **ret_path, GError **error)
{
    if (plan->key == KEY_PLAN_KEEP)
        *ret_path = g_strdup(plan->slot->path);
    else if (plan->key == KEY_PLAN_GENERATE)
        *ret_path =
            act_generate_key(cli->client, plan->token, plan->slot_name, plan->key_type, &key_choice, error);
    else
        *ret_path = act_import_key(cli->client, plan->token, plan->slot_name, plan->key_file, &passphrase,
                                   &key_choice, error);
    return *ret_path != NULL;
}

/* The certificate or the request. Transfer full. */
static char *make_certificate(Cli *cli, const Plan *plan, const InventorySlot *slot, GError **error)
{
    switch (plan->certificate) {
    case CERTIFICATE_PLAN_SELF_SIGN:
        return act_self_sign(cli->client, slot, plan->pem, &sign_choice, error);
    case CERTIFICATE_PLAN_REQUEST:
        return act_create_csr(cli->client, slot, plan->pem, &sign_choice, error);
    case CERTIFICATE_PLAN_IMPORT:
    case CERTIFICATE_PLAN_OPEN:
        break;
    }
    return act_import_certificate(cli->client, slot, plan->pem, error) ? g_strdup(plan->pem) : NULL;
}

static void report_json(Cli *cli, const Plan *plan, const InventorySlot *slot, const char *pem)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(
        node, cli_object("token", property_text(plan->token->properties, "serial"), "slot",
                         property_text(slot->properties, "name"), "path", slot->path,
                         plan->certificate == CERTIFICATE_PLAN_REQUEST ? "csr" : "certificate", pem, NULL));
    output_json(cli->output, node);
}

static void say_what_is_next(const Plan *plan, const char *title)
{
    if (plan->certificate == CERTIFICATE_PLAN_REQUEST)
        prompt_say("Have the request signed, then bring the certificate back:\n"
                   "  iothsmctl import-cert %s FILE",
                   title);
    else
        prompt_say("Slot %s is provisioned. Now:\n"
                   "  1. import this certificate at the platform ('iothsmctl cert %s' prints it again)\n"
                   "  2. iothsmctl reload\n"
                   "  3. 'iothsmctl link' says when the platform has taken it",
                   title, title);
}

static bool report(Cli *cli, const Plan *plan, const InventorySlot *slot, const char *pem, GError **error)
{
    const char *file = plan->output_file && !g_str_equal(plan->output_file, "-") ? plan->output_file : NULL;
    if (file && !g_file_set_contents(file, pem, -1, error))
        return false;
    g_autofree char *title = inventory_slot_title(slot);
    if (output_is_json(cli->output)) {
        report_json(cli, plan, slot, pem);
        return true;
    }
    if (!file)
        output_text(cli->output, "%s%s", pem, g_str_has_suffix(pem, "\n") ? "" : "\n");
    bool ok = output_flush(cli->output, error);
    if (!cli->settings->quiet)
        say_what_is_next(plan, title);
    return ok;
}

static bool carry_out(Cli *cli, Plan *plan, GError **error)
{
    g_autofree char *path = NULL;
    if (!make_key(cli, plan, &path, error))
        return false;
    /* The slot may be new. */
    g_autoptr(Inventory) now = inventory_read(cli->client, error);
    if (!now)
        return false;
    InventorySlot *slot = inventory_slot_at(now, path);
    if (!slot) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_NO_SUCH_OBJECT,
                    "The key was made, but its slot %s is not there", path);
        return false;
    }
    g_autofree char *pem = make_certificate(cli, plan, slot, error);
    if (pem)
        return report(cli, plan, slot, pem, error);
    if (plan->key != KEY_PLAN_KEEP)
        g_prefix_error(
            error, "The key is in slot %s now, and 'iothsmctl provision --slot=%s' can go on with it, but: ",
            property_text(slot->properties, "name"), property_text(slot->properties, "name"));
    return false;
}

static bool run_provision(Cli *cli, char **arguments, GError **error)
{
    g_auto(Plan) plan = {.guided = client_may_ask(cli->client) && !output_is_json(cli->output)};
    if (!check_options(error))
        return false;
    plan_from_options(&plan);
    if (!read_files(&plan, error))
        return false;
    g_autoptr(Inventory) inventory = inventory_read(cli->client, error);
    return inventory && make_plan(&plan, inventory, error) && approve_plan(cli, &plan, error) &&
           give_pin(cli, &plan, inventory, error) && carry_out(cli, &plan, error);
}

const Verb verb_provision = {
    .name = "provision",
    .arguments = "",
    .summary = "Make a CA: slot, key and certificate, step by step",
    .options = options,
    .run = run_provision,
};
