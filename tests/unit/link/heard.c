/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A list of words. */

#include "tests/unit/link/heard.h"

#include "tests/support/support.h"

#define PATIENCE_SECONDS 20

static void hear(Heard *self, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void hear(Heard *self, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_ptr_array_add(self->words, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

static void on_state(Transport *transport, TransportState state, const char *message, gint64 next_attempt,
                     void *userdata)
{
    static const char *const names[] = {"idle", "connecting", "connected", "backing-off", "offline"};
    Heard *self = userdata;
    hear(self, "state:%s", names[state]);
    g_free(self->message);
    self->message = g_strdup(message);
    self->next_attempt = next_attempt;
}

static void on_subscribed(Transport *transport, const char *channel, bool missed, void *userdata)
{
    hear(userdata, "subscribed:%s%s", channel, missed ? ":missed" : "");
}

static void on_refused(Transport *transport, const char *channel, TransportRefusal refusal,
                       const char *reason, void *userdata)
{
    hear(userdata, "refused:%s:%s", channel, refusal == TRANSPORT_REFUSED_TOKEN ? "token" : "other");
}

static void on_lost(Transport *transport, const char *reason, void *userdata)
{
    hear(userdata, "lost");
}

static void on_message(Transport *transport, TransportMessage *message, void *userdata)
{
    const char *type = json_object_get_string_member_with_default(message->envelope, "type", "");
    hear(userdata, "message:%s:%s", message->channel, message->resumable ? message->id : type);
}

void heard_published(TransportOutcome outcome, const char *reason, void *heard)
{
    static const char *const names[] = {"published", "too-large", "dropped", "left"};
    hear(heard, "%s", names[outcome]);
}

TransportEvents heard_events(Heard *self)
{
    return (TransportEvents){on_state, on_subscribed, on_refused, on_lost, on_message, self};
}

Heard *heard_new(void)
{
    Heard *self = g_new0(Heard, 1);
    self->words = g_ptr_array_new_with_free_func(g_free);
    return self;
}

void heard_free(Heard *self)
{
    g_ptr_array_unref(self->words);
    g_free(self->message);
    g_free(self);
}

guint heard_times(const Heard *self, const char *word)
{
    guint times = 0;
    for (guint i = 0; i < self->words->len; i++)
        times += g_str_equal(g_ptr_array_index(self->words, i), word);
    return times;
}

typedef struct Expectation {
    const Heard *heard;
    const char *word;
    guint times;
} Expectation;

static bool is_heard(void *userdata)
{
    const Expectation *expectation = userdata;
    return heard_times(expectation->heard, expectation->word) >= expectation->times;
}

void heard_wait(const Heard *self, const char *word, guint times)
{
    test_wait_for(is_heard, &(Expectation){self, word, times}, PATIENCE_SECONDS);
}
