/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* CRC-32C (Castagnoli), by which Google Cloud KMS and its clients tell that nothing was damaged on the way.
 */

#include <glib.h>

guint32 crc32c(const void *data, gsize size);
