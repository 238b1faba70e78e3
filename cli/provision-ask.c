/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The questions of `provision`. */

#include "cli/prompt.h"
#include "cli/provision.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

/* More free slots than this only make a long list; any other can be given with --slot. */
#define FREE_SLOTS_SHOWN 4

/* What an empty answer means, where the token has it: good for many years on every token, and fast. */
#define USUAL_KEY_TYPE "p384"

void plan_clear(Plan *plan)
{
    g_clear_pointer(&plan->slot_name, g_free);
    g_clear_pointer(&plan->key_type, g_free);
    g_clear_pointer(&plan->key_file, g_free);
    g_clear_pointer(&plan->pem, g_free);
    g_clear_pointer(&plan->output_file, g_free);
}

static bool given_up(GError **error)
{
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_FAILED, "Given up; nothing was changed");
    return false;
}

bool plan_ask_token(Plan *plan, Inventory *inventory, GError **error)
{
    guint n = inventory->tokens->len;
    if (n == 0) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_TOKEN,
                            "No token is present; plug one in, or make one in software to try things out: "
                            "iothsmctl softhsm create LABEL");
        return false;
    }
    if (n == 1) {
        plan->token = g_ptr_array_index(inventory->tokens, 0);
        return true;
    }
    if (!plan->guided) {
        cli_set_usage_error(error, "There are %u tokens; say which one with --token=", n);
        return false;
    }
    g_autoptr(GPtrArray) titles = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < n; i++) {
        const InventoryToken *token = g_ptr_array_index(inventory->tokens, i);
        g_autofree char *title = inventory_token_title(token);
        g_ptr_array_add(titles, g_strdup_printf("%s %s, %s", property_text(token->properties, "kind"), title,
                                                property_text(token->properties, "state")));
    }
    g_ptr_array_add(titles, NULL);
    int choice =
        prompt_choice("Which token is to hold the key of the CA?", (const char *const *)titles->pdata, 0);
    if (choice < 0)
        return given_up(error);
    plan->token = g_ptr_array_index(inventory->tokens, (guint)choice);
    return true;
}

static GPtrArray *key_only_slots(const InventoryToken *token)
{
    GPtrArray *found = g_ptr_array_new();
    for (guint i = 0; i < token->slots->len; i++) {
        InventorySlot *slot = g_ptr_array_index(token->slots, i);
        if (g_str_equal(property_text(slot->properties, "state"), "key-only"))
            g_ptr_array_add(found, slot);
    }
    return found;
}

static void take_slot(Plan *plan, InventorySlot *slot)
{
    plan->slot = slot;
    plan->slot_name = g_strdup(property_text(slot->properties, "name"));
}

/* Without a person: what is meant is plain or it is an error. */
static bool choose_slot(Plan *plan, GPtrArray *unfinished, GError **error)
{
    if (plan->key != KEY_PLAN_OPEN) {
        plan->slot_name = g_strdup("");
        return true;
    }
    if (unfinished->len == 1) {
        take_slot(plan, g_ptr_array_index(unfinished, 0));
        return true;
    }
    cli_set_usage_error(error,
                        "Say which slot with --slot=, or what key to make with --type= or --import-key=");
    return false;
}

static bool set_no_slot(const InventoryToken *token, GError **error)
{
    const char *serial = property_text(token->properties, "serial");
    if (g_str_equal(property_text(token->properties, "kind"), "google-kms"))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                    "Key ring %s has no key without a certificate; keys are made in Google Cloud, for the "
                    "purpose \"asymmetric sign\", and seen here after 'iothsmctl reload'",
                    serial);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                    "Token %s has no free slot; 'iothsmctl clear' makes room, and destroys a key", serial);
    return false;
}

bool plan_ask_slot(Plan *plan, GError **error)
{
    g_autoptr(GPtrArray) unfinished = key_only_slots(plan->token);
    if (!plan->guided || plan->key != KEY_PLAN_OPEN)
        return choose_slot(plan, unfinished, error);
    JsonArray *names = property_array(plan->token->properties, "freeSlots");
    guint n_free = names ? MIN(json_array_get_length(names), FREE_SLOTS_SHOWN) : 0;
    g_autoptr(GPtrArray) titles = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < unfinished->len; i++) {
        const InventorySlot *slot = g_ptr_array_index(unfinished, i);
        g_ptr_array_add(titles,
                        g_strdup_printf("slot %s: go on with the %s key that is there without a certificate",
                                        property_text(slot->properties, "name"),
                                        property_text(slot->properties, "keyType")));
    }
    for (guint i = 0; i < n_free; i++)
        g_ptr_array_add(titles, g_strdup_printf("slot %s: free", json_array_get_string_element(names, i)));
    if (titles->len == 0)
        return set_no_slot(plan->token, error);
    g_ptr_array_add(titles, NULL);
    int choice = prompt_choice("Which slot?", (const char *const *)titles->pdata, 0);
    if (choice < 0)
        return given_up(error);
    if ((guint)choice < unfinished->len)
        take_slot(plan, g_ptr_array_index(unfinished, (guint)choice));
    else
        plan->slot_name = g_strdup(json_array_get_string_element(names, (guint)choice - unfinished->len));
    return true;
}

static gboolean by_name(gconstpointer name, gconstpointer wanted)
{
    return g_strcmp0(name, wanted) == 0; /* the last one is NULL */
}

static bool ask_key_type(Plan *plan, GError **error)
{
    JsonArray *types = property_array(plan->token->properties, "keyTypes");
    guint n = types ? json_array_get_length(types) : 0;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    for (guint i = 0; i < n; i++)
        g_ptr_array_add(names, (char *)json_array_get_string_element(types, i));
    g_ptr_array_add(names, NULL);
    if (n == 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "Token %s can't generate keys",
                    property_text(plan->token->properties, "serial"));
        return false;
    }
    guint usual = 0;
    if (!g_ptr_array_find_with_equal_func(names, USUAL_KEY_TYPE, by_name, &usual))
        usual = 0;
    int choice = prompt_choice("What kind of key?", (const char *const *)names->pdata, (int)usual);
    if (choice < 0)
        return given_up(error);
    plan->key_type = g_strdup(g_ptr_array_index(names, (guint)choice));
    return true;
}

/* A mistyped name is no reason to begin again; it is not read here, since it is a secret. */
static bool ask_key_file(Plan *plan, GError **error)
{
    for (;;) {
        g_autofree char *file = prompt_file("File with the private key (PEM)", NULL);
        if (!file || !*file)
            return given_up(error);
        if (g_access(file, R_OK) == 0) {
            plan->key_file = g_steal_pointer(&file);
            return true;
        }
        prompt_say("Opening %s failed: %s", file, g_strerror(errno));
    }
}

bool plan_ask_key(Plan *plan, GError **error)
{
    static const char *const ways[] = {
        "generate a new key on the token (it never leaves it)",
        "import a key from a PEM file",
        NULL,
    };
    if (plan->slot)
        plan->key = KEY_PLAN_KEEP;
    if (plan->key != KEY_PLAN_OPEN)
        return true;
    if (!plan->guided) {
        cli_set_usage_error(
            error, "Slot %s is free; say what key to make with --type= or --import-key=", plan->slot_name);
        return false;
    }
    int choice = prompt_choice("The key", ways, 0);
    if (choice < 0)
        return given_up(error);
    plan->key = choice == 0 ? KEY_PLAN_GENERATE : KEY_PLAN_IMPORT;
    if (choice == 0)
        return ask_key_type(plan, error);
    return ask_key_file(plan, error);
}

static bool ask_touch_policy(KeyChoice *choice, GError **error)
{
    static const char *const ways[] = {
        "never: the CA signs without anybody there",
        "cached: one touch counts for 15 seconds",
        "always: every single signature wants a touch",
        NULL,
    };
    static const char *const policies[] = {"never", "cached", "always"};
    int answer = prompt_choice(
        "Must somebody touch the token before it signs? (This can't be changed later.)", ways, 0);
    if (answer < 0)
        return given_up(error);
    choice->touch_policy = g_strdup(policies[answer]);
    return true;
}

bool plan_ask_touch(const Plan *plan, KeyChoice *choice, GError **error)
{
    /* PIV tokens have a management key, and policies. */
    bool has_policies =
        !g_str_equal(property_text(plan->token->properties, "managementKeyState"), "not-needed");
    if (!plan->guided || plan->key == KEY_PLAN_KEEP || !has_policies)
        return true;
    if (!choice->touch_policy && !ask_touch_policy(choice, error))
        return false;
    if (!g_str_equal(choice->touch_policy, "always"))
        return true;
    prompt_say("%s", PLAN_TOUCH_ALWAYS);
    if (prompt_yes_no("Take \"cached\" instead?", true)) {
        g_free(choice->touch_policy);
        choice->touch_policy = g_strdup("cached");
    }
    return true;
}

bool plan_ask_certificate(Plan *plan, GError **error)
{
    static const char *const ways[] = {
        "self-signed: a root CA",
        "a request (CSR) that another CA signs: an intermediate CA",
        "import a certificate that was already signed for this key",
        NULL,
    };
    if (plan->certificate != CERTIFICATE_PLAN_OPEN)
        return true;
    if (!plan->guided) {
        cli_set_usage_error(error, "Say what to make with --self-signed, --csr=FILE or --certificate=FILE");
        return false;
    }
    int choice = prompt_choice("The certificate", ways, 0);
    if (choice < 0)
        return given_up(error);
    plan->certificate = (CertificatePlan)(CERTIFICATE_PLAN_SELF_SIGN + choice);
    return true;
}

/* NULL, and said why, where there is no PEM text in it. Transfer full. */
static char *pem_of_answer(const char *answer)
{
    g_autoptr(GError) failure = NULL;
    if (g_str_has_prefix(answer, "-----BEGIN "))
        return g_strdup(answer);
    g_autofree char *text = act_read_file(answer, &failure);
    if (text && strstr(text, "-----BEGIN "))
        return g_steal_pointer(&text);
    if (text)
        prompt_say("%s holds no certificate in PEM form, from -----BEGIN to END-----", answer);
    else
        prompt_say("%s", failure->message);
    return NULL;
}

bool plan_ask_pem(Plan *plan, GError **error)
{
    bool import = plan->certificate == CERTIFICATE_PLAN_IMPORT;
    if (plan->pem)
        return true;
    if (!plan->guided) {
        cli_set_usage_error(error, "--template=FILE is needed: the provisioning certificate of the platform");
        return false;
    }
    while (!plan->pem) {
        g_autofree char *answer = prompt_file_or_pem(
            import ? "The certificate: its file, or paste it here"
                   : "The provisioning certificate from the platform: its file, or paste it here");
        if (!answer || !*answer)
            return given_up(error);
        plan->pem = pem_of_answer(answer);
    }
    return true;
}

bool plan_ask_output(Plan *plan, GError **error)
{
    if (!plan->guided || plan->output_file || plan->certificate != CERTIFICATE_PLAN_REQUEST)
        return true;
    plan->output_file = prompt_file("File to write the request to (-: show it here)", "-");
    return plan->output_file ? true : given_up(error);
}
