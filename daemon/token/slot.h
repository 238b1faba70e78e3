/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A slot: one place for a key on a token, existing for us when it holds a key or a certificate.
 *
 * Lives on the main thread, belongs to its token, and may be kept by reference. What it holds is immutable
 * between two slot_changed events. */

#include "daemon/token/token.h"

typedef enum SlotState {
    SLOT_STATE_KEY_ONLY,    /* no certificate, or the original's temporary one: provisioning can go on */
    SLOT_STATE_PROVISIONED, /* a certificate that matches the key */
    SLOT_STATE_ATTESTATION,
    SLOT_STATE_CERTIFICATE_ONLY, /* a certificate without a private key */
    SLOT_STATE_MISMATCH,         /* a certificate of another key */
} SlotState;

/* Subject CN of the certificate by which the original marks a slot as partially provisioned
 * (protocol.md 6.3). */
#define SLOT_TEMPORARY_SUBJECT "TEMPORARY CERT FOR KEY IMPORT"

Slot *slot_ref(Slot *slot);
void slot_unref(Slot *slot);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Slot, slot_unref)

Token *slot_token(const Slot *slot);
const char *slot_name(const Slot *slot);
const char *slot_other_name(const Slot *slot); /* that a person may use, too, or NULL */
const char *slot_label(const Slot *slot);      /* or "" */
SlotState slot_state(const Slot *slot);
const char *slot_state_to_string(SlotState state);
bool slot_has_private_key(const Slot *slot);
EVP_PKEY *slot_public_key(const Slot *slot); /* transfer none, or NULL */
X509 *slot_certificate(const Slot *slot);    /* transfer none, or NULL */
const char *slot_key_type(const Slot *slot); /* "rsa2048"…, "unsupported", "" without a key */
KeyOrigin slot_origin(const Slot *slot);
const char *key_origin_to_string(KeyOrigin origin);
const char *slot_pin_policy(const Slot *slot);   /* "" where the token has none */
const char *slot_touch_policy(const Slot *slot); /* "" where the token has none */
guint64 slot_signatures(const Slot *slot);       /* made since the daemon started */
bool slot_has_just_failed(const Slot *slot);     /* its last use did, seconds ago */

/* Runs |work| with the slot's private key on the token's worker: the only way to a signature. |key| may be
 * used by |work| alone and only until it returns (no X509_set_pubkey with it, which keeps a reference: that
 * takes slot_public_key); it works with X509_sign, CMS_sign, EVP_DigestSign. |free_data| runs on the main
 * thread after |done|. False, with |data| freed and |done| not called, when the queue is full (TOKEN_BUSY) or
 * the token is gone. |deadline|: µs of g_get_monotonic_time(), or WORKER_NO_DEADLINE. */
typedef bool (*SlotKeyFunc)(EVP_PKEY *key, void *data, GError **error);
bool slot_use_key(Slot *slot, SlotKeyFunc work, void *data, GDestroyNotify free_data, gint64 deadline,
                  GCancellable *cancellable, DoneFunc done, void *userdata, GError **error);

/* KEY_MISMATCH when |certificate| is not for the slot's key. |done| after the slot was read again. */
void slot_write_certificate(Slot *slot, X509 *certificate, GCancellable *cancellable, DoneFunc done,
                            void *userdata);
void slot_clear(Slot *slot, GCancellable *cancellable, DoneFunc done, void *userdata);

/* What the token says about where the slot's key comes from: the certificate for the key, then that of the
 * one who signed it. The token is asked once a key, and a refusal is remembered like an answer, so that
 * nobody can keep a token busy with this. UNSUPPORTED for imported keys and for tokens that can't. */
typedef void (*AttestFunc)(GPtrArray *chain, const GError *error, void *userdata); /* X509; NULL on failure */
void slot_attest(Slot *slot, AttestFunc done, void *userdata);
