/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The source's inside, for its two files: google-kms.c has the key rings, google-kms-setup.c what people ask
 * before there is one. */

#include "daemon/token/google-kms/google-kms-token.h"
#include "daemon/worker.h"

/* A key ring that was reported. */
typedef struct KmsRing {
    char *serial;
    KmsStale *stale;
    GoogleCredentials *credentials; /* NULL: they can't be read */
} KmsRing;

typedef struct KmsSource {
    Source source;
    KmsStore store;
    GoogleEndpoints endpoints; /* all set, owned */
    GoogleHttp *http;
    Worker *files;  /* the state directory, one job after the other */
    Worker *worker; /* Google */
    SourceEvents events;
    GPtrArray *rings;  /* KmsRing */
    GPtrArray *adding; /* serial numbers of those that somebody is about to add */
    guint changes;     /* of |rings| that were not found by looking */
    bool closing;
} KmsSource;

/* Something for the source's threads. |done| runs on the main thread with |data|, then |free_data|. */
typedef struct KmsJob {
    WorkerRunFunc run;
    void *data;
    GDestroyNotify free_data;
    DoneFunc done;
} KmsJob;

/* To one of the source's workers. |refused| is taken: where it is set the job is not run, and |done| gets it.
 */
void kms_source_submit(Worker *worker, const KmsJob *job, gint64 deadline, GCancellable *cancellable,
                       GError *refused);

/* NULL credentials: the machine's. Transfer full. Any thread. */
GoogleCredentials *kms_source_credentials(const GoogleEndpoints *endpoints, const Secret *json,
                                          GError **error);

/* Transfer none, or NULL. */
KmsRing *kms_source_find(const KmsSource *source, const char *serial);
/* Main thread: the ring appears, sharing the credentials of another one where they are the same. NULL
 * |credentials| with |failure|: it appears with that sentence. Nothing where it is there already. */
void kms_source_report(KmsSource *source, const char *key_ring, GoogleCredentials *credentials,
                       const GError *failure);
