/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Each step starts one asynchronous thing and ends; its callback is the next step. After request_abandon the
 * step under way comes back once and frees. Threads see the jobs (PrepareJob, SignJob) only. */

#include "daemon/link/request.h"

#include "daemon/ca/signing.h"
#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/delivery.h"
#include "daemon/link/message/wire.h"
#include "daemon/link/opening.h"
#include "daemon/link/refusal.h"
#include "daemon/link/sealing.h"
#include "daemon/link/transport/https.h"
#include "daemon/log.h"
#include "daemon/message-ids.h"

/* What the platform may name a request; its own are 36 characters. */
#define SIGUUID_MAX 256
/* From the token's first look at it: a touch takes 15 s, an RSA-4096 signature of a card 2 s. */
#define SIGN_LIMIT_US (120 * G_USEC_PER_SEC)
#define CRL_ANSWER "crl uploaded"

struct Request {
    ChannelContext *channel; /* NULL: abandoned */
    Journal *journal;        /* lives longer than the channel and the link */
    Metrics *metrics;        /* a reference */
    Authority *authority;
    TransportMessage *message;
    gint64 deadline;
    GCancellable *cancellable;
    GCancellable *delivery; /* the upload's own, while there is one */
    LanePlace *place;       /* on the way to the token, until there is an answer */
    DealtWithFunc done;
    void *userdata;

    guint64 number; /* in the order of arrival on its channel */
    char *kind;     /* signtype as the envelope says, or "" */
    char *siguuid;
    X509 *platform; /* who signed the request: recipient of the answer */
    gint64 signing_time;
    guint8 digest[32];
    JsonObject *content;        /* until prepared; where several tokens have the key, until signed */
    struct PrepareJob *prepare; /* the worker's, while there is one */
    Signing *prepared;          /* intended, not at the token yet */
    struct SignJob *sign;       /* the worker's, while there is one */
    Signing *signing;           /* signed */
    GPtrArray *tried;           /* Slot: could not sign it */
    bool looking_up;
    bool in_flight;   /* the journal keeps copies away until we release it */
    gint64 started;   /* monotonic µs, as the next two: it was its turn */
    gint64 ready;     /* for the token; 0: not yet */
    gint64 signed_at; /* 0: it was not signed now */
    bool shortened;   /* the answer was too large and was replaced */
};

static void finish(Request *request)
{
    lane_leave(g_steal_pointer(&request->place));
    if (request->channel)
        request->done(request->userdata);
    if (request->in_flight)
        journal_release(request->journal, authority_thumbprint(request->authority), request->siguuid);
    g_rc_box_release(request->metrics);
    authority_unref(request->authority);
    transport_message_unref(request->message);
    g_object_unref(request->cancellable);
    g_clear_object(&request->delivery);
    g_clear_pointer(&request->content, json_object_unref);
    g_ptr_array_unref(request->tried);
    signing_free(request->prepared);
    signing_free(request->signing);
    X509_free(request->platform);
    g_free(request->kind);
    g_free(request->siguuid);
    g_free(request);
}

/* True when there is nobody to go on for; the request is gone then. */
static bool is_abandoned(Request *request)
{
    if (request->channel)
        return false;
    finish(request);
    return true;
}

static void drop(Request *request, const char *reason)
{
    channel_context_log_dropped(request->channel, request->siguuid, request->kind, reason);
    finish(request);
}

/* --- answering --------------------------------------------------------------------------------------- */

static void send_answer(Request *request, bool success, const char *text);

static void on_published(TransportOutcome outcome, const char *reason, void *userdata)
{
    Request *request = userdata;
    if (is_abandoned(request))
        return;
    if (outcome == TRANSPORT_TOO_LARGE && !request->shortened) {
        request->shortened = true;
        log_warning("The answer to request %s is too large for the link: %s", request->siguuid, reason);
        send_answer(request, false, "The result is too large for the link");
        return;
    }
    if (outcome == TRANSPORT_PUBLISHED && request->signed_at)
        metrics_observe(request->metrics, METRICS_REPLY, g_get_monotonic_time() - request->signed_at);
    if (outcome != TRANSPORT_PUBLISHED)
        log_warning("The answer to request %s did not reach the platform: %s", request->siguuid, reason);
    finish(request);
}

static void on_answer_sealed(GBytes *wire, const GError *error, void *userdata)
{
    Request *request = userdata;
    if (is_abandoned(request))
        return;
    if (error) {
        drop(request, error->message);
        return;
    }
    request->channel->publish(wire, G_MAXINT64, on_published, request, request->channel->owner);
}

/* Takes |content|. */
static void seal_answer(Request *request, JsonObject *content)
{
    ChannelContext *channel = request->channel;
    lane_leave(g_steal_pointer(&request->place));
    seal(channel->link->crypto, channel->key, content, request->platform,
         wire_answer(request->siguuid, request->message->publisher), request->cancellable, on_answer_sealed,
         request);
}

static void send_answer(Request *request, bool success, const char *text)
{
    seal_answer(request, wire_answer_content(success, request->siguuid, text));
}

/* success:false, to the platform, to the log and to whoever watches. */
static void refuse(Request *request, const char *text)
{
    ChannelContext *channel = request->channel;
    log_event(LOG_NOTICE, MESSAGE_DENIED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(request->authority)},
                         {"IOTHSM_REQUEST", request->siguuid}, {"IOTHSM_KIND", request->kind},
                         {"IOTHSM_RESULT", text}),
              "Did not sign a %s for %s: %s", request->kind, authority_subject(request->authority), text);
    authority_count_denied(request->authority);
    metrics_count_denied(request->metrics, request->kind);
    channel->denied_request(request->siguuid, request->kind, text, channel->owner);
    send_answer(request, false, text);
}

/* --- recording --------------------------------------------------------------------------------------- */

/* What was signed is told and counted also where nobody is there any more to send it. */
static void tell_signed(Request *request)
{
    const char *summary = signing_summary(request->signing);
    log_event(LOG_INFO, MESSAGE_SIGNED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(request->authority)},
                         {"IOTHSM_REQUEST", request->siguuid}, {"IOTHSM_KIND", request->kind},
                         {"IOTHSM_RESULT", summary}),
              "%s signed a %s", authority_subject(request->authority), summary);
    metrics_count_signed(request->metrics, request->kind);
    authority_count_signature(request->authority);
}

static void on_recorded(const GError *error, void *userdata)
{
    Request *request = userdata;
    if (error)
        log_error("The answer to request %s could not be recorded: %s", request->siguuid, error->message);
    else
        tell_signed(request);
    if (is_abandoned(request))
        return;
    if (error) {
        refuse(request, "The answer could not be recorded");
        return;
    }
    ChannelContext *channel = request->channel;
    channel->signed_request(request->siguuid, request->kind, signing_summary(request->signing),
                            channel->owner);
    send_answer(request, true,
                signing_is_delivered(request->signing) ? CRL_ANSWER : signing_text(request->signing));
}

static void record(Request *request)
{
    const char *text = signing_is_delivered(request->signing) ? CRL_ANSWER : signing_text(request->signing);
    g_autoptr(JsonObject) content = wire_answer_content(true, request->siguuid, text);
    g_autofree char *answer = json_object_to_text(content);
    journal_answer(request->journal, authority_thumbprint(request->authority), request->siguuid, answer,
                   on_recorded, request);
}

static void on_delivered(const GError *error, void *userdata)
{
    Request *request = userdata;
    g_clear_object(&request->delivery);
    if (is_abandoned(request))
        return;
    if (error)
        refuse(request, g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN)
                            ? error->message
                            : refusal_of_token(error));
    else
        record(request);
}

/* --- signing ----------------------------------------------------------------------------------------- */

typedef struct SignJob {
    Signing *signing;
    gint64 begun; /* monotonic µs */
    gint64 ended;
} SignJob;

static void prepare(Request *request, const char *intent);

static bool run_sign(EVP_PKEY *key, void *data, GError **error)
{
    SignJob *job = data;
    job->begun = g_get_monotonic_time();
    bool done = signing_sign(job->signing, key, error);
    job->ended = g_get_monotonic_time();
    return done;
}

static void sign_job_free(void *data)
{
    SignJob *job = data;
    signing_free(job->signing);
    g_free(job);
}

/* The token failed or went away with the request in hand: another one with the key does it, with the same
 * serial number and dates. What the first one may have made is lost with it. */
static bool sign_elsewhere(Request *request, const SignJob *failed, const GError *error)
{
    GPtrArray *slots = authority_slots(request->authority);
    bool others = false;
    for (guint i = 0; i < slots->len; i++)
        others = others || !g_ptr_array_find(request->tried, g_ptr_array_index(slots, i), NULL);
    if (!others || !request->content || g_get_monotonic_time() > request->deadline)
        return false;
    log_notice("A token could not sign request %s, another one tries: %s", request->siguuid, error->message);
    metrics_count(request->metrics, METRICS_MOVE);
    prepare(request, signing_intent(failed->signing));
    return true;
}

static void note_phases(Request *request, const SignJob *job)
{
    const TransportMessage *message = request->message;
    Metrics *metrics = request->metrics;
    request->signed_at = job->ended;
    metrics_observe(metrics, METRICS_LINK, message->age_ms * 1000);
    metrics_observe(metrics, METRICS_QUEUE,
                    (request->started - message->received) + (job->begun - request->ready));
    metrics_observe(metrics, METRICS_POLICY, request->ready - request->started);
    metrics_observe(metrics, METRICS_TOKEN, job->ended - job->begun);
}

static void on_signed(const GError *error, void *userdata)
{
    Request *request = userdata;
    SignJob *job = g_steal_pointer(&request->sign);
    if (!error)
        request->signing = g_steal_pointer(&job->signing);
    bool is_delivered = !error && signing_is_delivered(request->signing);
    if (!error && request->channel)
        note_phases(request, job);
    if (!request->channel && (error || is_delivered)) {
        if (is_delivered)
            log_notice("The CRL for request %s was signed and is not delivered, as its channel is gone",
                       request->siguuid);
        finish(request);
    } else if (error && g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED)) {
        drop(request, "It waited longer than its ttl");
    } else if (error) {
        if (sign_elsewhere(request, job, error))
            return;
        log_warning("The signature for request %s failed: %s", request->siguuid, error->message);
        refuse(request, refusal_of_token(error));
    } else if (is_delivered) {
        request->delivery = g_cancellable_new();
        delivery_start(request->channel->link, request->authority, request->channel->key, request->siguuid,
                       signing_text(request->signing), request->platform, request->delivery, on_delivered,
                       request);
    } else {
        record(request); /* also when abandoned: the signature exists */
    }
}

static void sign(void *userdata)
{
    Request *request = userdata;
    SignJob *job = g_new0(SignJob, 1);
    job->signing = g_steal_pointer(&request->prepared);
    request->sign = job;
    if (request->tried->len == 0)
        log_debug("Request %s, number %" G_GUINT64_FORMAT " for %s, goes to the token", request->siguuid,
                  request->number, authority_thumbprint(request->authority));
    g_autoptr(GError) error = NULL;
    const AuthorityWork work = {
        .run = run_sign,
        .data = job,
        .free_data = sign_job_free,
        .begin_by = request->deadline,
        .end_by = MAX(request->deadline, g_get_monotonic_time()) + SIGN_LIMIT_US,
        .first = request->tried->len > 0,
        .tried = request->tried,
        .done = on_signed,
        .userdata = request,
    };
    if (!authority_use_key(request->authority, &work, &error)) {
        request->sign = NULL;
        log_warning("Request %s can't be signed: %s", request->siguuid, error->message);
        refuse(request, refusal_of_token(error));
    }
}

/* --- preparing --------------------------------------------------------------------------------------- */

typedef struct PrepareJob {
    char *kind;
    JsonObject *content;
    X509 *ca;
    SigningRules rules;
    char *intent;     /* of the first time, or NULL */
    Signing *signing; /* the result */
} PrepareJob;

static bool run_prepare(void *data, GCancellable *cancelled, GError **error)
{
    PrepareJob *job = data;
    JsonObject *what = json_get_object(job->content, "request", error);
    if (!what) {
        if (error && !*error)
            g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "request is missing");
        return false;
    }
    job->signing = signing_new(job->kind, what, job->ca, &job->rules, g_get_real_time() / G_USEC_PER_SEC,
                               job->intent, error);
    return job->signing != NULL;
}

static void prepare_job_free(void *data)
{
    PrepareJob *job = data;
    g_free(job->kind);
    json_object_unref(job->content);
    X509_free(job->ca);
    g_free(job->intent);
    signing_free(job->signing);
    g_free(job);
}

/* In order of arrival, unless its turn is over already. */
static void go_to_token(Request *request)
{
    if (!request->ready)
        request->ready = g_get_monotonic_time();
    if (request->place && request->tried->len == 0)
        lane_proceed(request->place, sign, request);
    else
        sign(request);
}

static void on_intended(const GError *error, void *userdata)
{
    Request *request = userdata;
    if (is_abandoned(request))
        return;
    if (error) {
        log_error("Request %s could not be recorded and is not signed: %s", request->siguuid, error->message);
        refuse(request, "The request could not be recorded");
        return;
    }
    go_to_token(request);
}

static void on_prepared(const GError *error, void *userdata)
{
    Request *request = userdata;
    PrepareJob *job = g_steal_pointer(&request->prepare);
    if (is_abandoned(request))
        return;
    if (error) {
        refuse(request, refusal_of_request(error));
        return;
    }
    request->prepared = g_steal_pointer(&job->signing);
    if (job->intent)
        go_to_token(request);
    else
        journal_intend(request->journal, authority_thumbprint(request->authority), request->siguuid,
                       request->digest, request->signing_time, signing_intent(request->prepared), on_intended,
                       request);
}

static void prepare(Request *request, const char *intent)
{
    PrepareJob *job = g_new0(PrepareJob, 1);
    job->kind = g_strdup(request->kind);
    job->content = json_object_ref(request->content);
    if (authority_slots(request->authority)->len < 2)
        g_clear_pointer(&request->content, json_object_unref);
    X509_up_ref(authority_certificate(request->authority));
    job->ca = authority_certificate(request->authority);
    job->rules.crl_rfc5280 = request->channel->link->config->crl_form == CRL_FORM_RFC5280;
    job->intent = g_strdup(intent);
    request->prepare = job;
    g_autoptr(GError) error = NULL;
    if (!worker_submit(request->channel->link->crypto, run_prepare, job, prepare_job_free, WORKER_NO_DEADLINE,
                       request->cancellable, on_prepared, request, &error)) {
        request->prepare = NULL;
        refuse(request, refusal_of_request(error));
    }
}

/* --- from the message to the journal ----------------------------------------------------------------- */

static void replay(Request *request, const char *answer)
{
    metrics_count(request->metrics, METRICS_REPLAY);
    g_autoptr(JsonObject) content = json_object_parse(answer, strlen(answer), NULL);
    if (!content) {
        refuse(request, "The stored answer is damaged");
        return;
    }
    log_event(LOG_INFO, MESSAGE_REPLAYED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(request->authority)},
                         {"IOTHSM_REQUEST", request->siguuid}, {"IOTHSM_KIND", request->kind}),
              "Request %s came again; the platform gets the same answer", request->siguuid);
    seal_answer(request, g_steal_pointer(&content));
}

/* Neither refused nor dropped: the first of them has the answer. */
static void ignore_copy(Request *request)
{
    metrics_count(request->metrics, METRICS_REPLAY);
    log_event(LOG_INFO, MESSAGE_REPLAYED,
              LOG_FIELDS({"IOTHSM_AUTHORITY", authority_thumbprint(request->authority)},
                         {"IOTHSM_REQUEST", request->siguuid}, {"IOTHSM_KIND", request->kind}),
              "Request %s came again while it is being handled; its answer is on the way", request->siguuid);
    finish(request);
}

static void on_found(JournalVerdict verdict, const char *intent, const char *answer, const GError *error,
                     void *userdata)
{
    Request *request = userdata;
    request->looking_up = false;
    request->in_flight = !error && (verdict == JOURNAL_NEW || verdict == JOURNAL_INTENDED);
    if (is_abandoned(request))
        return;
    if (error) {
        log_error("The journal can't be read, request %s is not signed: %s", request->siguuid,
                  error->message);
        refuse(request, "The request could not be looked up");
        return;
    }
    switch (verdict) {
    case JOURNAL_NEW:
        prepare(request, NULL);
        break;
    case JOURNAL_INTENDED:
        prepare(request, intent);
        break;
    case JOURNAL_ANSWERED:
        replay(request, answer);
        break;
    case JOURNAL_IN_FLIGHT:
        ignore_copy(request);
        break;
    case JOURNAL_CONFLICT:
        refuse(request, "The siguuid was used for another request");
        break;
    case JOURNAL_STALE:
        refuse(request, "The request is too old, or its signing time is missing or in the future");
        break;
    }
}

/* NULL: the request is for this authority. */
static const char *wrong_addressee(const Request *request)
{
    if (!wire_caindex_is(request->message->envelope, request->channel->caindex))
        return "Failed to find CA on HSM";
    JsonNode *node = json_object_get_member(request->content, "request");
    JsonObject *what = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    JsonNode *ca = what ? json_object_get_member(what, "ca") : NULL;
    if (!ca || JSON_NODE_HOLDS_NULL(ca))
        return NULL;
    if (!JSON_NODE_HOLDS_OBJECT(ca))
        return "request.ca is not an object";
    JsonObject *named = json_node_get_object(ca);
    return authority_answers_to(request->authority, json_get_string(named, "serial", NULL),
                                json_get_string(named, "thumbprint", NULL))
               ? NULL
               : "The request is for another certificate authority";
}

static void check(Request *request)
{
    const char *wrong = wrong_addressee(request);
    if (wrong) {
        refuse(request, wrong);
        return;
    }
    request->looking_up = true;
    if (!journal_look_up(request->journal, authority_thumbprint(request->authority), request->siguuid,
                         request->digest, request->signing_time, g_get_real_time() / G_USEC_PER_SEC, on_found,
                         request))
        lane_leave(g_steal_pointer(&request->place)); /* its turn was when the first of them had it */
}

static bool is_siguuid(const char *text)
{
    return text && *text && strlen(text) <= SIGUUID_MAX;
}

static void on_opened(const Opened *opened, const GError *error, void *userdata)
{
    Request *request = userdata;
    if (is_abandoned(request))
        return;
    if (!opened) {
        drop(request, error->message);
        return;
    }
    if (!opened->signer) {
        channel_context_log_foreign(request->channel, request->message, error);
        finish(request);
        return;
    }
    if (opened
            ->unopenable) { /* protocol.md 2.7; after a restart the platform may have been told the answer */
        drop(request, error->message);
        return;
    }
    X509_up_ref(opened->signer);
    request->platform = opened->signer;
    request->signing_time = opened->signing_time;
    memcpy(request->digest, opened->digest, sizeof request->digest);

    /* The signed name of the request counts; the unsigned one serves where the content could not be read. */
    const char *inner = opened->content ? json_get_string(opened->content, "siguuid", NULL) : NULL;
    if (opened->content ? is_siguuid(inner) : is_siguuid(request->siguuid)) {
        if (inner) {
            g_free(request->siguuid);
            request->siguuid = g_strdup(inner);
        }
    } else {
        drop(request, "It has no siguuid that an answer could name");
        return;
    }
    if (error) {
        refuse(request, error->message);
        return;
    }
    request->content = json_object_ref(opened->content);
    check(request);
}

Request *request_start(ChannelContext *channel, Lane *lane, TransportMessage *message, gint64 deadline,
                       DealtWithFunc done, void *userdata)
{
    Request *request = g_new0(Request, 1);
    request->channel = channel;
    request->journal = channel->link->journal;
    request->metrics = g_rc_box_acquire(channel->link->metrics);
    request->authority = authority_ref(channel->authority);
    request->message = transport_message_ref(message);
    request->deadline = deadline;
    request->started = g_get_monotonic_time();
    request->cancellable = g_cancellable_new();
    request->place = lane_enter(lane);
    request->number = ++channel->requests;
    request->tried = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    request->done = done;
    request->userdata = userdata;
    const char *kind = json_get_string(message->envelope, "signtype", NULL);
    const char *siguuid = json_get_string(message->envelope, "siguuid", NULL);
    request->kind = https_one_line(kind); /* it is logged before anybody has looked at it */
    request->siguuid = g_strdup(is_siguuid(siguuid) ? siguuid : "");
    opening_start(channel->link->crypto, channel->link->trust, OPENING_REQUEST, message->envelope, "smime",
                  channel_key_private(channel->key), channel->link->config->inflated_size, deadline,
                  request->cancellable, on_opened, request);
    return request;
}

void request_abandon(Request *request)
{
    if (!request)
        return;
    request->channel = NULL;
    if (request->looking_up || request->in_flight)
        journal_abandon(request->journal, authority_thumbprint(request->authority), request->siguuid,
                        request);
    g_cancellable_cancel(request->cancellable);
    if (request->delivery)
        g_cancellable_cancel(request->delivery);
    if (lane_leave(g_steal_pointer(&request->place)))
        finish(request);
}
