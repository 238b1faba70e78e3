/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One function a verb. Those that need an agent answer when their exchange is over. */

#include "tests/platform/verbs.h"
#include "tests/platform/drive.h"
#include "tests/platform/exchange.h"
#include "tests/platform/link.h"
#include <string.h>

enum {
    DEFAULT_TTL = 30,
    DEFAULT_TIMEOUT_MS = 30000,
    WAIT_STEP_MS = 20,
};

/* ---- authorities ---- */

static void verb_create_ca(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    AuthorityPlan plan = {.name = member_text(arguments, "name"),
                          .subject = member_text(arguments, "subject"),
                          .days = member_integer_or(arguments, "days", 3650),
                          .path_length = member_integer_or(arguments, "pathlen", -1),
                          .crl_url = member_text(arguments, "crl_url"),
                          .issuer_url = member_text(arguments, "issuer_url")};
    g_autoptr(GError) error = NULL;
    Authority *authority = plan.name ? registry_create(platform->registry, &plan, &error) : NULL;
    if (!authority) {
        control_refuse(call, error ? error->message : "A new authority needs a --name=");
        return;
    }
    JsonObject *answer = json_object_new();
    g_autofree char *pem = certificate_to_pem(authority->template);
    json_object_set_string_member(answer, "template", pem);
    json_object_set_string_member(answer, "channel", authority->channel);
    control_answer(call, answer);
}

static void verb_import_certificate(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    g_autoptr(GError) error = NULL;
    const char *pem = member_text(arguments, "certificate") ?: "";
    Authority *authority = registry_import(platform->registry, pem, member_text(arguments, "ca"), &error);
    if (!authority) {
        control_refuse(call, error->message);
        return;
    }
    JsonObject *answer = json_object_new();
    json_object_set_string_member(answer, "name", authority->name);
    json_object_set_string_member(answer, "serial", authority->serial);
    json_object_set_string_member(answer, "thumbprint", authority->thumbprint);
    control_answer(call, answer);
}

/* ---- one signature ---- */

/* A verb that waits for its exchange. */
typedef struct Errand {
    Platform *platform;
    ControlCall *call;
    Authority *authority;
    Order *order;
} Errand;

static JsonObject *errand_answer(const Errand *errand, const ExchangeResult *result)
{
    JsonObject *answer = json_object_new();
    g_autofree char *authority = certificate_to_pem(errand->authority->certificate);
    json_object_set_string_member(answer, "siguuid", result->siguuid);
    json_object_set_string_member(answer, "result", result->result ?: "");
    json_object_set_string_member(answer, "authority", authority);
    json_object_set_double_member(answer, "milliseconds", (double)result->elapsed / 1000.0);
    return answer;
}

static void errand_free(Errand *errand)
{
    order_unref(errand->order);
    g_free(errand);
}

static void errand_done(const ExchangeResult *result, void *userdata)
{
    Errand *errand = userdata;
    g_autoptr(GError) error = NULL;
    if (!result->error && g_str_equal(order_signtype(errand->order), "csr")) {
        g_autoptr(X509) certificate = certificate_from_pem(result->result, -1, &error);
        if (certificate)
            authority_note_issued(errand->authority, certificate, &error);
    }
    if (result->error || error)
        control_refuse(errand->call, result->error ?: error->message);
    else
        control_answer(errand->call, errand_answer(errand, result));
    errand_free(errand);
}

static ExchangeOptions exchange_options(JsonObject *arguments)
{
    ExchangeOptions options = {.ttl = member_integer_or(arguments, "ttl", DEFAULT_TTL),
                               .timeout_ms =
                                   (guint)member_integer_or(arguments, "timeout_ms", DEFAULT_TIMEOUT_MS),
                               .attempts = (guint)member_integer_or(arguments, "attempts", 1),
                               .reuse_offer = member_true(arguments, "reuse_offer"),
                               .uuid = member_text(arguments, "uuid"),
                               .siguuid = member_text(arguments, "siguuid"),
                               .outer_siguuid = member_text(arguments, "outer_siguuid"),
                               .signing_time = member_integer_or(arguments, "signing_time", 0)};
    options.has_caindex = member_integer(arguments, "caindex", &options.caindex);
    return options;
}

/* Takes |order|; NULL: |error| says why. */
static void run_errand(Platform *platform, ControlCall *call, JsonObject *arguments, Order *order,
                       ExchangeDoneFunc done, GError *error)
{
    Errand *errand = g_new0(Errand, 1);
    g_autoptr(GError) reason = error;
    ExchangeOptions options = exchange_options(arguments);
    errand->platform = platform;
    errand->call = call;
    errand->order = order;
    errand->authority =
        registry_find(platform->registry, member_text(arguments, "ca"), reason ? NULL : &reason);
    if (order && errand->authority &&
        exchange_start(platform->exchanges, errand->authority, order, &options, done, errand, &reason))
        return;
    control_refuse(call, reason->message);
    errand_free(errand);
}

static void verb_sign_csr(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    GError *error = NULL;
    Order *order =
        order_certificate(member_text(arguments, "csr") ?: "", member_object(arguments, "options"), &error);
    run_errand(platform, call, arguments, order, errand_done, error);
}

static void verb_make_crl(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    GError *error = NULL;
    g_auto(GStrv) revoke = member_texts(arguments, "revoke");
    Authority *authority = registry_find(platform->registry, member_text(arguments, "ca"), &error);
    for (char **what = revoke; authority && !error && *what; what++)
        authority_revoke(authority, *what, &error);
    Order *order = authority && !error
                       ? order_crl(authority->index->str, member_integer_or(arguments, "days", 30))
                       : NULL;
    run_errand(platform, call, arguments, order, errand_done, error);
}

static void verb_make_cms(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    GError *error = NULL;
    JsonObject *options = member_object(arguments, "options");
    if (!options)
        g_set_error_literal(&error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "A CMS needs options");
    run_errand(platform, call, arguments, options ? order_cms(options) : NULL, errand_done, error);
}

static void raw_done(const ExchangeResult *result, void *userdata)
{
    Errand *errand = userdata;
    JsonObject *answer = json_object_new();
    json_object_set_boolean_member(answer, "answered", result->answered);
    json_object_set_string_member(answer, "siguuid", result->siguuid);
    if (result->answered) {
        json_object_set_boolean_member(answer, "success", result->success);
        json_object_set_string_member(answer, "message", result->message);
    } else {
        json_object_set_string_member(answer, "why", result->error ?: "");
    }
    control_answer(errand->call, answer);
    errand_free(errand);
}

static void verb_send_raw(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    Order *order = order_raw(member_text(arguments, "signtype") ?: "csr", member_text(arguments, "request"),
                             member_text(arguments, "inner"));
    run_errand(platform, call, arguments, order, raw_done, NULL);
}

/* ---- misbehaving ---- */

static void verb_misbehave(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    g_autoptr(GError) error = NULL;
    g_auto(GStrv) texts = member_texts(arguments, "faults");
    gint64 seed;
    gint64 code;
    if (member_true(arguments, "clear"))
        faults_clear(platform->faults);
    if (member_integer(arguments, "seed", &seed))
        faults_seed(platform->faults, (guint32)seed);
    if (member_true(arguments, "chaos"))
        faults_add_chaos(platform->faults);
    if (member_integer(arguments, "close_now", &code))
        link_close_all(platform->link, code);
    JsonNode *probability = json_object_get_member(arguments, "probability");
    for (char **text = texts; *text && !error; text++) {
        FaultOrder order = {.text = *text,
                            .at = member_text(arguments, "at"),
                            .count = member_integer_or(arguments, "count", 1),
                            .probability = probability ? json_node_get_double(probability) : 1};
        faults_add(platform->faults, &order, &error);
    }
    if (error) {
        control_refuse(call, error->message);
        return;
    }
    JsonObject *answer = json_object_new();
    json_object_set_int_member(answer, "seed", faults_get_seed(platform->faults));
    json_object_set_array_member(answer, "faults", faults_describe(platform->faults));
    control_answer(call, answer);
}

/* ---- looking ---- */

static JsonArray *describe_authorities(Platform *platform)
{
    JsonArray *array = json_array_new();
    for (guint i = 0; i < registry_size(platform->registry); i++) {
        const Authority *authority = registry_at(platform->registry, i);
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "name", authority->name);
        json_object_set_string_member(object, "channel", authority->channel);
        json_object_set_boolean_member(object, "registered", authority->certificate != NULL);
        if (authority->certificate) {
            json_object_set_string_member(object, "serial", authority->serial);
            json_object_set_string_member(object, "thumbprint", authority->thumbprint);
        }
        json_object_set_int_member(object, "agents", link_agents(platform->link, authority->channel));
        json_array_add_object_element(array, object);
    }
    return array;
}

static void verb_status(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    JsonObject *answer = json_object_new();
    json_object_set_string_member(answer, "url", platform->url);
    json_object_set_string_member(answer, "publisher", platform->publisher);
    json_object_set_array_member(answer, "authorities", describe_authorities(platform));
    json_object_set_array_member(answer, "agents", link_describe(platform->link));
    json_object_set_int_member(answer, "running", exchanges_running(platform->exchanges));
    json_object_set_object_member(answer, "counters", tally_counters(platform->tally));
    json_object_set_array_member(answer, "faults", faults_describe(platform->faults));
    json_object_set_array_member(answer, "complaints", tally_complaints(platform->tally));
    control_answer(call, answer);
}

typedef struct Waiting {
    Platform *platform;
    ControlCall *call;
    char *channel; /* NULL: any */
    char *counter; /* waits for this counter instead */
    gint64 wanted;
    gint64 deadline;
} Waiting;

static bool is_there(const Waiting *waiting)
{
    if (waiting->counter)
        return tally_value(waiting->platform->tally, waiting->counter) >= waiting->wanted;
    gint64 agents = link_agents(waiting->platform->link, waiting->channel);
    return waiting->wanted > 0 ? agents >= waiting->wanted : agents == 0;
}

static gboolean look_again(gpointer data)
{
    Waiting *waiting = data;
    bool there = is_there(waiting);
    if (!there && g_get_monotonic_time() < waiting->deadline && control_is_wanted(waiting->call))
        return G_SOURCE_CONTINUE;
    if (there)
        control_answer(waiting->call, json_object_new());
    else
        control_refuse(waiting->call, "It didn't happen in time");
    g_free(waiting->channel);
    g_free(waiting->counter);
    g_free(waiting);
    return G_SOURCE_REMOVE;
}

/* Until so many agents have the authority's channel, or a counter has reached so much. */
static void verb_wait(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    g_autoptr(GError) error = NULL;
    const char *name = member_text(arguments, "ca");
    Authority *authority = name ? registry_find(platform->registry, name, &error) : NULL;
    if (error) {
        control_refuse(call, error->message);
        return;
    }
    Waiting *waiting = g_new0(Waiting, 1);
    waiting->platform = platform;
    waiting->call = call;
    waiting->channel = authority ? g_strdup(authority->channel) : NULL;
    waiting->counter = g_strdup(member_text(arguments, "counter"));
    waiting->wanted = member_integer_or(arguments, waiting->counter ? "value" : "agents", 1);
    waiting->deadline =
        g_get_monotonic_time() + member_integer_or(arguments, "timeout_ms", DEFAULT_TIMEOUT_MS) * 1000;
    g_timeout_add(WAIT_STEP_MS, look_again, waiting);
}

static void verb_stop(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    control_answer(call, json_object_new());
    g_main_loop_quit(platform->loop);
}

typedef void (*VerbFunc)(Platform *platform, ControlCall *call, JsonObject *arguments);

static const struct {
    const char *name;
    VerbFunc run;
} verbs[] = {
    {"create-ca", verb_create_ca}, {"import-certificate", verb_import_certificate},
    {"sign-csr", verb_sign_csr},   {"make-crl", verb_make_crl},
    {"make-cms", verb_make_cms},   {"drive", drive},
    {"misbehave", verb_misbehave}, {"send-raw", verb_send_raw},
    {"status", verb_status},       {"wait", verb_wait},
    {"stop", verb_stop},
};

void verbs_handle(ControlCall *call, JsonObject *arguments, void *platform)
{
    const char *name = member_text(arguments, "verb") ?: "";
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++)
        if (g_str_equal(verbs[i].name, name)) {
            verbs[i].run(platform, call, arguments);
            return;
        }
    g_autofree char *why = g_strdup_printf("There is no verb \"%s\"", name);
    control_refuse(call, why);
}
