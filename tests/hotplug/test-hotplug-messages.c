/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Hotplug by the messages that udevd really sends, through the kernel's filters: a removal does not say what
 * was removed, a plug is said twice, and messages get lost. */

#include "tests/hotplug/udev-message.h"
#include "tests/support/support.h"
#include "udev/hotplug.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECONDS 20
/* Nothing of the machine's own, if it has a key. */
#define PORTS "/devices/hotplug-test/usb1/"
#define FIRST PORTS "1-1"
#define SECOND PORTS "1-2"

typedef struct Room {
    int udev;
    Hotplug *hotplug;
    GPtrArray *seen; /* "+1-1 YubiKey FIDO", "-1-1 …" */
} Room;

static Room room;
static bool allowed;

static void note(char sign, const HotplugDevice *device, Room *at)
{
    if (g_str_has_prefix(device->devpath, PORTS))
        g_ptr_array_add(at->seen,
                        g_strdup_printf("%c%s %s %03u/%03u%s", sign, strrchr(device->devpath, '/') + 1,
                                        device->model, device->bus, device->number,
                                        device->ccid ? "" : " without CCID"));
}

static void on_plugged(const HotplugDevice *device, void *userdata)
{
    note('+', device, userdata);
}

static void on_unplugged(const HotplugDevice *device, void *userdata)
{
    note('-', device, userdata);
}

static bool set_up(void)
{
    if (!allowed) {
        g_test_skip("a network namespace of its own is not allowed here; it takes root");
        return false;
    }
    const HotplugEvents events = {on_plugged, on_unplugged, &room};
    g_autoptr(GError) error = NULL;
    room = (Room){.udev = udev_message_open(), .seen = g_ptr_array_new_with_free_func(g_free)};
    room.hotplug = hotplug_new(&events, &error);
    g_assert_no_error(error);
    hotplug_start(room.hotplug);
    return true;
}

static void tear_down(void)
{
    hotplug_free(room.hotplug);
    g_ptr_array_unref(room.seen);
    close(room.udev);
}

static void say_with(const char *action, const char *devpath, const char *product, const char *number,
                     const char *tag)
{
    g_autofree char *said_product = g_strconcat("PRODUCT=", product, NULL);
    g_autofree char *said_number = g_strconcat("DEVNUM=", number, NULL);
    udev_message_send(room.udev, action, devpath, tag,
                      (const char *[]){said_product, "BUSNUM=001", said_number, NULL});
}

/* What comes and goes in this suite is the key of everyday life. */
static void say(const char *action, const char *devpath, const char *number)
{
    say_with(action, devpath, "1050/407/543", number, "iothsm");
}

static bool has_last(void *last)
{
    return room.seen->len > 0 && strcmp(g_ptr_array_index(room.seen, room.seen->len - 1), last) == 0;
}

/* Sends a plug that must be heard, so that all before it was heard, too; these are the reports, in order. */
static void assert_seen(const char *const *reports)
{
    say_with("add", PORTS "9-9", "1050/404/543", "099", "iothsm");
    test_wait_for(has_last, (char *)"+9-9 YubiKey CCID 001/099", SECONDS);
    guint n = g_strv_length((char **)reports);
    for (guint i = 0; i < MIN(n, room.seen->len); i++)
        g_assert_cmpstr(g_ptr_array_index(room.seen, i), ==, reports[i]);
    g_assert_cmpuint(room.seen->len, ==, n + 1);
}
#define ASSERT_SEEN(...) assert_seen((const char *const[]){__VA_ARGS__, NULL})

static void test_plug(void)
{
    if (!set_up())
        return;
    say("add", FIRST, "002");
    say("bind", FIRST, "002");
    say("change", FIRST, "002");
    ASSERT_SEEN("+1-1 YubiKey OTP+FIDO+CCID 001/002");
    tear_down();
}

/* As measured: DEVPATH, PRODUCT and the address, and neither vendor nor model. */
static void test_removal_without_vendor(void)
{
    if (!set_up())
        return;
    say("add", FIRST, "002");
    say("bind", FIRST, "002");
    say("unbind", FIRST, "002");
    say("remove", FIRST, "002");
    ASSERT_SEEN("+1-1 YubiKey OTP+FIDO+CCID 001/002", "-1-1 YubiKey OTP+FIDO+CCID 001/002");
    tear_down();
}

static void test_removal_with_nothing_but_a_path(void)
{
    if (!set_up())
        return;
    say("add", FIRST, "002");
    udev_message_send(room.udev, "remove", FIRST, "iothsm", NULL);
    ASSERT_SEEN("+1-1 YubiKey OTP+FIDO+CCID 001/002", "-1-1 YubiKey OTP+FIDO+CCID 001/002");
    tear_down();
}

static void test_other_removal(void)
{
    if (!set_up())
        return;
    say("add", FIRST, "002");
    say("remove", SECOND, "003");
    say("remove", PORTS "1-1:1.2", "002");
    ASSERT_SEEN("+1-1 YubiKey OTP+FIDO+CCID 001/002");
    tear_down();
}

static void test_two(void)
{
    if (!set_up())
        return;
    say("add", FIRST, "002");
    say("add", SECOND, "003");
    say("remove", FIRST, "002");
    say("add", FIRST, "004");
    ASSERT_SEEN("+1-1 YubiKey OTP+FIDO+CCID 001/002", "+1-2 YubiKey OTP+FIDO+CCID 001/003",
                "-1-1 YubiKey OTP+FIDO+CCID 001/002", "+1-1 YubiKey OTP+FIDO+CCID 001/004");
    tear_down();
}

static void test_missed_removal(void)
{
    if (!set_up())
        return;
    say("add", FIRST, "002");
    say("add", FIRST, "005");
    ASSERT_SEEN("+1-1 YubiKey OTP+FIDO+CCID 001/002", "-1-1 YubiKey OTP+FIDO+CCID 001/002",
                "+1-1 YubiKey OTP+FIDO+CCID 001/005");
    tear_down();
}

static void test_others(void)
{
    if (!set_up())
        return;
    say_with("add", FIRST, "8e6/4433/100", "002", "iothsm"); /* another vendor's reader */
    say_with("add", FIRST, "1050/200/100", "002", "iothsm"); /* Yubico's, and no YubiKey */
    say_with("add", FIRST, "nonsense", "002", "iothsm");
    say_with("add", FIRST, "1050/407/543", "002", NULL);      /* for somebody else */
    say_with("add", FIRST, "1050/407/543", "002", "uaccess"); /* the same */
    say_with("add", SECOND, "1050/402/543", "003", "iothsm");
    ASSERT_SEEN("+1-2 YubiKey FIDO 001/003 without CCID");
    tear_down();
}

/* A buffer for a few messages, where libudev wants 128 MiB. */
static void shrink_buffers(void)
{
    const int bytes = 16384;
    for (int fd = 3; fd < 64; fd++) {
        int domain = 0;
        socklen_t size = sizeof domain;
        if (fd != room.udev && getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
            domain == AF_NETLINK)
            g_assert_cmpint(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes), ==, 0);
    }
}

/* Nobody reads while more is said than the buffer holds: what was lost is made up for by a look at /sys,
 * where none of these devices is, and what was not lost is too old to be believed. */
static void test_overflow(void)
{
    if (!set_up())
        return;
    shrink_buffers();
    say("add", FIRST, "002");
    test_wait_for(has_last, (char *)"+1-1 YubiKey OTP+FIDO+CCID 001/002", SECONDS);
    for (guint i = 0; i < 1000; i++)
        say("change", FIRST, "002");
    test_wait_for(has_last, (char *)"-1-1 YubiKey OTP+FIDO+CCID 001/002", SECONDS);
    say("add", SECOND, "003");
    test_wait_for(has_last, (char *)"+1-2 YubiKey OTP+FIDO+CCID 001/003", SECONDS);
    g_assert_cmpuint(room.seen->len, ==, 3);
    tear_down();
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    allowed = udev_message_enter();
    g_test_add_func("/hotplug-messages/the events of one plug are one report", test_plug);
    g_test_add_func("/hotplug-messages/a removal that names no vendor is understood",
                    test_removal_without_vendor);
    g_test_add_func("/hotplug-messages/a removal with nothing but a path, too",
                    test_removal_with_nothing_but_a_path);
    g_test_add_func("/hotplug-messages/the removal of something else is not ours", test_other_removal);
    g_test_add_func("/hotplug-messages/two keys are told apart by their ports", test_two);
    g_test_add_func("/hotplug-messages/a removal that was missed shows at the next plug",
                    test_missed_removal);
    g_test_add_func("/hotplug-messages/other devices and other tags are left alone", test_others);
    g_test_add_func("/hotplug-messages/messages that got lost are made up for", test_overflow);
    return g_test_run();
}
