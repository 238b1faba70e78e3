/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The WebSocket transport: the channels it is to carry, an outbox, and one stream after the other.
 *
 * Its life is a circle: attempt (handshake, hello, welcome) → connected → lost → waiting → attempt. Whatever
 * ends a stream goes through lose(), which is the only place that decides when the next attempt is due.
 * Channels that the platform refused stay in the table, so that their answers are kept, but are not asked for
 * again until they come with a new token.
 *
 * Callbacks may do anything, also free the transport: the struct is counted, and after free nobody is called.
 */

#include "daemon/link/transport/websocket.h"

#include "daemon/link/transport/backoff.h"
#include "daemon/link/transport/frame.h"
#include "daemon/link/transport/https.h"
#include "daemon/link/transport/outbox.h"
#include "daemon/link/transport/subscriptions.h"
#include "daemon/link/transport/websocket-stream.h"
#include "daemon/log.h"
#include "iothsm-build.h"

#define CLOSE_REPLACED 4001
#define CLOSE_TRY_LATER 1013
/* What a frame adds to its envelope: op, seq, and a channel's name. */
#define FRAME_MARGIN 32768

const WebsocketTimes WEBSOCKET_TIMES = {
    .ping_s = 20,
    .handshake_ms = 30 * 1000,
    .welcome_ms = 10 * 1000,
    .silence_ms = 50 * 1000,
    .backoff_floor_ms = 1000,
    .backoff_ceiling_ms = 60 * 1000,
    .settled_ms = 60 * 1000,
    .replaced_ms = 60 * 1000,
    .later_ms = 5 * 1000,
    .slower_ms = 5 * 1000,
};

typedef struct Websocket {
    Transport base;
    bool freed;
    TransportEvents events;
    WebsocketTimes times;
    char *url;
    char *uuid;
    guint64 message_size;
    guint64 envelope_size; /* larger ones the platform does not take */
    SoupSession *session;
    GHashTable *subscriptions; /* channel → Subscription */
    Outbox outbox;
    Backoff backoff;
    gint64 not_before; /* the platform's wish: no attempt before this, whoever hurries; monotonic µs */
    guint attempt_timer;
    guint flush_source;

    WebsocketStream *stream; /* NULL: waiting, or nothing wanted */
    guint64 generation;      /* counts streams */
    bool welcomed;
    gint64 welcomed_at;
    guint64 last_seq;
    bool paused; /* rate-limited */
    guint welcome_timer;
    guint pause_timer;
} Websocket;

static void start_attempt(Websocket *ws);
static void lose(Websocket *ws, guint say, const char *reason, bool offline, gint64 wait_ms);

static Websocket *websocket_ref(Websocket *ws)
{
    return g_rc_box_acquire(ws);
}

static void websocket_unref(Websocket *ws)
{
    g_rc_box_release(ws);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Websocket, websocket_unref)

/* --- what the link is told --------------------------------------------------------------------------- */

static void tell_state(Websocket *ws, TransportState state, const char *message, gint64 wait_ms)
{
    if (!ws->freed) {
        gint64 next = wait_ms < 0 ? 0 : g_get_real_time() + wait_ms * 1000;
        ws->events.state(&ws->base, state, message, next, ws->events.userdata);
    }
}

/* --- subscriptions ----------------------------------------------------------------------------------- */

static bool anything_wanted(const Websocket *ws)
{
    return subscriptions_have(ws->subscriptions, subscription_is_wanted);
}

static void refuse(Websocket *ws, const char *channel, TransportRefusal refusal, const char *reason)
{
    if (ws->freed || !subscriptions_refuse(ws->subscriptions, channel))
        return;
    g_autofree char *name = g_strdup(channel); /* what it was read from may go meanwhile */
    ws->events.refused(&ws->base, name, refusal, reason, ws->events.userdata);
}

static bool is_unanswered(const Subscription *subscription)
{
    return !subscription->refused && subscription->asked && !subscription->open;
}

static void refuse_those(Websocket *ws, SubscriptionTest test, TransportRefusal refusal, const char *reason)
{
    g_auto(GStrv) channels = subscriptions_that(ws->subscriptions, test);
    for (char **channel = channels; channel && *channel; channel++)
        refuse(ws, *channel, refusal, reason);
}

static void send_text(Websocket *ws, const char *text)
{
    g_autoptr(GBytes) frame = g_bytes_new(text, strlen(text));
    websocket_stream_send(ws->stream, frame);
}

static gboolean on_no_welcome(void *userdata);

/* Says hello or subscribe for everything that was not asked for on this connection. */
static void ask(Websocket *ws, bool hello)
{
    g_autoptr(GArray) channels = g_array_new(FALSE, FALSE, sizeof(FrameSubscription));
    GHashTableIter iter;
    void *value;
    g_hash_table_iter_init(&iter, ws->subscriptions);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Subscription *subscription = value;
        if (!subscription->refused && !subscription->asked) {
            FrameSubscription row = {subscription->channel, subscription->token, subscription->since};
            g_array_append_val(channels, row);
            subscription->asked = true;
        }
    }
    if (!hello && channels->len == 0)
        return;
    const FrameSubscription *rows = (const FrameSubscription *)(void *)channels->data;
    g_autofree char *frame = hello ? frame_hello(ws->uuid, "iothsm/" IOTHSM_VERSION, rows, channels->len)
                                   : frame_subscribe(rows, channels->len);
    send_text(ws, frame);
    g_clear_handle_id(&ws->welcome_timer, g_source_remove);
    ws->welcome_timer = g_timeout_add((guint)ws->times.welcome_ms, on_no_welcome, ws);
}

/* --- publishing -------------------------------------------------------------------------------------- */

/* False: not now. */
static bool send_publication(Websocket *ws, Publication *publication)
{
    Subscription *subscription = g_hash_table_lookup(ws->subscriptions, publication->channel);
    if (!subscription->open || !ws->welcomed || ws->paused || !websocket_stream_is_open(ws->stream))
        return false;
    g_autoptr(GBytes) frame = frame_publish(publication->channel, ws->last_seq + 1, publication->envelope);
    publication->seq = ++ws->last_seq;
    g_queue_push_tail(&ws->outbox.sent, publication);
    websocket_stream_send(ws->stream, frame);
    return true;
}

static void flush(Websocket *ws)
{
    const OutboxLimits limits = {ws->subscriptions, ws->envelope_size, "larger than the platform takes"};
    outbox_sift(&ws->outbox, &limits, g_get_monotonic_time());
    for (GList *link = ws->outbox.waiting.head, *next; link && !ws->freed; link = next) {
        next = link->next;
        if (send_publication(ws, link->data))
            g_queue_delete_link(&ws->outbox.waiting, link);
    }
}

static gboolean on_flush(void *userdata)
{
    g_autoptr(Websocket) ws = websocket_ref(userdata);
    ws->flush_source = 0;
    flush(ws);
    return G_SOURCE_REMOVE;
}

/* Publishing is never done from inside the caller's call: |done| may come of it. */
static void flush_soon(Websocket *ws)
{
    if (!ws->flush_source && !ws->freed)
        ws->flush_source = g_idle_add_full(G_PRIORITY_DEFAULT, on_flush, ws, NULL);
}

static gboolean on_pause_over(void *userdata)
{
    Websocket *ws = userdata;
    ws->pause_timer = 0;
    ws->paused = false;
    flush_soon(ws);
    return G_SOURCE_REMOVE;
}

/* --- frames ------------------------------------------------------------------------------------------ */

static void on_welcome(Websocket *ws, const Frame *frame)
{
    if (!ws->welcomed) {
        ws->welcomed = true;
        ws->welcomed_at = g_get_monotonic_time();
        tell_state(ws, TRANSPORT_CONNECTED, "", -1);
    }
    guint64 generation = ws->generation;
    for (guint i = 0; i < frame->channels->len && !ws->freed && ws->generation == generation; i++) {
        const FrameChannel *row = g_ptr_array_index(frame->channels, i);
        Subscription *subscription = g_hash_table_lookup(ws->subscriptions, row->id);
        if (!subscription || !subscription->asked)
            continue;
        if (row->ok) {
            subscription->open = true;
            subscription->refused = false; /* so late that it was given up */
            ws->events.subscribed(&ws->base, row->id, row->missed, ws->events.userdata);
        } else {
            refuse(ws, row->id,
                   frame_reason_wants_bootstrap(row->reason) ? TRANSPORT_REFUSED_TOKEN
                                                             : TRANSPORT_REFUSED_OTHER,
                   row->reason ? row->reason : "no reason given");
        }
    }
    flush_soon(ws);
}

static void pause_publishing(Websocket *ws, guint64 seq)
{
    Publication *publication = outbox_take_sent(&ws->outbox, seq);
    if (publication)
        g_queue_push_head(&ws->outbox.waiting, publication);
    ws->paused = true;
    g_clear_handle_id(&ws->pause_timer, g_source_remove);
    ws->pause_timer = g_timeout_add((guint)ws->times.slower_ms, on_pause_over, ws);
}

static void on_error_frame(Websocket *ws, const Frame *frame)
{
    Publication *publication = NULL;
    switch (frame->code) {
    case FRAME_ERROR_RATE_LIMITED:
        pause_publishing(ws, frame->seq);
        return;
    case FRAME_ERROR_SHUTTING_DOWN:
        lose(ws, SOUP_WEBSOCKET_CLOSE_NORMAL, frame->reason, false, ws->times.later_ms);
        return;
    case FRAME_ERROR_BAD_TOKEN:
    case FRAME_ERROR_UNKNOWN_CHANNEL:
        publication = outbox_take_sent(&ws->outbox, frame->seq);
        if (publication) {
            /* Not held by the platform: it waits for the channel's new token. */
            g_queue_push_head(&ws->outbox.waiting, publication);
        }
        if (frame->channel || publication) {
            refuse(ws, frame->channel ? frame->channel : publication->channel, TRANSPORT_REFUSED_TOKEN,
                   frame->reason);
        }
        return;
    case FRAME_ERROR_TOO_LARGE:
    case FRAME_ERROR_BAD_FRAME:
    case FRAME_ERROR_UNKNOWN:
        log_warning("The platform refused a frame: %s", frame->reason);
        publication = outbox_take_sent(&ws->outbox, frame->seq);
        if (publication) {
            publication_finish(publication,
                               frame->code == FRAME_ERROR_TOO_LARGE ? TRANSPORT_TOO_LARGE : TRANSPORT_DROPPED,
                               frame->reason);
        }
        return;
    }
}

static void on_message_frame(Websocket *ws, const Frame *frame)
{
    Subscription *subscription = g_hash_table_lookup(ws->subscriptions, frame->message->channel);
    if (subscription && subscription->open)
        ws->events.message(&ws->base, frame->message, ws->events.userdata);
}

static void on_frame(const Frame *frame, void *userdata)
{
    g_autoptr(Websocket) ws = websocket_ref(userdata);
    Publication *publication;
    switch (frame->operation) {
    case FRAME_WELCOME:
        on_welcome(ws, frame);
        break;
    case FRAME_MESSAGE:
        on_message_frame(ws, frame);
        break;
    case FRAME_PUBLISHED:
        publication = outbox_take_sent(&ws->outbox, frame->seq);
        if (publication)
            publication_finish(publication, TRANSPORT_PUBLISHED, "");
        break;
    case FRAME_ERROR:
        on_error_frame(ws, frame);
        break;
    case FRAME_UNKNOWN:
        break;
    }
}

/* --- losing a connection ----------------------------------------------------------------------------- */

static gboolean on_attempt_due(void *userdata)
{
    Websocket *ws = userdata;
    ws->attempt_timer = 0;
    start_attempt(ws);
    return G_SOURCE_REMOVE;
}

/* Waits |wait_ms| (-1: as the backoff says) or rests where no channel is wanted. */
static void wait_for_attempt(Websocket *ws, TransportState state, const char *reason, gint64 wait_ms)
{
    if (wait_ms < 0)
        wait_ms = backoff_next(&ws->backoff);
    g_clear_handle_id(&ws->attempt_timer, g_source_remove);
    if (!anything_wanted(ws)) {
        ws->not_before = MAX(ws->not_before, g_get_monotonic_time() + wait_ms * 1000);
        tell_state(ws, TRANSPORT_IDLE, reason, -1);
        return;
    }
    ws->attempt_timer = g_timeout_add((guint)wait_ms, on_attempt_due, ws);
    tell_state(ws, state, reason, wait_ms);
}

/* A platform that takes only smaller messages than we do says so with 1009, or just closes. The frame would
 * come again with every connection; instead its publisher says something shorter. */
static void give_up_culprit(Websocket *ws, guint close_code)
{
    bool too_large = close_code == SOUP_WEBSOCKET_CLOSE_TOO_BIG;
    Publication *culprit = outbox_take_culprit(&ws->outbox, too_large);
    if (!culprit)
        return;
    if (too_large)
        ws->envelope_size = g_bytes_get_size(culprit->envelope) - 1;
    publication_finish(culprit, TRANSPORT_TOO_LARGE,
                       too_large ? "larger than the platform takes"
                                 : "the connection ended over it, three times");
}

/* Everything that belongs to one stream ends here. */
static void drop_stream(Websocket *ws, guint close_code, const char *reason)
{
    ws->generation++;
    g_clear_handle_id(&ws->welcome_timer, g_source_remove);
    g_clear_handle_id(&ws->pause_timer, g_source_remove);
    ws->welcomed = false;
    ws->paused = false;
    ws->last_seq = 0;
    outbox_rewind(&ws->outbox);
    websocket_stream_free(g_steal_pointer(&ws->stream), close_code, reason);
    subscriptions_lose(ws->subscriptions);
}

/* |say| is the close code for the platform, where it can still hear us. |wait_ms|: until the next attempt, -1
 * = as the backoff says. */
static void lose(Websocket *ws, guint say, const char *reason, bool offline, gint64 wait_ms)
{
    if (ws->freed)
        return;
    g_autofree char *words = g_strdup(reason); /* |reason| may be the stream's own */
    bool was_connected = ws->welcomed;
    if (was_connected && g_get_monotonic_time() - ws->welcomed_at >= ws->times.settled_ms * 1000)
        backoff_reset(&ws->backoff);
    drop_stream(ws, say, words);
    if (was_connected && !ws->freed)
        ws->events.lost(&ws->base, words, ws->events.userdata);
    if (!ws->freed && !ws->stream)
        wait_for_attempt(ws, offline ? TRANSPORT_OFFLINE : TRANSPORT_BACKING_OFF, words, wait_ms);
}

static void on_ended(const WebsocketEnd *end, void *userdata)
{
    g_autoptr(Websocket) ws = websocket_ref(userdata);
    gint64 wait_ms = -1;
    give_up_culprit(ws, end->close_code);
    switch (end->close_code) {
    case CLOSE_REPLACED:
        wait_ms = ws->times.replaced_ms;
        ws->not_before = g_get_monotonic_time() + wait_ms * 1000;
        lose(ws, 0, "another agent with this agent's uuid has connected and keeps the link", false, wait_ms);
        return;
    case CLOSE_TRY_LATER:
        wait_ms = MAX(ws->times.later_ms, backoff_next(&ws->backoff));
        ws->not_before = g_get_monotonic_time() + ws->times.later_ms * 1000;
        break;
    case SOUP_WEBSOCKET_CLOSE_POLICY_VIOLATION:
        refuse_those(ws, subscription_is_wanted, TRANSPORT_REFUSED_TOKEN, end->reason);
        break;
    default:
        break;
    }
    lose(ws, 0, end->reason, end->offline, wait_ms);
}

/* Where the platform answers others, what it says nothing of is the matter of that channel alone. */
static gboolean on_no_welcome(void *userdata)
{
    g_autoptr(Websocket) ws = websocket_ref(userdata);
    ws->welcome_timer = 0;
    if (ws->welcomed)
        refuse_those(ws, is_unanswered, TRANSPORT_REFUSED_OTHER,
                     "it did not answer the subscription in time");
    else
        lose(ws, SOUP_WEBSOCKET_CLOSE_GOING_AWAY, "the platform did not answer the hello in time", false, -1);
    return G_SOURCE_REMOVE;
}

static void on_opened(void *userdata)
{
    g_autoptr(Websocket) ws = websocket_ref(userdata);
    ask(ws, true);
}

static void start_attempt(Websocket *ws)
{
    g_clear_handle_id(&ws->attempt_timer, g_source_remove);
    const WebsocketStreamEvents events = {
        .opened = on_opened,
        .frame = on_frame,
        .ended = on_ended,
        .userdata = ws,
    };
    ws->stream = websocket_stream_new(ws->session, ws->url, ws->message_size, &ws->times, &events);
    tell_state(ws, TRANSPORT_CONNECTING, "", -1);
}

/* As soon as the platform's own wish (4001, 1013) allows it. */
static void attempt_soon(Websocket *ws)
{
    if (ws->stream || !anything_wanted(ws))
        return;
    gint64 wait_ms = (ws->not_before - g_get_monotonic_time() + 999) / 1000;
    if (wait_ms > 0) {
        wait_for_attempt(ws, TRANSPORT_BACKING_OFF, "waiting as the platform asked", wait_ms);
        return;
    }
    start_attempt(ws);
}

/* --- the transport's table --------------------------------------------------------------------------- */

static void websocket_subscribe(Transport *transport, const char *channel, const char *token,
                                const char *since)
{
    Websocket *ws = (Websocket *)transport;
    subscriptions_give(ws->subscriptions, channel, token, since);
    if (!ws->stream) {
        if (!ws->attempt_timer)
            attempt_soon(ws);
        return;
    }
    if (websocket_stream_is_open(ws->stream))
        ask(ws, false);
}

static void websocket_unsubscribe(Transport *transport, const char *channel)
{
    Websocket *ws = (Websocket *)transport;
    Subscription *subscription = g_hash_table_lookup(ws->subscriptions, channel);
    if (!subscription)
        return;
    if (subscription->asked) {
        g_autofree char *frame = frame_unsubscribe(channel);
        send_text(ws, frame);
    }
    outbox_withdraw(&ws->outbox, channel);
    g_hash_table_remove(ws->subscriptions, channel);
    flush_soon(ws); /* says of the orphaned that their channel is gone */
}

static void websocket_publish(Transport *transport, const char *channel, GBytes *envelope, gint64 expires,
                              TransportPublishedFunc done, void *userdata)
{
    Websocket *ws = (Websocket *)transport;
    g_queue_push_tail(&ws->outbox.waiting, publication_new(channel, envelope, expires, done, userdata));
    flush_soon(ws);
}

static void websocket_set_since(Transport *transport, const char *channel, const char *message_id)
{
    Websocket *ws = (Websocket *)transport;
    Subscription *subscription = g_hash_table_lookup(ws->subscriptions, channel);
    if (subscription) {
        g_free(subscription->since);
        subscription->since = g_strdup(message_id);
    }
}

static void websocket_hurry(Transport *transport)
{
    attempt_soon((Websocket *)transport);
}

static void websocket_free(Transport *transport)
{
    g_autoptr(Websocket) ws = (Websocket *)transport;
    ws->freed = true;
    g_clear_handle_id(&ws->attempt_timer, g_source_remove);
    g_clear_handle_id(&ws->flush_source, g_source_remove);
    drop_stream(ws, SOUP_WEBSOCKET_CLOSE_NORMAL, NULL);
    outbox_finish(&ws->outbox, TRANSPORT_LEFT, "the link was closed");
    g_clear_pointer(&ws->subscriptions, g_hash_table_unref);
    g_clear_object(&ws->session);
    g_clear_pointer(&ws->url, g_free);
    g_clear_pointer(&ws->uuid, g_free);
}

static const TransportClass websocket_class = {
    .name = "websocket",
    .free = websocket_free,
    .subscribe = websocket_subscribe,
    .unsubscribe = websocket_unsubscribe,
    .publish = websocket_publish,
    .hurry = websocket_hurry,
    .set_since = websocket_set_since,
};

Transport *websocket_transport_new_with_times(const char *url, GTlsDatabase *roots, const char *uuid,
                                              guint64 message_size, const WebsocketTimes *times,
                                              const TransportEvents *events, GError **error)
{
    if (!https_url_is_allowed(url, "wss", "ws", error))
        return NULL;
    g_autoptr(SoupSession) session = https_session_new(roots, 2);
    Websocket *ws = g_rc_box_new0(Websocket);
    ws->base.class = &websocket_class;
    ws->events = *events;
    ws->times = *times;
    ws->url = g_strdup(url);
    ws->uuid = g_strdup(uuid);
    ws->message_size = message_size;
    ws->envelope_size = message_size - FRAME_MARGIN;
    ws->session = g_steal_pointer(&session);
    ws->subscriptions = subscriptions_new();
    ws->outbox = (Outbox)OUTBOX_INIT;
    ws->backoff = BACKOFF_INIT(times->backoff_floor_ms, times->backoff_ceiling_ms);
    return &ws->base;
}

Transport *websocket_transport_new(const char *url, GTlsDatabase *roots, const char *uuid,
                                   guint64 message_size, const TransportEvents *events, GError **error)
{
    return websocket_transport_new_with_times(url, roots, uuid, message_size, &WEBSOCKET_TIMES, events,
                                              error);
}
