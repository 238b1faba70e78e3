/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Numbers for monitoring: counters and latencies that the link keeps, and the OpenMetrics text in which they
 * and everything else are told (OpenMetrics 1.0; every Prometheus reads it, node_exporter's textfile
 * collector too). Plain data, no thread of its own: main thread. */

#include <glib.h>

/* How long a signed request took, and where; together from the platform's publication to its confirmation. */
typedef enum MetricsPhase {
    METRICS_LINK,   /* from the platform to here, as the platform says */
    METRICS_QUEUE,  /* waiting for its turn, here and at the token */
    METRICS_POLICY, /* opened, checked, looked up, prepared and recorded */
    METRICS_TOKEN,  /* signed and verified */
    METRICS_REPLY,  /* recorded, delivered, sealed, and held by the platform */
    METRICS_N_PHASES
} MetricsPhase;

typedef enum MetricsEvent {
    METRICS_OFFER,   /* made */
    METRICS_REPLAY,  /* a request came again */
    METRICS_DROP,    /* a message was not answered: too late, too many */
    METRICS_FOREIGN, /* a message was not the platform's */
    METRICS_MOVE,    /* a token could not sign, another one was asked */
    METRICS_CONNECT, /* an authority was connected */
    METRICS_N_EVENTS
} MetricsEvent;

/* Of what the platform may call a kind, three are known; the rest is one. */
enum { METRICS_N_KINDS = 4 };

enum { METRICS_N_BOUNDS = 15 };

typedef struct Histogram {
    guint64 counts[METRICS_N_BOUNDS + 1]; /* by bucket; the last has no bound */
    gint64 sum;                           /* µs */
} Histogram;

typedef struct Metrics {
    Histogram phases[METRICS_N_PHASES];
    guint64 events[METRICS_N_EVENTS];
    guint64 signed_by_kind[METRICS_N_KINDS];
    guint64 denied_by_kind[METRICS_N_KINDS];
} Metrics;

/* Less than nothing counts as nothing. */
void metrics_observe(Metrics *metrics, MetricsPhase phase, gint64 microseconds);
void metrics_count(Metrics *metrics, MetricsEvent event);
void metrics_count_signed(Metrics *metrics, const char *kind);
void metrics_count_denied(Metrics *metrics, const char *kind);
/* Of all kinds. */
guint64 metrics_signed(const Metrics *metrics);
guint64 metrics_denied(const Metrics *metrics);

/* The text, family by family: each begins with exposition_family and has its samples behind it. */
typedef struct Exposition Exposition;

Exposition *exposition_new(void);
void exposition_free(Exposition *exposition);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Exposition, exposition_free)

typedef enum FamilyType { FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_HISTOGRAM } FamilyType;

/* |name| without the _total of a counter; |unit| "" or what |name| ends with. All have to be fit for their
 * place; |help| is one line. */
void exposition_family(Exposition *exposition, FamilyType type, const char *name, const char *unit,
                       const char *help);
/* A sample of the family: |value|, then names and values of labels, then NULL. Values may be any text. */
void exposition_sample(Exposition *exposition, double value, ...) G_GNUC_NULL_TERMINATED;
void exposition_count(Exposition *exposition, guint64 value, ...) G_GNUC_NULL_TERMINATED;
/* With one label. */
void exposition_histogram(Exposition *exposition, const Histogram *histogram, const char *name,
                          const char *value);
/* All that |metrics| has. */
void exposition_metrics(Exposition *exposition, const Metrics *metrics);
/* Ends it. Transfer full. */
char *exposition_take(Exposition *exposition);
