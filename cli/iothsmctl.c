/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iothsmctl: one verb a run. Reads the options, finds the verb, runs it, and turns what became of it into
 * text or JSON and an exit status. */

#include "cli/card-users.h"
#include "cli/cli.h"
#include "iothsm-build.h"
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM "iothsmctl"

const Verb *const cli_verbs[] = {
    &verb_status,
    &verb_list,
    &verb_show,
    &verb_link,
    &verb_monitor,
    &verb_metrics,
    &verb_provision,
    &verb_template,
    &verb_generate,
    &verb_import_key,
    &verb_self_sign,
    &verb_csr,
    &verb_import_cert,
    &verb_cert,
    &verb_attest,
    &verb_clear,
    &verb_drain,
    &verb_pin_set,
    &verb_pin_change,
    &verb_pin_unblock,
    &verb_pin_forget,
    &verb_management_key_set,
    &verb_management_key_change,
    &verb_management_key_protect,
    &verb_management_key_forget,
    &verb_softhsm_create,
    &verb_softhsm_delete,
    &verb_kms_browse,
    &verb_kms_add,
    &verb_kms_remove,
    &verb_trust_add,
    &verb_trust_show,
    &verb_reload,
    &verb_complete,
    NULL,
};

static Settings settings;

static gboolean parse_json(const char *name, const char *value, gpointer data, GError **error)
{
    settings.json_by_terminal = false;
    if (g_str_equal(value, "pretty"))
        settings.json = JSON_PRETTY;
    else if (g_str_equal(value, "short"))
        settings.json = JSON_SHORT;
    else if (g_str_equal(value, "off"))
        settings.json = JSON_OFF;
    else {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--json=%s is not known; it is pretty, short or off", value);
        return FALSE;
    }
    return TRUE;
}

static gboolean parse_json_short(const char *name, const char *value, gpointer data, GError **error)
{
    settings.json_by_terminal = true;
    settings.json = isatty(STDOUT_FILENO) ? JSON_PRETTY : JSON_SHORT;
    return TRUE;
}

static const GOptionEntry common_options[] = {
    {"help", 'h', 0, G_OPTION_ARG_NONE, &settings.help, "Show this help", NULL},
    {"version", 0, 0, G_OPTION_ARG_NONE, &settings.version, "Show the version", NULL},
    {"json", 0, 0, G_OPTION_ARG_CALLBACK, parse_json,
     "Answer in JSON: pretty, short or off (-j: pretty on a terminal, else short)", "MODE"},
    /* An entry without a long name would end the table. */
    {"j", 'j', G_OPTION_FLAG_NO_ARG | G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_CALLBACK, parse_json_short, NULL,
     NULL},
    {"no-pager", 0, 0, G_OPTION_ARG_NONE, &settings.no_pager, "Do not pipe long output into a pager", NULL},
    {"no-legend", 0, 0, G_OPTION_ARG_NONE, &settings.no_legend, "Do not print column titles", NULL},
    {"no-ask-password", 0, 0, G_OPTION_ARG_NONE, &settings.no_ask_password,
     "Do not ask for passwords and PINs", NULL},
    {"quiet", 'q', 0, G_OPTION_ARG_NONE, &settings.quiet, "Print no progress and no confirmation", NULL},
    {NULL},
};

JsonObject *cli_object(const char *name, ...)
{
    JsonObject *object = json_object_new();
    va_list arguments;
    va_start(arguments, name);
    for (; name; name = va_arg(arguments, const char *))
        json_object_set_string_member(object, name, va_arg(arguments, const char *));
    va_end(arguments);
    return object;
}

void cli_done(Cli *cli, JsonObject *object, const char *format, ...)
{
    if (output_is_json(cli->output)) {
        JsonNode *node = json_node_new(JSON_NODE_OBJECT);
        json_node_take_object(node, object ? object : json_object_new());
        output_json(cli->output, node);
        return;
    }
    g_clear_pointer(&object, json_object_unref);
    if (cli->settings->quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *sentence = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *printable = output_printable(sentence);
    output_text(cli->output, "%s\n", printable);
}

static GOptionContext *context_new(const char *title)
{
    GOptionContext *context = g_option_context_new(title);
    g_option_context_set_help_enabled(context, FALSE);
    return context;
}

static bool parse_common(int *argc, char ***argv, GError **error)
{
    g_autoptr(GOptionContext) context = context_new(NULL);
    g_option_context_set_strict_posix(context, TRUE);
    g_option_context_add_main_entries(context, common_options, NULL);
    return g_option_context_parse(context, argc, argv, error);
}

/* The table of |verb|'s own options, the common ones below. */
static GOptionContext *verb_context(const Verb *verb)
{
    g_autofree char *title = g_strdup_printf("%s - %s", verb->arguments, verb->summary ? verb->summary : "");
    GOptionContext *context = context_new(title);
    if (verb->options)
        g_option_context_add_main_entries(context, verb->options, NULL);
    GOptionGroup *common = g_option_group_new("common", "Common options:", "", NULL, NULL);
    g_option_group_add_entries(common, common_options);
    g_option_context_add_group(context, common);
    return context;
}

static void print_verb_help(const Verb *verb, Output *output)
{
    g_autofree char *name = g_strdup_printf(PROGRAM " %s", verb->name);
    g_set_prgname(name);
    g_autoptr(GOptionContext) context = verb_context(verb);
    g_autofree char *help = g_option_context_get_help(context, FALSE, NULL);
    output_text(output, "%s", help);
}

static void print_help(Output *output)
{
    output_text(
        output,
        "%s%s [OPTION…] [VERB …]%s\n\nKeys of a cloud certificate authority in hardware: what there is, "
        "and what to do with it.\n\n%sVerbs%s\n",
        output_begin(output, EMPHASIS_STRONG), PROGRAM, output_end(output),
        output_begin(output, EMPHASIS_STRONG), output_end(output));
    for (guint i = 0; cli_verbs[i]; i++) {
        const Verb *verb = cli_verbs[i];
        if (!verb->summary)
            continue;
        g_autofree char *usage =
            g_strdup_printf("%s%s%s", verb->name, *verb->arguments ? " " : "", verb->arguments);
        output_text(output, "  %-36s %s\n", usage, verb->summary);
    }
    output_text(output, "\n%sOptions%s\n", output_begin(output, EMPHASIS_STRONG), output_end(output));
    for (const GOptionEntry *option = common_options; option->long_name; option++) {
        if (option->flags & G_OPTION_FLAG_HIDDEN)
            continue;
        g_autofree char *letter =
            option->short_name ? g_strdup_printf("-%c,", option->short_name) : g_strdup("   ");
        g_autofree char *name =
            g_strdup_printf("--%s%s%s", option->long_name, option->arg_description ? "=" : "",
                            option->arg_description ? option->arg_description : "");
        output_text(output, "  %s %-32s %s\n", letter, name, option->description);
    }
    output_text(output, "\n'" PROGRAM " VERB --help' shows the options of a verb; " PROGRAM
                        "(1) explains all of it.\n");
}

/* Does |verb| match the words of |argv|? As many words as it took, or 0. */
static int match_verb(const Verb *verb, int argc, char **argv)
{
    g_auto(GStrv) words = g_strsplit(verb->name, " ", 2);
    if (!g_str_equal(words[0], argv[0]))
        return 0;
    if (!words[1])
        return 1;
    return argc > 1 && g_str_equal(words[1], argv[1]) ? 2 : 0;
}

/* "pin" alone, or with a second word that is none. */
static bool set_incomplete_verb(int argc, char **argv, GError **error)
{
    g_autoptr(GString) choices = g_string_new(NULL);
    g_autofree char *prefix = g_strconcat(argv[0], " ", NULL);
    for (guint i = 0; cli_verbs[i]; i++)
        if (cli_verbs[i]->summary && g_str_has_prefix(cli_verbs[i]->name, prefix))
            g_string_append_printf(choices, "%s%s", choices->len > 0 ? ", " : "",
                                   cli_verbs[i]->name + strlen(prefix));
    if (choices->len == 0)
        return false;
    if (argc > 1 && argv[1][0] != '-')
        cli_set_usage_error(error, "\"%s %s\" is not a verb; %s takes one of: %s", argv[0], argv[1], argv[0],
                            choices->str);
    else
        cli_set_usage_error(error, "\"%s\" needs one of: %s", argv[0], choices->str);
    return true;
}

static const Verb *find_verb(int argc, char **argv, int *ret_words, GError **error)
{
    *ret_words = 0;
    if (argc == 0)
        return &verb_status;
    for (guint i = 0; cli_verbs[i]; i++) {
        int words = match_verb(cli_verbs[i], argc, argv);
        if (words == 0)
            continue;
        *ret_words = words;
        return cli_verbs[i];
    }
    if (!set_incomplete_verb(argc, argv, error))
        cli_set_usage_error(error, "\"%s\" is not a verb; '" PROGRAM " --help' lists them", argv[0]);
    return NULL;
}

static bool check_arguments(const Verb *verb, int n, char **arguments, GError **error)
{
    for (int i = 0; i < n; i++) {
        if (!g_utf8_validate(arguments[i], -1, NULL)) {
            cli_set_usage_error(error, "An argument is not valid UTF-8");
            return false;
        }
    }
    if (n > verb->n_arguments_max) {
        cli_set_usage_error(error, "\"%s\" is one argument too many for '%s%s%s'",
                            arguments[verb->n_arguments_max], verb->name, *verb->arguments ? " " : "",
                            verb->arguments);
        return false;
    }
    if (n < verb->n_arguments_min) {
        cli_set_usage_error(error, "Too few arguments: it is '%s %s'", verb->name, verb->arguments);
        return false;
    }
    return true;
}

/* GLib leaves the "--" that ends the options where arguments stand before it. */
static int remove_separator(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!g_str_equal(argv[i], "--"))
            continue;
        memmove(argv + i, argv + i + 1, sizeof(char *) * (gsize)(argc - i));
        return argc - 1;
    }
    return argc;
}

static bool run_verb(const Verb *verb, int argc, char **argv, Output **output, GError **error)
{
    g_autoptr(GOptionContext) context = verb_context(verb);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    g_clear_pointer(output, output_free);
    *output = output_new(settings.json, !settings.no_pager, !settings.no_legend);
    if (settings.help) {
        print_verb_help(verb, *output);
        return true;
    }
    argc = remove_separator(argc, argv);
    if (!check_arguments(verb, argc - 1, argv + 1, error))
        return false;
    g_autoptr(Client) client = client_new(!settings.no_ask_password, settings.quiet);
    Cli cli = {.settings = &settings, .output = *output, .client = client};
    return verb->run(&cli, argv + 1, error);
}

static bool run(int argc, char **argv, Output **output, GError **error)
{
    if (!parse_common(&argc, &argv, error))
        return false;
    g_clear_pointer(output, output_free);
    *output = output_new(settings.json, !settings.no_pager, !settings.no_legend);
    if (settings.version) {
        output_text(*output, PROGRAM " " IOTHSM_VERSION "\n");
        return true;
    }
    if (settings.help && argc == 1) {
        print_help(*output);
        return true;
    }
    int words = 0;
    const Verb *verb = find_verb(argc - 1, argv + 1, &words, error);
    if (!verb)
        return false;
    /* The last word of the verb takes the place that the program's name has for the parser. */
    return run_verb(verb, argc - words, argv + words, output, error);
}

/* What was asked for, when the options could not even be read. */
static JsonMode wanted_json(int argc, char **argv)
{
    JsonMode mode = JSON_OFF;
    for (int i = 1; i < argc && !g_str_equal(argv[i], "--"); i++) {
        if (g_str_equal(argv[i], "--json=pretty"))
            mode = JSON_PRETTY;
        else if (g_str_equal(argv[i], "--json=short") || g_str_equal(argv[i], "-j"))
            mode = JSON_SHORT;
    }
    return mode;
}

static void report_json(Output *output, const GError *error)
{
    JsonObject *description = json_object_new();
    json_object_set_string_member(description, "name", cli_error_name(error));
    json_object_set_string_member(description, "message", error->message);
    JsonObject *object = json_object_new();
    json_object_set_object_member(object, "error", description);
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, object);
    output_json(output, node);
    output_flush(output, NULL);
}

/* The service can't see who has the card; whoever calls it may. */
static void print_hint(const GError *error)
{
    g_autofree char *hint =
        g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_HELD) ? card_users_hint("/proc") : NULL;
    g_autofree char *printable = hint ? output_printable(hint) : NULL;
    if (printable)
        fprintf(stderr, "%s\n", printable);
}

/* Wrong use is said on stderr in any case: whoever wrote the command reads that, not what the program got. */
static int report(int argc, char **argv, Output *output, const GError *error)
{
    bool usage = cli_exit_status(error) == 2;
    JsonMode json = output ? output_json_mode(output) : wanted_json(argc, argv);
    if (json == JSON_OFF || usage) {
        g_autofree char *message = output_printable(error->message);
        fprintf(stderr, PROGRAM ": %s\n", message);
        print_hint(error);
    }
    if (json != JSON_OFF) {
        g_autoptr(Output) only = output_new(json, false, false);
        report_json(only, error);
    }
    return cli_exit_status(error);
}

/* Subjects and labels are UTF-8, and so are our own sentences; a machine without a locale can still show
 * them. */
static void prepare_locale(void)
{
    setlocale(LC_ALL, "");
    if (!g_str_equal(nl_langinfo(CODESET), "UTF-8"))
        setlocale(LC_CTYPE, "C.UTF-8");
}

int main(int argc, char **argv)
{
    prepare_locale();
    g_set_prgname(PROGRAM);
    g_autoptr(Output) output = NULL;
    g_autoptr(GError) error = NULL;
    g_autofree char **copy = g_memdup2(argv, sizeof(char *) * ((gsize)argc + 1));
    bool ok = run(argc, copy, &output, &error);
    if (ok)
        ok = output_flush(output, &error);
    return ok ? 0 : report(argc, argv, output, error);
}
