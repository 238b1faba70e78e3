/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The errors of the command line itself, beside those that the daemon reports: each with the name that JSON
 * shows and the exit status. */

#include "cli/cli.h"

G_DEFINE_QUARK(iothsmctl - error, cli_error)

static const struct {
    const char *name;
    int exit_status;
} errors[CLI_N_ERRORS] = {
    [CLI_ERROR_FAILED] = {"org.freedesktop.DBus.Error.Failed", 1},
    [CLI_ERROR_USAGE] = {"org.freedesktop.DBus.Error.InvalidArgs", 2},
    [CLI_ERROR_NO_SUCH_OBJECT] = {"org.freedesktop.DBus.Error.UnknownObject", 3},
    [CLI_ERROR_NOT_AUTHORISED] = {"org.freedesktop.DBus.Error.AccessDenied", 4},
    [CLI_ERROR_NOT_REACHABLE] = {"org.freedesktop.DBus.Error.ServiceUnknown", 5},
};

int cli_exit_status(const GError *error)
{
    if (error->domain == IOTHSM_ERROR)
        return error_exit_status((IothsmError)error->code);
    if (error->domain == CLI_ERROR)
        return errors[error->code].exit_status;
    if (error->domain == G_OPTION_ERROR)
        return errors[CLI_ERROR_USAGE].exit_status;
    return errors[CLI_ERROR_FAILED].exit_status;
}

const char *cli_error_name(const GError *error)
{
    if (error->domain == IOTHSM_ERROR)
        return error_bus_name(error);
    if (error->domain == CLI_ERROR)
        return errors[error->code].name;
    if (error->domain == G_OPTION_ERROR)
        return errors[CLI_ERROR_USAGE].name;
    return errors[CLI_ERROR_FAILED].name;
}

void cli_set_usage_error(GError **error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *sentence = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, CLI_ERROR, CLI_ERROR_USAGE, sentence);
}
