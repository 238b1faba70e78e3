/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The key rings of the state directory as a source: read on a thread, compared with what was reported on the
 * main thread. Nobody asks Google anything here: each ring's token does that, on its own threads. */

#include "daemon/error.h"
#include "daemon/token/google-kms/google-kms-source.h"

#define THREADS 2
#define QUEUE_LENGTH 64

#define KMS_URL "https://cloudkms.googleapis.com"
#define RESOURCE_MANAGER_URL "https://cloudresourcemanager.googleapis.com"
#define METADATA_URL "http://metadata.google.internal"

static void ring_free(void *data)
{
    KmsRing *ring = data;
    g_free(ring->serial);
    kms_stale_unref(ring->stale);
    google_credentials_unref(ring->credentials);
    g_free(ring);
}

KmsRing *kms_source_find(const KmsSource *source, const char *serial)
{
    for (guint i = 0; i < source->rings->len; i++) {
        KmsRing *ring = g_ptr_array_index(source->rings, i);
        if (g_str_equal(ring->serial, serial))
            return ring;
    }
    return NULL;
}

GoogleCredentials *kms_source_credentials(const GoogleEndpoints *endpoints, const Secret *json,
                                          GError **error)
{
    return json ? google_credentials_parse(json, error)
                : google_credentials_new_metadata(endpoints->metadata);
}

/* Transfer full. */
static GoogleCredentials *share(const KmsSource *source, GoogleCredentials *credentials)
{
    for (guint i = 0; i < source->rings->len; i++) {
        const KmsRing *ring = g_ptr_array_index(source->rings, i);
        if (ring->credentials && google_credentials_equal(ring->credentials, credentials))
            return google_credentials_ref(ring->credentials);
    }
    return google_credentials_ref(credentials);
}

void kms_source_report(KmsSource *source, const char *key_ring, GoogleCredentials *credentials,
                       const GError *failure)
{
    g_autofree char *serial = kms_key_ring_serial(key_ring);
    if (kms_source_find(source, serial))
        return;
    KmsRing *ring = g_new0(KmsRing, 1);
    *ring = (KmsRing){.serial = g_strdup(serial),
                      .stale = kms_stale_new(),
                      .credentials = credentials ? share(source, credentials) : NULL};
    g_ptr_array_add(source->rings, ring);
    KmsClient *client = ring->credentials ? kms_client_new(source->http, &source->endpoints,
                                                           ring->credentials, KMS_REQUESTS_MAX)
                                          : NULL;
    Backend *backend = kms_token_new(client, failure, key_ring, &source->store, ring->stale);
    source->events.appeared(&source->source, backend, serial, source->events.userdata);
}

/* --- jobs --------------------------------------------------------------------------------------------- */

typedef struct Refusal {
    KmsJob job;
    GError *error;
} Refusal;

static gboolean on_refusal(gpointer data)
{
    Refusal *refusal = data;
    refusal->job.done(refusal->error, refusal->job.data);
    refusal->job.free_data(refusal->job.data);
    g_error_free(refusal->error);
    g_free(refusal);
    return G_SOURCE_REMOVE;
}

void kms_source_submit(Worker *worker, const KmsJob *job, gint64 deadline, GCancellable *cancellable,
                       GError *refused)
{
    g_autoptr(GError) failure = NULL;
    if (!refused && worker_load(worker) >= QUEUE_LENGTH)
        refused = g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_BUSY,
                                      "Too much is being asked of Google already; try again in a moment");
    if (refused) {
        Refusal *refusal = g_new0(Refusal, 1);
        *refusal = (Refusal){*job, refused};
        g_idle_add_full(G_PRIORITY_DEFAULT, on_refusal, refusal, NULL);
        return;
    }
    bool taken = worker_submit(worker, job->run, job->data, job->free_data, deadline, cancellable, job->done,
                               job->data, &failure);
    g_assert(taken); /* the queue has room, and the worker is closed last */
}

/* --- looking ------------------------------------------------------------------------------------------ */

/* What the state directory says about one ring, ready for the main thread. */
typedef struct Found {
    KmsStored *stored;
    GoogleCredentials *credentials;
} Found;

static void found_free(void *data)
{
    Found *found = data;
    kms_stored_free(found->stored);
    google_credentials_unref(found->credentials);
    g_free(found);
}

typedef struct Look {
    KmsSource *source; /* main thread */
    KmsStore store;
    const GoogleEndpoints *endpoints;
    guint changes;    /* when it began; main thread */
    GPtrArray *found; /* NULL: not looked */
    DoneFunc done;
    void *userdata;
} Look;

static void look_free(void *data)
{
    Look *look = data;
    if (look->found)
        g_ptr_array_unref(look->found);
    g_free(look);
}

static bool look_run(void *data, GCancellable *cancelled, GError **error)
{
    Look *look = data;
    g_autoptr(GPtrArray) stored = kms_store_load(&look->store, error);
    if (!stored)
        return false;
    g_autoptr(GPtrArray) found = g_ptr_array_new_with_free_func(found_free);
    for (guint i = 0; i < stored->len; i++) {
        Found *one = g_new0(Found, 1);
        one->stored = g_ptr_array_index(stored, i);
        g_ptr_array_index(stored, i) = NULL;
        g_ptr_array_add(found, one);
        if (!one->stored->failure)
            one->credentials =
                kms_source_credentials(look->endpoints, one->stored->credentials, &one->stored->failure);
    }
    look->found = g_steal_pointer(&found);
    return true;
}

static bool is_found(const Look *look, const char *serial)
{
    for (guint i = 0; i < look->found->len; i++) {
        const Found *found = g_ptr_array_index(look->found, i);
        if (g_str_equal(found->stored->serial, serial))
            return true;
    }
    return false;
}

static void forget_ring(KmsSource *source, const char *serial)
{
    KmsRing *ring = kms_source_find(source, serial);
    if (!ring)
        return;
    g_ptr_array_remove(source->rings, ring);
    source->events.gone(&source->source, serial, source->events.userdata);
}

static void look_again(Source *base, DoneFunc done, void *userdata);

static void look_done(const GError *error, void *userdata)
{
    Look *look = userdata;
    KmsSource *source = look->source;
    if (!error && look->changes != source->changes) {
        look_again(&source->source, look->done, look->userdata); /* it may have seen what was before */
        return;
    }
    for (guint i = error ? 0 : source->rings->len; i-- > 0;) {
        KmsRing *ring = g_ptr_array_index(source->rings, i);
        g_autofree char *serial = g_strdup(ring->serial);
        kms_stale_raise(ring->stale);
        if (!is_found(look, serial))
            forget_ring(source, serial);
    }
    for (guint i = 0; !error && i < look->found->len; i++) {
        const Found *found = g_ptr_array_index(look->found, i);
        kms_source_report(source, found->stored->key_ring, found->credentials, found->stored->failure);
    }
    look->done(error, look->userdata);
}

static void look_again(Source *base, DoneFunc done, void *userdata)
{
    KmsSource *source = (KmsSource *)base;
    Look *look = g_new0(Look, 1);
    *look = (Look){.source = source,
                   .store = source->store,
                   .endpoints = &source->endpoints,
                   .changes = source->changes,
                   .done = done,
                   .userdata = userdata};
    kms_source_submit(source->files, &(KmsJob){look_run, look, look_free, look_done}, WORKER_NO_DEADLINE,
                      NULL, NULL);
}

static void kms_start(Source *base, const SourceEvents *events, DoneFunc done, void *userdata)
{
    ((KmsSource *)base)->events = *events;
    look_again(base, done, userdata);
}

static void kms_source_free(Source *base)
{
    KmsSource *source = (KmsSource *)base;
    source->closing = true;
    worker_close_and_join(source->worker);
    worker_close_and_join(source->files);
    g_ptr_array_unref(source->rings);
    g_ptr_array_unref(source->adding);
    google_http_free(source->http);
    g_free((char *)source->endpoints.kms);
    g_free((char *)source->endpoints.resource_manager);
    g_free((char *)source->endpoints.metadata);
    g_free(source);
}

Source *google_kms_source_new(Sealing *sealing, const GoogleEndpoints *endpoints)
{
    static const SourceClass class = {
        .name = "Google Cloud KMS", .start = kms_start, .reload = look_again, .free = kms_source_free};
    KmsSource *source = g_new0(KmsSource, 1);
    source->source.class = &class;
    source->store.sealing = sealing;
    source->endpoints = (GoogleEndpoints){
        .kms = g_strdup(endpoints->kms ? endpoints->kms : KMS_URL),
        .resource_manager =
            g_strdup(endpoints->resource_manager ? endpoints->resource_manager : RESOURCE_MANAGER_URL),
        .metadata = g_strdup(endpoints->metadata ? endpoints->metadata : METADATA_URL)};
    source->http = google_http_new();
    source->files = worker_new("key-rings", 1, QUEUE_LENGTH);
    source->worker = worker_new("google-kms", THREADS, QUEUE_LENGTH);
    source->rings = g_ptr_array_new_with_free_func(ring_free);
    source->adding = g_ptr_array_new_with_free_func(g_free);
    return &source->source;
}

/* --- removing ----------------------------------------------------------------------------------------- */

typedef struct Removal {
    KmsSource *source; /* main thread */
    KmsStore store;
    char *serial;
    DoneFunc done;
    void *userdata;
} Removal;

static void removal_free(void *data)
{
    Removal *removal = data;
    g_free(removal->serial);
    g_free(removal);
}

static bool removal_run(void *data, GCancellable *cancelled, GError **error)
{
    const Removal *removal = data;
    return kms_store_remove(&removal->store, removal->serial, error);
}

static void removal_done(const GError *error, void *userdata)
{
    const Removal *removal = userdata;
    if (!error) {
        removal->source->changes++;
        forget_ring(removal->source, removal->serial);
    }
    removal->done(error, removal->userdata);
}

void google_kms_source_remove(Source *base, const char *serial, DoneFunc done, void *userdata)
{
    KmsSource *source = (KmsSource *)base;
    Removal *removal = g_new0(Removal, 1);
    *removal = (Removal){.source = source,
                         .store = source->store,
                         .serial = g_strdup(serial),
                         .done = done,
                         .userdata = userdata};
    GError *error = NULL;
    if (!kms_source_find(source, serial))
        g_set_error(&error, IOTHSM_ERROR, IOTHSM_ERROR_NO_SUCH_TOKEN, "There is no key ring %s here", serial);
    kms_source_submit(source->files, &(KmsJob){removal_run, removal, removal_free, removal_done},
                      WORKER_NO_DEADLINE, NULL, error);
}
