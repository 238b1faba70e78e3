/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See faults.h. */

#include "tests/virtual-yubikey/faults.h"

bool faults_see(Faults *faults, guint8 instruction)
{
    faults->seen[instruction]++;
    faults->seen_total++;
    return faults->cut_in > 0 && --faults->cut_in == 0;
}

bool faults_reset(Faults *faults)
{
    return faults->reset_in > 0 && --faults->reset_in == 0;
}

static bool concerns(int wanted, guint8 instruction)
{
    return wanted == ANY_INSTRUCTION || wanted == instruction;
}

guint16 faults_failure(Faults *faults, guint8 instruction)
{
    if (faults->fail_left == 0 || !concerns(faults->fail_instruction, instruction))
        return 0;
    faults->fail_left--;
    return faults->fail_status;
}

guint faults_delay(const Faults *faults, guint8 instruction)
{
    return concerns(faults->delay_instruction, instruction) ? faults->delay_milliseconds : 0;
}
