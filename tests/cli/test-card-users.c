/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who uses smart cards, on a made-up /proc. */

#include "cli/card-users.h"
#include "tests/support/support.h"
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define PCSC_MAP "7f00-7f01 r-xp 0000 08:01 7  /usr/lib/x86_64-linux-gnu/libpcsclite.so.1.0.0\n"
#define OTHER_MAP "7f00-7f01 r-xp 0000 08:01 8  /usr/lib/x86_64-linux-gnu/libc.so.6\n"

static void add_process(const char *proc, const char *number, const char *name, const char *maps,
                        const char *descriptor)
{
    g_autofree char *directory = g_build_filename(proc, number, NULL);
    g_autofree char *descriptors = g_build_filename(directory, "fd", NULL);
    g_autofree char *link = g_build_filename(descriptors, "5", NULL);
    g_autofree char *line = g_strconcat(name, "\n", NULL);
    g_assert_cmpint(g_mkdir_with_parents(descriptors, 0700), ==, 0);
    g_free(test_write(directory, "comm", line));
    g_free(test_write(directory, "maps", maps));
    if (descriptor)
        g_assert_cmpint(symlink(descriptor, link), ==, 0);
}

static void test_found(void)
{
    g_autofree char *proc = test_directory();
    add_process(proc, "1", "systemd", OTHER_MAP, "socket:[1]");
    add_process(proc, "700", "pcscd", PCSC_MAP, "/dev/bus/usb/001/002");
    add_process(proc, "800", "iothsmd", PCSC_MAP, NULL);
    add_process(proc, "4711", "scdaemon", OTHER_MAP, "/dev/bus/usb/001/002");
    add_process(proc, "12", "firefox", OTHER_MAP PCSC_MAP, "/home/me/.cache");
    g_free(test_write(proc, "uptime", "1 2"));
    g_autofree char *users = card_users(proc);
    g_assert_cmpstr(users, ==, "firefox (process 12), scdaemon (process 4711)");
    g_autofree char *hint = card_users_hint(proc);
    g_assert_true(g_str_has_suffix(hint, "gpgconf --kill scdaemon"));
}

static void test_gnupg_is_named_only_where_it_is(void)
{
    g_autofree char *proc = test_directory();
    add_process(proc, "12", "ykman", PCSC_MAP, NULL);
    g_autofree char *hint = card_users_hint(proc);
    g_assert_cmpstr(hint, ==, "Your programs that use smart cards now: ykman (process 12)");
}

static void test_nobody(void)
{
    g_autofree char *proc = test_directory();
    add_process(proc, "1", "systemd", OTHER_MAP, "/dev/null");
    g_assert_null(card_users(proc));
    g_assert_null(card_users_hint(proc));
    g_assert_null(card_users("/does/not/exist"));
}

/* This process is never its own answer, and a crowd is cut short. */
static void test_limits(void)
{
    g_autofree char *proc = test_directory();
    g_autofree char *me = g_strdup_printf("%d", (int)getpid());
    add_process(proc, me, "iothsmctl", PCSC_MAP, NULL);
    g_assert_null(card_users(proc));
    for (guint i = 0; i < 20; i++) {
        g_autofree char *number = g_strdup_printf("%u", 4000000 + i);
        add_process(proc, number, "client", PCSC_MAP, NULL);
    }
    g_autofree char *users = card_users(proc);
    g_auto(GStrv) each = g_strsplit(users, ", ", -1);
    g_assert_cmpuint(g_strv_length(each), ==, 5);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/card-users/programs with PC-SC's library or a USB device are found", test_found);
    g_test_add_func("/card-users/GnuPG's way out is said where it is there",
                    test_gnupg_is_named_only_where_it_is);
    g_test_add_func("/card-users/nobody is nobody", test_nobody);
    g_test_add_func("/card-users/not this process, and not everybody", test_limits);
    return g_test_run();
}
