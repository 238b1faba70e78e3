/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One method call from a process of its own, possibly as another user: bus-caller [--uid=N] [--interactive]
 * ADDRESS DESTINATION PATH INTERFACE MEMBER [ARGUMENT...]. An argument is a string; "@/path" an object path,
 * "{}" empty options, "{NAME=|}" an option that is such a pipe as below, "#0" or "#1" a boolean, "%TEXT" a
 * descriptor of a sealed memfd with TEXT, "|" one of a pipe that never delivers. Prints "ok" or "ERROR.NAME:
 * text". */

#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

static void must(int r, const char *what)
{
    if (r >= 0)
        return;
    fprintf(stderr, "bus-caller: %s: %s\n", what, g_strerror(-r));
    exit(EXIT_FAILURE);
}

static int sealed(const char *text)
{
    int fd = memfd_create("secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) < 0)
        must(-EIO, "memfd");
    return fd;
}

static int silent_pipe(void)
{
    int ends[2];
    if (pipe(ends) < 0)
        must(-EIO, "pipe");
    return ends[0]; /* the other end stays open in this process */
}

static int append(sd_bus_message *call, const char *argument)
{
    if (argument[0] == '@')
        return sd_bus_message_append(call, "o", argument + 1);
    if (argument[0] == '%')
        return sd_bus_message_append(call, "h", sealed(argument + 1));
    if (argument[0] == '#')
        return sd_bus_message_append(call, "b", argument[1] == '1');
    if (strcmp(argument, "|") == 0)
        return sd_bus_message_append(call, "h", silent_pipe());
    if (strcmp(argument, "{}") == 0)
        return sd_bus_message_append(call, "a{sv}", 0);
    if (argument[0] == '{' && g_str_has_suffix(argument, "=|}")) {
        g_autofree char *name = g_strndup(argument + 1, strlen(argument) - strlen("{=|}"));
        return sd_bus_message_append(call, "a{sv}", 1, name, "h", silent_pipe());
    }
    return sd_bus_message_append(call, "s", argument);
}

int main(int argc, char **argv)
{
    int uid = -1;
    gboolean interactive = FALSE;
    const GOptionEntry entries[] = {
        {"uid", 0, 0, G_OPTION_ARG_INT, &uid, NULL, NULL},
        {"interactive", 0, 0, G_OPTION_ARG_NONE, &interactive, NULL, NULL},
        {NULL, 0, 0, 0, NULL, NULL, NULL},
    };
    GOptionContext *context = g_option_context_new(NULL);
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, NULL) || argc < 6)
        return 2;
    g_option_context_free(context);
    if (uid >= 0 && (setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) < 0 ||
                     setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0))
        must(-EPERM, "change of user");

    sd_bus *bus = NULL;
    sd_bus_message *call = NULL, *reply = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    must(sd_bus_new(&bus), "connection");
    must(sd_bus_set_address(bus, argv[1]), "address");
    must(sd_bus_set_bus_client(bus, 1), "connection");
    must(sd_bus_negotiate_fds(bus, 1), "connection");
    must(sd_bus_start(bus), "connection");
    must(sd_bus_message_new_method_call(bus, &call, argv[2], argv[3], argv[4], argv[5]), "call");
    must(sd_bus_message_set_allow_interactive_authorization(call, interactive), "call");
    for (int i = 6; i < argc; i++)
        must(append(call, argv[i]), "argument");
    if (sd_bus_call(bus, call, 60 * G_USEC_PER_SEC, &error, &reply) < 0)
        printf("%s: %s\n", error.name, error.message);
    else
        printf("ok\n");
    sd_bus_error_free(&error);
    sd_bus_message_unref(call);
    sd_bus_message_unref(reply);
    sd_bus_flush_close_unref(bus);
    return EXIT_SUCCESS;
}
