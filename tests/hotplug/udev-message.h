/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What udevd says to those who listen, sent by a test in a network namespace of its own. */

#include <glib.h>
#include <stdbool.h>

/* Moves this process, before its first thread, to namespaces where it may speak for udevd: a network of its
 * own with nothing but loopback, and a /run of its own in which udevd seems to run. False: this machine does
 * not allow it. */
bool udev_message_enter(void);

/* A socket to send from. */
int udev_message_open(void);
/* One event of a usb_device: |properties| are "NAME=value", NULL-terminated; |tag| or NULL. */
void udev_message_send(int sender, const char *action, const char *devpath, const char *tag,
                       const char *const *properties);
