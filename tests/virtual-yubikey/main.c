/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtual-yubikey: a YubiKey made of software, for tests. Its PIV application answers as a YubiKey's of the
 * firmware asked for; its state lies in a folder; vpcd is the port that it is plugged into; a control socket
 * is the person at the desk. The main thread has the control socket, another one is the card. When all is set
 * up it prints "ready". */

#include "tests/virtual-yubikey/attestation.h"
#include "tests/virtual-yubikey/control.h"
#include "tests/virtual-yubikey/vpcd.h"
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Options {
    char *state;
    char *root;
    char *firmware;
    gint64 serial;
    int vpcd;
    char *control;
    gboolean unplugged;
} Options;

typedef struct Front {
    Card *card;
    guint16 port;
} Front;

static bool parse_options(int *argc, char ***argv, Options *options, GError **error)
{
    const GOptionEntry entries[] = {
        {"state", 0, 0, G_OPTION_ARG_FILENAME, &options->state, "Folder of what it keeps without power",
         "DIR"},
        {"attestation-root", 0, 0, G_OPTION_ARG_FILENAME, &options->root,
         "Folder of the attestation root, which several keys may share (default: the state's)", "DIR"},
        {"firmware", 0, 0, G_OPTION_ARG_STRING, &options->firmware, "4.3.7, 5.4.3 (default), 5.7.1 …",
         "VERSION"},
        {"serial", 0, 0, G_OPTION_ARG_INT64, &options->serial, "Serial number (default: any)", "NUMBER"},
        {"vpcd", 0, 0, G_OPTION_ARG_INT, &options->vpcd, "Port of the virtual reader on this machine",
         "PORT"},
        {"control", 0, 0, G_OPTION_ARG_FILENAME, &options->control,
         "UNIX socket to listen on (default: control in the state's folder)", "PATH"},
        {"unplugged", 0, 0, G_OPTION_ARG_NONE, &options->unplugged, "Start outside the port", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(context, "A YubiKey made of software, for tests.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, argc, argv, error))
        return false;
    if (!options->state || options->vpcd < 1 || options->vpcd > G_MAXUINT16 || options->serial < 0 ||
        options->serial > G_MAXINT32) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--state=DIR and --vpcd=PORT are needed, and --serial has 31 bits; see --help");
        return false;
    }
    return true;
}

/* 0 for NULL. */
static bool parse_firmware(const char *text, Firmware *ret_firmware, GError **error)
{
    unsigned major = 0, minor = 0, patch = 0;
    char end;
    if (text && (sscanf(text, "%3u.%3u.%3u%c", &major, &minor, &patch, &end) != 3 || major < 4 ||
                 major > 0xff || minor > 0xff || patch > 0xff)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "\"%s\" is no firmware of a YubiKey 4 or 5; say --firmware=5.4.3", text);
        return false;
    }
    *ret_firmware = FIRMWARE(major, minor, patch);
    return true;
}

static Memory *open_memory(const Options *options, GError **error)
{
    Firmware firmware;
    g_autofree char *path = g_build_filename(options->state, "key.state", NULL);
    if (!parse_firmware(options->firmware, &firmware, error))
        return NULL;
    if (g_mkdir_with_parents(options->state, 0700) != 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "The folder %s can't be made", options->state);
        return NULL;
    }
    g_autoptr(Memory) memory = memory_open(path, firmware, (guint32)options->serial, error);
    if (!memory || !attestation_install(memory, options->root ? options->root : options->state, error) ||
        !memory_save(memory, error))
        return NULL;
    return g_steal_pointer(&memory);
}

static void *run_front(void *userdata)
{
    Front *front = userdata;
    vpcd_run(front->card, front->port);
    return NULL;
}

static gboolean on_signal(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_CONTINUE;
}

static void on_quit(void *loop)
{
    g_main_loop_quit(loop);
}

static bool run(const Options *options, GError **error)
{
    g_autoptr(Memory) memory = open_memory(options, error);
    if (!memory)
        return false;
    g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
    g_autofree char *path =
        options->control ? g_strdup(options->control) : g_build_filename(options->state, "control", NULL);
    Hand hand;
    Faults faults = {.fail_instruction = ANY_INSTRUCTION, .delay_instruction = ANY_INSTRUCTION};
    Card card;
    hand_init(&hand, !options->unplugged);
    card_init(&card, &hand, &faults, memory);
    Front front = {.card = &card, .port = (guint16)options->vpcd};
    Control *control = control_new(path, &hand, &faults, memory, on_quit, loop, error);
    if (control) {
        GThread *thread = g_thread_new("card", run_front, &front);
        g_unix_signal_add(SIGTERM, on_signal, loop);
        g_unix_signal_add(SIGINT, on_signal, loop);
        printf("ready %u\n", memory->serial);
        fflush(stdout);
        g_main_loop_run(loop);
        hand_leave(&hand);
        g_thread_join(thread);
    }
    bool done = control != NULL;
    control_free(control);
    card_clear(&card);
    hand_clear(&hand);
    return done;
}

int main(int argc, char *argv[])
{
    g_autoptr(GError) error = NULL;
    Options options = {0};
    bool done = parse_options(&argc, &argv, &options, &error) && run(&options, &error);
    if (!done)
        fprintf(stderr, "virtual-yubikey: %s\n", error->message);
    g_free(options.state);
    g_free(options.root);
    g_free(options.firmware);
    g_free(options.control);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
