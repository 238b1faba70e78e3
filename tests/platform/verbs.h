/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the running platform does for each verb that comes over the control socket. */

#include "tests/platform/control.h"
#include "tests/platform/platform.h"

/* Handles one call; |platform| is the userdata of control_open. */
void verbs_handle(ControlCall *call, JsonObject *arguments, void *platform);
