/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The main loop: GLib's owns the main thread, one sd-event lives inside it as a GSource. sd-bus, signals, the
 * systemd watchdog and the udev monitor attach to the sd-event, libsoup to GLib's. */

#include "daemon/done.h"
#include <stdbool.h>
#include <systemd/sd-event.h>

typedef struct Loop Loop;

/* Blocks SIGTERM, SIGINT and SIGHUP, so it comes before the first thread. */
Loop *loop_new(GError **error);
void loop_free(Loop *loop);

/* The sd-event in it. Transfer none. */
sd_event *loop_event(Loop *loop);

/* |reload| runs at each SIGHUP. */
void loop_on_hangup(Loop *loop, void (*reload)(void *userdata), void *userdata);

/* Runs until loop_quit, SIGTERM or SIGINT. Returns the exit code. */
int loop_run(Loop *loop);
void loop_quit(Loop *loop, int exit_code);

/* The same loop's GSource for an sd-event, for programs that bring their own GMainLoop. Transfer full. */
GSource *loop_source_new(sd_event *event, GMainLoop *loop);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Loop, loop_free)
