/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one who called: a watch for the moment when that connection leaves the bus. */

#include <glib.h>
#include <systemd/sd-bus.h>

typedef struct SenderWatch SenderWatch;
typedef void (*SenderGoneFunc)(void *userdata);

/* Calls |gone| once, never from inside this function, when |sender|, a unique name, leaves the bus. Unlike
 * sd_bus_track it never waits for the bus: the rule is on its way when this returns, and as the bus handles
 * messages in order, a question about the sender that is put next (GetConnectionUnixUser) finds out whether
 * it had left before. A rule that the bus refuses (it has a limit of them) counts as a sender that is gone:
 * no call runs on without a way to end it. NULL when |sender| is no unique name or the bus is closed. */
SenderWatch *sender_watch_new(sd_bus *bus, const char *sender, SenderGoneFunc gone, void *userdata);
/* Accepts NULL; may be called from inside |gone|. */
void sender_watch_free(SenderWatch *watch);
