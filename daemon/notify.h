/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* systemd's STATUS= text, told while the main loop runs: sd_notify would wait for a service manager that does
 * not read. What must not be lost (READY=1, STOPPING=1) goes through sd_notify. */

#include <stdbool.h>

/* Never blocks. False: it could not be told now; try again with the next text. True without a manager, too.
 */
bool notify_status(const char *status);
