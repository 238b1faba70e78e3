/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The platform's HTTP paths: POST /api/public/getiotconnectiondata (protocol.md section 1) and
 * POST /api/public/delivercrl/SERIAL/THUMBPRINT (section 4). Main thread; RSA work on work.h's threads. */

#include "tests/platform/platform.h"
#include <libsoup/soup.h>

void http_serve(Platform *platform, SoupServer *server);
