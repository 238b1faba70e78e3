/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Types are counter, gauge and histogram only, for older readers of the text format know no others; # UNIT
 * and # EOF are comments to them. Numbers are written in the C locale. */

#include "daemon/metrics.h"
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

struct Exposition {
    GString *text;
    char *family;
    FamilyType type;
};

/* Milliseconds. A signature of a card takes 50 to 2000, a touch up to 15 000. */
static const guint bounds[METRICS_N_BOUNDS] = {1,   2,    5,    10,   25,    50,    100,  250,
                                               500, 1000, 2500, 5000, 10000, 30000, 60000};

static const char *const phase_names[METRICS_N_PHASES] = {
    [METRICS_LINK] = "link",   [METRICS_QUEUE] = "queue", [METRICS_POLICY] = "policy",
    [METRICS_TOKEN] = "token", [METRICS_REPLY] = "reply",
};

static const char *const kinds[METRICS_N_KINDS] = {"csr", "crl", "cms", "other"};

static const struct {
    const char *name, *help;
} events[METRICS_N_EVENTS] = {
    [METRICS_OFFER] = {"iothsm_offers", "Offers made to the platform."},
    [METRICS_REPLAY] = {"iothsm_repeated_requests", "Requests that came again and got the same answer."},
    [METRICS_DROP] = {"iothsm_dropped_messages",
                      "Messages without an answer, as they were late or too many."},
    [METRICS_FOREIGN] = {"iothsm_foreign_messages", "Messages that were not the platform's."},
    [METRICS_MOVE] = {"iothsm_moved_requests",
                      "Requests that one token could not sign and another one tried."},
    [METRICS_CONNECT] = {"iothsm_connects", "How often an authority was connected to the platform."},
};

void metrics_observe(Metrics *metrics, MetricsPhase phase, gint64 microseconds)
{
    Histogram *histogram = &metrics->phases[phase];
    gint64 taken = MAX(microseconds, 0);
    guint bucket = 0;
    while (bucket < METRICS_N_BOUNDS && taken > (gint64)bounds[bucket] * 1000)
        bucket++;
    histogram->counts[bucket]++;
    histogram->sum += taken;
}

void metrics_count(Metrics *metrics, MetricsEvent event)
{
    metrics->events[event]++;
}

static guint kind_of(const char *name)
{
    guint kind = 0;
    while (kind < METRICS_N_KINDS - 1 && g_strcmp0(name, kinds[kind]) != 0)
        kind++;
    return kind;
}

void metrics_count_signed(Metrics *metrics, const char *kind)
{
    metrics->signed_by_kind[kind_of(kind)]++;
}

void metrics_count_denied(Metrics *metrics, const char *kind)
{
    metrics->denied_by_kind[kind_of(kind)]++;
}

static guint64 sum_of_kinds(const guint64 *counts)
{
    guint64 sum = 0;
    for (guint kind = 0; kind < METRICS_N_KINDS; kind++)
        sum += counts[kind];
    return sum;
}

guint64 metrics_signed(const Metrics *metrics)
{
    return sum_of_kinds(metrics->signed_by_kind);
}

guint64 metrics_denied(const Metrics *metrics)
{
    return sum_of_kinds(metrics->denied_by_kind);
}

/* --- the text ---------------------------------------------------------------------------------------- */

Exposition *exposition_new(void)
{
    Exposition *exposition = g_new0(Exposition, 1);
    exposition->text = g_string_new(NULL);
    return exposition;
}

void exposition_free(Exposition *exposition)
{
    if (!exposition)
        return;
    if (exposition->text)
        g_string_free(exposition->text, TRUE);
    g_free(exposition->family);
    g_free(exposition);
}

void exposition_family(Exposition *exposition, FamilyType type, const char *name, const char *unit,
                       const char *help)
{
    static const char *const types[] = {
        [FAMILY_COUNTER] = "counter", [FAMILY_GAUGE] = "gauge", [FAMILY_HISTOGRAM] = "histogram"};
    g_free(exposition->family);
    exposition->family = g_strdup(name);
    exposition->type = type;
    g_string_append_printf(exposition->text, "# TYPE %s %s\n", name, types[type]);
    if (*unit)
        g_string_append_printf(exposition->text, "# UNIT %s %s\n", name, unit);
    g_string_append_printf(exposition->text, "# HELP %s %s\n", name, help);
}

static void append_label(GString *text, bool first, const char *name, const char *value)
{
    g_autofree char *valid = g_utf8_make_valid(value, -1);
    g_string_append_printf(text, "%s%s=\"", first ? "{" : ",", name);
    for (const char *at = valid; *at; at++) {
        if (*at == '\n')
            g_string_append(text, "\\n");
        else if (*at == '"' || *at == '\\')
            g_string_append_printf(text, "\\%c", *at);
        else
            g_string_append_c(text, *at);
    }
    g_string_append_c(text, '"');
}

static void append_sample(Exposition *exposition, const char *number, va_list labels)
{
    GString *text = exposition->text;
    bool first = true;
    g_string_append_printf(text, "%s%s", exposition->family,
                           exposition->type == FAMILY_COUNTER ? "_total" : "");
    for (const char *name; (name = va_arg(labels, const char *)); first = false)
        append_label(text, first, name, va_arg(labels, const char *));
    g_string_append_printf(text, "%s %s\n", first ? "" : "}", number);
}

void exposition_sample(Exposition *exposition, double value, ...)
{
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    va_list labels;
    va_start(labels, value);
    append_sample(exposition, g_ascii_formatd(number, sizeof number, "%.15g", value), labels);
    va_end(labels);
}

void exposition_count(Exposition *exposition, guint64 value, ...)
{
    g_autofree char *number = g_strdup_printf("%" G_GUINT64_FORMAT, value);
    va_list labels;
    va_start(labels, value);
    append_sample(exposition, number, labels);
    va_end(labels);
}

void exposition_histogram(Exposition *exposition, const Histogram *histogram, const char *name,
                          const char *value)
{
    GString *text = exposition->text;
    char number[G_ASCII_DTOSTR_BUF_SIZE];
    guint64 below = 0;
    for (guint i = 0; i <= METRICS_N_BOUNDS; i++) {
        const char *bound =
            i < METRICS_N_BOUNDS ? g_ascii_formatd(number, sizeof number, "%g", bounds[i] / 1000.0) : "+Inf";
        below += histogram->counts[i];
        g_string_append_printf(text, "%s_bucket", exposition->family);
        append_label(text, true, name, value);
        append_label(text, false, "le", bound);
        g_string_append_printf(text, "} %" G_GUINT64_FORMAT "\n", below);
    }
    g_string_append_printf(text, "%s_count", exposition->family);
    append_label(text, true, name, value);
    g_string_append_printf(text, "} %" G_GUINT64_FORMAT "\n%s_sum", below, exposition->family);
    append_label(text, true, name, value);
    g_string_append_printf(
        text, "} %s\n",
        g_ascii_formatd(number, sizeof number, "%.15g", (double)histogram->sum / G_USEC_PER_SEC));
}

static void append_kinds(Exposition *exposition, const char *name, const char *help, const guint64 *counts)
{
    exposition_family(exposition, FAMILY_COUNTER, name, "", help);
    for (guint i = 0; i < METRICS_N_KINDS; i++)
        exposition_count(exposition, counts[i], "kind", kinds[i], NULL);
}

void exposition_metrics(Exposition *exposition, const Metrics *metrics)
{
    append_kinds(exposition, "iothsm_signatures", "Requests answered with success.", metrics->signed_by_kind);
    append_kinds(exposition, "iothsm_denied", "Requests refused or failed.", metrics->denied_by_kind);
    for (guint i = 0; i < METRICS_N_EVENTS; i++) {
        exposition_family(exposition, FAMILY_COUNTER, events[i].name, "", events[i].help);
        exposition_count(exposition, metrics->events[i], NULL);
    }
    exposition_family(exposition, FAMILY_HISTOGRAM, "iothsm_phase_seconds", "seconds",
                      "Time of signed requests in each phase.");
    for (guint i = 0; i < METRICS_N_PHASES; i++)
        exposition_histogram(exposition, &metrics->phases[i], "phase", phase_names[i]);
}

char *exposition_take(Exposition *exposition)
{
    g_string_append(exposition->text, "# EOF\n");
    return g_string_free(g_steal_pointer(&exposition->text), FALSE);
}
