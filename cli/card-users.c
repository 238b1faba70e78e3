/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "cli/card-users.h"
#include <glib.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define PCSC_LIBRARY "/libpcsclite"
#define USB_DEVICES "/dev/bus/usb/"
/* More than a sentence holds. */
#define USERS_MAX 5

/* Named in the sentence, as it comes back by itself and has a way of its own to be ended. */
#define GNUPG_NAME "scdaemon"

static bool has_library(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "maps", NULL);
    g_autofree char *maps = NULL;
    return g_file_get_contents(path, &maps, NULL, NULL) && strstr(maps, PCSC_LIBRARY);
}

static bool has_usb_device(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "fd", NULL);
    g_autoptr(GDir) descriptors = g_dir_open(path, 0, NULL);
    for (const char *name = descriptors ? g_dir_read_name(descriptors) : NULL; name;
         name = g_dir_read_name(descriptors)) {
        g_autofree char *link = g_build_filename(path, name, NULL);
        g_autofree char *target = g_file_read_link(link, NULL);
        if (target && g_str_has_prefix(target, USB_DEVICES))
            return true;
    }
    return false;
}

static char *read_name(const char *directory)
{
    g_autofree char *path = g_build_filename(directory, "comm", NULL);
    char *name = NULL;
    if (!g_file_get_contents(path, &name, NULL, NULL))
        return NULL;
    return g_strchomp(name);
}

static int by_number(gconstpointer one, gconstpointer other)
{
    guint64 first = *(const guint64 *)one, second = *(const guint64 *)other;
    return first < second ? -1 : first > second;
}

static GArray *list_processes(const char *proc)
{
    GArray *processes = g_array_new(FALSE, FALSE, sizeof(guint64));
    g_autoptr(GDir) entries = g_dir_open(proc, 0, NULL);
    for (const char *name = entries ? g_dir_read_name(entries) : NULL; name;
         name = g_dir_read_name(entries)) {
        guint64 number = 0;
        if (g_ascii_string_to_unsigned(name, 10, 1, G_MAXINT, &number, NULL) && number != (guint64)getpid())
            g_array_append_val(processes, number);
    }
    g_array_sort(processes, by_number);
    return processes;
}

char *card_users(const char *proc)
{
    g_autoptr(GArray) processes = list_processes(proc);
    g_autoptr(GString) users = g_string_new(NULL);
    guint count = 0;
    for (guint i = 0; i < processes->len && count < USERS_MAX; i++) {
        guint64 number = g_array_index(processes, guint64, i);
        g_autofree char *directory = g_strdup_printf("%s/%" G_GUINT64_FORMAT, proc, number);
        g_autofree char *name = read_name(directory);
        if (!name || strcmp(name, "pcscd") == 0 || strcmp(name, "iothsmd") == 0 ||
            (!has_library(directory) && !has_usb_device(directory)))
            continue;
        g_string_append_printf(users, "%s%s (process %" G_GUINT64_FORMAT ")", count > 0 ? ", " : "", name,
                               number);
        count++;
    }
    return count > 0 ? g_string_free(g_steal_pointer(&users), FALSE) : NULL;
}

char *card_users_hint(const char *proc)
{
    g_autofree char *users = card_users(proc);
    if (!users)
        return NULL;
    return g_strdup_printf(
        "Your programs that use smart cards now: %s%s", users,
        strstr(users, GNUPG_NAME) ? "; GnuPG lets go of the card with: gpgconf --kill scdaemon" : "");
}
