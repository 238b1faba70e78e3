/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The control socket: a UNIX socket on which a test is the person at the desk and the bad luck. A request is
 * a line of words, its answer a line that starts with "ok" or "error". Several clients at once. Main thread.
 *
 *   plug | unplug
 *   touch                    one touch; an error if no light blinks
 *   touch refuse             what blinks gives up at once
 *   touch auto | touch hand  a finger that always rests on it | one that comes when told to (as at the start)
 *   touch forget             the last touch is too long ago to count as cached
 *   touch seconds N          how long it blinks (at the start: 15)
 *   fail N SW [INS]          the next N operations (of this instruction) end with this status word
 *   cut N [before|after]     at the Nth APDU from now the key is pulled out, before it is done or after it
 *   reset N                  before the Nth APDU from now it forgets what was verified, selected or begun
 *   delay MS [INS]           every operation (of this instruction) takes so much longer
 *   clear                    none of these four any more
 *   count [reset]            APDUs seen, and PINs and PUKs tried: "ok total=7 a4=1 20=2 … compared=1"
 *   block                    from now on the last wrong PIN or PUK is answered with 6983, not with 63C0
 *   tries                    "ok pin=3/3 puk=3/3" (left/all)
 *   state                    "ok plugged=1 connected=1 powered=1 blinking=0 serial=… firmware=…"
 *   wait powered|touch|gone  answers when a reader has powered the card | the light blinks | no reader has it
 *   quit
 *
 * INS and SW are hexadecimal. */

#include "tests/virtual-yubikey/card.h"
#include <gio/gio.h>

typedef struct Control Control;

/* |quit| is called for the request of that name. */
Control *control_new(const char *path, Hand *hand, Faults *faults, Memory *memory,
                     void (*quit)(void *userdata), void *userdata, GError **error);
void control_free(Control *control);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Control, control_free)
