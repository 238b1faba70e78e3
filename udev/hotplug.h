/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* YubiKeys on USB, as udev reports them: one call when a key is plugged in, one when it is pulled out.
 *
 * A key is known by its DEVPATH from the moment it is seen, because the event of its removal says little more
 * than that. What is reported is the difference between what udev says and what was reported before: the
 * events add and bind of one plug are one report, and what was missed (a full netlink buffer) is made up for
 * by looking at all devices again. udev can't tell two keys apart; that takes the smart card interface.
 *
 * Lives on the thread-default main context of its creator and is used there alone. */

#include <glib.h>
#include <stdbool.h>

typedef struct Hotplug Hotplug;

typedef struct HotplugDevice {
    const char *devpath; /* "/devices/pci0000:00/…/usb1/1-1" */
    const char *model;   /* "YubiKey OTP+FIDO+CCID" */
    guint product;       /* USB product id: 0x0407 */
    bool ccid;           /* it has a smart card interface, and so PIV */
    guint bus, number;   /* USB address as in /dev/bus/usb/BBB/NNN; 0 where udev did not say */
} HotplugDevice;

/* The device is the callee's for the duration of the call. */
typedef struct HotplugEvents {
    void (*plugged)(const HotplugDevice *device, void *userdata);
    void (*unplugged)(const HotplugDevice *device, void *userdata);
    void *userdata;
} HotplugEvents;

/* Listens from now on; calls back after hotplug_start alone. G_IO_ERROR where udev can't be reached. */
Hotplug *hotplug_new(const HotplugEvents *events, GError **error);
/* Reports the keys that are there already, from inside this call, and then every change. */
void hotplug_start(Hotplug *hotplug);
void hotplug_free(Hotplug *hotplug);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Hotplug, hotplug_free)
