/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A slot is what was last read of it, a count of its signatures, and the way to its key.
 *
 * References: |references| counts those from outside only. The first of them takes one on the token, the last
 * gives it back; so a slot never outlives its token, and the token can own its slots without a cycle. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider.h"
#include "daemon/token/token-private.h"
#include <string.h>

#define JUST_US (5 * G_USEC_PER_SEC)

struct Slot {
    Token *token;
    guint references;
    bool listed;
    SlotInfo *info;
    guint64 signatures;
    gint64 failed;              /* when its last use failed, monotonic µs; 0: it did not */
    GPtrArray *attestation;     /* X509: the token's answer for the present key, or NULL */
    GError *attestation_error;  /* its refusal, or NULL */
    GPtrArray *attestation_for; /* AttestWait, while the token is being asked */
};

Slot *slot_new(Token *token, SlotInfo *info)
{
    Slot *slot = g_new0(Slot, 1);
    slot->token = token;
    slot->listed = true;
    slot->info = info;
    return slot;
}

static void forget_attestation(Slot *slot)
{
    g_clear_pointer(&slot->attestation, g_ptr_array_unref);
    g_clear_error(&slot->attestation_error);
}

static void slot_free_if_unused(Slot *slot)
{
    if (slot->references > 0 || slot->listed)
        return;
    forget_attestation(slot); /* an answer may have come after it was unlisted */
    slot_info_free(slot->info);
    g_free(slot);
}

void slot_unlist(Slot *slot)
{
    slot->listed = false;
    forget_attestation(slot);
    slot_free_if_unused(slot);
}

Slot *slot_ref(Slot *slot)
{
    if (slot->references++ == 0)
        token_ref(slot->token);
    return slot;
}

void slot_unref(Slot *slot)
{
    if (!slot || --slot->references > 0)
        return;
    Token *token = slot->token;
    slot_free_if_unused(slot);
    token_unref(token);
}

static bool same_certificate(X509 *one, X509 *other)
{
    return one == other || (one && other && X509_cmp(one, other) == 0);
}

static bool same_public_key(EVP_PKEY *one, EVP_PKEY *other)
{
    return one == other || (one && other && EVP_PKEY_eq(one, other) == 1);
}

bool slot_update(Slot *slot, SlotInfo *info)
{
    g_autoptr(SlotInfo) old = slot->info;
    slot->info = info;
    if (!same_public_key(old->public_key, info->public_key) || old->origin != info->origin)
        forget_attestation(slot);
    return g_strcmp0(old->label, info->label) != 0 || !same_public_key(old->public_key, info->public_key) ||
           !same_certificate(old->certificate, info->certificate) ||
           old->has_private_key != info->has_private_key || old->origin != info->origin ||
           g_strcmp0(old->pin_policy, info->pin_policy) != 0 ||
           g_strcmp0(old->touch_policy, info->touch_policy) != 0 || old->attestation != info->attestation;
}

Token *slot_token(const Slot *slot)
{
    return slot->token;
}

const char *slot_name(const Slot *slot)
{
    return slot->info->name;
}

const char *slot_other_name(const Slot *slot)
{
    const BackendClass *class = slot->token->driver->backend->class;
    return class->slot_other_name ? class->slot_other_name(slot->info->name) : NULL;
}

const char *slot_label(const Slot *slot)
{
    return slot->info->label ? slot->info->label : "";
}

bool slot_has_private_key(const Slot *slot)
{
    return slot->info->has_private_key;
}

EVP_PKEY *slot_public_key(const Slot *slot)
{
    return slot->info->public_key;
}

X509 *slot_certificate(const Slot *slot)
{
    return slot->info->certificate;
}

KeyOrigin slot_origin(const Slot *slot)
{
    return slot->info->origin;
}

const char *slot_pin_policy(const Slot *slot)
{
    return slot->info->pin_policy ? slot->info->pin_policy : "";
}

const char *slot_touch_policy(const Slot *slot)
{
    return slot->info->touch_policy ? slot->info->touch_policy : "";
}

guint64 slot_signatures(const Slot *slot)
{
    return slot->signatures;
}

const char *slot_key_type(const Slot *slot)
{
    KeyType type;
    if (!slot->info->public_key)
        return "";
    return key_type_of(slot->info->public_key, &type, NULL) ? key_type_to_string(type) : "unsupported";
}

bool slot_has_just_failed(const Slot *slot)
{
    return slot->failed && g_get_monotonic_time() - slot->failed < JUST_US;
}

static bool is_temporary(X509 *certificate)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0)
        return false;
    const ASN1_STRING *name = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at));
    return ASN1_STRING_length(name) == (int)strlen(SLOT_TEMPORARY_SUBJECT) &&
           memcmp(ASN1_STRING_get0_data(name), SLOT_TEMPORARY_SUBJECT, strlen(SLOT_TEMPORARY_SUBJECT)) == 0;
}

SlotState slot_state(const Slot *slot)
{
    const SlotInfo *info = slot->info;
    if (info->attestation)
        return SLOT_STATE_ATTESTATION;
    if (!info->has_private_key)
        return SLOT_STATE_CERTIFICATE_ONLY;
    if (!info->certificate || is_temporary(info->certificate))
        return SLOT_STATE_KEY_ONLY;
    EVP_PKEY *certified = X509_get0_pubkey(info->certificate);
    if (info->public_key && (!certified || EVP_PKEY_eq(certified, info->public_key) != 1))
        return SLOT_STATE_MISMATCH;
    return SLOT_STATE_PROVISIONED;
}

const char *slot_state_to_string(SlotState state)
{
    static const char *const names[] = {
        [SLOT_STATE_KEY_ONLY] = "key-only",       [SLOT_STATE_PROVISIONED] = "provisioned",
        [SLOT_STATE_ATTESTATION] = "attestation", [SLOT_STATE_CERTIFICATE_ONLY] = "certificate-only",
        [SLOT_STATE_MISMATCH] = "mismatch",
    };
    return names[state];
}

const char *key_origin_to_string(KeyOrigin origin)
{
    static const char *const names[] = {
        [KEY_ORIGIN_UNKNOWN] = "unknown",
        [KEY_ORIGIN_GENERATED] = "generated",
        [KEY_ORIGIN_IMPORTED] = "imported",
    };
    return names[origin];
}

/* One use of the private key on the worker. */
typedef struct KeyUse {
    Slot *slot; /* for the main thread only */
    Driver *driver;
    char *name;
    gint64 deadline;
    SlotKeyFunc work;
    void *data;
    GDestroyNotify free_data;
    DoneFunc done;
    void *userdata;
} KeyUse;

static void key_use_free(void *data)
{
    KeyUse *use = data;
    if (use->free_data)
        use->free_data(use->data);
    g_free(use->name);
    driver_unref(use->driver);
    token_drain_look(use->slot->token);
    slot_unref(use->slot);
    g_free(use);
}

static bool key_use_run(void *data, GCancellable *cancelled, GError **error)
{
    KeyUse *use = data;
    Backend *backend = use->driver->backend;
    EVP_PKEY *key = backend->class->open_key(backend, use->name, error);
    if (!key)
        return false;
    g_autoptr(GError) failure = NULL;
    g_autoptr(GError) earlier = key_provider_take_explanation();
    const KeyLimits limits = {use->deadline, cancelled};
    key_provider_limit(&limits);
    bool done = use->work(key, use->data, &failure);
    key_provider_limit(NULL);
    backend->class->close_key(backend, key);
    driver_note_refused(use->driver);
    /* Where the token refused, its own words and code say more than what OpenSSL made of it. */
    g_autoptr(GError) explanation = key_provider_take_explanation();
    if (!done)
        g_propagate_error(error, explanation ? g_steal_pointer(&explanation) : g_steal_pointer(&failure));
    return done;
}

/* A lost login or a lost token shows in a signature first: then the token is read again. */
static void key_use_done(const GError *error, void *userdata)
{
    KeyUse *use = userdata;
    if (!g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED))
        use->slot->failed = error ? g_get_monotonic_time() : 0;
    if (!error)
        use->slot->signatures++;
    else if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED) ||
             g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG) ||
             g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_HELD) ||
             g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE) ||
             g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY))
        token_refresh(use->slot->token, NULL, NULL);
    use->done(error, use->userdata);
}

bool slot_use_key(Slot *slot, SlotKeyFunc work, void *data, GDestroyNotify free_data, gint64 deadline,
                  GCancellable *cancellable, DoneFunc done, void *userdata, GError **error)
{
    if (!slot->token->worker || !slot->listed) {
        if (free_data)
            free_data(data);
        g_set_error(error, IOTHSM_ERROR,
                    slot->token->worker ? IOTHSM_ERROR_SLOT_EMPTY : IOTHSM_ERROR_TOKEN_GONE,
                    "Slot %s of token %s is gone", slot->info->name, token_serial(slot->token));
        return false;
    }
    KeyUse *use = g_new0(KeyUse, 1);
    *use = (KeyUse){.slot = slot_ref(slot),
                    .driver = driver_ref(slot->token->driver),
                    .name = g_strdup(slot->info->name),
                    .deadline = deadline,
                    .work = work,
                    .data = data,
                    .free_data = free_data,
                    .done = done,
                    .userdata = userdata};
    return worker_submit(slot->token->worker, key_use_run, use, key_use_free, deadline, cancellable,
                         key_use_done, use, error);
}

static bool run_write_certificate(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    return backend->class->write_certificate(backend, act->slot, act->certificate, error);
}

void slot_write_certificate(Slot *slot, X509 *certificate, GCancellable *cancellable, DoneFunc done,
                            void *userdata)
{
    Act *act = act_new(slot->token, run_write_certificate);
    act->slot = g_strdup(slot->info->name);
    act->operation = g_strdup_printf("writing the certificate of slot %s", slot->info->name);
    X509_up_ref(certificate);
    act->certificate = certificate;
    act->done = done;
    act->userdata = userdata;

    EVP_PKEY *certified = X509_get0_pubkey(certificate);
    if (!slot->info->public_key)
        act_refuse(act, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
                                    "Slot %s of token %s holds no key that a certificate could be for",
                                    slot->info->name, token_serial(slot->token)));
    else if (!certified || EVP_PKEY_eq(certified, slot->info->public_key) != 1)
        act_refuse(act, g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_KEY_MISMATCH,
                                    "The certificate is for another key than the one in slot %s of token %s; "
                                    "choose the slot whose key it certifies",
                                    slot->info->name, token_serial(slot->token)));
    else
        act_submit(act, cancellable);
}

static bool run_clear(Act *act, GCancellable *cancelled, GError **error)
{
    Backend *backend = act->driver->backend;
    return backend->class->clear_slot(backend, act->slot, error);
}

void slot_clear(Slot *slot, GCancellable *cancellable, DoneFunc done, void *userdata)
{
    Act *act = act_new(slot->token, run_clear);
    act->slot = g_strdup(slot->info->name);
    act->operation = g_strdup_printf("clearing slot %s", slot->info->name);
    act->done = done;
    act->userdata = userdata;
    act_submit(act, cancellable);
}

typedef struct AttestWait {
    AttestFunc done;
    void *userdata;
} AttestWait;

/* One question to the token. */
typedef struct Attest {
    Slot *slot; /* for the main thread only */
    Driver *driver;
    char *name;
    EVP_PKEY *public_key; /* whose attestation it is */
    GPtrArray *chain;     /* the answer */
} Attest;

static void attest_free(void *data)
{
    Attest *attest = data;
    g_free(attest->name);
    EVP_PKEY_free(attest->public_key);
    if (attest->chain)
        g_ptr_array_unref(attest->chain);
    driver_unref(attest->driver);
    token_drain_look(attest->slot->token);
    slot_unref(attest->slot);
    g_free(attest);
}

static bool attest_run(void *data, GCancellable *cancelled, GError **error)
{
    Attest *attest = data;
    Backend *backend = attest->driver->backend;
    attest->chain = backend->class->attest(backend, attest->name, error);
    return attest->chain != NULL;
}

static void tell_attested(Slot *slot, GPtrArray *chain, const GError *error)
{
    g_autoptr(GPtrArray) waiting = g_steal_pointer(&slot->attestation_for);
    for (guint i = 0; i < waiting->len; i++) {
        const AttestWait *wait = g_ptr_array_index(waiting, i);
        wait->done(chain, error, wait->userdata);
    }
}

static void begin_attestation(Slot *slot);

static void attest_done(const GError *error, void *userdata)
{
    Attest *attest = userdata;
    Slot *slot = attest->slot;
    g_autoptr(GPtrArray) chain = error ? NULL : g_ptr_array_ref(attest->chain);
    forget_attestation(slot);
    if (!same_public_key(slot->info->public_key, attest->public_key)) {
        begin_attestation(slot); /* the key was replaced meanwhile */
        return;
    }
    if (chain)
        slot->attestation = g_ptr_array_ref(chain);
    else if (g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED))
        slot->attestation_error = g_error_copy(error);
    tell_attested(slot, chain, error);
}

/* Before the token is asked: can there be an answer? */
static GError *attestation_refusal(const Slot *slot)
{
    const char *token = token_serial(slot->token);
    if (!slot->token->worker || !slot->listed)
        return g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE, "Slot %s of token %s is gone",
                           slot->info->name, token);
    if (!slot->info->has_private_key || !slot->info->public_key)
        return g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
                           "Slot %s of token %s holds no key that the token could attest", slot->info->name,
                           token);
    if (!slot->token->driver->backend->class->attest)
        return g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                           "Token %s can't attest its keys (YubiKeys can)", token);
    if (slot->info->origin == KEY_ORIGIN_IMPORTED)
        return g_error_new(
            IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
            "The key in slot %s of token %s was imported, so the token can't attest that it was "
            "made there",
            slot->info->name, token);
    return NULL;
}

static gboolean on_attestation_known(gpointer userdata);

static void ask_for_attestation(Slot *slot)
{
    Attest *attest = g_new0(Attest, 1);
    EVP_PKEY_up_ref(slot->info->public_key);
    *attest = (Attest){.slot = slot_ref(slot),
                       .driver = driver_ref(slot->token->driver),
                       .name = g_strdup(slot->info->name),
                       .public_key = slot->info->public_key};
    if (!worker_submit(slot->token->worker, attest_run, attest, attest_free, WORKER_NO_DEADLINE, NULL,
                       attest_done, attest, &slot->attestation_error))
        g_idle_add(on_attestation_known, slot_ref(slot));
}

/* Asks the token, or answers soon with what is known. */
static void begin_attestation(Slot *slot)
{
    if (!slot->attestation && !slot->attestation_error)
        slot->attestation_error = attestation_refusal(slot);
    if (slot->attestation || slot->attestation_error)
        g_idle_add(on_attestation_known, slot_ref(slot));
    else
        ask_for_attestation(slot);
}

/* Only what will be so the next time, too, is kept. */
static gboolean on_attestation_known(gpointer userdata)
{
    g_autoptr(Slot) slot = userdata;
    if (!slot->attestation && !slot->attestation_error) {
        begin_attestation(slot); /* the key was replaced meanwhile */
        return G_SOURCE_REMOVE;
    }
    g_autoptr(GPtrArray) chain = slot->attestation ? g_ptr_array_ref(slot->attestation) : NULL;
    g_autoptr(GError) error = slot->attestation_error ? g_error_copy(slot->attestation_error) : NULL;
    if (error && error->code != IOTHSM_ERROR_UNSUPPORTED)
        g_clear_error(&slot->attestation_error);
    tell_attested(slot, chain, error);
    return G_SOURCE_REMOVE;
}

void slot_attest(Slot *slot, AttestFunc done, void *userdata)
{
    AttestWait *wait = g_new0(AttestWait, 1);
    *wait = (AttestWait){done, userdata};
    bool asked = slot->attestation_for != NULL;
    if (!asked)
        slot->attestation_for = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(slot->attestation_for, wait);
    if (!asked)
        begin_attestation(slot);
}
