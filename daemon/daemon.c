/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Start and stop, in order. What must happen before the first thread comes first: locked memory, blocked
 * signals, environment variables of libraries. */

#include "daemon/daemon.h"
#include "daemon/error.h"
#include "daemon/loop.h"
#include "daemon/message-ids.h"
#include "dbus/bus.h"
#include "iothsm-build.h"
#include <locale.h>
#include <stdlib.h>
#include <systemd/sd-daemon.h>

enum { EXIT_USAGE = 2 };

typedef struct Options {
    char *config_file;
    char *state_directory;
    char *log_level;
    gboolean version;
} Options;

static void options_clear(Options *options)
{
    g_free(options->config_file);
    g_free(options->state_directory);
    g_free(options->log_level);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static char *absolute(char *path, const char *otherwise)
{
    char *result = path ? g_canonicalize_filename(path, NULL) : g_strdup(otherwise);
    g_free(path);
    return result;
}

static bool parse_options(int argc, char **argv, const DaemonAdditions *additions, Options *options,
                          GError **error)
{
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &options->config_file,
         "Read FILE instead of the installed configuration", "FILE"},
        {"state-directory", 0, 0, G_OPTION_ARG_FILENAME, &options->state_directory,
         "Keep state in DIR (default: $STATE_DIRECTORY, or " IOTHSM_STATE_DIR ")", "DIR"},
        {"log-level", 0, 0, G_OPTION_ARG_STRING, &options->log_level,
         "A level of syslog: debug, info, notice, warning, err, crit, alert or emerg", "LEVEL"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &options->version, "Print the version", NULL},
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context =
        g_option_context_new("- sign for a cloud CA with keys on hardware tokens");
    int level = LOG_INFO;

    g_option_context_add_main_entries(context, entries, NULL);
    if (additions && additions->options)
        g_option_context_add_main_entries(context, additions->options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    if (argc > 1) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "\"%s\" is not understood; see --help",
                    argv[1]);
        return false;
    }
    if (options->log_level && !log_level_from_string(options->log_level, &level)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "--log-level is debug, info, notice, warning, err, crit, alert or emerg, not \"%s\"",
                    options->log_level);
        return false;
    }
    log_set_level(level);
    const char *state = g_getenv("STATE_DIRECTORY");
    options->state_directory = absolute(options->state_directory, state ? state : IOTHSM_STATE_DIR);
    return true;
}

/* TLS 1.2 or newer (protocol.md W.2); GnuTLS under glib-networking reads this once. */
static void set_library_environment(void)
{
    g_setenv("G_TLS_GNUTLS_PRIORITY", "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", FALSE);
}

static void on_reloaded(const GError *error, void *userdata)
{
    if (error)
        log_error("Reload: %s", error->message);
    (void)sd_notify(0, "READY=1");
}

static void on_hangup(void *userdata)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" G_GINT64_FORMAT, g_get_monotonic_time());
    manager_reload(userdata, on_reloaded, NULL);
}

static void on_settled(const GError *error, void *userdata)
{
    Manager *manager = userdata;
    g_autofree char *status = manager_status_text(manager);
    log_event(LOG_INFO, MESSAGE_STARTED, NULL, "IoT-HSM %s is running: %s", IOTHSM_VERSION, status);
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

static bool run(Loop *loop, const Options *options, const DaemonAdditions *additions, int *ret_exit,
                GError **error)
{
    const ManagerOptions manager_options = {
        .config_file = options->config_file,
        .state_directory = options->state_directory,
        .credentials_directory = g_getenv("CREDENTIALS_DIRECTORY"),
    };
    g_autoptr(Manager) manager = manager_new(&manager_options, error);
    if (!manager || (additions && !additions->add_sources(manager, error)))
        return false;
    g_autoptr(Bus) bus = bus_new(manager, loop_event(loop), error);
    if (!bus)
        return false;
    loop_on_hangup(loop, on_hangup, manager);
    manager_start(manager, on_settled, manager);
    *ret_exit = loop_run(loop);
    (void)sd_notify(0, "STOPPING=1");
    log_event(LOG_INFO, MESSAGE_STOPPED, NULL, "IoT-HSM is stopping");
    return true;
}

int daemon_main(int argc, char **argv, const DaemonAdditions *additions)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;
    int exit_status = EXIT_SUCCESS;

    setlocale(LC_ALL, "");
    bool locked = secret_memory_init();
    set_library_environment();
    if (!parse_options(argc, argv, additions, &options, &error)) {
        g_printerr("iothsmd: %s\n", error->message);
        return EXIT_USAGE;
    }
    if (options.version) {
        g_print("iothsmd %s\n", IOTHSM_VERSION);
        return EXIT_SUCCESS;
    }
    if (!locked)
        log_warning(
            "Memory can't be locked (see LimitMEMLOCK=): PINs are wiped after use but could be swapped out");
    g_autoptr(Loop) loop = loop_new(&error);
    if (!loop || !run(loop, &options, additions, &exit_status, &error)) {
        log_error("%s", error->message);
        (void)sd_notifyf(0, "STATUS=%s", error->message);
        return EXIT_FAILURE;
    }
    return exit_status;
}
