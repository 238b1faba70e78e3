/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A verb is a row in a table: its options, what it asks and what it does with the answer. Results go to
 * stdout alone, remarks to stderr. */

#include "tests/platform/client.h"
#include "tests/platform/control.h"
#include "tests/platform/faults.h"
#include "tests/platform/judge.h"
#include "tests/platform/options.h"
#include "tests/platform/pki.h"
#include <stdio.h>
#include <string.h>

enum {
    STATUS_OK = 0,
    STATUS_FAILED = 1,
    STATUS_USAGE = 2,
    STATUS_NO_ANSWER = 3,
};

static ClientOptions given;

/* ---- what several verbs do ---- */

static void set_text(JsonObject *object, const char *name, const char *text)
{
    if (text)
        json_object_set_string_member(object, name, text);
}

static void set_number(JsonObject *object, const char *name, gint64 number)
{
    if (number != OPTION_UNSET)
        json_object_set_int_member(object, name, number);
}

static JsonArray *array_of(char **texts)
{
    JsonArray *array = json_array_new();
    for (char **text = texts; text && *text; text++)
        json_array_add_string_element(array, *text);
    return array;
}

/* Patience and the like, for the verbs that have an exchange behind them. */
static void set_exchange(JsonObject *arguments)
{
    set_text(arguments, "ca", given.ca);
    set_text(arguments, "siguuid", given.siguuid);
    set_number(arguments, "ttl", given.ttl);
    set_number(arguments, "attempts", given.attempts);
    if (given.timeout != OPTION_UNSET)
        json_object_set_int_member(arguments, "timeout_ms", given.timeout * 1000);
    if (given.reuse_offer)
        json_object_set_boolean_member(arguments, "reuse_offer", TRUE);
}

/* FILE's text, "-": stdin. Transfer full. */
static char *read_file(const char *path, GError **error)
{
    char *text = NULL;
    g_file_get_contents(g_str_equal(path, "-") ? "/dev/stdin" : path, &text, NULL, error);
    return text;
}

static bool write_result(const char *text, GError **error)
{
    if (given.out)
        return g_file_set_contents(given.out, text, -1, error);
    fputs(text, stdout);
    if (*text && text[strlen(text) - 1] != '\n')
        putchar('\n');
    return true;
}

static int print_object(JsonObject *answer)
{
    json_object_remove_member(answer, "ok");
    g_autofree char *text = object_to_text(answer, !given.json);
    puts(text);
    return STATUS_OK;
}

static int failed(const GError *error)
{
    g_printerr("iothsm-platform: %s\n", error->message);
    return STATUS_FAILED;
}

/* ---- authorities ---- */

static int verb_create_ca(JsonObject *arguments, GError **error)
{
    set_text(arguments, "name", given.name);
    set_text(arguments, "subject", given.subject);
    set_text(arguments, "crl_url", given.crl_url);
    set_text(arguments, "issuer_url", given.issuer_url);
    set_number(arguments, "days", given.days);
    set_number(arguments, "pathlen", given.pathlen);
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    return answer && write_result(member_text(answer, "template"), error) ? STATUS_OK : STATUS_FAILED;
}

static int verb_import_certificate(JsonObject *arguments, GError **error)
{
    if (!given.rest || !given.rest[0] || given.rest[1]) {
        g_printerr("iothsm-platform: import-certificate needs one FILE (- is stdin)\n");
        return STATUS_USAGE;
    }
    g_autofree char *pem = read_file(given.rest[0], error);
    if (!pem)
        return STATUS_FAILED;
    set_text(arguments, "ca", given.ca);
    set_text(arguments, "certificate", pem);
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    return answer ? print_object(answer) : STATUS_FAILED;
}

/* ---- signatures ---- */

/* A certificate request from --csr or for a --new-key. Transfer full. */
static char *request_pem(GError **error)
{
    if (given.csr)
        return read_file(given.csr, error);
    g_autoptr(EVP_PKEY) key = pki_new_key(given.new_key ?: "p256", error);
    if (!key || (given.key_out && !pki_save(given.key_out, NULL, key, error)))
        return NULL;
    g_autoptr(X509_REQ) request = pki_new_request(key, given.dns ? given.dns[0] : given.name, error);
    return request ? request_to_pem(request) : NULL;
}

static bool is_dated(JsonObject *options)
{
    return json_object_has_member(options, "startdate");
}

static int verb_sign_csr(JsonObject *arguments, GError **error)
{
    g_autofree char *csr = request_pem(error);
    g_autoptr(JsonObject) options = csr ? options_for_certificate(&given, error) : NULL;
    if (!options)
        return STATUS_FAILED;
    set_exchange(arguments);
    set_text(arguments, "csr", csr);
    json_object_set_object_member(arguments, "options", json_object_ref(options));
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    if (!answer || !judge_certificate(member_text(answer, "result"), member_text(answer, "authority"),
                                      is_dated(options), error))
        return STATUS_FAILED;
    g_printerr("openssl verify: OK\n");
    return write_result(member_text(answer, "result"), error) ? STATUS_OK : STATUS_FAILED;
}

static int verb_make_crl(JsonObject *arguments, GError **error)
{
    set_exchange(arguments);
    set_number(arguments, "days", given.days);
    json_object_set_array_member(arguments, "revoke", array_of(given.revoke));
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    if (!answer || !judge_crl(member_text(answer, "result"), member_text(answer, "authority"), error))
        return STATUS_FAILED;
    g_printerr("openssl crl: verify OK\n");
    return write_result(member_text(answer, "result"), error) ? STATUS_OK : STATUS_FAILED;
}

static int verb_make_cms(JsonObject *arguments, GError **error)
{
    g_autoptr(GBytes) data = NULL;
    g_autoptr(JsonObject) options = options_for_cms(&given, &data, error);
    if (!options)
        return STATUS_FAILED;
    set_exchange(arguments);
    json_object_set_object_member(arguments, "options", json_object_ref(options));
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    g_autoptr(GBytes) content =
        answer ? judge_cms(member_text(answer, "result"), member_text(options, "outform"),
                           member_text(answer, "authority"), error)
               : NULL;
    if (!content)
        return STATUS_FAILED;
    if (!g_bytes_equal(content, data)) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA,
                            "`openssl cms -verify` gives other content than was sent");
        return STATUS_FAILED;
    }
    g_printerr("openssl cms -verify: OK\n");
    return write_result(member_text(answer, "result"), error) ? STATUS_OK : STATUS_FAILED;
}

/* ---- driving ---- */

static bool judge_sample(JsonObject *sample, const char *authority, GError **error)
{
    const char *kind = member_text(sample, "kind");
    const char *result = member_text(sample, "result");
    if (g_str_equal(kind, "csr"))
        return judge_certificate(result, authority, true,
                                 error); /* its dates were held against those asked for */
    if (g_str_equal(kind, "crl"))
        return judge_crl(result, authority, error);
    g_autoptr(GBytes) content = judge_cms(result, "PEM", authority, error);
    return content != NULL;
}

static bool judge_samples(JsonObject *answer, GError **error)
{
    JsonArray *samples = member_array(answer, "samples");
    for (guint i = 0; i < json_array_get_length(samples); i++)
        if (!judge_sample(json_array_get_object_element(samples, i), member_text(answer, "authority"), error))
            return false;
    return true;
}

static int verb_drive(JsonObject *arguments, GError **error)
{
    set_exchange(arguments);
    set_text(arguments, "kind", given.kind);
    set_number(arguments, "requests", given.requests);
    set_number(arguments, "concurrency", given.concurrency);
    set_number(arguments, "samples", given.samples);
    set_number(arguments, "linger_ms", given.linger);
    set_number(arguments, "seconds", given.seconds);
    json_object_set_boolean_member(arguments, "retry_refused", given.retry_refused);
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    if (!answer || !judge_samples(answer, error))
        return STATUS_FAILED;
    gint64 ok = member_integer_or(answer, "ok_count", 0);
    bool all =
        ok == member_integer_or(answer, "requests", -1) && member_integer_or(answer, "conflicts", 1) == 0;
    json_object_set_int_member(answer, "judged", json_array_get_length(member_array(answer, "samples")));
    json_object_remove_member(answer, "ok_count");
    json_object_remove_member(answer, "samples");
    json_object_remove_member(answer, "authority");
    json_object_set_int_member(answer, "ok", ok); /* here it is a number */
    g_autofree char *text = object_to_text(answer, !given.json);
    puts(text);
    return all ? STATUS_OK : STATUS_FAILED;
}

/* ---- misbehaving ---- */

static int verb_misbehave(JsonObject *arguments, GError **error)
{
    if (given.list) {
        g_autofree char *text = faults_help();
        fputs(text, stdout);
        return STATUS_OK;
    }
    json_object_set_array_member(arguments, "faults", array_of(given.rest));
    json_object_set_boolean_member(arguments, "clear", given.clear);
    json_object_set_boolean_member(arguments, "chaos", given.chaos);
    set_text(arguments, "at", given.at);
    set_number(arguments, "seed", given.seed);
    set_number(arguments, "close_now", given.close_now);
    bool chance = given.probability >= 0;
    json_object_set_int_member(arguments, "count",
                               given.count != OPTION_UNSET ? given.count
                               : chance                    ? 0
                                                           : 1);
    json_object_set_double_member(arguments, "probability", chance ? given.probability : 1.0);
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    return answer ? print_object(answer) : STATUS_FAILED;
}

static int verb_send_raw(JsonObject *arguments, GError **error)
{
    g_autofree char *request = given.json_file ? read_file(given.json_file, error) : NULL;
    g_autofree char *inner = given.inner_file ? read_file(given.inner_file, error) : NULL;
    if (error && *error)
        return STATUS_FAILED;
    set_exchange(arguments);
    set_text(arguments, "signtype", given.signtype);
    set_text(arguments, "request", request);
    set_text(arguments, "inner", inner);
    set_text(arguments, "uuid", given.uuid);
    set_text(arguments, "outer_siguuid", given.outer_siguuid);
    set_number(arguments, "caindex", given.caindex);
    if (given.signing_time != OPTION_UNSET) /* seconds from now */
        json_object_set_int_member(arguments, "signing_time",
                                   g_get_real_time() / G_USEC_PER_SEC + given.signing_time);
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    if (!answer)
        return STATUS_FAILED;
    if (!member_true(answer, "answered")) {
        g_printerr("%s\n", member_text(answer, "why") ?: "");
        puts("no answer");
        return STATUS_NO_ANSWER;
    }
    json_object_remove_member(answer, "answered");
    given.json = TRUE; /* one line */
    return print_object(answer);
}

/* ---- looking ---- */

static int verb_status(JsonObject *arguments, GError **error)
{
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    return answer ? print_object(answer) : STATUS_FAILED;
}

static int verb_wait(JsonObject *arguments, GError **error)
{
    set_exchange(arguments);
    set_text(arguments, "counter", given.counter);
    set_number(arguments, "value", given.value);
    set_number(arguments, "agents", given.agents);
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    return answer ? STATUS_OK : STATUS_FAILED;
}

static int verb_stop(JsonObject *arguments, GError **error)
{
    g_autoptr(JsonObject) answer = control_ask(given.directory, arguments, error);
    return answer ? STATUS_OK : STATUS_FAILED;
}

typedef int (*VerbFunc)(JsonObject *arguments, GError **error);

static const struct {
    const char *name;
    VerbFunc run;
    OptionGroups groups;
    const char *usage;
} verbs[] = {
    {"create-ca", verb_create_ca, OPTIONS_TEMPLATE,
     "make a CA with key type HSM, print its provisioning certificate"},
    {"import-certificate", verb_import_certificate, OPTIONS_AUTHORITY | OPTIONS_JSON,
     "FILE: register the certificate made from it"},
    {"sign-csr", verb_sign_csr, OPTIONS_EXCHANGE | OPTIONS_CERTIFICATE,
     "have a certificate signed, print it"},
    {"make-crl", verb_make_crl, OPTIONS_EXCHANGE | OPTIONS_CRL, "revoke and have a CRL signed, print it"},
    {"make-cms", verb_make_cms, OPTIONS_EXCHANGE | OPTIONS_CMS, "have a CMS message signed, print it"},
    {"drive", verb_drive, OPTIONS_EXCHANGE | OPTIONS_DRIVE | OPTIONS_JSON, "many requests, figures as JSON"},
    {"misbehave", verb_misbehave, OPTIONS_FAULTS | OPTIONS_JSON,
     "FAULT[=PARAMETER]…: go wrong from now on (--list)"},
    {"send-raw", verb_send_raw, OPTIONS_EXCHANGE | OPTIONS_RAW,
     "any request; print the inner answer or \"no answer\""},
    {"status", verb_status, OPTIONS_JSON, "agents, authorities, counters, complaints as JSON"},
    {"wait", verb_wait, OPTIONS_EXCHANGE | OPTIONS_WAIT,
     "until an agent has the authority's channel, or a counter is reached"},
    {"stop", verb_stop, 0, "end the platform"},
};

char *client_help(void)
{
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++)
        g_string_append_printf(text, "  %-20s %s\n", verbs[i].name, verbs[i].usage);
    return g_string_free(text, FALSE);
}

int client_main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (!g_str_equal(verbs[i].name, argv[0]))
            continue;
        if (!options_parse(&given, verbs[i].groups, verbs[i].usage, &argc, &argv, &error)) {
            failed(error);
            return STATUS_USAGE;
        }
        g_autoptr(JsonObject) arguments = json_object_new();
        json_object_set_string_member(arguments, "verb", verbs[i].name);
        int status = verbs[i].run(arguments, &error);
        return error ? failed(error) : status;
    }
    g_printerr("iothsm-platform: there is no verb \"%s\"; see iothsm-platform --help\n", argv[0]);
    return STATUS_USAGE;
}
