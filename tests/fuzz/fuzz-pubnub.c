/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Everything that PubNub answers: to a subscribe, to a publish, to a question for the time. */

#include "daemon/link/transport/pubnub-wire.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const PubnubReader reader = {"0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d", G_USEC_PER_SEC, 17637000050000000};
    g_autoptr(GError) error = NULL;
    g_autoptr(PubnubBatch) batch = pubnub_read_batch(text, size, &reader, &error);
    g_assert_true((batch == NULL) == (error != NULL));
    for (guint i = 0; batch && i < batch->messages->len; i++) {
        const TransportMessage *message = g_ptr_array_index(batch->messages, i);
        g_assert_true(message->channel && message->id && message->publisher && message->envelope);
        g_assert_cmpint(message->age_ms, >=, 0);
    }
    g_autofree char *reason = NULL;
    (void)pubnub_read_verdict(400, text, size, &reason);
    g_assert_nonnull(reason);
    gint64 timetoken = 0;
    g_autoptr(GError) no_time = NULL;
    g_assert_true(pubnub_read_time(text, size, &timetoken, &no_time) == (timetoken > 0));
    return 0;
}
