/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Hotplug on a made-up /sys: the keys that are there at the start, and keys that come and go as devices with
 * attributes. */

#include "tests/support/support.h"
#include "udev/hotplug.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <umockdev.h>
#include <unistd.h>

#define SECONDS 20

/* The test bed's messages lack the hashes by which the kernel would filter: libudev, which calls this one,
 * filters them alone. */
int setsockopt(int fd, int level, int option, const void *value, socklen_t size)
{
    if (level == SOL_SOCKET && option == SO_ATTACH_FILTER)
        return 0;
    return (int)syscall(SYS_setsockopt, fd, level, option, value, size);
}

typedef struct Desk {
    UMockdevTestbed *testbed;
    Hotplug *hotplug;
    GPtrArray *seen; /* "+1-1 002" */
} Desk;

static void note(char sign, const HotplugDevice *device, Desk *desk)
{
    g_ptr_array_add(desk->seen, g_strdup_printf("%c%s %04x %u/%u", sign, strrchr(device->devpath, '/') + 1,
                                                device->product, device->bus, device->number));
}

static void on_plugged(const HotplugDevice *device, void *userdata)
{
    note('+', device, userdata);
}

static void on_unplugged(const HotplugDevice *device, void *userdata)
{
    note('-', device, userdata);
}

static char *plug(Desk *desk, const char *port, const char *vendor, const char *product, const char *number)
{
    g_autofree char *id = g_strdup_printf("%s/%s/543", vendor, product + strspn(product, "0"));
    char *path =
        umockdev_testbed_add_device(desk->testbed, "usb", port, NULL, "idVendor", vendor, "idProduct",
                                    product, "busnum", "1", "devnum", number, NULL, "DEVTYPE", "usb_device",
                                    "PRODUCT", id, "TAGS", ":iothsm:", "CURRENT_TAGS", ":iothsm:", NULL);
    g_assert_nonnull(path);
    return path;
}

static void start(Desk *desk)
{
    const HotplugEvents events = {on_plugged, on_unplugged, desk};
    g_autoptr(GError) error = NULL;
    desk->hotplug = hotplug_new(&events, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(desk->seen->len, ==, 0);
    hotplug_start(desk->hotplug);
}

static Desk *desk_new(void)
{
    Desk *desk = g_new0(Desk, 1);
    desk->testbed = umockdev_testbed_new();
    desk->seen = g_ptr_array_new_with_free_func(g_free);
    return desk;
}

static void desk_free(Desk *desk)
{
    hotplug_free(desk->hotplug);
    g_object_unref(desk->testbed);
    g_ptr_array_unref(desk->seen);
    g_free(desk);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Desk, desk_free)

static void assert_seen(const Desk *desk, guint at, const char *report)
{
    g_assert_cmpuint(at, <, desk->seen->len);
    g_assert_cmpstr(g_ptr_array_index(desk->seen, at), ==, report);
}

typedef struct Count {
    const Desk *desk;
    guint wanted;
} Count;

static bool is_reached(void *userdata)
{
    const Count *count = userdata;
    return count->desk->seen->len >= count->wanted;
}

static void wait_seen(Desk *desk, guint wanted)
{
    Count count = {desk, wanted};
    test_wait_for(is_reached, &count, SECONDS);
}

static void test_present(void)
{
    g_autoptr(Desk) desk = desk_new();
    g_autofree char *hub = plug(desk, "usb1", "1d6b", "0002", "1");
    g_autofree char *first = plug(desk, "1-1", "1050", "0407", "2");
    g_autofree char *second = plug(desk, "1-2", "1050", "0404", "3");
    start(desk);
    g_assert_cmpuint(desk->seen->len, ==, 2);
    guint first_at = g_str_has_prefix(g_ptr_array_index(desk->seen, 0), "+1-1") ? 0 : 1;
    assert_seen(desk, first_at, "+1-1 0407 1/2");
    assert_seen(desk, 1 - first_at, "+1-2 0404 1/3");
}

static void test_plug_and_unplug(void)
{
    g_autoptr(Desk) desk = desk_new();
    start(desk);
    for (guint i = 0; i < 5; i++) {
        g_autofree char *key = plug(desk, "1-1", "1050", "0407", "2");
        wait_seen(desk, 2 * i + 1);
        assert_seen(desk, 2 * i, "+1-1 0407 1/2");
        umockdev_testbed_uevent(desk->testbed, key, "remove");
        umockdev_testbed_remove_device(desk->testbed, key);
        wait_seen(desk, 2 * i + 2);
        assert_seen(desk, 2 * i + 1, "-1-1 0407 1/2");
    }
}

static void test_present_and_announced(void)
{
    g_autoptr(Desk) desk = desk_new();
    g_autofree char *key = plug(desk, "1-1", "1050", "0407", "2");
    start(desk);
    umockdev_testbed_uevent(desk->testbed, key, "add");
    umockdev_testbed_uevent(desk->testbed, key, "bind");
    g_autofree char *other = plug(desk, "1-2", "1050", "0407", "3");
    wait_seen(desk, 2);
    assert_seen(desk, 0, "+1-1 0407 1/2");
    assert_seen(desk, 1, "+1-2 0407 1/3");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hotplug-devices/keys that are there are reported at the start", test_present);
    g_test_add_func("/hotplug-devices/a key comes and goes, again and again", test_plug_and_unplug);
    g_test_add_func("/hotplug-devices/a key that is known is not reported again", test_present_and_announced);
    return g_test_run();
}
