/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* org.freedesktop.LogControl1(5) at its well-known path: an administrator turns the log up or down while the
 * service runs (systemctl service-log-level, service-log-target). The bus policy lets only root reach that
 * path, so that nobody has to be asked about anybody here. */

#include <systemd/sd-bus.h>

/* Stays as long as |connection|. A negative errno when it can't. */
int log_control_export(sd_bus *connection);
