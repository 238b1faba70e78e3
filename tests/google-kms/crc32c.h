/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* CRC32C (Castagnoli, RFC 3720 appendix B.4), with which Cloud KMS guards what it sends and gets. */

#include <glib.h>

guint32 crc32c(const void *data, gsize size);
