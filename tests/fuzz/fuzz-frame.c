/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A frame of the WebSocket, and the unsigned envelope in it. */

#include "daemon/json.h"
#include "daemon/link/message/wire.h"
#include "daemon/link/transport/frame.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Frame) frame = frame_parse((const char *)data, size, G_USEC_PER_SEC, &error);
    g_assert_true((frame == NULL) == (error != NULL));
    if (!frame || !frame->message)
        return 0;
    JsonObject *envelope = frame->message->envelope;
    (void)wire_type(envelope);
    (void)wire_is_for(envelope, "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d");
    (void)json_get_string(envelope, "smime", NULL);
    (void)wire_caindex_is(envelope, 0);
    (void)wire_deadline(frame->message, 5);
    return 0;
}
