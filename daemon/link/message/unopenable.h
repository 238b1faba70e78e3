/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one answer to a message that was signed by the platform and still can't be opened: whether the key, the
 * padding or the compression was wrong is nobody's business. */

#include "daemon/error.h"

static inline void unopenable(GError **error)
{
    g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                        "The message can't be opened with this channel's key");
}
