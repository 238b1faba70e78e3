/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One POST a message, up to eight at once: enough for PubNub's soft limit of fifteen messages a second on a
 * channel. Publishers may do anything when they are told, also free the posts: the struct is counted. */

#include "daemon/link/transport/pubnub-posts.h"

#include "daemon/link/transport/backoff.h"
#include "daemon/link/transport/outbox.h"
#include "daemon/link/transport/pubnub-call.h"
#include "daemon/log.h"

#define POSTS_AT_ONCE 8

struct PubnubPosts {
    bool freed;
    SoupSession *session;
    const PubnubAddress *address;
    const PubnubTimes *times;
    GHashTable *channels;
    Outbox outbox;
    GHashTable *running; /* Post */
    guint64 last_seq;
    Backoff backoff;
    guint wait; /* timer: everything waits */
    guint flush_source;
};

typedef struct Post {
    PubnubPosts *posts;
    guint64 seq;
    PubnubCall *call;
} Post;

static void flush_soon(PubnubPosts *self);

static PubnubPosts *posts_ref(PubnubPosts *self)
{
    return g_rc_box_acquire(self);
}

static void posts_unref(PubnubPosts *self)
{
    g_rc_box_release(self);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PubnubPosts, posts_unref)

static void post_free(void *data)
{
    Post *post = data;
    pubnub_call_cancel(post->call);
    g_free(post);
}

static gboolean on_wait_over(void *userdata)
{
    PubnubPosts *self = userdata;
    self->wait = 0;
    flush_soon(self);
    return G_SOURCE_REMOVE;
}

static void wait_after(PubnubPosts *self, const char *reason)
{
    if (self->wait)
        return;
    self->wait = g_timeout_add((guint)backoff_next(&self->backoff), on_wait_over, self);
    if (self->backoff.attempts == 1)
        log_warning("PubNub does not take what is published; it is kept and tried again: %s", reason);
}

static const TransportOutcome outcomes[] = {
    [PUBNUB_SENT] = TRANSPORT_PUBLISHED,
    [PUBNUB_TOO_LARGE] = TRANSPORT_TOO_LARGE,
    [PUBNUB_REFUSED] = TRANSPORT_DROPPED,
};

static void on_posted(guint status, const char *text, gsize size, const GError *error, void *userdata)
{
    Post *post = userdata;
    g_autoptr(PubnubPosts) self = posts_ref(post->posts);
    Publication *publication = outbox_take_sent(&self->outbox, post->seq); /* NULL: its channel has left */
    post->call = NULL;
    g_hash_table_remove(self->running, post);
    g_autofree char *reason = error ? g_strdup(error->message) : NULL;
    PubnubVerdict verdict = error ? PUBNUB_LATER : pubnub_read_verdict(status, text, size, &reason);
    if (verdict == PUBNUB_LATER) {
        if (publication)
            g_queue_push_tail(&self->outbox.waiting, publication);
        wait_after(self, reason);
        return;
    }
    backoff_reset(&self->backoff);
    flush_soon(self);
    if (verdict == PUBNUB_REFUSED)
        log_warning("PubNub refused a message: %s", reason);
    if (publication)
        publication_finish(publication, outcomes[verdict], reason);
}

static void start_post(PubnubPosts *self, Publication *publication)
{
    g_autofree char *url = pubnub_publish_url(self->address, publication->channel);
    Post *post = g_new0(Post, 1);
    post->posts = self;
    post->seq = publication->seq = ++self->last_seq;
    g_queue_push_tail(&self->outbox.sent, publication);
    g_hash_table_add(self->running, post);
    post->call =
        pubnub_call_start(self->session, url, publication->envelope, self->times->call_s, on_posted, post);
}

static gboolean on_flush(void *userdata)
{
    g_autoptr(PubnubPosts) self = posts_ref(userdata);
    self->flush_source = 0;
    const OutboxLimits limits = {self->channels, PUBNUB_MESSAGE_MAX,
                                 "larger than the 32 KiB that PubNub takes"};
    outbox_sift(&self->outbox, &limits, g_get_monotonic_time());
    while (!self->freed && !self->wait && g_hash_table_size(self->running) < POSTS_AT_ONCE &&
           !g_queue_is_empty(&self->outbox.waiting))
        start_post(self, g_queue_pop_head(&self->outbox.waiting));
    return G_SOURCE_REMOVE;
}

/* Never from inside the caller's call: |done| may come of it. */
static void flush_soon(PubnubPosts *self)
{
    if (!self->flush_source && !self->freed)
        self->flush_source = g_idle_add_full(G_PRIORITY_DEFAULT, on_flush, self, NULL);
}

PubnubPosts *pubnub_posts_new(SoupSession *session, const PubnubAddress *address, const PubnubTimes *times,
                              GHashTable *channels)
{
    PubnubPosts *self = g_rc_box_new0(PubnubPosts);
    self->session = g_object_ref(session);
    self->address = address;
    self->times = times;
    self->channels = channels;
    self->outbox = (Outbox)OUTBOX_INIT;
    self->running = g_hash_table_new_full(NULL, NULL, post_free, NULL);
    self->backoff = BACKOFF_INIT(times->backoff_floor_ms, times->backoff_ceiling_ms);
    return self;
}

void pubnub_posts_free(PubnubPosts *self)
{
    if (!self)
        return;
    self->freed = true;
    g_clear_handle_id(&self->wait, g_source_remove);
    g_clear_handle_id(&self->flush_source, g_source_remove);
    g_clear_pointer(&self->running, g_hash_table_unref);
    outbox_finish(&self->outbox, TRANSPORT_LEFT, "the link was closed");
    g_clear_object(&self->session);
    posts_unref(self);
}

void pubnub_posts_add(PubnubPosts *self, const char *channel, GBytes *envelope, gint64 expires,
                      TransportPublishedFunc done, void *userdata)
{
    g_queue_push_tail(&self->outbox.waiting, publication_new(channel, envelope, expires, done, userdata));
    flush_soon(self);
}

void pubnub_posts_leave(PubnubPosts *self, const char *channel)
{
    outbox_withdraw(&self->outbox, channel);
    flush_soon(self); /* says that their channel is gone */
}

void pubnub_posts_hurry(PubnubPosts *self)
{
    g_clear_handle_id(&self->wait, g_source_remove);
    flush_soon(self);
}
