/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See pcsc.h. */

#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/support/support.h"
#include "tests/virtual-yubikey/test/child.h"
#include <arpa/inet.h>
#include <errno.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <winscard.h>

#define SECONDS 30
#define BACKLOG 16

struct Pcsc {
    GSubprocess *daemon; /* NULL: stopped */
    char *directory;     /* of its configuration */
    guint readers;
    guint ports[PCSC_READERS_MAX];
    SCARDCONTEXT context;
};

bool pcsc_is_missing(void)
{
    const char *driver = g_getenv("PCSC_VIRTUAL_READER");
    const char *daemon = g_getenv("PCSCD");
    if (driver && daemon && g_file_test(driver, G_FILE_TEST_EXISTS) &&
        g_file_test(daemon, G_FILE_TEST_IS_EXECUTABLE))
        return false;
    g_print("1..0 # SKIP pcscd or vsmartcard-vpcd is not installed\n");
    return true;
}

/* -1: somebody has it. */
static int bind_port(guint port, guint *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((guint16)port)};
    socklen_t length = sizeof address;
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bound, >=, 0);
    if (bind(bound, (struct sockaddr *)&address, length) != 0) {
        close(bound);
        return -1;
    }
    g_assert_cmpint(getsockname(bound, (struct sockaddr *)&address, &length), ==, 0);
    *ret_port = ntohs(address.sin_port);
    return bound;
}

/* The driver takes a number, and the one after it for its second reader. */
static guint two_free_ports(void)
{
    for (;;) {
        guint first = 0, second = 0;
        int one = bind_port(0, &first);
        int other = first < G_MAXUINT16 ? bind_port(first + 1, &second) : -1;
        close(one);
        if (other < 0)
            continue;
        close(other);
        return first;
    }
}

static int listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpuint(strlen(path), <, sizeof address.sun_path);
    strcpy(address.sun_path, path);
    g_assert_cmpint(bind(listener, (struct sockaddr *)&address, sizeof address), ==, 0);
    g_assert_cmpint(listen(listener, BACKLOG), ==, 0);
    /* pcscd and systemd touch theirs once it can be connected to, for those who wait. */
    g_assert_cmpint(chmod(path, 0777), ==, 0);
    return listener;
}

/* Each entry is a driver with two readers. pcscd does not count readers of these drivers, so that entries
 * need names of their own. */
static char *entry_name(guint entry)
{
    return entry == 0 ? g_strdup("Yubico YubiKey OTP+FIDO+CCID")
                      : g_strdup_printf("Yubico YubiKey OTP+FIDO+CCID [%u]", entry);
}

/* The driver has room for two readers in each process that loads it; a copy is another driver. Transfer full.
 */
static char *entry_driver(const Pcsc *pcsc, guint entry)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *name = g_strdup_printf("%u.so", entry);
    char *path = g_build_filename(pcsc->directory, "drivers", name, NULL);
    g_autoptr(GFile) original = g_file_new_for_path(g_getenv("PCSC_VIRTUAL_READER"));
    g_autoptr(GFile) copy = g_file_new_for_path(path);
    g_file_copy(original, copy, G_FILE_COPY_NONE, NULL, NULL, NULL, &error);
    g_assert_no_error(error);
    return path;
}

static void write_readers(const Pcsc *pcsc)
{
    g_autoptr(GString) text = g_string_new("");
    g_autofree char *drivers = g_build_filename(pcsc->directory, "drivers", NULL);
    g_assert_cmpint(g_mkdir(drivers, 0755), ==, 0);
    for (guint i = 0; i < pcsc->readers; i += 2) {
        g_autofree char *name = entry_name(i / 2);
        g_autofree char *driver = entry_driver(pcsc, i / 2);
        g_string_append_printf(text,
                               "FRIENDLYNAME \"%s\"\n"
                               "DEVICENAME /dev/null:0x%X\n"
                               "LIBPATH %s\n"
                               "CHANNELID 0x%X\n",
                               name, pcsc->ports[i], driver, pcsc->ports[i]);
    }
    g_free(test_write(pcsc->directory, "readers", text->str));
}

/* Newer daemons ask polkit, which knows nobody here. */
static bool daemon_asks_polkit(void)
{
    g_autofree char *help = test_run((const char *const[]){g_getenv("PCSCD"), "--help", NULL}, NULL, -1);
    return strstr(help, "--disable-polkit") != NULL;
}

/* sd_listen_fds(3): the number of descriptors from 3 on, and the process that they are for. */
static GSubprocess *start_daemon(const char *directory, int listener)
{
    g_autofree char *configuration = g_strconcat("--config=", directory, NULL);
    const char *argv[] = {
        "/bin/sh",
        "-c",
        /* What it says would fill the pipe that nobody reads. */
        "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" >/dev/null",
        "sh",
        g_getenv("PCSCD"),
        "--foreground",
        "--critical", /* nobody reads what it says, and a full pipe would stop it */
        configuration,
        daemon_asks_polkit() ? "--disable-polkit" : NULL,
        NULL,
    };
    return child_start(argv, listener, true);
}

/* libpcsclite looks at the environment once, so that one process has one socket. */
static const char *socket_path(void)
{
    static char *path;
    if (!path) {
        g_autofree char *directory = test_directory();
        path = g_build_filename(directory, "socket", NULL);
        g_assert_true(g_setenv("PCSCLITE_CSOCK_NAME", path, TRUE));
    }
    return path;
}

/* The daemon wants its usual folder to be there, although it gets its socket from us; where pcscd never ran,
 * somebody must make it. */
static void make_usual_folder(void)
{
    if (geteuid() == 0 && mkdir("/run/pcscd", 0755) != 0)
        g_assert_cmpint(errno, ==, EEXIST);
}

Pcsc *pcsc_new_stopped(guint readers)
{
    g_assert_true(readers % 2 == 0 && readers <= PCSC_READERS_MAX);
    make_usual_folder();
    (void)socket_path();
    Pcsc *pcsc = g_new0(Pcsc, 1);
    pcsc->directory = test_directory();
    pcsc->readers = readers;
    for (guint i = 0; i < readers; i += 2) {
        pcsc->ports[i] = two_free_ports();
        pcsc->ports[i + 1] = pcsc->ports[i] + 1;
    }
    write_readers(pcsc);
    g_assert_cmpint(chmod(pcsc->directory, 0755), ==, 0);
    return pcsc;
}

void pcsc_start_again(Pcsc *pcsc)
{
    g_assert_null(pcsc->daemon);
    (void)g_unlink(socket_path());
    pcsc->daemon = start_daemon(pcsc->directory, listen_at(socket_path()));
    g_assert_cmpint(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &pcsc->context), ==,
                    SCARD_S_SUCCESS);
}

void pcsc_stop(Pcsc *pcsc)
{
    SCardReleaseContext(pcsc->context);
    g_subprocess_send_signal(pcsc->daemon, SIGTERM);
    g_subprocess_wait(pcsc->daemon, NULL, NULL);
    g_clear_object(&pcsc->daemon);
    (void)g_unlink(socket_path());
}

Pcsc *pcsc_start_readers(guint readers)
{
    Pcsc *pcsc = pcsc_new_stopped(readers);
    pcsc_start_again(pcsc);
    return pcsc;
}

Pcsc *pcsc_start(void)
{
    return pcsc_start_readers(PCSC_READERS);
}

void pcsc_free(Pcsc *pcsc)
{
    if (!pcsc)
        return;
    if (pcsc->daemon)
        pcsc_stop(pcsc);
    g_free(pcsc->directory);
    g_free(pcsc);
}

guint pcsc_port(const Pcsc *pcsc, guint reader)
{
    g_assert_cmpuint(reader, <, pcsc->readers);
    return pcsc->ports[reader];
}

const char *pcsc_reader_name(guint reader)
{
    g_autofree char *entry = entry_name(reader / 2);
    g_autofree char *name = g_strdup_printf("%s 00 %02u", entry, reader % 2);
    return g_intern_string(name);
}

void pcsc_wait_card(const Pcsc *pcsc, guint reader, bool present)
{
    SCARD_READERSTATE state = {.szReader = pcsc_reader_name(reader), .dwCurrentState = SCARD_STATE_UNAWARE};
    for (;;) {
        LONG result = SCardGetStatusChange(pcsc->context, SECONDS * 1000, &state, 1);
        if (result != SCARD_S_SUCCESS)
            g_error("%s: %s", state.szReader, pcsc_stringify_error(result));
        if (present == ((state.dwEventState & SCARD_STATE_PRESENT) != 0))
            return;
        state.dwCurrentState = state.dwEventState & ~(DWORD)SCARD_STATE_CHANGED;
    }
}
