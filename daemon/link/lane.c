/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One queue of places. Whoever stands at its front and is ready goes on, and leaves the queue; then the next
 * one, until one is at the front that is not ready yet. */

#include "daemon/link/lane.h"

struct LanePlace {
    Lane *lane;
    LaneFunc go; /* NULL: not ready */
    void *userdata;
    bool queued;
};

struct Lane {
    GQueue queue; /* LanePlace: those that have not gone on */
    guint places; /* and the others */
    guint advancing;
    bool closed;
};

static void free_when_left(Lane *lane)
{
    if (lane->closed && lane->places == 0 && lane->advancing == 0)
        g_free(lane);
}

Lane *lane_new(void)
{
    Lane *lane = g_new0(Lane, 1);
    g_queue_init(&lane->queue);
    return lane;
}

void lane_close(Lane *lane)
{
    if (!lane)
        return;
    lane->closed = true;
    free_when_left(lane);
}

static void advance(Lane *lane)
{
    LanePlace *place;
    lane->advancing++; /* who goes on may leave, and let others on */
    while (!lane->closed && (place = g_queue_peek_head(&lane->queue)) && place->go) {
        g_queue_pop_head(&lane->queue);
        place->queued = false;
        place->go(place->userdata);
    }
    lane->advancing--;
    free_when_left(lane);
}

LanePlace *lane_enter(Lane *lane)
{
    LanePlace *place = g_new0(LanePlace, 1);
    place->lane = lane;
    place->queued = true;
    g_queue_push_tail(&lane->queue, place);
    lane->places++;
    return place;
}

void lane_proceed(LanePlace *place, LaneFunc go, void *userdata)
{
    place->go = go;
    place->userdata = userdata;
    advance(place->lane);
}

bool lane_leave(LanePlace *place)
{
    if (!place)
        return false;
    Lane *lane = place->lane;
    bool waited = place->queued && place->go;
    if (place->queued)
        g_queue_remove(&lane->queue, place);
    lane->places--;
    g_free(place);
    advance(lane);
    return waited;
}
