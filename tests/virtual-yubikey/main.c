/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* virtual-yubikey: a YubiKey made of software, for tests. Its PIV application answers as a YubiKey's of the
 * firmware asked for; its state lies in a folder; a virtual reader or a virtual
 * USB port is what it is plugged into; a control socket
 * is the person at the desk. The main thread has the control socket, another one is the card. When all is set
 * up it prints "ready". */

#include "tests/virtual-yubikey/attestation.h"
#include "tests/virtual-yubikey/control.h"
#include "tests/virtual-yubikey/usbip.h"
#include "tests/virtual-yubikey/vpcd.h"
#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct Options {
    char *state;
    char *root;
    char *firmware;
    gint64 serial;
    int vpcd;
    int usbip;
    int usb_port;
    char *control;
    gboolean unplugged;
} Options;

/* What the key is plugged into. */
typedef struct Front {
    Card *card;
    guint16 vpcd; /* 0: not into that */
    int usbip;    /* listening socket, -1 */
    int usb_port; /* of the local controller, -1 */
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
        {"usbip", 0, 0, G_OPTION_ARG_INT, &options->usbip,
         "Instead: port to serve a USB device on, for usbip attach (0: any; is printed)", "PORT"},
        {"usb-port", 0, 0, G_OPTION_ARG_INT, &options->usb_port,
         "Instead: port of this machine's virtual USB controller (vhci-hcd)", "PORT"},
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
    int fronts = (options->vpcd >= 0) + (options->usbip >= 0) + (options->usb_port >= 0);
    if (!options->state || fronts != 1 || options->vpcd == 0 || options->vpcd > G_MAXUINT16 ||
        options->usbip > G_MAXUINT16 || options->serial < 0 || options->serial > G_MAXINT32) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--state=DIR and one of --vpcd, --usbip, --usb-port are needed; see --help");
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
    if (front->vpcd > 0)
        vpcd_run(front->card, front->vpcd);
    else if (front->usbip >= 0)
        usbip_run(front->card, front->usbip);
    else
        usbip_run_local(front->card, (guint)front->usb_port);
    return NULL;
}

static bool open_front(const Options *options, Front *front, GError **error)
{
    guint16 port = 0;
    front->vpcd = (guint16)MAX(options->vpcd, 0);
    front->usb_port = options->usb_port;
    front->usbip = options->usbip < 0 ? -1 : usbip_listen((guint16)options->usbip, &port);
    if (options->usbip >= 0 && front->usbip < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "Port %d can't be listened on: %s",
                    options->usbip, g_strerror(errno));
        return false;
    }
    if (port > 0)
        printf("usbip %u\n", port);
    return true;
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
    Front front = {.card = &card};
    Control *control = open_front(options, &front, error)
                           ? control_new(path, &hand, &faults, memory, on_quit, loop, error)
                           : NULL;
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
    Options options = {.vpcd = -1, .usbip = -1, .usb_port = -1};
    bool done = parse_options(&argc, &argv, &options, &error) && run(&options, &error);
    if (!done)
        fprintf(stderr, "virtual-yubikey: %s\n", error->message);
    g_free(options.state);
    g_free(options.root);
    g_free(options.firmware);
    g_free(options.control);
    return done ? EXIT_SUCCESS : EXIT_FAILURE;
}
