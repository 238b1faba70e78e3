/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two steps: the certificate (from the token, when it is time for a new one), then one job on a crypto
 * thread, which also turns the content into text, because a CRL's can be large. */

#include "daemon/link/sealing.h"

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/message/envelope.h"

typedef struct SealJob {
    JsonObject *content;
    JsonObject *frame;
    X509 *recipient; /* or NULL */
    X509 *certificate;
    EVP_PKEY *key;
    GBytes *wire; /* the result */
} SealJob;

typedef struct Sealing {
    Worker *crypto;
    ChannelKey *key;
    GCancellable *cancellable;
    SealedFunc done;
    void *userdata;
    SealJob *job; /* the worker's, once submitted */
} Sealing;

static GBytes *bytes_of(char *text)
{
    return g_bytes_new_take(text, strlen(text));
}

static bool run_seal(void *data, GCancellable *cancelled, GError **error)
{
    SealJob *job = data;
    g_autoptr(GBytes) content = bytes_of(json_object_to_text(job->content));
    g_autofree char *smime = job->recipient
                                 ? envelope_seal(content, job->recipient, job->certificate, job->key, error)
                                 : envelope_sign(content, job->certificate, job->key, error);
    if (!smime)
        return false;
    json_object_set_string_member(job->frame, "smime", smime);
    job->wire = bytes_of(json_object_to_text(job->frame));
    return true;
}

static void seal_job_free(void *data)
{
    SealJob *job = data;
    json_object_unref(job->content);
    json_object_unref(job->frame);
    X509_free(job->recipient);
    X509_free(job->certificate);
    EVP_PKEY_free(job->key);
    g_clear_pointer(&job->wire, g_bytes_unref);
    g_free(job);
}

static void sealing_end(Sealing *sealing, GBytes *wire, const GError *error)
{
    sealing->done(wire, error, sealing->userdata);
    channel_key_unref(sealing->key);
    g_object_unref(sealing->cancellable);
    g_free(sealing);
}

static void on_sealed(const GError *error, void *userdata)
{
    Sealing *sealing = userdata;
    sealing_end(sealing, error ? NULL : sealing->job->wire, error);
}

static void on_certificate(X509 *certificate, const GError *error, void *userdata)
{
    Sealing *sealing = userdata;
    SealJob *job = sealing->job;
    g_autoptr(GError) failure = error ? g_error_copy(error) : NULL;
    if (g_cancellable_is_cancelled(sealing->cancellable)) {
        g_clear_error(&failure);
        failure = g_error_new_literal(IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "It was cancelled");
    }
    if (failure) {
        seal_job_free(job);
        sealing_end(sealing, NULL, failure);
        return;
    }
    X509_up_ref(certificate);
    job->certificate = certificate;
    if (!worker_submit(sealing->crypto, run_seal, job, seal_job_free, WORKER_NO_DEADLINE,
                       sealing->cancellable, on_sealed, sealing, &failure))
        sealing_end(sealing, NULL, failure);
}

void seal(Worker *crypto, ChannelKey *key, JsonObject *content, X509 *recipient, JsonObject *frame,
          GCancellable *cancellable, SealedFunc done, void *userdata)
{
    SealJob *job = g_new0(SealJob, 1);
    job->content = content;
    job->frame = frame;
    if (recipient)
        X509_up_ref(recipient);
    job->recipient = recipient;
    EVP_PKEY_up_ref(channel_key_private(key));
    job->key = channel_key_private(key);

    Sealing *sealing = g_new0(Sealing, 1);
    *sealing = (Sealing){crypto, channel_key_ref(key), g_object_ref(cancellable), done, userdata, job};
    channel_key_certificate(key, on_certificate, sealing);
}
