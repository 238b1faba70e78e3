/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A message on its way from a transport to the channel it is for: immutable, shared by reference, so that a
 * thread can read the envelope while the main thread keeps the rest. */

#include "daemon/link/transport/transport.h"

TransportMessage *transport_message_ref(TransportMessage *message)
{
    return g_atomic_rc_box_acquire(message);
}

static void clear(void *data)
{
    TransportMessage *message = data;
    g_free(message->channel);
    g_free(message->id);
    g_free(message->publisher);
    g_clear_pointer(&message->envelope, json_object_unref);
}

void transport_message_unref(TransportMessage *message)
{
    if (message)
        g_atomic_rc_box_release_full(message, clear);
}
