/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Many requests through one authority, a number of them at a time, each result judged, with figures at the
 * end. */

#include "tests/platform/control.h"
#include "tests/platform/platform.h"

/* Handles the verb `drive`: ca, requests, concurrency, kind ("csr", "crl", "cms", "mixed"), reuse_offer, ttl,
 * timeout_ms, attempts, seconds, retry_refused, linger_ms, samples. Ends early where the client goes away. */
void drive(Platform *platform, ControlCall *call, JsonObject *arguments);
