/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A udev monitor and a table of what was reported, by DEVPATH.
 *
 * The monitor is filtered by the tag that udev/70-iothsm.rules sets, so that the kernel wakes nobody for
 * other devices. Looking at all devices goes by the vendor instead: a key that was plugged in before the
 * rules were installed has no tag. */

#include "udev/hotplug.h"
#include "udev/yubikey-models.h"
#include <errno.h>
#include <gio/gio.h>
#include <glib-unix.h>
#include <libudev.h>
#include <string.h>

#define TAG "iothsm"

typedef struct udev Udev;
typedef struct udev_monitor UdevMonitor;
typedef struct udev_enumerate UdevEnumerate;
typedef struct udev_device UdevDevice;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UdevEnumerate, udev_enumerate_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(UdevDevice, udev_device_unref)

struct Hotplug {
    HotplugEvents events;
    Udev *udev;
    UdevMonitor *monitor;
    GSource *source;
    GHashTable *devices; /* DEVPATH → HotplugDevice */
};

static void device_free(void *data)
{
    HotplugDevice *device = data;
    g_free((char *)device->devpath);
    g_free(device);
}

static void release_device(void *device)
{
    udev_device_unref(device);
}

static guint parse_number(const char *text)
{
    guint64 number = 0;
    if (!text || !g_ascii_string_to_unsigned(text, 10, 1, G_MAXUINT16, &number, NULL))
        return 0;
    return (guint)number;
}

/* The property of the event; an attribute where there is no event, as long as the device is there. */
static guint device_number(UdevDevice *source, const char *property, const char *attribute)
{
    guint number = parse_number(udev_device_get_property_value(source, property));
    return number > 0 ? number : parse_number(udev_device_get_sysattr_value(source, attribute));
}

/* NULL: no YubiKey. Transfer full. */
static HotplugDevice *read_device(UdevDevice *source)
{
    guint vendor = 0, product = 0;
    bool ccid = false;
    const char *devpath = udev_device_get_devpath(source);
    if (!devpath ||
        !yubikey_parse_product(udev_device_get_property_value(source, "PRODUCT"), &vendor, &product) ||
        vendor != YUBICO_VENDOR)
        return NULL;
    const char *model = yubikey_model(product, &ccid);
    if (!model)
        return NULL;
    HotplugDevice *device = g_new0(HotplugDevice, 1);
    *device = (HotplugDevice){
        .devpath = g_strdup(devpath),
        .model = model,
        .product = product,
        .ccid = ccid,
        .bus = device_number(source, "BUSNUM", "busnum"),
        .number = device_number(source, "DEVNUM", "devnum"),
    };
    return device;
}

static void report_gone(Hotplug *hotplug, const char *devpath)
{
    char *key = NULL;
    HotplugDevice *device = NULL;
    if (!g_hash_table_steal_extended(hotplug->devices, devpath, (gpointer *)&key, (gpointer *)&device))
        return;
    hotplug->events.unplugged(device, hotplug->events.userdata);
    device_free(device);
}

/* Each plug has an address of its own on the bus, so that another one means that a removal was missed. */
static bool is_same(const HotplugDevice *one, const HotplugDevice *other)
{
    return one->product == other->product && one->bus == other->bus && one->number == other->number;
}

static void report_there(Hotplug *hotplug, UdevDevice *source)
{
    HotplugDevice *device = read_device(source);
    if (!device)
        return;
    const HotplugDevice *known = g_hash_table_lookup(hotplug->devices, device->devpath);
    if (known && is_same(known, device)) {
        device_free(device);
        return;
    }
    report_gone(hotplug, device->devpath);
    g_hash_table_insert(hotplug->devices, (char *)device->devpath, device);
    hotplug->events.plugged(device, hotplug->events.userdata);
}

/* --- all devices ------------------------------------------------------------------------------------- */

static void forget_missing(Hotplug *hotplug, GHashTable *present)
{
    g_autoptr(GPtrArray) missing = g_ptr_array_new_with_free_func(g_free);
    GHashTableIter iter;
    gpointer devpath;
    g_hash_table_iter_init(&iter, hotplug->devices);
    while (g_hash_table_iter_next(&iter, &devpath, NULL))
        if (!g_hash_table_contains(present, devpath))
            g_ptr_array_add(missing, g_strdup(devpath));
    for (guint i = 0; i < missing->len; i++)
        report_gone(hotplug, g_ptr_array_index(missing, i));
}

static void look_at_all(Hotplug *hotplug)
{
    g_autoptr(UdevEnumerate) enumerate = udev_enumerate_new(hotplug->udev);
    g_autoptr(GHashTable) present = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(release_device);
    if (!enumerate || udev_enumerate_add_match_subsystem(enumerate, "usb") < 0 ||
        udev_enumerate_add_match_sysattr(enumerate, "idVendor", "1050") < 0 ||
        udev_enumerate_scan_devices(enumerate) < 0)
        return;
    struct udev_list_entry *entry = NULL;
    udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(enumerate))
    {
        UdevDevice *device = udev_device_new_from_syspath(hotplug->udev, udev_list_entry_get_name(entry));
        if (!device)
            continue;
        g_hash_table_add(present, g_strdup(udev_device_get_devpath(device)));
        g_ptr_array_add(found, device);
    }
    forget_missing(hotplug, present);
    for (guint i = 0; i < found->len; i++)
        report_there(hotplug, g_ptr_array_index(found, i));
}

/* --- events ------------------------------------------------------------------------------------------ */

static void apply_event(Hotplug *hotplug, UdevDevice *device)
{
    const char *action = udev_device_get_action(device);
    if (g_strcmp0(action, "remove") == 0)
        report_gone(hotplug, udev_device_get_devpath(device));
    else if (g_strcmp0(action, "unbind") != 0 && g_strcmp0(action, "offline") != 0)
        report_there(hotplug, device);
}

/* Messages were lost. Those that were not are older than what a look shows now, and would undo it. */
static void start_over(Hotplug *hotplug)
{
    UdevDevice *device = NULL;
    do {
        errno = 0;
        device = udev_monitor_receive_device(hotplug->monitor);
        if (device)
            udev_device_unref(device);
    } while (device || errno == ENOBUFS);
    look_at_all(hotplug);
}

static gboolean on_readable(int fd, GIOCondition condition, gpointer userdata)
{
    Hotplug *hotplug = userdata;
    for (;;) {
        errno = 0;
        g_autoptr(UdevDevice) device = udev_monitor_receive_device(hotplug->monitor);
        if (device)
            apply_event(hotplug, device);
        else if (errno == ENOBUFS)
            start_over(hotplug);
        else
            return G_SOURCE_CONTINUE;
    }
}

static bool listen_to_udev(Hotplug *hotplug)
{
    hotplug->udev = udev_new();
    hotplug->monitor = hotplug->udev ? udev_monitor_new_from_netlink(hotplug->udev, "udev") : NULL;
    if (!hotplug->monitor ||
        udev_monitor_filter_add_match_subsystem_devtype(hotplug->monitor, "usb", "usb_device") < 0 ||
        udev_monitor_filter_add_match_tag(hotplug->monitor, TAG) < 0)
        return false;
    return udev_monitor_enable_receiving(hotplug->monitor) >= 0;
}

Hotplug *hotplug_new(const HotplugEvents *events, GError **error)
{
    g_autoptr(Hotplug) hotplug = g_new0(Hotplug, 1);
    hotplug->events = *events;
    hotplug->devices = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, device_free);
    errno = 0;
    if (listen_to_udev(hotplug))
        return g_steal_pointer(&hotplug);
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "udev can't be listened to: %s",
                g_strerror(errno));
    return NULL;
}

void hotplug_start(Hotplug *hotplug)
{
    g_return_if_fail(hotplug->source == NULL);
    look_at_all(hotplug);
    hotplug->source = g_unix_fd_source_new(udev_monitor_get_fd(hotplug->monitor), G_IO_IN);
    g_source_set_callback(hotplug->source, G_SOURCE_FUNC(on_readable), hotplug, NULL);
    g_source_attach(hotplug->source, g_main_context_get_thread_default());
}

void hotplug_free(Hotplug *hotplug)
{
    if (!hotplug)
        return;
    if (hotplug->source) {
        g_source_destroy(hotplug->source);
        g_source_unref(hotplug->source);
    }
    if (hotplug->monitor)
        udev_monitor_unref(hotplug->monitor);
    if (hotplug->udev)
        udev_unref(hotplug->udev);
    g_hash_table_unref(hotplug->devices);
    g_free(hotplug);
}
