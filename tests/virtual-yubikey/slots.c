/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See slots.h. */

#include "tests/virtual-yubikey/slots.h"

bool slot_exists(guint8 slot)
{
    return slot == 0x9a || (slot >= 0x9c && slot <= 0x9e) || (slot >= 0x82 && slot <= 0x95) ||
           slot == SLOT_ATTESTATION;
}

PinPolicy slot_pin_policy(guint8 slot)
{
    switch (slot) {
    case 0x9c:
        return PIN_POLICY_ALWAYS;
    case 0x9e:
        return PIN_POLICY_NEVER;
    default:
        return PIN_POLICY_ONCE;
    }
}

bool object_exists(guint32 object)
{
    return object == OBJECT_DISCOVERY || object == 0x7f61 || (object >= 0x5f0000 && object <= 0x5fffff);
}

bool object_needs_pin(guint32 object)
{
    switch (object) {
    case 0x5fc103: /* fingerprints */
    case 0x5fc108: /* facial image */
    case 0x5fc109: /* printed information; where a PIN-protected management key lies */
    case 0x5fc121: /* iris images */
        return true;
    default:
        return false;
    }
}
