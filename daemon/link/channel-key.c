/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A list of those who wait for a certificate, and at most one job at the token. A certificate that is still
 * good is handed out from the main loop, too, so that callers see one behaviour only. */

#include "daemon/link/channel-key.h"

#include "daemon/ca/channel-certificate.h"
#include "daemon/ca/name.h"
#include "daemon/error.h"
#include "daemon/log.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/rsa.h>

#define KEY_BITS 2048
#define SECONDS_LEFT_MIN 300
/* A token that needs longer than this for one signature, a touch included, does not work. */
#define ISSUE_LIMIT_US (60 * G_USEC_PER_SEC)

typedef struct Waiter {
    ChannelCertificateFunc done;
    void *userdata;
} Waiter;

struct ChannelKey {
    Authority *authority;
    EVP_PKEY *key;
    X509 *certificate; /* NULL before the first */
    GArray *waiting;   /* Waiter */
    guint handing_out; /* idle source */
    GPtrArray *tried;  /* Slot: could not sign it this time */
    GError *failure;   /* of the first of them */
    bool issuing;
};

EVP_PKEY *channel_key_generate(GError **error)
{
    EVP_PKEY *key = EVP_RSA_gen(KEY_BITS);
    if (!key)
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The channel key could not be generated");
    return key;
}

ChannelKey *channel_key_new(Authority *authority, EVP_PKEY *key)
{
    ChannelKey *self = g_rc_box_new0(ChannelKey);
    self->authority = authority_ref(authority);
    EVP_PKEY_up_ref(key);
    self->key = key;
    self->waiting = g_array_new(FALSE, FALSE, sizeof(Waiter));
    self->tried = g_ptr_array_new_with_free_func((GDestroyNotify)slot_unref);
    return self;
}

ChannelKey *channel_key_ref(ChannelKey *self)
{
    return g_rc_box_acquire(self);
}

static void clear(void *data)
{
    ChannelKey *self = data;
    authority_unref(self->authority);
    EVP_PKEY_free(self->key);
    X509_free(self->certificate);
    g_array_unref(self->waiting);
    g_ptr_array_unref(self->tried);
    g_clear_error(&self->failure);
}

void channel_key_unref(ChannelKey *self)
{
    if (self)
        g_rc_box_release_full(self, clear);
}

EVP_PKEY *channel_key_private(const ChannelKey *self)
{
    return self->key;
}

bool channel_certificate_is_usable(const X509 *certificate, gint64 now)
{
    return now >= certificate_not_before(certificate) &&
           certificate_not_after(certificate) - now >= SECONDS_LEFT_MIN;
}

static void hand_out(ChannelKey *self, const GError *error)
{
    g_autoptr(GArray) waiting = g_steal_pointer(&self->waiting);
    self->waiting = g_array_new(FALSE, FALSE, sizeof(Waiter));
    for (guint i = 0; i < waiting->len; i++) {
        const Waiter *waiter = &g_array_index(waiting, Waiter, i);
        waiter->done(error ? NULL : self->certificate, error, waiter->userdata);
    }
}

typedef struct IssueJob {
    X509 *ca;
    EVP_PKEY *channel_key;
    X509 *certificate; /* the result */
} IssueJob;

static bool run_issue(EVP_PKEY *ca_key, void *data, GError **error)
{
    IssueJob *job = data;
    job->certificate = channel_certificate_issue(job->ca, ca_key, job->channel_key, NULL,
                                                 g_get_real_time() / G_USEC_PER_SEC, error);
    return job->certificate != NULL;
}

static void issue_job_free(void *data)
{
    IssueJob *job = data;
    X509_free(job->ca);
    EVP_PKEY_free(job->channel_key);
    X509_free(job->certificate);
    g_free(job);
}

typedef struct Issue {
    ChannelKey *key; /* a reference */
    IssueJob *job;   /* the worker's */
} Issue;

static bool issue_on_next(ChannelKey *self, GError **error);

static void end_issue(ChannelKey *self)
{
    g_autoptr(GError) failure = g_steal_pointer(&self->failure);
    self->issuing = false;
    hand_out(self, failure);
}

/* Where several tokens hold the key, one that fails does not keep the authority from being connected. */
static void on_issued(const GError *error, void *userdata)
{
    g_autofree Issue *issue = userdata;
    g_autoptr(ChannelKey) self = issue->key;
    if (error) {
        if (!self->failure)
            self->failure = g_error_copy(error);
        if (issue_on_next(self, NULL))
            return;
    } else {
        X509_free(self->certificate);
        self->certificate = g_steal_pointer(&issue->job->certificate);
        g_clear_error(&self->failure);
    }
    end_issue(self);
}

/* False: no token takes it that has not been tried. */
static bool issue_on_next(ChannelKey *self, GError **error)
{
    IssueJob *job = g_new0(IssueJob, 1);
    X509_up_ref(authority_certificate(self->authority));
    job->ca = authority_certificate(self->authority);
    EVP_PKEY_up_ref(self->key);
    job->channel_key = self->key;

    Issue *issue = g_new0(Issue, 1);
    *issue = (Issue){channel_key_ref(self), job};
    const AuthorityWork work = {
        .run = run_issue,
        .data = job,
        .free_data = issue_job_free,
        .begin_by = WORKER_NO_DEADLINE,
        .end_by = g_get_monotonic_time() + ISSUE_LIMIT_US,
        .first = true, /* without it, nothing that waits can be answered */
        .tried = self->tried,
        .done = on_issued,
        .userdata = issue,
    };
    log_debug("A channel certificate of %s is issued", authority_thumbprint(self->authority));
    if (authority_use_key(self->authority, &work, error))
        return true;
    channel_key_unref(issue->key);
    g_free(issue);
    return false;
}

static gboolean on_refused(void *userdata)
{
    g_autoptr(ChannelKey) self = userdata;
    self->handing_out = 0;
    end_issue(self);
    return G_SOURCE_REMOVE;
}

static void start_issue(ChannelKey *self)
{
    self->issuing = true;
    g_ptr_array_set_size(self->tried, 0);
    if (!issue_on_next(self, &self->failure))
        self->handing_out = g_idle_add_full(G_PRIORITY_DEFAULT, on_refused, channel_key_ref(self), NULL);
}

static gboolean on_hand_out(void *userdata)
{
    g_autoptr(ChannelKey) self = userdata;
    self->handing_out = 0;
    if (!self->issuing)
        hand_out(self, NULL);
    return G_SOURCE_REMOVE;
}

void channel_key_certificate(ChannelKey *self, ChannelCertificateFunc done, void *userdata)
{
    Waiter waiter = {done, userdata};
    g_array_append_val(self->waiting, waiter);
    if (self->issuing || self->handing_out)
        return;
    if (self->certificate &&
        channel_certificate_is_usable(self->certificate, g_get_real_time() / G_USEC_PER_SEC))
        self->handing_out = g_idle_add_full(G_PRIORITY_DEFAULT, on_hand_out, channel_key_ref(self), NULL);
    else
        start_issue(self);
}
