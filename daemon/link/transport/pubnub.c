/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The PubNub transport: one key set, the channels on it, one long poll, and the posts.
 *
 *   knock   GET time: is PubNub there, and what is its clock
 *   join    subscribe to new channels with time token 0, which answers at once: they are confirmed
 *   poll    subscribe to all with the kept cursor, again and again
 *
 * Any error of these three goes through lose(), which waits and begins with the knock; the cursor stays, so
 * that nothing that was published meanwhile is lost. Publishing (pubnub-posts.c) goes on beside them. Polls
 * have a session of their own, because a poll that waits would keep a post waiting that shares its
 * connections.
 *
 * Callbacks may do anything, also free the transport: the struct is counted, and after free nobody is called.
 */

#include "daemon/link/transport/pubnub.h"

#include "daemon/error.h"
#include "daemon/link/transport/backoff.h"
#include "daemon/link/transport/https.h"
#include "daemon/link/transport/pubnub-call.h"
#include "daemon/link/transport/pubnub-posts.h"
#include "daemon/link/transport/pubnub-wire.h"
#include "daemon/link/transport/subscriptions.h"
#include "daemon/log.h"
#include "daemon/worker.h"

/* The poll, and one that was cancelled and is still closing. */
#define POLL_CONNECTIONS 2
/* Posts, the time and a leave. */
#define CALL_CONNECTIONS 10
#define INLINE_ANSWER_SIZE (64U * 1024U)
/* Answers that say that the keys or the channel are wrong, in a row: then they may be others by now. */
#define REFUSALS_MAX 5
#define UNITS_A_US 10

const PubnubTimes PUBNUB_TIMES = {
    .poll_s = 310,
    .call_s = 15,
    .check_ms = 20 * 1000,
    .silence_ms = 45 * 1000,
    .hasty_ms = 500,
    .gather_ms = 20,
    .backoff_floor_ms = 1000,
    .backoff_ceiling_ms = 60 * 1000,
    .settled_ms = 60 * 1000,
};

typedef struct Pubnub {
    Transport base;
    bool freed;
    TransportEvents events;
    PubnubTimes times;
    char *texts[4];
    PubnubAddress address; /* |texts| by name */
    SoupSession *polls;
    SoupSession *calls;
    Worker *parser;            /* NULL before the first large answer */
    GHashTable *subscriptions; /* channel → Subscription */
    Backoff backoff;
    guint attempt_timer;

    PubnubCursor cursor; /* empty: none yet */
    gint64 clock;        /* PubNub's time − ours (g_get_monotonic_time), µs */
    bool connected;
    guint refusals;
    PubnubCall *knock;
    PubnubCall *join;
    GStrv joining; /* the channels of |join| */
    PubnubCall *poll;
    gint64 poll_started;
    guint64 parsing; /* the number of the answer with the parser, or 0 */
    guint64 answers;
    guint next_timer; /* join or poll */

    gint64 last_heard;
    guint check_timer;
    PubnubCall *check;

    PubnubPosts *posts;
} Pubnub;

static void start_attempt(Pubnub *self);
static void lose(Pubnub *self, const char *reason, bool offline);
static void continue_soon(Pubnub *self, gint64 wait_ms);

static Pubnub *pubnub_ref(Pubnub *self)
{
    return g_rc_box_acquire(self);
}

static void pubnub_unref(Pubnub *self)
{
    g_rc_box_release(self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Pubnub, pubnub_unref)

static void tell_state(Pubnub *self, TransportState state, const char *message, gint64 wait_ms)
{
    gint64 next = wait_ms < 0 ? 0 : g_get_real_time() + wait_ms * 1000;
    if (!self->freed)
        self->events.state(&self->base, state, message, next, self->events.userdata);
}

/* --- channels ---------------------------------------------------------------------------------------- */

static bool is_new(const Subscription *subscription)
{
    return !subscription->refused && !subscription->open;
}

static bool anything_wanted(const Pubnub *self)
{
    return subscriptions_have(self->subscriptions, subscription_is_wanted);
}

/* Keys and channels may be others after a bootstrap. */
static void refuse_all(Pubnub *self, const char *reason)
{
    g_auto(GStrv) channels = subscriptions_that(self->subscriptions, subscription_is_wanted);
    for (char **channel = channels; channel && *channel && !self->freed; channel++)
        if (subscriptions_refuse(self->subscriptions, *channel))
            self->events.refused(&self->base, *channel, TRANSPORT_REFUSED_TOKEN, reason,
                                 self->events.userdata);
}

/* --- losing and coming back -------------------------------------------------------------------------- */

static gboolean on_attempt_due(void *userdata)
{
    Pubnub *self = userdata;
    self->attempt_timer = 0;
    start_attempt(self);
    return G_SOURCE_REMOVE;
}

/* Everything that receives ends; what is being posted goes on. */
static void stop_receiving(Pubnub *self)
{
    g_clear_pointer(&self->knock, pubnub_call_cancel);
    g_clear_pointer(&self->join, pubnub_call_cancel);
    g_clear_pointer(&self->joining, g_strfreev);
    g_clear_pointer(&self->poll, pubnub_call_cancel);
    g_clear_pointer(&self->check, pubnub_call_cancel);
    g_clear_handle_id(&self->next_timer, g_source_remove);
    g_clear_handle_id(&self->check_timer, g_source_remove);
    self->parsing = 0;
    self->connected = false;
    subscriptions_lose(self->subscriptions);
}

static void rest(Pubnub *self)
{
    stop_receiving(self);
    g_clear_handle_id(&self->attempt_timer, g_source_remove);
    tell_state(self, TRANSPORT_IDLE, "", -1);
}

static void lose(Pubnub *self, const char *reason, bool offline)
{
    bool was_connected = self->connected;
    if (was_connected && g_get_monotonic_time() - self->poll_started >= self->times.settled_ms * 1000)
        backoff_reset(&self->backoff);
    stop_receiving(self);
    if (was_connected && !self->freed)
        self->events.lost(&self->base, reason, self->events.userdata);
    if (self->refusals >= REFUSALS_MAX && !self->freed) {
        self->refusals = 0;
        refuse_all(self, reason);
    }
    if (self->freed || self->attempt_timer || self->knock)
        return;
    gint64 wait_ms = backoff_next(&self->backoff);
    if (!anything_wanted(self)) {
        tell_state(self, TRANSPORT_IDLE, reason, -1);
        return;
    }
    self->attempt_timer = g_timeout_add((guint)wait_ms, on_attempt_due, self);
    tell_state(self, offline ? TRANSPORT_OFFLINE : TRANSPORT_BACKING_OFF, reason, wait_ms);
}

/* True when the answer is one; otherwise the connection is lost. */
static bool is_answer(Pubnub *self, guint status, const char *text, gsize size, const GError *error)
{
    if (error) {
        lose(self, error->message, https_error_is_offline(error));
        return false;
    }
    self->last_heard = g_get_monotonic_time();
    if (SOUP_STATUS_IS_SUCCESSFUL(status))
        return true;
    bool is_refusal = status == SOUP_STATUS_BAD_REQUEST || status == SOUP_STATUS_UNAUTHORIZED ||
                      status == SOUP_STATUS_FORBIDDEN || status == SOUP_STATUS_NOT_FOUND;
    self->refusals = is_refusal ? self->refusals + 1 : 0;
    g_autofree char *words = pubnub_describe_status(status, text, size);
    g_autofree char *reason = g_strdup_printf("PubNub answered with %s", words);
    lose(self, reason, false);
    return false;
}

static void lose_senseless(Pubnub *self, const GError *error)
{
    lose(self, error->message, false);
}

/* --- silence ----------------------------------------------------------------------------------------- */

static void on_checked(guint status, const char *text, gsize size, const GError *error, void *userdata)
{
    Pubnub *self = userdata;
    self->check = NULL;
    if (!error && SOUP_STATUS_IS_SUCCESSFUL(status))
        self->last_heard = g_get_monotonic_time();
}

static gboolean on_check_due(void *userdata)
{
    g_autoptr(Pubnub) self = pubnub_ref(userdata);
    gint64 silent_ms = (g_get_monotonic_time() - self->last_heard) / 1000;
    gint64 left_ms = self->times.silence_ms - silent_ms;
    self->check_timer = 0;
    if (left_ms <= 0) {
        lose(self, "PubNub has fallen silent", false);
        return G_SOURCE_REMOVE;
    }
    if (silent_ms >= self->times.check_ms && !self->check) {
        g_autofree char *url = pubnub_time_url(&self->address);
        self->check = pubnub_call_start(self->calls, url, NULL, self->times.call_s, on_checked, self);
    }
    gint64 quiet_ms =
        silent_ms < self->times.check_ms ? self->times.check_ms - silent_ms : self->times.check_ms;
    self->check_timer = g_timeout_add((guint)MIN(quiet_ms, left_ms), on_check_due, self);
    return G_SOURCE_REMOVE;
}

/* --- polling ----------------------------------------------------------------------------------------- */

static void take_batch(Pubnub *self, PubnubBatch *batch)
{
    gint64 lasted_ms = (g_get_monotonic_time() - self->poll_started) / 1000;
    self->cursor = batch->cursor;
    self->refusals = 0;
    backoff_reset(&self->backoff);
    if (batch->senseless > 0)
        log_debug("PubNub: %u messages made no sense and were left out", batch->senseless);
    for (guint i = 0; i < batch->messages->len && !self->freed; i++) {
        TransportMessage *message = g_ptr_array_index(batch->messages, i);
        Subscription *subscription = g_hash_table_lookup(self->subscriptions, message->channel);
        if (subscription && !subscription->refused)
            self->events.message(&self->base, message, self->events.userdata);
    }
    bool is_hasty = batch->size == 0 && lasted_ms < self->times.hasty_ms;
    if (!self->freed && self->connected)
        continue_soon(self, is_hasty ? self->times.backoff_floor_ms : 0);
}

typedef struct ParseJob {
    Pubnub *pubnub; /* a reference; main thread only */
    guint64 answer;
    char *uuid;
    PubnubReader reader;
    GBytes *text;
    PubnubBatch *batch; /* the result */
} ParseJob;

static bool run_parse(void *data, GCancellable *cancelled, GError **error)
{
    ParseJob *job = data;
    gsize size;
    const char *text = g_bytes_get_data(job->text, &size);
    job->batch = pubnub_read_batch(text, size, &job->reader, error);
    return job->batch != NULL;
}

static void parse_job_free(void *data)
{
    ParseJob *job = data;
    pubnub_batch_free(job->batch);
    g_bytes_unref(job->text);
    g_free(job->uuid);
    pubnub_unref(job->pubnub);
    g_free(job);
}

static void on_parsed(const GError *error, void *userdata)
{
    ParseJob *job = userdata;
    Pubnub *self = job->pubnub;
    if (self->freed || self->parsing != job->answer)
        return;
    self->parsing = 0;
    if (error)
        lose_senseless(self, error);
    else
        take_batch(self, job->batch);
}

static void parse_on_thread(Pubnub *self, const char *text, gsize size, const PubnubReader *reader)
{
    ParseJob *job = g_new0(ParseJob, 1);
    job->pubnub = pubnub_ref(self);
    job->answer = self->parsing = self->answers;
    job->uuid = g_strdup(self->address.uuid);
    job->reader = *reader;
    job->reader.uuid = job->uuid;
    job->text = g_bytes_new(text, size);
    if (!self->parser)
        self->parser = worker_new("pubnub", 1, 1);
    g_autoptr(GError) error = NULL;
    if (!worker_submit(self->parser, run_parse, job, parse_job_free, WORKER_NO_DEADLINE, NULL, on_parsed, job,
                       &error))
        lose_senseless(self, error); /* an answer of a poll that was given up is still being read */
}

static void on_poll(guint status, const char *text, gsize size, const GError *error, void *userdata)
{
    g_autoptr(Pubnub) self = pubnub_ref(userdata);
    self->poll = NULL;
    if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT)) {
        continue_soon(self, 0); /* nothing happened on any channel for minutes: a usual day */
        return;
    }
    if (!is_answer(self, status, text, size, error))
        return;
    self->answers++;
    gint64 now = g_get_monotonic_time();
    const PubnubReader reader = {self->address.uuid, now, (now + self->clock) * UNITS_A_US};
    if (size > INLINE_ANSWER_SIZE) {
        parse_on_thread(self, text, size, &reader);
        return;
    }
    g_autoptr(GError) wrong = NULL;
    g_autoptr(PubnubBatch) batch = pubnub_read_batch(text, size, &reader, &wrong);
    if (batch)
        take_batch(self, batch);
    else
        lose_senseless(self, wrong);
}

static void start_poll(Pubnub *self)
{
    g_auto(GStrv) channels = subscriptions_that(self->subscriptions, subscription_is_wanted);
    g_autofree char *url = pubnub_subscribe_url(&self->address, (const char *const *)channels, &self->cursor);
    self->poll_started = g_get_monotonic_time();
    self->poll = pubnub_call_start(self->polls, url, NULL, self->times.poll_s, on_poll, self);
}

/* --- joining ----------------------------------------------------------------------------------------- */

static void become_connected(Pubnub *self)
{
    if (self->connected)
        return;
    self->connected = true;
    g_clear_handle_id(&self->check_timer, g_source_remove);
    self->check_timer = g_timeout_add((guint)self->times.check_ms, on_check_due, self);
    tell_state(self, TRANSPORT_CONNECTED, "", -1);
}

/* Confirms the channels of the join that are still wanted. */
static void confirm(Pubnub *self, GStrv channels)
{
    for (char **channel = channels; *channel && !self->freed && self->connected; channel++) {
        Subscription *subscription = g_hash_table_lookup(self->subscriptions, *channel);
        if (subscription && is_new(subscription)) {
            subscription->open = true;
            self->events.subscribed(&self->base, *channel, false, self->events.userdata);
        }
    }
}

static void on_joined(guint status, const char *text, gsize size, const GError *error, void *userdata)
{
    g_autoptr(Pubnub) self = pubnub_ref(userdata);
    g_auto(GStrv) channels = g_steal_pointer(&self->joining);
    self->join = NULL;
    if (!is_answer(self, status, text, size, error))
        return;
    const PubnubReader reader = {self->address.uuid, self->last_heard, 0};
    g_autoptr(GError) wrong = NULL;
    g_autoptr(PubnubBatch) batch = pubnub_read_batch(text, size, &reader, &wrong);
    if (!batch) {
        lose_senseless(self, wrong);
        return;
    }
    if (!*self->cursor.timetoken)
        self->cursor = batch->cursor;
    become_connected(self);
    confirm(self, channels);
    if (!self->freed && self->connected) {
        g_clear_pointer(&self->poll, pubnub_call_cancel); /* the next one names them, too */
        continue_soon(self, 0);
    }
}

static void start_join(Pubnub *self, GStrv channels)
{
    g_autofree char *url =
        pubnub_subscribe_url(&self->address, (const char *const *)channels, &PUBNUB_CURSOR_NOW);
    self->joining = channels;
    self->join = pubnub_call_start(self->calls, url, NULL, self->times.call_s, on_joined, self);
}

/* A join for what is new, the poll for everything, nothing where nothing is wanted. The poll goes on while
 * others join; a channel that is confirmed again stays in it meanwhile, as its cursor moves on with the
 * others'. */
static gboolean on_next(void *userdata)
{
    Pubnub *self = userdata;
    self->next_timer = 0;
    if (!anything_wanted(self)) {
        g_autoptr(Pubnub) kept = pubnub_ref(self);
        rest(self);
        return G_SOURCE_REMOVE;
    }
    g_auto(GStrv) new_channels = self->join ? NULL : subscriptions_that(self->subscriptions, is_new);
    if (new_channels)
        start_join(self, g_steal_pointer(&new_channels));
    if (self->connected && !self->poll && !self->parsing)
        start_poll(self);
    return G_SOURCE_REMOVE;
}

static void continue_soon(Pubnub *self, gint64 wait_ms)
{
    if (!self->next_timer && !self->freed)
        self->next_timer = g_timeout_add((guint)wait_ms, on_next, self);
}

/* --- knocking ---------------------------------------------------------------------------------------- */

static void on_knocked(guint status, const char *text, gsize size, const GError *error, void *userdata)
{
    g_autoptr(Pubnub) self = pubnub_ref(userdata);
    gint64 timetoken;
    g_autoptr(GError) wrong = NULL;
    self->knock = NULL;
    if (!is_answer(self, status, text, size, error))
        return;
    if (!pubnub_read_time(text, size, &timetoken, &wrong)) {
        lose_senseless(self, wrong);
        return;
    }
    self->clock = timetoken / UNITS_A_US - self->last_heard;
    continue_soon(self, 0);
}

static void start_attempt(Pubnub *self)
{
    g_clear_handle_id(&self->attempt_timer, g_source_remove);
    g_autofree char *url = pubnub_time_url(&self->address);
    self->knock = pubnub_call_start(self->calls, url, NULL, self->times.call_s, on_knocked, self);
    tell_state(self, TRANSPORT_CONNECTING, "", -1);
}

static bool is_receiving(const Pubnub *self)
{
    return self->knock || self->connected || self->join || self->next_timer;
}

/* --- the transport's table --------------------------------------------------------------------------- */

static void pubnub_subscribe(Transport *transport, const char *channel, const char *token, const char *since)
{
    Pubnub *self = (Pubnub *)transport;
    subscriptions_give(self->subscriptions, channel, NULL, NULL);
    if (self->connected)
        continue_soon(self, self->times.gather_ms);
    else if (!is_receiving(self) && !self->attempt_timer)
        start_attempt(self);
}

static void leave(Pubnub *self, const char *const *channels)
{
    g_autofree char *url = pubnub_leave_url(&self->address, channels);
    pubnub_call_forget(self->calls, url, self->times.call_s);
}

static void pubnub_unsubscribe(Transport *transport, const char *channel)
{
    Pubnub *self = (Pubnub *)transport;
    if (!g_hash_table_remove(self->subscriptions, channel))
        return;
    pubnub_posts_leave(self->posts, channel);
    if (is_receiving(self)) {
        leave(self, (const char *const[]){channel, NULL});
        g_clear_pointer(&self->poll, pubnub_call_cancel);
        continue_soon(self, self->times.gather_ms);
    }
}

static void pubnub_publish(Transport *transport, const char *channel, GBytes *envelope, gint64 expires,
                           TransportPublishedFunc done, void *userdata)
{
    Pubnub *self = (Pubnub *)transport;
    pubnub_posts_add(self->posts, channel, envelope, expires, done, userdata);
}

static void pubnub_hurry(Transport *transport)
{
    Pubnub *self = (Pubnub *)transport;
    if (self->attempt_timer)
        start_attempt(self);
    pubnub_posts_hurry(self->posts);
}

/* The cursor holds for all channels, and no longer than the process: what was published before was encrypted
 * to channel keys that are gone. */
static void pubnub_set_since(Transport *transport, const char *channel, const char *message_id)
{
}

static void pubnub_free(Transport *transport)
{
    g_autoptr(Pubnub) self = (Pubnub *)transport;
    g_auto(GStrv) channels = subscriptions_that(self->subscriptions, subscription_is_open);
    if (channels)
        leave(self, (const char *const *)channels);
    self->freed = true;
    stop_receiving(self);
    g_clear_handle_id(&self->attempt_timer, g_source_remove);
    g_clear_pointer(&self->posts, pubnub_posts_free);
    g_clear_pointer(&self->parser, worker_close);
    g_clear_pointer(&self->subscriptions, g_hash_table_unref);
    g_clear_object(&self->polls);
    g_clear_object(&self->calls);
    for (gsize i = 0; i < G_N_ELEMENTS(self->texts); i++)
        g_clear_pointer(&self->texts[i], g_free);
}

static const TransportClass pubnub_class = {
    .name = "pubnub",
    .free = pubnub_free,
    .subscribe = pubnub_subscribe,
    .unsubscribe = pubnub_unsubscribe,
    .publish = pubnub_publish,
    .hurry = pubnub_hurry,
    .set_since = pubnub_set_since,
};

Transport *pubnub_transport_new_with_times(const char *origin, const PubnubKeys *keys, GTlsDatabase *roots,
                                           const char *uuid, const PubnubTimes *times,
                                           const TransportEvents *events, GError **error)
{
    if (!https_url_is_allowed(origin, "https", "http", error))
        return NULL;
    g_autoptr(SoupSession) polls = https_session_new(roots, POLL_CONNECTIONS);
    g_autoptr(SoupSession) calls = https_session_new(roots, CALL_CONNECTIONS);
    Pubnub *self = g_rc_box_new0(Pubnub);
    self->base.class = &pubnub_class;
    self->events = *events;
    self->times = *times;
    self->texts[0] = g_strdup(origin);
    self->texts[1] = g_strdup(keys->publish);
    self->texts[2] = g_strdup(keys->subscribe);
    self->texts[3] = g_strdup(uuid);
    self->address = (PubnubAddress){self->texts[0], {self->texts[1], self->texts[2]}, self->texts[3]};
    self->polls = g_steal_pointer(&polls);
    self->calls = g_steal_pointer(&calls);
    self->subscriptions = subscriptions_new();
    self->posts = pubnub_posts_new(self->calls, &self->address, &self->times, self->subscriptions);
    self->backoff = BACKOFF_INIT(times->backoff_floor_ms, times->backoff_ceiling_ms);
    return &self->base;
}

Transport *pubnub_transport_new(const char *origin, const PubnubKeys *keys, GTlsDatabase *roots,
                                const char *uuid, const TransportEvents *events, GError **error)
{
    return pubnub_transport_new_with_times(origin, keys, roots, uuid, &PUBNUB_TIMES, events, error);
}
