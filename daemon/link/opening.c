/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One job. The S/MIME text stays where it is, in the message, which the job holds a reference of: it can be
 * tens of megabytes. */

#include "daemon/link/opening.h"

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/message/wire.h"

typedef struct OpenJob {
    EnvelopeTrust *trust;
    OpeningForm form;
    JsonObject *message;
    const char *smime;
    EVP_PKEY *key;
    guint64 inflated_size;
    gint64 deadline;
    Opened opened; /* the result, also after a failure */
} OpenJob;

typedef struct Opening {
    OpenJob *job; /* the worker's */
    GError *refusal;
    OpenedFunc done;
    void *userdata;
} Opening;

static GBytes *unwrap(const OpenJob *job, GBytes *signed_content, GError **error)
{
    if (job->form == OPENING_SIGNED)
        return g_bytes_ref(signed_content);
    g_autoptr(GBytes) decrypted = envelope_decrypt(signed_content, job->key, error);
    if (!decrypted || job->form == OPENING_BOOTSTRAP)
        return g_steal_pointer(&decrypted);
    return envelope_inflate(decrypted, job->inflated_size, error);
}

/* The envelope's signtype is not signed, but decides what is made of the content: the same content under
 * another one is another request. */
static void identify(OpenJob *job, const void *content, gsize size)
{
    const char *kind = json_get_string(job->message, "signtype", NULL);
    g_autoptr(GChecksum) checksum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize digest_size = sizeof job->opened.digest;
    if (kind)
        g_checksum_update(checksum, (const guchar *)kind, (gssize)strlen(kind));
    g_checksum_update(checksum, (const guchar *)"", 1);
    g_checksum_update(checksum, content, (gssize)size);
    g_checksum_get_digest(checksum, job->opened.digest, &digest_size);
}

static bool run_open(void *data, GCancellable *cancelled, GError **error)
{
    OpenJob *job = data;
    if (g_get_monotonic_time() > job->deadline) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT, "It waited longer than its ttl");
        return false;
    }
    g_autoptr(EnvelopeSigned) verified = envelope_verify(job->smime, strlen(job->smime), job->trust, error);
    if (!verified)
        return false;
    job->opened.signer = g_steal_pointer(&verified->signer);
    job->opened.signing_time = verified->signing_time;

    g_autoptr(GBytes) text = unwrap(job, verified->content, error);
    if (!text) {
        job->opened.unopenable =
            !error || !g_error_matches(*error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED);
        return false;
    }
    gsize size;
    const void *bytes = g_bytes_get_data(text, &size);
    identify(job, bytes, size);
    job->opened.content = json_object_parse(bytes, size, error);
    return job->opened.content != NULL;
}

static void open_job_free(void *data)
{
    OpenJob *job = data;
    envelope_trust_unref(job->trust);
    json_object_unref(job->message);
    EVP_PKEY_free(job->key);
    X509_free(job->opened.signer);
    g_clear_pointer(&job->opened.content, json_object_unref);
    g_free(job);
}

static void on_opened(const GError *error, void *userdata)
{
    g_autofree Opening *opening = userdata;
    /* These three come while a thread may still be at work on the job. */
    bool unfinished = g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED) ||
                      g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE) ||
                      g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT);
    opening->done(unfinished ? NULL : &opening->job->opened, error, opening->userdata);
}

static gboolean on_refused(void *userdata)
{
    g_autofree Opening *opening = userdata;
    g_autoptr(GError) refusal = opening->refusal;
    opening->done(NULL, refusal, opening->userdata);
    return G_SOURCE_REMOVE;
}

void opening_start(Worker *crypto, EnvelopeTrust *trust, OpeningForm form, JsonObject *message,
                   const char *member, EVP_PKEY *key, guint64 inflated_size, gint64 deadline,
                   GCancellable *cancellable, OpenedFunc done, void *userdata)
{
    OpenJob *job = g_new0(OpenJob, 1);
    job->trust = envelope_trust_ref(trust);
    job->form = form;
    job->message = json_object_ref(message);
    job->smime = json_get_string(message, member, NULL);
    if (key)
        EVP_PKEY_up_ref(key);
    job->key = key;
    job->inflated_size = inflated_size;
    job->deadline = deadline;

    Opening *opening = g_new0(Opening, 1);
    *opening = (Opening){job, NULL, done, userdata};
    if (!worker_submit(crypto, run_open, job, open_job_free, WORKER_NO_DEADLINE, cancellable, on_opened,
                       opening, &opening->refusal))
        g_idle_add_full(G_PRIORITY_DEFAULT, on_refused, opening, NULL);
}
