/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The applications of the key by their identifiers, and the two that only tell what the key is: management
 * (device information) and OTP (serial number, asked there before firmware 5). */

#include "tests/virtual-yubikey/card.h"

/* A right-truncated identifier finds its application, too. */
Application application_find(const guint8 *identifier, gsize length);
/* What SELECT answers. */
void application_append_select(Application application, const Memory *memory, GByteArray *answer);
/* A command to an application that isn't PIV. */
guint16 application_command(Application application, const Memory *memory, const Command *command,
                            GByteArray *answer);
