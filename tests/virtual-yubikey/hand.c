/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See hand.h. */

#include "tests/virtual-yubikey/hand.h"
#include <sys/socket.h>

#define TOUCH_SECONDS 15
#define CACHED_TOUCH_SECONDS 15

void hand_init(Hand *hand, bool plugged)
{
    *hand = (Hand){.plugged = plugged, .connection = -1, .touch_seconds = TOUCH_SECONDS};
    g_mutex_init(&hand->lock);
    g_cond_init(&hand->changed);
}

void hand_clear(Hand *hand)
{
    g_mutex_clear(&hand->lock);
    g_cond_clear(&hand->changed);
}

void hand_changed(Hand *hand)
{
    g_cond_broadcast(&hand->changed);
    if (hand->notify)
        hand->notify(hand->userdata);
}

void hand_pull(Hand *hand)
{
    hand->plugged = false;
    hand->touched_at = 0;
    if (hand->connection >= 0)
        shutdown(hand->connection, SHUT_RDWR);
    hand_changed(hand);
}

void hand_plug(Hand *hand)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    hand->plugged = true;
    hand_changed(hand);
}

void hand_unplug(Hand *hand)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    hand_pull(hand);
}

void hand_leave(Hand *hand)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    hand->leaving = true;
    hand_pull(hand);
}

bool hand_touch(Hand *hand)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    if (!hand->blinking)
        return false;
    hand->touched = true;
    hand_changed(hand);
    return true;
}

bool hand_refuse(Hand *hand)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    if (!hand->blinking)
        return false;
    hand->refused = true;
    hand_changed(hand);
    return true;
}

void hand_set_finger(Hand *hand, Finger finger)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    hand->finger = finger;
    hand_changed(hand);
}

void hand_forget_touch(Hand *hand)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&hand->lock);
    hand->touched_at = 0;
}

bool hand_wait_plugged(Hand *hand)
{
    while (!hand->plugged && !hand->leaving)
        g_cond_wait(&hand->changed, &hand->lock);
    return !hand->leaving;
}

void hand_pause(Hand *hand, guint milliseconds)
{
    gint64 end = g_get_monotonic_time() + milliseconds * G_TIME_SPAN_MILLISECOND;
    while (milliseconds > 0 && hand->plugged && g_cond_wait_until(&hand->changed, &hand->lock, end))
        continue;
}

bool hand_wait_touch(Hand *hand)
{
    gint64 end = g_get_monotonic_time() + hand->touch_seconds * G_TIME_SPAN_SECOND;
    bool in_time = true;
    hand->touched = hand->refused = false;
    hand->blinking = true;
    hand_changed(hand);
    while (hand->finger == FINGER_AWAY && !hand->touched && !hand->refused && hand->plugged && in_time)
        in_time = g_cond_wait_until(&hand->changed, &hand->lock, end);
    bool touched = hand->plugged && (hand->touched || hand->finger == FINGER_RESTING);
    hand->blinking = false;
    if (touched)
        hand->touched_at = g_get_monotonic_time();
    hand_changed(hand);
    return touched;
}

bool hand_touched_lately(const Hand *hand)
{
    return hand->touched_at != 0 &&
           g_get_monotonic_time() - hand->touched_at < CACHED_TOUCH_SECONDS * G_TIME_SPAN_SECOND;
}
