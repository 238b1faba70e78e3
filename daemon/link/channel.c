/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A state machine with two backoffs: a fast one for what passes by itself (no connection, a token that ran
 * out), a slow one for what a person has to change (the platform does not know the authority, no PIN). Both
 * start over once the channel is subscribed. What an authority shows of its link is set here and nowhere
 * else. */

#include "daemon/link/channel.h"

#include "daemon/error.h"
#include "daemon/link/inbox.h"
#include "daemon/link/since-window.h"
#include "daemon/link/transport/backoff.h"
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
    bool renewal_due; /* connected, but new keys are wanted */
    Route *route;
    Inbox *inbox;   /* NULL before prepared */
    char *received; /* the last message on the route's channel that a restart could go on from, or NULL */
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

/* --- leaving and joining ----------------------------------------------------------------------------- */

static void forget_place(Channel *self)
{
    g_clear_pointer(&self->received, g_free);
    g_clear_pointer(&self->window, since_window_free);
    self->window = since_window_new();
}

/* Takes |keys|. */
static bool use_route(Channel *self, BootstrapKeys *keys, GError **error)
{
    if (g_strcmp0(route_id(self->route), keys->channel) != 0)
        forget_place(self);
    g_autofree char *since = journal_get_since(self->link->journal, keys->channel);
    return route_use(self->route, keys, self->received ? self->received : since, error);
}

/* Takes |keys|. */
static void use_keys(Channel *self, BootstrapKeys *keys)
{
    g_autoptr(GError) error = NULL;
    enter(self, CHANNEL_SUBSCRIBING, AUTHORITY_NOT_CONNECTED, "", 0);
    if (!use_route(self, keys, &error))
        wait_ms(self, backoff_next(&self->slow), AUTHORITY_NOT_CONNECTED, error->message);
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
        use_keys(self, g_steal_pointer(&owned));
        break;
    case BOOTSTRAP_FAILED:
    case BOOTSTRAP_OFFLINE:
        wait_ms(self, backoff_next(&self->fast), AUTHORITY_NOT_CONNECTED, message);
        break;
    case BOOTSTRAP_REFUSED:
        log_refusal(self, message);
        route_leave(self->route);
        forget_place(self);
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
    self->renewal_due = false;
    g_clear_pointer(&self->bootstrap, bootstrap_cancel);
    enter(self, CHANNEL_BOOTSTRAPPING, self->shown, message, 0);
    self->bootstrap = bootstrap_start(self->link, self->authority, self->context.key, on_bootstrapped, self);
}

/* Without new keys all stays as it is; the route asks again. */
static void on_renewed(BootstrapOutcome outcome, BootstrapKeys *keys, const char *message, void *userdata)
{
    Channel *self = userdata;
    g_autoptr(GError) error = NULL;
    self->bootstrap = NULL;
    if (outcome != BOOTSTRAP_KEYS)
        log_debug("No new keys for %s: %s", authority_subject(self->authority), message);
    else if (!use_route(self, keys, &error))
        wait_ms(self, backoff_next(&self->slow), AUTHORITY_NOT_CONNECTED, error->message);
    self->events.changed(self, self->events.userdata);
}

static void start_renewal(Channel *self)
{
    self->renewal_due = false;
    self->bootstrap = bootstrap_start(self->link, self->authority, self->context.key, on_renewed, self);
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

/* --- what the route says ----------------------------------------------------------------------------- */

static void on_subscribed(bool missed, void *userdata)
{
    Channel *self = userdata;
    if (self->state == CHANNEL_SUBSCRIBED) {
        self->events.changed(self, self->events.userdata); /* over another transport, perhaps */
        return;
    }
    g_clear_handle_id(&self->timer, g_source_remove);
    g_clear_pointer(&self->bootstrap, bootstrap_cancel); /* the old token was still good */
    backoff_reset(&self->fast);
    backoff_reset(&self->slow);
    self->offline = false;
    metrics_count(self->link->metrics, METRICS_CONNECT);
    log_event(LOG_NOTICE, MESSAGE_LINK_CONNECTED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(self->authority)}),
              "%s is connected to the platform", authority_subject(self->authority));
    if (missed)
        log_warning("The platform has lost messages for %s that came while the link was down",
                    authority_subject(self->authority));
    enter(self, CHANNEL_SUBSCRIBED, AUTHORITY_CONNECTED, "", 0);
}

static void on_refused(TransportRefusal refusal, const char *reason, void *userdata)
{
    Channel *self = userdata;
    if (self->state != CHANNEL_SUBSCRIBING && self->state != CHANNEL_SUBSCRIBED)
        return;
    g_autofree char *message = g_strdup_printf("The platform refused the channel: %s", reason);
    /* The route keeps its answers for the next token. */
    wait_ms(self, backoff_next(refusal == TRANSPORT_REFUSED_TOKEN ? &self->fast : &self->slow),
            AUTHORITY_NOT_CONNECTED, message);
}

static void on_disconnected(const char *reason, gint64 next_attempt, void *userdata)
{
    Channel *self = userdata;
    if (self->state != CHANNEL_SUBSCRIBING && self->state != CHANNEL_SUBSCRIBED)
        return;
    if (self->state == CHANNEL_SUBSCRIBED)
        log_event(LOG_NOTICE, MESSAGE_LINK_LOST,
                  LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(self->authority)}),
                  "%s is not connected any more: %s", authority_subject(self->authority), reason);
    enter(self, CHANNEL_SUBSCRIBING, AUTHORITY_NOT_CONNECTED, reason, next_attempt);
    if (route_is_stale(self->route))
        become_due(self); /* the next subscription needs a new token */
}

static void on_wants_keys(void *userdata)
{
    Channel *self = userdata;
    if (self->state != CHANNEL_SUBSCRIBING && self->state != CHANNEL_SUBSCRIBED)
        return;
    self->renewal_due = true;
    self->events.changed(self, self->events.userdata);
}

static void on_message(TransportMessage *message, void *userdata)
{
    Channel *self = userdata;
    if (message->resumable) {
        if (!since_window_add(self->window, message->id))
            return;
        /* A reconnect goes on behind it, for it is here; only a restart has to look at it again. */
        g_free(self->received);
        self->received = g_strdup(message->id);
        route_set_since(self->route, message->id);
    }
    inbox_add(self->inbox, message);
}

static void on_dealt_with(const char *id, void *userdata)
{
    Channel *self = userdata;
    g_autofree char *since = since_window_finish(self->window, id);
    if (since && route_id(self->route))
        journal_set_since(self->link->journal, route_id(self->route), since);
}

/* --- what handling a message needs ------------------------------------------------------------------- */

typedef struct Unsent {
    TransportPublishedFunc done;
    void *userdata;
} Unsent;

static gboolean on_unsent(void *userdata)
{
    g_autofree Unsent *unsent = userdata;
    unsent->done(TRANSPORT_LEFT, "the authority has no channel at the moment", unsent->userdata);
    return G_SOURCE_REMOVE;
}

static void publish(GBytes *envelope, gint64 expires, TransportPublishedFunc done, void *userdata,
                    void *owner)
{
    Channel *self = owner;
    if (route_publish(self->route, envelope, expires, done, userdata))
        return;
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

bool channel_wants_bootstrap(const Channel *self)
{
    return self->state == CHANNEL_DUE || (self->renewal_due && !self->bootstrap);
}

bool channel_has_bootstrap(const Channel *self)
{
    return self->state == CHANNEL_PREPARING || self->bootstrap;
}

guint channel_failures(const Channel *self)
{
    return self->fast.attempts + self->slow.attempts;
}

void channel_bootstrap(Channel *self)
{
    if (self->state != CHANNEL_DUE)
        start_renewal(self);
    else if (self->context.key)
        start_bootstrap(self);
    else
        start_prepare(self);
}

Channel *channel_new(LinkContext *context, Authority *authority, const RouteHub *hub,
                     const ChannelEvents *events)
{
    const RouteEvents route_events = {
        .subscribed = on_subscribed,
        .refused = on_refused,
        .disconnected = on_disconnected,
        .wants_keys = on_wants_keys,
        .message = on_message,
    };
    Channel *self = g_new0(Channel, 1);
    self->link = context;
    self->events = *events;
    self->authority = authority_ref(authority);
    self->cancellable = g_cancellable_new();
    self->fast = FAST;
    self->slow = SLOW;
    self->message = g_strdup("");
    self->window = since_window_new();
    self->state = CHANNEL_DUE;
    self->route = route_new(context->route_times, hub, &route_events, self);
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
    route_free(self->route);
    authority_set_link(self->authority, AUTHORITY_NOT_CONNECTED, "", 0);
    channel_key_unref(self->context.key);
    since_window_free(self->window);
    authority_unref(self->authority);
    g_object_unref(self->cancellable);
    g_free(self->received);
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

const char *channel_carrier(const Channel *self)
{
    return self->state == CHANNEL_SUBSCRIBED ? route_carrier(self->route) : "";
}
