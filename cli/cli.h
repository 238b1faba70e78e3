/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every verb of iothsmctl gets, and what it is: a row with a name, its arguments, its options and a
 * function.
 *
 * A verb's file exports exactly one Verb; iothsmctl.c lists them. Verbs return false with an error; main
 * turns that into words (or JSON) and the exit status. Errors that come from the daemon are IOTHSM_ERROR;
 * those of the command line itself are CLI_ERROR. */

#include "cli/client.h"
#include "cli/output.h"
#include "daemon/error.h"
#include <stdbool.h>

#define CLI_ERROR (cli_error_quark())
GQuark cli_error_quark(void);

typedef enum CliError {
    CLI_ERROR_FAILED,         /* exit status 1 */
    CLI_ERROR_USAGE,          /* 2 */
    CLI_ERROR_NO_SUCH_OBJECT, /* 3: it went away while we were looking */
    CLI_ERROR_NOT_AUTHORISED, /* 4 */
    CLI_ERROR_NOT_REACHABLE,  /* 5 */
    CLI_N_ERRORS
} CliError;

/* For any error that a verb can return. */
int cli_exit_status(const GError *error);
const char *cli_error_name(const GError *error);

/* "usage" in one sentence. */
void cli_set_usage_error(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The options that every verb has. */
typedef struct Settings {
    JsonMode json;
    bool json_by_terminal; /* -j: pretty on a terminal, short otherwise */
    gboolean no_pager;
    gboolean no_legend;
    gboolean no_ask_password;
    gboolean quiet;
    gboolean help;
    gboolean version;
} Settings;

typedef struct Cli {
    const Settings *settings;
    Output *output;
    Client *client; /* not connected before the first call */
} Cli;

/* A verb is done: |object| (taken; may be NULL) as JSON, or the sentence, which --quiet leaves out. */
void cli_done(Cli *cli, JsonObject *object, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* An object of texts, from |name, value, name, value, …, NULL|. Transfer full. */
JsonObject *cli_object(const char *name, ...) G_GNUC_NULL_TERMINATED;

typedef struct Verb {
    const char *name;      /* "pin set": the second word makes it one of several */
    const char *arguments; /* "TOKEN[/SLOT] FILE" */
    const char *summary;   /* one line for --help; NULL: not offered */
    int n_arguments_min;
    int n_arguments_max;
    const GOptionEntry *options; /* or NULL */
    bool (*run)(Cli *cli, char **arguments, GError **error);
} Verb;

extern const Verb verb_status, verb_list, verb_show, verb_template, verb_provision, verb_generate,
    verb_import_key, verb_self_sign, verb_csr, verb_import_cert, verb_cert, verb_attest, verb_clear,
    verb_drain, verb_pin_set, verb_pin_change, verb_pin_unblock, verb_pin_forget, verb_management_key_set,
    verb_management_key_change, verb_management_key_protect, verb_management_key_forget, verb_softhsm_create,
    verb_softhsm_delete, verb_kms_browse, verb_kms_add, verb_kms_remove, verb_trust_add, verb_trust_show,
    verb_link, verb_reload, verb_monitor, verb_metrics, verb_complete;

/* All of them; NULL ends the list. */
extern const Verb *const cli_verbs[];
