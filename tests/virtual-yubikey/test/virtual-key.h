/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A virtual YubiKey as a child process, and its control socket. The program comes from $VIRTUAL_YUBIKEY.
 * Failures are assertions. */

#include "tests/support/support.h"

typedef struct VirtualKey VirtualKey;

/* Starts a key with its state in |directory| at the reader on |port| and waits until it is ready. |options|
 * are more of its options, may be NULL. */
VirtualKey *virtual_key_start(const char *directory, guint port, const char *const *options);
/* The same as a USB device that a USB/IP client can import at |ret_port|. */
VirtualKey *virtual_key_start_usb(const char *directory, const char *const *options, guint *ret_port);
/* Ends it, without warning if |kill|. */
void virtual_key_stop(VirtualKey *key, bool kill);
/* Stops it if it runs. */
void virtual_key_free(VirtualKey *key);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtualKey, virtual_key_free)

/* Sends a request of control.h, whose answer must be "ok"; gives what follows it. Transfer full. */
char *virtual_key_ask(VirtualKey *key, const char *request);
void virtual_key_tell(VirtualKey *key, const char *request);
/* The request must be refused. */
void virtual_key_refuses(VirtualKey *key, const char *request);
/* A member of what "count" answers, 0 without it. */
guint64 virtual_key_count(VirtualKey *key, const char *name);
