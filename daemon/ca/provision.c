/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An act is counted by two: the token's worker, which may still hold it when the person has long been told
 * that it was too late, and the main thread. What the worker made is read only when its job ended well. */

#include "daemon/ca/provision.h"
#include "daemon/ca/issue.h"
#include "daemon/ca/name.h"
#include "daemon/ca/options.h"
#include "daemon/ca/pem.h"
#include "daemon/ca/template.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/pem.h>

typedef struct Act {
    gatomicrefcount references;
    Slot *slot;
    GCancellable *cancellable;
    Template *template;
    const EVP_MD *digest;
    int days;
    gint64 now;
    bool request;      /* a CSR is wanted */
    char *pem;         /* the result, made by the worker */
    X509 *certificate; /* the same, where it is one */
    TextDoneFunc text_done;
    DoneFunc done;
    void *userdata;
} Act;

/* Main thread only: the worker's reference is dropped there, too (see slot_use_key). */
static void act_unref(void *data)
{
    Act *act = data;
    if (!g_atomic_ref_count_dec(&act->references))
        return;
    slot_unref(act->slot);
    g_clear_object(&act->cancellable);
    template_free(act->template);
    g_free(act->pem);
    X509_free(act->certificate);
    g_free(act);
}

static Act *act_ref(Act *act)
{
    g_atomic_ref_count_inc(&act->references);
    return act;
}

static Act *act_new(Slot *slot, GCancellable *cancellable, void *userdata)
{
    Act *act = g_new0(Act, 1);
    g_atomic_ref_count_init(&act->references);
    act->slot = slot_ref(slot);
    act->cancellable = cancellable ? g_object_ref(cancellable) : NULL;
    act->userdata = userdata;
    act->now = g_get_real_time() / G_USEC_PER_SEC;
    return act;
}

/* Says that it is over, and drops the main thread's reference. */
static void act_finish(Act *act, const GError *error)
{
    if (act->text_done)
        act->text_done(error ? NULL : act->pem, error, act->userdata);
    else
        act->done(error, act->userdata);
    act_unref(act);
}

static void on_over(const GError *error, void *data)
{
    act_finish(data, error);
}

static void on_made(const GError *error, void *data)
{
    Act *act = data;
    if (error || act->request)
        act_finish(act, error);
    else
        slot_write_certificate(act->slot, act->certificate, act->cancellable, on_over, act);
}

static char *request_to_pem(X509_REQ *request)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    return PEM_write_bio_X509_REQ(bio, request) == 1 ? bio_to_text(bio) : NULL;
}

/* On the token's thread. */
static bool make(EVP_PKEY *key, void *data, GError **error)
{
    Act *act = data;
    const EVP_MD *digest = digest_for_key(key, act->digest);
    if (act->digest && digest && EVP_MD_get_type(digest) != EVP_MD_get_type(act->digest)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "This key signs with %s only; leave out the choice of a hash", EVP_MD_get0_name(digest));
        return false;
    }
    if (act->request) {
        g_autoptr(X509_REQ) request = template_request(act->template, key, act->digest, error);
        act->pem = request ? request_to_pem(request) : NULL;
    } else {
        act->certificate = template_self_sign(act->template, key, act->digest, act->now, act->days, error);
        act->pem = act->certificate ? certificate_to_pem(act->certificate) : NULL;
    }
    return act->pem != NULL;
}

static bool check_slot(const Slot *slot, GError **error)
{
    if (slot_state(slot) == SLOT_STATE_ATTESTATION) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
            "Slot %s is the token's own attestation slot and cannot be provisioned; choose another one",
            slot_name(slot));
        return false;
    }
    if (!slot_has_private_key(slot) || !slot_public_key(slot)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
                    "Slot %s holds no private key; generate or import one first", slot_name(slot));
        return false;
    }
    return true;
}

static bool check_free(const Slot *slot, const ProvisionOptions *options, GError **error)
{
    if (slot_state(slot) != SLOT_STATE_PROVISIONED || options->replace)
        return true;
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
        "Slot %s has a certificate that is in use; with the option replace (--replace) a new one takes its "
        "place",
        slot_name(slot));
    return false;
}

static bool read_options(Act *act, const ProvisionOptions *options, GError **error)
{
    act->days = options->days;
    act->digest = options->hash && *options->hash ? digest_from_name(options->hash) : NULL;
    if (act->digest || !options->hash || !*options->hash)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "The hash %s is not one of sha256, sha384 and sha512; choose one of these", options->hash);
    return false;
}

static void start(Slot *slot, const char *template_pem, const ProvisionOptions *options, bool request,
                  GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    const ProvisionOptions defaults = {0};
    GError *error = NULL;
    Act *act = act_new(slot, cancellable, userdata);
    act->text_done = done;
    act->request = request;
    options = options ? options : &defaults;

    /* The worker's reference is gone when slot_use_key says no: it has freed its data then. */
    if (!check_slot(slot, &error) || (!request && !check_free(slot, options, &error)) ||
        !read_options(act, options, &error) || !(act->template = template_from_pem(template_pem, &error)) ||
        !slot_use_key(slot, make, act_ref(act), act_unref, WORKER_NO_DEADLINE, cancellable, on_made, act,
                      &error))
        done_later(on_over, act, error);
}

void provision_self_sign(Slot *slot, const char *template_pem, const ProvisionOptions *options,
                         GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    start(slot, template_pem, options, false, cancellable, done, userdata);
}

void provision_create_csr(Slot *slot, const char *template_pem, const ProvisionOptions *options,
                          GCancellable *cancellable, TextDoneFunc done, void *userdata)
{
    start(slot, template_pem, options, true, cancellable, done, userdata);
}

static bool check_match(const Slot *slot, X509 *certificate, GError **error)
{
    if (EVP_PKEY_eq(X509_get0_pubkey(certificate), slot_public_key(slot)) == 1)
        return true;
    g_autofree char *subject = certificate_subject(certificate);
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_KEY_MISMATCH,
        "The certificate %s is for another key than the one in slot %s; import the certificate that was made "
        "from this slot's certificate request",
        subject, slot_name(slot));
    return false;
}

void provision_import_certificate(Slot *slot, const char *certificate_pem, GCancellable *cancellable,
                                  DoneFunc done, void *userdata)
{
    GError *error = NULL;
    Act *act = act_new(slot, cancellable, userdata);
    act->done = done;
    if (!check_slot(slot, &error) || !(act->certificate = certificate_from_pem(certificate_pem, &error)) ||
        !check_match(slot, act->certificate, &error))
        done_later(on_over, act, error);
    else
        slot_write_certificate(slot, act->certificate, cancellable, on_over, act);
}
