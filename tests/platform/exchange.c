/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The life of an exchange: solicit → (offer) → request → (answer) → finished. A step's RSA work is a job; the
 * exchange stays until its last job is back. A timeout begins again with a solicitation while attempts are
 * left. */

#include "tests/platform/exchange.h"
#include "tests/platform/link.h"
#include "tests/platform/work.h"

enum {
    FINISHED_KEPT = 20000,
    REFUSED_WAIT_MS = 200,
    PATIENCE_MAX_MS = 12000,
    OFFER_MARGIN = 60, /* seconds that a reused offer's certificate must still be valid */
};

struct Exchanges {
    Platform *platform;
    GHashTable *running;  /* siguuid → Exchange */
    GHashTable *finished; /* siguuid → Finished */
    GQueue finished_order;
    GHashTable *offers;   /* channel → Offer: the newest */
    GHashTable *requests; /* channel → the newest request's envelope, for replays */
};

/* What is remembered of an exchange, to compare with what comes late. */
typedef struct Finished {
    char *siguuid;
    char *answer_digest; /* NULL: it ended without an answer */
    char *crl_digest;
} Finished;

typedef struct Exchange {
    Exchanges *exchanges;
    Authority *authority;
    Order *order;
    ExchangeOptions options; /* its texts are below */
    char *uuid;
    char *siguuid;
    char *outer_siguuid;
    bool wants_offer;
    bool over;
    guint attempts_left;
    guint patience_ms; /* doubled with each attempt, so that a busy machine is not asked more and more */
    guint timer;
    guint jobs;
    gint64 started;
    char *crl;
    ExchangeDoneFunc done;
    void *userdata;
} Exchange;

/* A job of an exchange; which inputs and results it has depends on its work. */
typedef struct Step {
    Exchange *exchange; /* NULL for what comes after the end */
    Exchanges *exchanges;
    const Pki *pki;
    X509 *authority;
    X509_STORE *anchors;
    MessageFaults faults;
    char *serial;
    char *thumbprint;
    char *siguuid;
    char *smime;
    char *crl;
    Offer *offer;
    gint64 received;
    char *text;
    Answer *answer;
    GError *error;
} Step;

static Step *step_new(Exchanges *exchanges, Exchange *exchange, Authority *authority, const char *siguuid)
{
    Step *step = g_new0(Step, 1);
    step->exchange = exchange;
    step->exchanges = exchanges;
    step->pki = exchanges->platform->pki;
    X509_up_ref(authority->certificate);
    step->authority = authority->certificate;
    X509_STORE_up_ref(authority->anchors);
    step->anchors = authority->anchors;
    step->serial = g_strdup(authority->serial);
    step->thumbprint = g_strdup(authority->thumbprint);
    step->siguuid = g_strdup(siguuid);
    step->received = g_get_monotonic_time();
    if (exchange)
        exchange->jobs++;
    return step;
}

static void exchange_free(Exchange *exchange)
{
    order_unref(exchange->order);
    g_free(exchange->uuid);
    g_free(exchange->siguuid);
    g_free(exchange->outer_siguuid);
    g_free(exchange->crl);
    g_free(exchange);
}

/* Frees |step|; its exchange goes with its last step after the end. */
static void step_free(Step *step)
{
    if (step->exchange && --step->exchange->jobs == 0 && step->exchange->over)
        exchange_free(step->exchange);
    X509_free(step->authority);
    X509_STORE_free(step->anchors);
    g_free(step->serial);
    g_free(step->thumbprint);
    g_free(step->siguuid);
    g_free(step->smime);
    g_free(step->crl);
    offer_free(step->offer);
    g_free(step->text);
    answer_free(step->answer);
    g_clear_error(&step->error);
    g_free(step);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Step, step_free)

/* ---- the end ---- */

static void finished_free(gpointer data)
{
    Finished *finished = data;
    g_free(finished->siguuid);
    g_free(finished->answer_digest);
    g_free(finished->crl_digest);
    g_free(finished);
}

static char *digest_of(const char *text)
{
    return text ? g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1) : NULL;
}

/* Of what the CRL says: a signature of the same may differ, when it had to be made again after a crash. */
static char *digest_of_crl(const char *pem)
{
    g_autoptr(X509_CRL) crl = pem ? crl_from_pem(pem, -1, NULL) : NULL;
    unsigned char *said = NULL;
    int size = crl ? i2d_re_X509_CRL_tbs(crl, &said) : 0;
    char *digest = size > 0 ? g_compute_checksum_for_data(G_CHECKSUM_SHA256, said, (gsize)size) : NULL;
    OPENSSL_free(said);
    return digest;
}

static void remember(Exchange *exchange, const Answer *answer)
{
    Exchanges *exchanges = exchange->exchanges;
    Finished *finished = g_new0(Finished, 1);
    finished->siguuid = g_strdup(exchange->siguuid);
    finished->answer_digest = digest_of(answer ? answer->message : NULL);
    finished->crl_digest = digest_of_crl(exchange->crl);
    g_hash_table_replace(exchanges->finished, finished->siguuid, finished);
    g_queue_push_tail(&exchanges->finished_order, g_strdup(finished->siguuid));
    if (g_queue_get_length(&exchanges->finished_order) > FINISHED_KEPT) {
        g_autofree char *oldest = g_queue_pop_head(&exchanges->finished_order);
        g_hash_table_remove(exchanges->finished, oldest);
    }
}

static void finish(Exchange *exchange, const Answer *answer, const char *result, const char *error,
                   gint64 received)
{
    exchange->over = true;
    g_clear_handle_id(&exchange->timer, g_source_remove);
    tally_count(exchange->exchanges->platform->tally, error ? "exchanges failed" : "exchanges done");
    remember(exchange, answer);
    g_hash_table_remove(exchange->exchanges->running, exchange->siguuid);
    ExchangeResult told = {.siguuid = exchange->siguuid,
                           .answered = answer != NULL,
                           .success = answer && answer->success,
                           .message = answer ? answer->message : NULL,
                           .result = result,
                           .error = error,
                           .elapsed = received - exchange->started};
    exchange->done(&told, exchange->userdata);
    if (exchange->jobs == 0)
        exchange_free(exchange);
}

static void fail(Exchange *exchange, const char *why)
{
    finish(exchange, NULL, NULL, why, g_get_monotonic_time());
}

/* ---- going out ---- */

static const struct {
    FaultKind kind;
    MessageFlaw flaw;
} said_wrongly[] = {
    {FAULT_WRONG_CA, MESSAGE_WRONG_CA},
    {FAULT_SIGUUID_DIFFERS, MESSAGE_SIGUUID_DIFFERS},
    {FAULT_UNKNOWN_TYPE, MESSAGE_UNKNOWN_TYPE},
    {FAULT_OTHER_UUID, MESSAGE_OTHER_UUID},
    {FAULT_NO_SMIME, MESSAGE_NO_SMIME},
    {FAULT_SMIME_NUMBER, MESSAGE_SMIME_NUMBER},
    {FAULT_NOT_JSON, MESSAGE_NOT_JSON},
    {FAULT_BAD_UTF8, MESSAGE_BAD_UTF8},
    {FAULT_OTHER_SIGNTYPE, MESSAGE_OTHER_SIGNTYPE},
};

static MessageFaults choose_faults(Faults *faults, FaultPlace place)
{
    MessageFaults chosen = {.flaw = faults_strike_flaw(faults, place)};
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    gint64 seconds;
    for (gsize i = 0; i < G_N_ELEMENTS(said_wrongly); i++)
        if (faults_strike(faults, said_wrongly[i].kind, place, NULL))
            chosen.flaws |= said_wrongly[i].flaw;
    if (faults_strike(faults, FAULT_DEEP_JSON, place, &chosen.depth))
        chosen.flaws |= MESSAGE_DEEP_JSON;
    chosen.has_caindex = faults_strike(faults, FAULT_WRONG_CAINDEX, place, &chosen.caindex);
    if (faults_strike(faults, FAULT_OLD_SIGNING_TIME, place, &seconds))
        chosen.signing_time = now - seconds;
    if (faults_strike(faults, FAULT_FUTURE_SIGNING_TIME, place, &seconds))
        chosen.signing_time = now + seconds;
    return chosen;
}

static void work_solicit(gpointer job)
{
    Step *step = job;
    SolicitText text = {.serial = step->serial,
                        .thumbprint = step->thumbprint,
                        .siguuid = step->siguuid,
                        .ttl = step->exchange->options.ttl};
    step->text = message_solicit(&text, step->pki, &step->faults, &step->error);
}

static void solicit_made(gpointer job)
{
    g_autoptr(Step) step = job;
    Exchange *exchange = step->exchange;
    if (exchange->over)
        return;
    if (step->text)
        link_publish(step->exchanges->platform->link, exchange->authority->channel, step->text,
                     PLACE_SOLICIT);
    else
        fail(exchange, step->error->message);
}

static void solicit(Exchange *exchange)
{
    exchange->wants_offer = true;
    Step *step = step_new(exchange->exchanges, exchange, exchange->authority, exchange->siguuid);
    step->faults = choose_faults(exchange->exchanges->platform->faults, PLACE_SOLICIT);
    work_submit(work_solicit, solicit_made, step);
}

static void work_request(gpointer job)
{
    Step *step = job;
    const Exchange *exchange = step->exchange;
    const ExchangeOptions *options = &exchange->options;
    bool wrong_ca = step->faults.flaws & MESSAGE_WRONG_CA;
    g_autofree char *request = order_request(exchange->order, wrong_ca ? MESSAGE_OTHER_SERIAL : step->serial,
                                             wrong_ca ? MESSAGE_OTHER_THUMBPRINT : step->thumbprint);
    RequestText text = {.uuid = exchange->uuid ?: step->offer->uuid,
                        .siguuid = exchange->siguuid,
                        .outer_siguuid = exchange->outer_siguuid,
                        .caindex = options->has_caindex ? options->caindex : step->offer->caindex,
                        .signtype = order_signtype(exchange->order),
                        .ttl = options->ttl,
                        .request = request,
                        .inner = order_inner(exchange->order),
                        .recipient = step->offer->signer};
    if (!step->faults.signing_time)
        step->faults.signing_time = options->signing_time;
    step->text = message_request(&text, step->pki, &step->faults, &step->error);
}

static void request_made(gpointer job)
{
    g_autoptr(Step) step = job;
    Exchange *exchange = step->exchange;
    Platform *platform = step->exchanges->platform;
    if (exchange->over)
        return;
    if (!step->text) {
        fail(exchange, step->error->message);
        return;
    }
    const char *channel = exchange->authority->channel;
    const char *earlier = g_hash_table_lookup(step->exchanges->requests, channel);
    if (earlier && faults_strike(platform->faults, FAULT_REPLAY, PLACE_REQUEST, NULL))
        link_publish(platform->link, channel, earlier, PLACE_REQUEST);
    g_hash_table_replace(step->exchanges->requests, g_strdup(channel), g_strdup(step->text));
    link_publish(platform->link, channel, step->text, PLACE_REQUEST);
}

static Offer *offer_copy(const Offer *offer)
{
    Offer *copy = g_new0(Offer, 1);
    copy->uuid = g_strdup(offer->uuid);
    copy->caindex = offer->caindex;
    copy->siguuid = g_strdup(offer->siguuid);
    X509_up_ref(offer->signer);
    copy->signer = offer->signer;
    return copy;
}

static void request(Exchange *exchange, const Offer *offer)
{
    exchange->wants_offer = false;
    Step *step = step_new(exchange->exchanges, exchange, exchange->authority, exchange->siguuid);
    step->offer = offer_copy(offer);
    step->faults = choose_faults(exchange->exchanges->platform->faults, PLACE_REQUEST);
    work_submit(work_request, request_made, step);
}

static const Offer *offer_at_hand(Exchange *exchange)
{
    const Offer *offer = g_hash_table_lookup(exchange->exchanges->offers, exchange->authority->channel);
    time_t soon = time(NULL) + OFFER_MARGIN;
    return offer && X509_cmp_time(X509_get0_notAfter(offer->signer), &soon) > 0 ? offer : NULL;
}

/* ---- attempts ---- */

static gboolean timed_out(gpointer data)
{
    Exchange *exchange = data;
    exchange->timer = 0;
    if (exchange->attempts_left == 0) {
        fail(exchange, exchange->wants_offer ? "no offer came in time" : "no answer came in time");
        return G_SOURCE_REMOVE;
    }
    tally_count(exchange->exchanges->platform->tally, "exchanges begun again");
    exchange->attempts_left--;
    exchange->patience_ms = MAX(MIN(2 * exchange->patience_ms, PATIENCE_MAX_MS), exchange->patience_ms);
    exchange->timer = g_timeout_add(exchange->patience_ms, timed_out, exchange);
    solicit(exchange);
    return G_SOURCE_REMOVE;
}

bool exchange_start(Exchanges *exchanges, Authority *authority, Order *order, const ExchangeOptions *options,
                    ExchangeDoneFunc done, void *userdata, GError **error)
{
    if (!authority->certificate) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_INITIALIZED,
                    "Authority \"%s\" has no certificate yet; make one from its provisioning certificate and "
                    "import-certificate it",
                    authority->name);
        return false;
    }
    if (options->siguuid && g_hash_table_contains(exchanges->running, options->siguuid)) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_EXISTS, "The siguuid %s is in use right now",
                    options->siguuid);
        return false;
    }
    Exchange *exchange = g_new0(Exchange, 1);
    exchange->exchanges = exchanges;
    exchange->authority = authority;
    exchange->order = order_ref(order);
    exchange->options = *options;
    exchange->uuid = g_strdup(options->uuid);
    exchange->siguuid = options->siguuid ? g_strdup(options->siguuid) : g_uuid_string_random();
    exchange->outer_siguuid = g_strdup(options->outer_siguuid);
    exchange->attempts_left = options->attempts > 0 ? options->attempts - 1 : 0;
    exchange->done = done;
    exchange->userdata = userdata;
    exchange->started = g_get_monotonic_time();
    exchange->patience_ms = options->timeout_ms;
    exchange->timer = g_timeout_add(exchange->patience_ms, timed_out, exchange);
    g_hash_table_insert(exchanges->running, exchange->siguuid, exchange);
    const Offer *offer = options->reuse_offer ? offer_at_hand(exchange) : NULL;
    if (offer)
        request(exchange, offer);
    else
        solicit(exchange);
    return true;
}

/* ---- coming in ---- */

static void work_offer(gpointer job)
{
    Step *step = job;
    step->offer = message_read_offer(step->smime, step->authority, step->anchors, &step->error);
    if (step->offer && g_strcmp0(step->offer->siguuid, step->siguuid) != 0)
        g_set_error_literal(&step->error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "The offer's siguuid differs from its envelope's");
}

static void offer_read(gpointer job)
{
    g_autoptr(Step) step = job;
    Exchange *exchange = step->exchange;
    Tally *tally = step->exchanges->platform->tally;
    if (step->error) {
        tally_complain(tally, "Offer on \"%s\": %s", exchange->authority->name, step->error->message);
        return;
    }
    tally_count(tally, "offers");
    g_hash_table_replace(step->exchanges->offers, g_strdup(exchange->authority->channel),
                         offer_copy(step->offer));
    if (!exchange->over && exchange->wants_offer)
        request(exchange, step->offer);
}

static void work_answer(gpointer job)
{
    Step *step = job;
    step->answer = message_read_answer(step->smime, step->authority, step->anchors, step->pki, &step->error);
    if (!step->answer)
        return;
    if (!step->exchange)
        return;
    Order *order = step->exchange->order;
    if (!order_is_raw(order) && g_strcmp0(step->answer->siguuid, step->siguuid) != 0) {
        g_set_error_literal(&step->error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "The answer's siguuid differs from its envelope's");
        return;
    }
    if (order_is_raw(order))
        return;
    if (!step->answer->success) {
        g_set_error(&step->error, G_IO_ERROR, G_IO_ERROR_FAILED, "refused: %s", step->answer->message);
        return;
    }
    if (order_is_delivered(order) && (!step->crl || !g_str_equal(step->answer->message, "crl uploaded"))) {
        g_set_error_literal(&step->error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "The CRL was confirmed otherwise than by an upload and then \"crl uploaded\"");
        return;
    }
    const char *result = order_is_delivered(order) ? step->crl : step->answer->message;
    order_check(order, step->authority, step->anchors, result, &step->error);
}

/* Whether an answer that isn't the first says the same as the first. */
static void compare_with_first(const Step *step)
{
    Tally *tally = step->exchanges->platform->tally;
    const Finished *finished = g_hash_table_lookup(step->exchanges->finished, step->siguuid);
    g_autofree char *digest = digest_of(step->answer->message);
    if (!finished || !finished->answer_digest) {
        tally_count(tally, "late answers");
    } else if (g_str_equal(digest, finished->answer_digest)) {
        tally_count(tally, "duplicates");
    } else {
        tally_count(tally, "conflicts");
        tally_complain(tally, "Request %s was answered a second time, with something else", step->siguuid);
    }
}

static void answer_read(gpointer job)
{
    g_autoptr(Step) step = job;
    Exchange *exchange = step->exchange;
    Tally *tally = step->exchanges->platform->tally;
    if (!step->answer) {
        tally_complain(tally, "Answer on \"%s\": %s", exchange->authority->name, step->error->message);
        if (!exchange->over)
            fail(exchange, step->error->message);
        return;
    }
    tally_count(tally, "answers");
    if (exchange->over) { /* a second answer was already being read when the first one ended it */
        compare_with_first(step);
        return;
    }
    if (exchange->options.retry_refused && exchange->attempts_left > 0 && !step->answer->success) {
        tally_count(tally, "refusals");
        g_clear_handle_id(&exchange->timer, g_source_remove);
        exchange->timer = g_timeout_add(REFUSED_WAIT_MS, timed_out, exchange);
        return;
    }
    const char *result = step->crl ?: step->answer->message;
    bool good = !step->error && step->answer->success;
    if (step->error && !g_error_matches(step->error, G_IO_ERROR, G_IO_ERROR_FAILED))
        tally_complain(tally, "Answer on \"%s\": %s", exchange->authority->name, step->error->message);
    finish(exchange, step->answer, good ? result : NULL, step->error ? step->error->message : NULL,
           step->received);
}

/* An answer to what is over. */
static void late_answer_read(gpointer job)
{
    g_autoptr(Step) step = job;
    if (step->answer)
        compare_with_first(step);
    else
        tally_complain(step->exchanges->platform->tally, "Late answer: %s", step->error->message);
}

static void take_offer(Exchanges *exchanges, Authority *authority, JsonObject *envelope)
{
    static const char *const names[] = {"type", "uuid", "siguuid", "smime", NULL};
    Platform *platform = exchanges->platform;
    const char *siguuid = member_text(envelope, "siguuid");
    Exchange *exchange = g_hash_table_lookup(exchanges->running, siguuid);
    if (!members_are(envelope, names) || g_strcmp0(member_text(envelope, "uuid"), platform->publisher) != 0)
        tally_complain(platform->tally,
                       "An offer's envelope is not type, uuid (the platform's), siguuid, smime");
    if (!exchange || exchange->authority != authority || !exchange->wants_offer) {
        tally_count(platform->tally, "offers not needed");
        return;
    }
    Step *step = step_new(exchanges, exchange, authority, siguuid);
    step->smime = g_strdup(member_text(envelope, "smime"));
    work_submit(work_offer, offer_read, step);
}

static void take_answer(Exchanges *exchanges, Authority *authority, JsonObject *envelope)
{
    static const char *const names[] = {"type", "siguuid", "uuid", "smime", NULL};
    Platform *platform = exchanges->platform;
    const char *siguuid = member_text(envelope, "siguuid");
    Exchange *exchange = g_hash_table_lookup(exchanges->running, siguuid);
    if (!members_are(envelope, names) || g_strcmp0(member_text(envelope, "uuid"), platform->publisher) != 0)
        tally_complain(platform->tally,
                       "An answer's envelope is not type, siguuid, uuid (the platform's), smime");
    if (exchange && exchange->authority != authority)
        exchange = NULL;
    Step *step = step_new(exchanges, exchange, authority, siguuid);
    step->smime = g_strdup(member_text(envelope, "smime"));
    step->crl = exchange ? g_strdup(exchange->crl) : NULL;
    work_submit(work_answer, exchange ? answer_read : late_answer_read, step);
}

void exchanges_take(Exchanges *exchanges, const char *channel, JsonObject *envelope)
{
    Platform *platform = exchanges->platform;
    Authority *authority = registry_find_channel(platform->registry, channel);
    const char *type = member_text(envelope, "type");
    if (!authority || !authority->certificate || !type || !member_text(envelope, "siguuid") ||
        !member_text(envelope, "smime")) {
        tally_complain(platform->tally, "An agent published an envelope without type, siguuid or smime");
        return;
    }
    if (g_str_equal(type, "services offerred"))
        take_offer(exchanges, authority, envelope);
    else if (g_str_equal(type, "signature response"))
        take_answer(exchanges, authority, envelope);
    else
        tally_complain(platform->tally, "An agent published an envelope of the unknown type \"%s\"", type);
}

bool exchanges_take_crl(Exchanges *exchanges, Authority *authority, const char *siguuid, const char *crl)
{
    Tally *tally = exchanges->platform->tally;
    Exchange *exchange = g_hash_table_lookup(exchanges->running, siguuid);
    const Finished *finished = g_hash_table_lookup(exchanges->finished, siguuid);
    const char *earlier = exchange ? exchange->crl : NULL;
    g_autofree char *digest = digest_of_crl(crl);
    g_autofree char *earlier_digest =
        earlier ? digest_of_crl(earlier) : g_strdup(finished ? finished->crl_digest : NULL);
    if (earlier_digest && !g_str_equal(digest, earlier_digest)) {
        tally_count(tally, "conflicts");
        tally_complain(tally, "For request %s a second CRL was delivered", siguuid);
    }
    if (!exchange || exchange->authority != authority)
        return finished != NULL;
    g_free(exchange->crl);
    exchange->crl = g_strdup(crl);
    return true;
}

Exchanges *exchanges_new(Platform *platform)
{
    Exchanges *exchanges = g_new0(Exchanges, 1);
    exchanges->platform = platform;
    exchanges->running = g_hash_table_new(g_str_hash, g_str_equal);
    exchanges->finished = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, finished_free);
    g_queue_init(&exchanges->finished_order);
    exchanges->offers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)offer_free);
    exchanges->requests = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return exchanges;
}

/* What still runs is left to the end of the process: its jobs may be on threads. */
void exchanges_free(Exchanges *exchanges)
{
    if (!exchanges || g_hash_table_size(exchanges->running) > 0)
        return;
    g_hash_table_unref(exchanges->running);
    g_hash_table_unref(exchanges->finished);
    g_queue_clear_full(&exchanges->finished_order, g_free);
    g_hash_table_unref(exchanges->offers);
    g_hash_table_unref(exchanges->requests);
    g_free(exchanges);
}

guint exchanges_running(const Exchanges *exchanges)
{
    return g_hash_table_size(exchanges->running);
}
