/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The places that hold a key: 9A, 9C, 9D, 9E, the retired 82 to 95, and F9; the object that holds the
 * certificate of each, and who may read which object. Pure. */

#include <glib.h>
#include <stdbool.h>

enum {
    SLOT_MANAGEMENT = 0x9b, /* names the management key; holds no asymmetric key */
    SLOT_ATTESTATION = 0xf9,
};

typedef enum PinPolicy {
    PIN_POLICY_DEFAULT = 0,
    PIN_POLICY_NEVER = 1,
    PIN_POLICY_ONCE = 2,
    PIN_POLICY_ALWAYS = 3,
} PinPolicy;

typedef enum TouchPolicy {
    TOUCH_POLICY_DEFAULT = 0,
    TOUCH_POLICY_NEVER = 1,
    TOUCH_POLICY_ALWAYS = 2,
    TOUCH_POLICY_CACHED = 3,
} TouchPolicy;

#define OBJECT_DISCOVERY 0x7e
#define OBJECT_ATTESTATION 0x5fff01

bool slot_exists(guint8 slot);
/* What PIN_POLICY_DEFAULT means there. */
PinPolicy slot_pin_policy(guint8 slot);

/* Identifiers that GET DATA and PUT DATA know. */
bool object_exists(guint32 object);
bool object_needs_pin(guint32 object);
