/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A state machine with two backoffs: a fast one for what passes by itself (no connection, a token that ran
 * out), a slow one for what a person has to change (the platform does not know the authority, no PIN). Both
 * start over once the channel is subscribed. What an authority shows of its link is set here and nowhere
 * else. */

#include "daemon/link/channel.h"

#include "daemon/error.h"
#include "daemon/link/backoff.h"
#include "daemon/link/inbox.h"
#include "daemon/link/since-window.h"
#include "daemon/log.h"
#include "daemon/message-ids.h"

#define FAST BACKOFF_INIT(1000, 60 * 1000)
#define SLOW BACKOFF_INIT(60 * 1000, 3600 * 1000)
/* A token that reports a change with every failure must not make a circle with us. */
#define TOKEN_RETRY_MS 1000

struct Channel {
    LinkContext *link;
    ChannelEvents events;
    ChannelContext context;
    Authority *authority;
    GCancellable *cancellable;

    ChannelState state;
    char *message;
    gint64 next_attempt;
    bool offline;
    bool unsigned_failure; /* WAITING for a token that signs */
    AuthorityLink shown;
    guint timer;
    Backoff fast;
    Backoff slow;

    Bootstrap *bootstrap;
    Transport *transport; /* NULL: on none */
    char *url;            /* its, or NULL */
    char *id;             /* channel id on it, or NULL */
    gint64 token_expires;
    Inbox *inbox;   /* NULL before prepared */
    char *received; /* the last message on this id that the inbox was given, or NULL */
    SinceWindow *window;
};

/* --- where it stands --------------------------------------------------------------------------------- */

static void enter(Channel *self, ChannelState state, AuthorityLink shown, const char *message,
                  gint64 next_attempt)
{
    g_autofree char *previous = self->message;
    self->state = state;
    self->message = g_strdup(message);
    self->next_attempt = next_attempt;
    self->shown = shown;
    authority_set_link(self->authority, shown, self->message, next_attempt);
    self->events.changed(self, self->events.userdata);
}

static void become_due(Channel *self)
{
    g_clear_handle_id(&self->timer, g_source_remove);
    self->unsigned_failure = false;
    g_autofree char *message = g_strdup(self->message);
    enter(self, CHANNEL_DUE, self->shown == AUTHORITY_UNREGISTERED ? self->shown : AUTHORITY_NOT_CONNECTED,
          message, 0);
}

static gboolean on_timer(void *userdata)
{
    Channel *self = userdata;
    self->timer = 0;
    become_due(self);
    return G_SOURCE_REMOVE;
}

static void wait_ms(Channel *self, gint64 ms, AuthorityLink shown, const char *message)
{
    g_clear_handle_id(&self->timer, g_source_remove);
    self->timer = g_timeout_add((guint)ms, on_timer, self);
    enter(self, CHANNEL_WAITING, shown, message, g_get_real_time() + ms * 1000);
}

/* --- leaving and joining a transport ----------------------------------------------------------------- */

static void leave_transport(Channel *self)
{
    if (!self->transport)
        return;
    self->transport->class->unsubscribe(self->transport, self->id);
    self->transport = NULL;
    g_clear_pointer(&self->url, g_free);
    g_clear_pointer(&self->id, g_free);
    g_clear_pointer(&self->received, g_free);
    self->events.leave(self, self->events.userdata);
}

static void use_keys(Channel *self, const BootstrapKeys *keys)
{
    g_autoptr(GError) error = NULL;
    self->token_expires = keys->expires;
    if (self->transport && (!g_str_equal(self->id, keys->channel) || !g_str_equal(self->url, keys->url)))
        leave_transport(self);
    if (!self->transport) {
        Transport *transport =
            self->events.join(self, keys->url, keys->channel, &error, self->events.userdata);
        if (!transport) {
            wait_ms(self, backoff_next(&self->slow), AUTHORITY_NOT_CONNECTED, error->message);
            return;
        }
        self->transport = transport;
        self->url = g_strdup(keys->url);
        self->id = g_strdup(keys->channel);
        g_clear_pointer(&self->window, since_window_free);
        self->window = since_window_new();
    }
    enter(self, CHANNEL_SUBSCRIBING, AUTHORITY_NOT_CONNECTED, "Connecting", 0);
    g_autofree char *since = journal_get_since(self->link->journal, self->id);
    self->transport->class->subscribe(self->transport, self->id, keys->token,
                                      self->received ? self->received : since);
}

/* --- bootstrap --------------------------------------------------------------------------------------- */

static void log_refusal(Channel *self, const char *message)
{
    log_event(LOG_WARNING, MESSAGE_AUTHORITY_REFUSED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(self->authority)}),
              "The platform does not take %s: %s", authority_subject(self->authority), message);
}

static void on_bootstrapped(BootstrapOutcome outcome, BootstrapKeys *keys, const char *message,
                            void *userdata)
{
    Channel *self = userdata;
    g_autoptr(BootstrapKeys) owned = keys;
    self->bootstrap = NULL;
    self->offline = outcome == BOOTSTRAP_OFFLINE;
    self->unsigned_failure = outcome == BOOTSTRAP_UNSIGNED;
    switch (outcome) {
    case BOOTSTRAP_KEYS:
        use_keys(self, keys);
        break;
    case BOOTSTRAP_FAILED:
    case BOOTSTRAP_OFFLINE:
        wait_ms(self, backoff_next(&self->fast), AUTHORITY_NOT_CONNECTED, message);
        break;
    case BOOTSTRAP_REFUSED:
        log_refusal(self, message);
        leave_transport(self);
        wait_ms(self, backoff_next(&self->slow), AUTHORITY_UNREGISTERED, message);
        break;
    case BOOTSTRAP_UNUSABLE:
        log_refusal(self, message);
        wait_ms(self, backoff_next(&self->slow), AUTHORITY_NOT_CONNECTED, message);
        break;
    case BOOTSTRAP_UNSIGNED:
        wait_ms(self, backoff_next(&self->slow), AUTHORITY_NOT_CONNECTED, message);
        break;
    }
}

static void start_bootstrap(Channel *self)
{
    g_autofree char *message = g_strdup(self->message);
    enter(self, CHANNEL_BOOTSTRAPPING, self->shown, message, 0);
    self->bootstrap = bootstrap_start(self->link, self->authority, self->context.key, on_bootstrapped, self);
}

void channel_hurry(Channel *self)
{
    if (self->state == CHANNEL_WAITING)
        become_due(self);
}

void channel_token_changed(Channel *self)
{
    if (self->state != CHANNEL_WAITING || !self->unsigned_failure)
        return;
    self->unsigned_failure = false;
    backoff_reset(&self->slow);
    g_clear_handle_id(&self->timer, g_source_remove);
    self->timer = g_timeout_add(TOKEN_RETRY_MS, on_timer, self);
}

/* --- what the transport says ------------------------------------------------------------------------- */

void channel_on_subscribed(Channel *self, bool missed)
{
    if (self->state == CHANNEL_SUBSCRIBED)
        return;
    g_clear_handle_id(&self->timer, g_source_remove);
    g_clear_pointer(&self->bootstrap, bootstrap_cancel); /* the old token was still good */
    backoff_reset(&self->fast);
    backoff_reset(&self->slow);
    self->offline = false;
    metrics_count(&self->link->metrics, METRICS_CONNECT);
    log_event(LOG_NOTICE, MESSAGE_LINK_CONNECTED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(self->authority)}),
              "%s is connected to the platform", authority_subject(self->authority));
    if (missed)
        log_warning("The platform has lost messages for %s that came while the link was down",
                    authority_subject(self->authority));
    enter(self, CHANNEL_SUBSCRIBED, AUTHORITY_CONNECTED, "", 0);
}

void channel_on_refused(Channel *self, TransportRefusal refusal, const char *reason)
{
    if (self->state != CHANNEL_SUBSCRIBING && self->state != CHANNEL_SUBSCRIBED)
        return;
    g_autofree char *message = g_strdup_printf("The platform refused the channel: %s", reason);
    /* It stays on the transport, which keeps its answers for the next token. */
    wait_ms(self, backoff_next(refusal == TRANSPORT_REFUSED_TOKEN ? &self->fast : &self->slow),
            AUTHORITY_NOT_CONNECTED, message);
}

void channel_on_disconnected(Channel *self, const char *reason, gint64 next_attempt)
{
    if (self->state != CHANNEL_SUBSCRIBING && self->state != CHANNEL_SUBSCRIBED)
        return;
    if (self->state == CHANNEL_SUBSCRIBED)
        log_event(LOG_NOTICE, MESSAGE_LINK_LOST,
                  LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(self->authority)}),
                  "%s is not connected any more: %s", authority_subject(self->authority), reason);
    enter(self, CHANNEL_SUBSCRIBING, AUTHORITY_NOT_CONNECTED, reason, next_attempt);
    if (g_get_monotonic_time() >= self->token_expires)
        become_due(self); /* the next subscription needs a new token */
}

void channel_on_message(Channel *self, TransportMessage *message)
{
    if (!self->transport || !since_window_add(self->window, message->id))
        return;
    /* A reconnect goes on behind it, for it is here; only a restart has to look at it again. */
    g_free(self->received);
    self->received = g_strdup(message->id);
    self->transport->class->set_since(self->transport, self->id, message->id);
    inbox_add(self->inbox, message);
}

static void on_dealt_with(const char *id, void *userdata)
{
    Channel *self = userdata;
    g_autofree char *since = since_window_finish(self->window, id);
    if (since && self->id)
        journal_set_since(self->link->journal, self->id, since);
}

/* --- what handling a message needs ------------------------------------------------------------------- */

typedef struct Unsent {
    TransportPublishedFunc done;
    void *userdata;
} Unsent;

static gboolean on_unsent(void *userdata)
{
    g_autofree Unsent *unsent = userdata;
    unsent->done(TRANSPORT_DROPPED, "the authority has no channel at the moment", unsent->userdata);
    return G_SOURCE_REMOVE;
}

static void publish(GBytes *envelope, gint64 expires, TransportPublishedFunc done, void *userdata,
                    void *owner)
{
    Channel *self = owner;
    if (self->transport) {
        self->transport->class->publish(self->transport, self->id, envelope, expires, done, userdata);
        return;
    }
    Unsent *unsent = g_new0(Unsent, 1);
    *unsent = (Unsent){done, userdata};
    g_idle_add_full(G_PRIORITY_DEFAULT, on_unsent, unsent, NULL);
}

static void report_signed(const char *siguuid, const char *kind, const char *result, void *owner)
{
    Channel *self = owner;
    self->events.signed_request(self, siguuid, kind, result, self->events.userdata);
}

static void report_denied(const char *siguuid, const char *kind, const char *reason, void *owner)
{
    Channel *self = owner;
    self->events.denied_request(self, siguuid, kind, reason, self->events.userdata);
}

/* --- beginning and end ------------------------------------------------------------------------------- */

typedef struct PrepareJob {
    Identity *identity;
    char *thumbprint;
    EVP_PKEY *key; /* results */
    guint caindex;
} PrepareJob;

static bool run_prepare(void *data, GCancellable *cancelled, GError **error)
{
    PrepareJob *job = data;
    if (!identity_caindex(job->identity, job->thumbprint, &job->caindex, error))
        return false;
    job->key = channel_key_generate(error);
    return job->key != NULL;
}

static void prepare_job_free(void *data)
{
    PrepareJob *job = data;
    g_free(job->thumbprint);
    EVP_PKEY_free(job->key);
    g_free(job);
}

/* Carries the channel to the callback, which after channel_free finds none. */
typedef struct Preparing {
    Channel *channel;
    GCancellable *cancellable;
    PrepareJob *job;
} Preparing;

static void on_prepared(const GError *error, void *userdata)
{
    g_autofree Preparing *preparing = userdata;
    g_autoptr(GCancellable) cancellable = preparing->cancellable;
    if (g_cancellable_is_cancelled(cancellable))
        return;
    Channel *self = preparing->channel;
    if (error) {
        log_error("The channel of %s can't be set up: %s", authority_subject(self->authority),
                  error->message);
        wait_ms(self, backoff_next(&self->slow), AUTHORITY_NOT_CONNECTED, error->message);
        return;
    }
    self->context = (ChannelContext){
        .link = self->link,
        .authority = self->authority,
        .key = channel_key_new(self->authority, preparing->job->key),
        .caindex = preparing->job->caindex,
        .publish = publish,
        .signed_request = report_signed,
        .denied_request = report_denied,
        .owner = self,
    };
    self->inbox = inbox_new(&self->context, on_dealt_with, self);
    start_bootstrap(self);
}

static void start_prepare(Channel *self)
{
    g_autofree char *message = g_strdup(self->message);
    enter(self, CHANNEL_PREPARING, self->shown, message, 0);
    PrepareJob *job = g_new0(PrepareJob, 1);
    job->identity = self->link->identity;
    job->thumbprint = g_strdup(authority_thumbprint(self->authority));
    Preparing *preparing = g_new0(Preparing, 1);
    *preparing = (Preparing){self, g_object_ref(self->cancellable), job};
    g_autoptr(GError) error = NULL;
    if (!worker_submit(self->link->crypto, run_prepare, job, prepare_job_free, WORKER_NO_DEADLINE,
                       self->cancellable, on_prepared, preparing, &error))
        on_prepared(error, preparing);
}

void channel_bootstrap(Channel *self)
{
    if (self->context.key)
        start_bootstrap(self);
    else
        start_prepare(self);
}

Channel *channel_new(LinkContext *context, Authority *authority, const ChannelEvents *events)
{
    Channel *self = g_new0(Channel, 1);
    self->link = context;
    self->events = *events;
    self->authority = authority_ref(authority);
    self->cancellable = g_cancellable_new();
    self->fast = FAST;
    self->slow = SLOW;
    self->message = g_strdup("Connecting");
    self->window = since_window_new();
    self->state = CHANNEL_DUE;
    return self;
}

void channel_free(Channel *self)
{
    if (!self)
        return;
    g_clear_handle_id(&self->timer, g_source_remove);
    g_cancellable_cancel(self->cancellable);
    g_clear_pointer(&self->bootstrap, bootstrap_cancel);
    g_clear_pointer(&self->inbox, inbox_free);
    leave_transport(self);
    authority_set_link(self->authority, AUTHORITY_NOT_CONNECTED, "", 0);
    channel_key_unref(self->context.key);
    since_window_free(self->window);
    authority_unref(self->authority);
    g_object_unref(self->cancellable);
    g_free(self->message);
    g_free(self);
}

Authority *channel_authority(const Channel *self)
{
    return self->authority;
}

ChannelState channel_state(const Channel *self)
{
    return self->state;
}

bool channel_is_offline(const Channel *self)
{
    return self->offline;
}

const char *channel_message(const Channel *self)
{
    return self->message;
}

gint64 channel_next_attempt(const Channel *self)
{
    return self->next_attempt;
}

guint channel_queue_length(const Channel *self)
{
    return self->inbox ? inbox_length(self->inbox) : 0;
}
