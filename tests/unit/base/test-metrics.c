/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Counters and histograms, and their text, which a strict reader takes whatever the labels are. */

#include "daemon/metrics.h"
#include "tests/support/support.h"
#include <locale.h>
#include <string.h>

/* As the strict reader has it: the values of |...| in lines. Transfer full. */
static char *read_back(const char *text, const char *wanted)
{
    const char *const argv[] = {"python3", g_getenv("OPENMETRICS"), wanted, NULL};
    char *said = test_run(argv, text, 0);
    return g_strchomp(said);
}

static char *take(const Metrics *metrics)
{
    g_autoptr(Exposition) exposition = exposition_new();
    exposition_metrics(exposition, metrics);
    return exposition_take(exposition);
}

static void assert_value(const char *text, const char *wanted, const char *value)
{
    g_autofree char *said = read_back(text, wanted);
    g_assert_cmpstr(said, ==, value);
}

static void test_counters(void)
{
    Metrics metrics = {0};
    metrics_count(&metrics, METRICS_OFFER);
    metrics_count(&metrics, METRICS_OFFER);
    metrics_count_signed(&metrics, "csr");
    metrics_count_signed(&metrics, "whatever the platform says");
    metrics_count_denied(&metrics, NULL);
    g_autofree char *text = take(&metrics);
    assert_value(text, "iothsm_offers_total", "2.0");
    assert_value(text, "iothsm_signatures_total,kind=csr", "1.0");
    assert_value(text, "iothsm_signatures_total,kind=other", "1.0");
    assert_value(text, "iothsm_denied_total,kind=other", "1.0");
    assert_value(text, "iothsm_denied_total,kind=crl", "0.0");
}

/* A bound belongs to its bucket. */
static void test_histogram(void)
{
    Metrics metrics = {0};
    metrics_observe(&metrics, METRICS_TOKEN, -5);
    metrics_observe(&metrics, METRICS_TOKEN, 1000);
    metrics_observe(&metrics, METRICS_TOKEN, 1001);
    metrics_observe(&metrics, METRICS_TOKEN, 60 * G_USEC_PER_SEC);
    metrics_observe(&metrics, METRICS_TOKEN, 60 * G_USEC_PER_SEC + 1);
    g_autofree char *text = take(&metrics);
    assert_value(text, "iothsm_phase_seconds_bucket,le=0.001,phase=token", "2.0");
    assert_value(text, "iothsm_phase_seconds_bucket,le=0.002,phase=token", "3.0");
    assert_value(text, "iothsm_phase_seconds_bucket,le=60,phase=token", "4.0");
    assert_value(text, "iothsm_phase_seconds_bucket,le=+Inf,phase=token", "5.0");
    assert_value(text, "iothsm_phase_seconds_count,phase=token", "5.0");
    assert_value(text, "iothsm_phase_seconds_sum,phase=token", "120.002002");
    assert_value(text, "iothsm_phase_seconds_count,phase=link", "0.0");
}

static void test_hostile_labels(void)
{
    g_autoptr(Exposition) exposition = exposition_new();
    exposition_family(exposition, FAMILY_GAUGE, "a", "", "help");
    exposition_sample(exposition, 1.5, "label", "quote \" backslash \\ newline \n brace } # EOF", NULL);
    exposition_sample(exposition, -1e300, "label", "\xff\xfe not UTF-8", NULL);
    exposition_count(exposition, G_MAXUINT64, "label", "", NULL);
    exposition_family(exposition, FAMILY_COUNTER, "b_seconds", "seconds", "without samples");
    g_autofree char *text = exposition_take(exposition);
    g_autofree char *said = read_back(text, "a,label=");
    g_assert_cmpstr(said, ==, "1.8446744073709552e+19");
    g_assert_nonnull(strstr(text, "{label=\"quote \\\" backslash \\\\ newline \\n brace } # EOF\"} 1.5\n"));
}

/* A minimal system has no locale but C, so it is made. */
static void begin_locale_with_comma(const char *directory)
{
    g_autofree char *made = g_build_filename(directory, "de_DE.UTF-8", NULL);
    g_autofree char *said =
        TEST_RUN("localedef", "--no-archive", "--inputfile=de_DE", "--charmap=UTF-8", made);
    g_assert_true(g_setenv("LOCPATH", directory, TRUE));
    g_assert_nonnull(setlocale(LC_NUMERIC, "de_DE.UTF-8"));
    g_assert_cmpstr(localeconv()->decimal_point, ==, ",");
}

static void test_other_locale(void)
{
    const char *before = setlocale(LC_NUMERIC, NULL);
    g_autofree char *kept = g_strdup(before);
    g_autofree char *directory = test_directory();
    begin_locale_with_comma(directory);
    Metrics metrics = {0};
    metrics_observe(&metrics, METRICS_LINK, 1500);
    g_autofree char *text = take(&metrics);
    setlocale(LC_NUMERIC, kept);
    assert_value(text, "iothsm_phase_seconds_sum,phase=link", "0.0015");
}

/* The reader is worth something only if it says no. */
static void test_the_reader_is_strict(void)
{
    static const char *const wrong[] = {
        "",
        "# EOF",
        "a 1\n# EOF\n",
        "# TYPE a gauge\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a h\na 1\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a h\na_total 1\n# EOF\n",
        "# TYPE a counter\n# HELP a h\na 1\n# EOF\n",
        "# TYPE a counter\n# HELP a h\na_total -1\n# EOF\n",
        "# TYPE a gauge\n# HELP a h\na{l=\"x\\y\"} 1\n# EOF\n",
        "# TYPE a gauge\n# UNIT a seconds\n# HELP a h\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a h\na 1,5\n# EOF\n",
        "# TYPE a histogram\n# HELP a h\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum "
        "1\n# EOF\n",
        "# TYPE a gauge\n# HELP a h\na 1\n# EOF\n# TYPE b gauge\n# HELP b h\n",
    };
    const char *const argv[] = {"python3", g_getenv("OPENMETRICS"), NULL};
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *said = test_run(argv, wrong[i], 1);
        g_assert_true(g_str_has_prefix(said, "not OpenMetrics: "));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/metrics/counters-are-told-by-kind", test_counters);
    g_test_add_func("/metrics/a-bound-belongs-to-its-bucket", test_histogram);
    g_test_add_func("/metrics/labels-may-be-any-text", test_hostile_labels);
    g_test_add_func("/metrics/numbers-have-points-everywhere", test_other_locale);
    g_test_add_func("/metrics/the-reader-is-strict", test_the_reader_is_strict);
    return g_test_run();
}
