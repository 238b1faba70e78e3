/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Starts exchanges until so many are in flight, another one whenever one ends. Requests differ in what is
 * asked (subject, content, revoked serial number), so that a result can't pass for another request's. Some
 * results spread over the run go back to the client, which lets the openssl command judge them. */

#include "tests/platform/drive.h"
#include "tests/platform/exchange.h"

enum {
    KEYS = 16,
    ERRORS_TOLD = 20,
    DAYS = 30,
    SAMPLE_EVERY = 100, /* where the number of requests is not known beforehand */
};

typedef struct Drive {
    Platform *platform;
    Authority *authority;
    ControlCall *call;
    ExchangeOptions options;
    char *kind;
    char *requests_pem[KEYS];
    gint64 requests;
    gint64 until; /* µs of g_get_monotonic_time(), when |requests| is not what ends it; or 0 */
    gint64 concurrency;
    gint64 sample_every;
    guint linger_ms;
    gint64 next;
    gint64 running;
    gint64 ok;
    gint64 failed;
    gint64 started;
    gint64 ended;
    gint64 duplicates_before;
    gint64 conflicts_before;
    GArray *latencies;  /* gint64, µs */
    GHashTable *errors; /* text → count */
    JsonArray *samples;
} Drive;

/* One request in flight. */
typedef struct Lap {
    Drive *drive;
    Order *order;
    const char *kind;
    bool is_sample;
} Lap;

static void drive_free(Drive *run)
{
    for (int i = 0; i < KEYS; i++)
        g_free(run->requests_pem[i]);
    g_free(run->kind);
    g_array_unref(run->latencies);
    g_hash_table_unref(run->errors);
    json_array_unref(run->samples);
    g_free(run);
}

/* ---- what is asked ---- */

static Order *certificate_order(const Drive *run, gint64 number)
{
    g_autofree char *text = g_strdup_printf(
        "{\"days\":%d,\"subject\":{\"organizationName\":\"Drive\",\"commonName\":[\"host-%" G_GINT64_FORMAT
        ".example.test\"]},\"extensions\":{\"basicConstraints\":{\"critical\":true,\"CA\":false},"
        "\"keyUsage\":{\"critical\":true,\"usages\":[\"digitalSignature\"]},"
        "\"extendedKeyUsage\":{\"usages\":[\"serverAuth\"]},"
        "\"SANs\":{\"DNS\":[\"host-%" G_GINT64_FORMAT ".example.test\"]}}}",
        DAYS, number, number);
    g_autoptr(JsonObject) options = object_from_text(text, -1, NULL);
    return order_certificate(run->requests_pem[number % KEYS], options, NULL);
}

static Order *crl_order(gint64 number)
{
    g_autofree char *database = g_strdup_printf(
        "R\t340101000000Z\t250101000000Z,superseded\t%016" G_GINT64_MODIFIER "X\tunknown\t/CN=revoked\n",
        (guint64)number + 1);
    return order_crl(database, DAYS);
}

static Order *cms_order(gint64 number)
{
    g_autoptr(JsonObject) options = json_object_new();
    g_autofree char *data = g_strdup_printf("message number %" G_GINT64_FORMAT, number);
    json_object_set_string_member(options, "data", data);
    json_object_set_string_member(options, "outform", "PEM");
    return order_cms(options);
}

/* Mixed: seven certificates, two CMS, one CRL of ten. */
static const char *kind_of(const Drive *run, gint64 number)
{
    if (!g_str_equal(run->kind, "mixed"))
        return run->kind;
    gint64 turn = number % 10;
    return turn < 7 ? "csr" : turn < 9 ? "cms" : "crl";
}

static Order *order_for(const Drive *run, const char *kind, gint64 number)
{
    return g_str_equal(kind, "csr")   ? certificate_order(run, number)
           : g_str_equal(kind, "crl") ? crl_order(number)
                                      : cms_order(number);
}

/* ---- figures ---- */

static int compare_times(gconstpointer a, gconstpointer b)
{
    gint64 difference = *(const gint64 *)a - *(const gint64 *)b;
    return difference < 0 ? -1 : difference > 0;
}

/* In ms; the nearest rank. */
static double percentile(const GArray *sorted, guint percent)
{
    if (sorted->len == 0)
        return 0;
    guint rank = (sorted->len * percent + 99) / 100;
    return (double)g_array_index(sorted, gint64, MAX(rank, 1) - 1) / 1000.0;
}

static JsonArray *describe_errors(const Drive *run)
{
    JsonArray *array = json_array_new();
    GHashTableIter iterator;
    gpointer text;
    gpointer count;
    g_hash_table_iter_init(&iterator, run->errors);
    while (g_hash_table_iter_next(&iterator, &text, &count) && json_array_get_length(array) < ERRORS_TOLD) {
        JsonObject *object = json_object_new();
        json_object_set_string_member(object, "error", text);
        json_object_set_int_member(object, "count", GPOINTER_TO_INT(count));
        json_array_add_object_element(array, object);
    }
    return array;
}

static gboolean report(gpointer data)
{
    Drive *run = data;
    Tally *tally = run->platform->tally;
    double seconds = (double)(run->ended - run->started) / G_USEC_PER_SEC;
    g_array_sort(run->latencies, compare_times);
    JsonObject *answer = json_object_new();
    json_object_set_int_member(answer, "requests", run->requests);
    json_object_set_int_member(answer, "ok_count", run->ok);
    json_object_set_int_member(answer, "failed", run->failed);
    json_object_set_int_member(answer, "duplicates",
                               tally_value(tally, "duplicates") - run->duplicates_before);
    json_object_set_int_member(answer, "conflicts", tally_value(tally, "conflicts") - run->conflicts_before);
    json_object_set_int_member(answer, "concurrency", run->concurrency);
    json_object_set_double_member(answer, "seconds", seconds);
    json_object_set_double_member(answer, "throughput", seconds > 0 ? (double)run->ok / seconds : 0);
    json_object_set_double_member(answer, "p50", percentile(run->latencies, 50));
    json_object_set_double_member(answer, "p95", percentile(run->latencies, 95));
    json_object_set_double_member(answer, "p99", percentile(run->latencies, 99));
    json_object_set_double_member(answer, "max", percentile(run->latencies, 100));
    json_object_set_array_member(answer, "errors", describe_errors(run));
    json_object_set_array_member(answer, "samples", json_array_ref(run->samples));
    g_autofree char *authority = certificate_to_pem(run->authority->certificate);
    json_object_set_string_member(answer, "authority", authority);
    control_answer(run->call, answer);
    drive_free(run);
    return G_SOURCE_REMOVE;
}

/* ---- running ---- */

static void start_more(Drive *run);

static void note_error(Drive *run, const char *error)
{
    run->failed++;
    gint count = GPOINTER_TO_INT(g_hash_table_lookup(run->errors, error));
    g_hash_table_replace(run->errors, g_strdup(error), GINT_TO_POINTER(count + 1));
}

static void note_sample(Drive *run, const Lap *lap, const char *result)
{
    JsonObject *sample = json_object_new();
    json_object_set_string_member(sample, "kind", lap->kind);
    json_object_set_string_member(sample, "result", result);
    json_array_add_object_element(run->samples, sample);
}

static void lap_done(const ExchangeResult *result, void *userdata)
{
    Lap *lap = userdata;
    Drive *run = lap->drive;
    run->running--;
    run->ended = g_get_monotonic_time();
    if (result->error) {
        note_error(run, result->error);
    } else {
        run->ok++;
        g_array_append_val(run->latencies, result->elapsed);
        if (lap->is_sample)
            note_sample(run, lap, result->result);
    }
    order_unref(lap->order);
    g_free(lap);
    start_more(run);
}

static void start_one(Drive *run)
{
    Lap *lap = g_new0(Lap, 1);
    gint64 number = run->next++;
    g_autoptr(GError) error = NULL;
    lap->drive = run;
    lap->kind = kind_of(run, number);
    lap->order = order_for(run, lap->kind, number);
    lap->is_sample = run->sample_every > 0 && number % run->sample_every == 0;
    run->running++;
    if (exchange_start(run->platform->exchanges, run->authority, lap->order, &run->options, lap_done, lap,
                       &error))
        return;
    run->running--;
    note_error(run, error->message);
    order_unref(lap->order);
    g_free(lap);
}

static void start_more(Drive *run)
{
    if (!control_is_wanted(run->call) || (run->until && g_get_monotonic_time() >= run->until))
        run->requests = run->next;
    while (run->next < run->requests && run->running < run->concurrency)
        start_one(run);
    if (run->running == 0)
        g_timeout_add(run->linger_ms, report, run);
}

static bool make_requests(Drive *run, GError **error)
{
    for (int i = 0; i < KEYS; i++) {
        g_autoptr(EVP_PKEY) key = pki_new_key("p256", error);
        g_autoptr(X509_REQ) request = key ? pki_new_request(key, "drive", error) : NULL;
        if (!request)
            return false;
        run->requests_pem[i] = request_to_pem(request);
    }
    return true;
}

static bool is_kind(const char *kind)
{
    static const char *const kinds[] = {"csr", "crl", "cms", "mixed", NULL};
    return g_strv_contains(kinds, kind);
}

void drive(Platform *platform, ControlCall *call, JsonObject *arguments)
{
    g_autoptr(GError) error = NULL;
    Authority *authority = registry_find(platform->registry, member_text(arguments, "ca"), &error);
    const char *kind = member_text(arguments, "kind") ?: "csr";
    if (authority && !is_kind(kind))
        g_set_error(&error, G_IO_ERROR, G_IO_ERROR_INVALID_ARGUMENT, "\"%s\" is not csr, crl, cms or mixed",
                    kind);
    if (!authority || error) {
        control_refuse(call, error->message);
        return;
    }
    Drive *run = g_new0(Drive, 1);
    run->platform = platform;
    run->authority = authority;
    run->call = call;
    run->kind = g_strdup(kind);
    run->requests = MAX(member_integer_or(arguments, "requests", 100), 1);
    run->concurrency = MAX(member_integer_or(arguments, "concurrency", 8), 1);
    run->linger_ms = (guint)member_integer_or(arguments, "linger_ms", 0);
    gint64 samples = MIN(member_integer_or(arguments, "samples", 10), run->requests);
    run->sample_every = samples > 0 ? run->requests / samples : 0;
    gint64 seconds = member_integer_or(arguments, "seconds", 0);
    if (seconds > 0) {
        run->until = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
        run->requests = G_MAXINT64;
        run->sample_every = SAMPLE_EVERY;
    }
    run->options = (ExchangeOptions){.ttl = member_integer_or(arguments, "ttl", 30),
                                     .timeout_ms = (guint)member_integer_or(arguments, "timeout_ms", 30000),
                                     .attempts = (guint)member_integer_or(arguments, "attempts", 1),
                                     .reuse_offer = member_true(arguments, "reuse_offer"),
                                     .retry_refused = member_true(arguments, "retry_refused")};
    run->duplicates_before = tally_value(platform->tally, "duplicates");
    run->conflicts_before = tally_value(platform->tally, "conflicts");
    run->latencies = g_array_new(FALSE, FALSE, sizeof(gint64));
    run->errors = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    run->samples = json_array_new();
    if (!authority->certificate || !make_requests(run, &error)) {
        control_refuse(call, error ? error->message
                                   : "This authority has no certificate yet; import-certificate it");
        drive_free(run);
        return;
    }
    run->started = run->ended = g_get_monotonic_time();
    start_more(run);
}
