/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The short-lived certificate that an agent signs its messages with, held to protocol.md 1.3 field by field.
 */

#include "tests/platform/openssl-types.h"

/* That |certificate| was issued by |authority| is what envelope_verify found out; here is the rest. */
bool channel_certificate_check(X509 *certificate, X509 *authority, GError **error);
