/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The file behind Memory: a key file with a group for each thing that is kept, binary values in base64.
 * Nothing in it is protected: it is a test's key. */

#include "tests/virtual-yubikey/memory.h"

bool memory_file_read(Memory *memory, GError **error);
bool memory_file_write(const Memory *memory, GError **error);
