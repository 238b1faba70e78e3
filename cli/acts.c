/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The calls behind the verbs: arguments in, result out. */

#include "cli/acts.h"
#include "cli/cli.h"
#include "cli/prompt.h"
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define TEXT_LIMIT ((gsize)1024 * 1024)

static int append_text_option(sd_bus_message *call, const char *name, const char *value)
{
    return value ? sd_bus_message_append(call, "{sv}", name, "s", value) : 0;
}

static int append_key_choice(sd_bus_message *call, const KeyChoice *choice)
{
    int r = append_text_option(call, "label", choice->label);
    if (r >= 0)
        r = append_text_option(call, "pin-policy", choice->pin_policy);
    if (r >= 0)
        r = append_text_option(call, "touch-policy", choice->touch_policy);
    return r;
}

static int append_sign_choice(sd_bus_message *call, const SignChoice *choice)
{
    int r = sd_bus_message_open_container(call, 'a', "{sv}");
    if (r >= 0)
        r = append_text_option(call, "hash", choice->hash);
    if (r >= 0 && choice->days > 0)
        r = sd_bus_message_append(call, "{sv}", "days", "i", choice->days);
    if (r >= 0 && choice->replace)
        r = sd_bus_message_append(call, "{sv}", "replace", "b", 1);
    return r < 0 ? r : sd_bus_message_close_container(call);
}

/* Sends |call|, whose making ended with |r|, as work of |token|. */
static sd_bus_message *finish_call(Client *client, sd_bus_message *call, int r, const InventoryToken *token,
                                   GError **error)
{
    if (r >= 0)
        return client_call_token(client, call, token->path, error);
    client_set_error(error, r, "Making the call failed");
    return NULL;
}

char *act_generate_key(Client *client, const InventoryToken *token, const char *slot, const char *type,
                       const KeyChoice *choice, GError **error)
{
    g_autoptr(sd_bus_message) call = client_message(client, token->path, BUS_TOKEN, "GenerateKey", error);
    if (!call)
        return NULL;
    int r = sd_bus_message_append(call, "ss", slot, type);
    if (r >= 0)
        r = sd_bus_message_open_container(call, 'a', "{sv}");
    if (r >= 0)
        r = append_key_choice(call, choice);
    if (r >= 0)
        r = sd_bus_message_close_container(call);
    g_autoptr(sd_bus_message) reply = finish_call(client, call, r, token, error);
    return reply ? client_read_path(reply, error) : NULL;
}

/* The passphrase's memfd; -1 without an error where the key needs none. */
static int passphrase_input(Client *client, int key, const SecretSource *passphrase, const char *file,
                            GError **error)
{
    bool given = passphrase->file || passphrase->fd >= 0;
    if (!given && !secret_contains(key, "ENCRYPTED"))
        return -1;
    g_autofree char *what = g_strdup_printf("passphrase of %s", file);
    const SecretRequest request = {.what = what, .option = "passphrase"};
    return secret_input(client, passphrase, &request, error);
}

static char *import_key(Client *client, const InventoryToken *token, const char *slot, int key,
                        int passphrase, const KeyChoice *choice, GError **error)
{
    g_autoptr(sd_bus_message) call = client_message(client, token->path, BUS_TOKEN, "ImportKey", error);
    if (!call)
        return NULL;
    int r = sd_bus_message_append(call, "sh", slot, key);
    if (r >= 0)
        r = sd_bus_message_open_container(call, 'a', "{sv}");
    if (r >= 0 && passphrase >= 0)
        r = sd_bus_message_append(call, "{sv}", "passphrase", "h", passphrase);
    if (r >= 0)
        r = append_key_choice(call, choice);
    if (r >= 0)
        r = sd_bus_message_close_container(call);
    g_autoptr(sd_bus_message) reply = finish_call(client, call, r, token, error);
    return reply ? client_read_path(reply, error) : NULL;
}

char *act_import_key(Client *client, const InventoryToken *token, const char *slot, const char *file,
                     const SecretSource *passphrase, const KeyChoice *choice, GError **error)
{
    const SecretSource source = {.file = (char *)file, .fd = -1};
    const SecretRequest request = {.what = "private key", .option = "key"};
    int key = secret_input(client, &source, &request, error);
    if (key < 0)
        return NULL;
    GError *reason = NULL;
    int passphrase_fd = passphrase_input(client, key, passphrase, file, &reason);
    char *path = reason ? NULL : import_key(client, token, slot, key, passphrase_fd, choice, &reason);
    if (passphrase_fd >= 0)
        close(passphrase_fd);
    close(key);
    if (reason)
        g_propagate_error(error, reason);
    return path;
}

static char *call_with_template(Client *client, const InventorySlot *slot, const char *method,
                                const char *template_pem, const SignChoice *choice, GError **error)
{
    g_autoptr(sd_bus_message) call = client_message(client, slot->path, BUS_SLOT, method, error);
    if (!call)
        return NULL;
    int r = sd_bus_message_append(call, "s", template_pem);
    if (r >= 0)
        r = append_sign_choice(call, choice);
    g_autoptr(sd_bus_message) reply = finish_call(client, call, r, slot->token, error);
    return reply ? client_read_text(reply, error) : NULL;
}

char *act_self_sign(Client *client, const InventorySlot *slot, const char *template_pem,
                    const SignChoice *choice, GError **error)
{
    return call_with_template(client, slot, "SelfSign", template_pem, choice, error);
}

char *act_create_csr(Client *client, const InventorySlot *slot, const char *template_pem,
                     const SignChoice *choice, GError **error)
{
    return call_with_template(client, slot, "CreateCsr", template_pem, choice, error);
}

bool act_import_certificate(Client *client, const InventorySlot *slot, const char *pem, GError **error)
{
    g_autoptr(sd_bus_message) call = client_message(client, slot->path, BUS_SLOT, "ImportCertificate", error);
    if (!call)
        return false;
    int r = sd_bus_message_append(call, "s", pem);
    g_autoptr(sd_bus_message) reply = finish_call(client, call, r, slot->token, error);
    return reply != NULL;
}

JsonNode *act_describe_template(Client *client, const char *pem, GError **error)
{
    g_autoptr(sd_bus_message) reply =
        client_query(client, BUS_ROOT, BUS_MANAGER, "DescribeTemplate", error, "s", pem);
    JsonNode *node = reply ? client_read_json(reply, error) : NULL;
    if (node && !JSON_NODE_HOLDS_OBJECT(node)) {
        g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "The service's answer is not understood");
        g_clear_pointer(&node, json_node_unref);
    }
    return node;
}

static void print_extension(JsonArray *extensions, guint index, JsonNode *node, gpointer userdata)
{
    Output *output = userdata;
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return;
    JsonObject *extension = json_node_get_object(node);
    const char *name = property_text(extension, "name");
    g_autofree char *text = g_strdup(property_text(extension, "text"));
    g_strdelimit(text, "\n", ' ');
    g_autofree char *line = g_strdup_printf("%s%s%s%s", *name ? name : property_text(extension, "oid"),
                                            property_is_true(extension, "critical") ? " (critical)" : "",
                                            *text ? ": " : "", text);
    output_field(output, index == 0 ? "Extensions" : "", line);
}

void act_print_template(Output *output, JsonObject *description)
{
    output_field(output, "Subject", property_text(description, "subject"));
    output_field(output, "Template is a", property_text(description, "kind"));
    g_autofree char *not_after = output_time(property_number(description, "notAfter"));
    output_field(output, "Valid until", *not_after ? not_after : "not set: --days=N says how long");
    bool authority = property_is_true(description, "ca");
    g_autofree char *length =
        json_object_has_member(description, "pathlen")
            ? g_strdup_printf("yes, path length %" G_GINT64_FORMAT, property_number(description, "pathlen"))
            : g_strdup("yes");
    output_field(output, "Makes a CA", authority ? length : "no");
    JsonArray *extensions = property_array(description, "extensions");
    if (extensions)
        json_array_foreach_element(extensions, print_extension, output);
}

static bool read_to_end(int fd, const char *file, GString *text, GError **error)
{
    char block[4096];
    ssize_t n;
    while ((n = read(fd, block, sizeof block)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "Reading %s failed: %s", file, g_strerror(errno));
            return false;
        }
        g_string_append_len(text, block, n);
        if (text->len > TEXT_LIMIT) {
            g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "%s is larger than 1 MiB: that is no PEM file",
                        file);
            return false;
        }
    }
    /* sd-bus would refuse the string, and say less. */
    if (!g_utf8_validate(text->str, (gssize)text->len, NULL)) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED,
                    "%s is not a text; a PEM file is needed "
                    "('openssl x509 -inform DER' makes one of a DER certificate)",
                    file);
        return false;
    }
    return true;
}

char *act_read_file(const char *file, GError **error)
{
    bool standard_input = g_str_equal(file, "-");
    int fd = standard_input ? STDIN_FILENO : g_open(file, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        g_set_error(error, CLI_ERROR, CLI_ERROR_FAILED, "Opening %s failed: %s", file, g_strerror(errno));
        return NULL;
    }
    g_autoptr(GString) text = g_string_new(NULL);
    bool ok = read_to_end(fd, standard_input ? "The standard input" : file, text, error);
    if (!standard_input)
        close(fd);
    return ok ? g_strdup(text->str) : NULL;
}

bool act_write_pem(Output *output, const char *file, const char *member, const char *pem, GError **error)
{
    if (file && !g_file_set_contents(file, pem, -1, error))
        return false;
    if (output_is_json(output)) {
        JsonNode *node = json_node_new(JSON_NODE_OBJECT);
        json_node_take_object(node, cli_object(member, pem, NULL));
        output_json(output, node);
    } else if (!file)
        output_text(output, "%s%s", pem, g_str_has_suffix(pem, "\n") ? "" : "\n");
    return true;
}

bool act_split_path(const char *path, char **ret_token, char **ret_slot)
{
    char *token = NULL, *slot = NULL;
    if (sd_bus_path_decode_many(path, BUS_ROOT "/tokens/%/slots/%", &token, &slot) <= 0)
        return false;
    *ret_token = g_strdup(token);
    *ret_slot = g_strdup(slot);
    free(token);
    free(slot);
    return true;
}

char *act_token_name(const char *path)
{
    char *serial = NULL;
    if (sd_bus_path_decode(path, BUS_ROOT "/tokens", &serial) <= 0)
        return g_strdup(path);
    char *name = g_strdup(serial);
    free(serial);
    return name;
}

void act_report_key(Cli *cli, const char *path, const char *what)
{
    g_autofree char *token = NULL;
    g_autofree char *slot = NULL;
    if (act_split_path(path, &token, &slot))
        cli_done(cli, cli_object("token", token, "slot", slot, "path", path, NULL),
                 "%s slot %s/%s; 'iothsmctl provision --token=%s --slot=%s' makes a CA of it", what, token,
                 slot, token, slot);
    else
        cli_done(cli, cli_object("path", path, NULL), "%s %s", what, path);
}

bool act_confirm(Client *client, bool yes, const char *question, GError **error)
{
    if (yes)
        return true;
    if (!client_may_ask(client)) {
        cli_set_usage_error(error,
                            "This can't be undone and nobody can be asked here; give --yes if it is meant");
        return false;
    }
    if (prompt_yes_no(question, false))
        return true;
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Nothing was changed");
    return false;
}

bool act_check_kind(const InventoryToken *token, const char *kind, GError **error)
{
    const char *own = property_text(token->properties, "kind");
    const char *serial = property_text(token->properties, "serial");
    if (g_str_equal(own, kind))
        return true;
    const char *verb = g_str_equal(own, "softhsm2")     ? "softhsm delete"
                       : g_str_equal(own, "google-kms") ? "kms remove"
                                                        : NULL;
    if (verb)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "Token %s is of kind %s; what removes it is: iothsmctl %s %s", serial, own, verb, serial);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "Token %s is of kind %s, which goes when it is unplugged; to destroy a key on it: "
                    "iothsmctl clear %s/SLOT",
                    serial, own, serial);
    return false;
}

bool act_remove_token(Client *client, const InventoryToken *token, bool yes, const char *question,
                      GError **error)
{
    if (!act_confirm(client, yes, question, error))
        return false;
    g_autoptr(sd_bus_message) reply =
        client_invoke(client, BUS_ROOT, BUS_MANAGER, "RemoveToken", error, "o", token->path);
    return reply != NULL;
}

bool act_use_template(Cli *cli, char **arguments, TemplateAct *act, const SignChoice *choice,
                      const char *output_file, const char *member, GError **error)
{
    g_autofree char *template_pem = act_read_file(arguments[1], error);
    g_autoptr(Inventory) inventory = template_pem ? inventory_read(cli->client, error) : NULL;
    InventorySlot *slot = inventory ? inventory_find_slot(inventory, arguments[0], error) : NULL;
    g_autofree char *pem = slot ? act(cli->client, slot, template_pem, choice, error) : NULL;
    return pem && act_write_pem(cli->output, output_file, member, pem, error);
}
