/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is said when a request cannot be signed: one short line that may go to the platform. Names and values
 * of the request may be quoted in it, so control characters become '?' and the line ends after
 * REFUSAL_LENGTH_MAX bytes. */

#include "daemon/error.h"
#include <stdbool.h>

#define REFUSAL_LENGTH_MAX 200

/* Sets IOTHSM_ERROR_INVALID, empties OpenSSL's error queue and returns false. */
bool refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* The same with another code. */
bool refuse_as(GError **error, IothsmError code, const char *format, ...) G_GNUC_PRINTF(3, 4);
