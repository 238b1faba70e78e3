/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a person does to the key: plugging it in, pulling it out, touching it. The one lock of the program is
 * here: the thread that is the card holds it while it works on a command and lets go of it while it waits for
 * a finger; the main thread, which has the control socket, takes it for each thing it does. */

#include <glib.h>
#include <stdbool.h>

typedef enum Finger {
    FINGER_AWAY,   /* touches only when told to */
    FINGER_RESTING /* always there */
} Finger;

typedef struct Hand {
    GMutex lock;
    GCond changed;
    bool plugged;
    bool leaving;   /* the program ends */
    bool powered;   /* the reader has found the card */
    int connection; /* to the reader, -1: none; shut down by pulling */

    Finger finger;
    bool blinking; /* waits for a touch */
    bool refused;  /* the wait ends now, without one */
    bool touched;
    gint64 touched_at;   /* monotonic; 0: never */
    guint touch_seconds; /* how long the light blinks */

    void (*notify)(void *userdata); /* called with the lock held, after each change */
    void *userdata;
} Hand;

void hand_init(Hand *hand, bool plugged);
void hand_clear(Hand *hand);

/* Main thread; these take the lock. */
void hand_plug(Hand *hand);
void hand_unplug(Hand *hand);
void hand_leave(Hand *hand);
/* One touch, which is lost if nobody waits for it. False: nobody did. */
bool hand_touch(Hand *hand);
/* Ends the wait for a touch as if its time were over. */
bool hand_refuse(Hand *hand);
void hand_set_finger(Hand *hand, Finger finger);
/* The last touch is longer ago than any key remembers. */
void hand_forget_touch(Hand *hand);

/* The card's thread; the lock is held by the caller. */
void hand_changed(Hand *hand);
/* Pulled out, by a fault of the same thread. */
void hand_pull(Hand *hand);
/* Until the key is in a port; false: the program ends. */
bool hand_wait_plugged(Hand *hand);
/* Lets the time go by, unless the key is pulled. */
void hand_pause(Hand *hand, guint milliseconds);
/* Blinks. False: nobody touched in time, or the key was pulled. */
bool hand_wait_touch(Hand *hand);
/* Somebody touched within the seconds that a cached touch is good for. */
bool hand_touched_lately(const Hand *hand);
