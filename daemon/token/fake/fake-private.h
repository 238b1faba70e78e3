/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the fake know of each other: fake.c is the hardware and the source that it is plugged
 * into, fake-backend.c a driver for it, fake-keys.c what that does with keys.
 *
 * A FakeToken is the hardware: it belongs to the source and survives being unplugged. A FakeBackend is one
 * plugging in of it. What threads share is in the FakeToken under its lock; the lock is never held while a
 * call waits. */

#include "daemon/error.h"
#include "daemon/token/fake/fake-attestation.h"
#include "daemon/token/fake/fake.h"

typedef struct FakeToken {
    gint references; /* atomic */
    char *serial;
    char *label;
    char *pin; /* NULL: none is needed */
    char *so_pin;
    char *attestation_root;      /* a file to write it to, or NULL */
    char *key_file;              /* slot 01 at first, or NULL */
    char *certificate_file;      /* slot 01 at first, or NULL */
    char *ledger;                /* a file, or NULL */
    char *management_key_digits; /* as it was described; NULL: the factory's */
    guint retries_max;
    guint threads;
    guint n_slots;
    guint piv; /* it has what a YubiKey has beyond PKCS#11 */
    guint touch_limit_ms;
    GMutex lock; /* guards what follows */
    GCond released;
    guint plugging; /* counts pluggings in; odd: plugged */
    guint delay_ms;
    guint retries;
    bool logged_in;
    GHashTable *slots; /* name → SlotInfo with a private |public_key| */
    guint fail_count;
    IothsmError fail_code;
    bool hold;
    guint held;
    guint at_once;
    guint most_at_once;
    guint pins_presented;
    GHashTable *signed_contents; /* SHA-256 of each, in hex */
    /* PIV */
    Secret *management_key;       /* raw */
    Secret *management_key_given; /* raw; by the driver, for this plugging in; may be NULL */
    const char *management_key_algorithm;
    bool management_key_protected;
    gint64 touched_at; /* monotonic µs; 0: never */
    guint waits;       /* signatures that wait for a finger */
    FakeAttester *attester;
    guint attestations;
} FakeToken;

FakeToken *fake_token_ref(FakeToken *token);
void fake_token_unref(FakeToken *token);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FakeToken, fake_token_unref)

typedef struct FakeBackend {
    Backend backend;
    BackendClass class; /* its own: |threads| differs, and what only PIV has */
    FakeToken *token;
    guint plugging;
} FakeBackend;

bool fake_token_has_factory_management_key(const FakeToken *token);

/* fake-backend.c */
Backend *fake_backend_new(FakeToken *token);
bool fake_is_plugged(const FakeToken *token, guint plugging);
bool fake_set_gone(const FakeToken *token, GError **error);
/* Being held, being slow, failing, being gone: what every call goes through. */
bool fake_pass(FakeToken *token, guint plugging, GError **error);
/* Passes, then locks; NULL where it did not pass. */
FakeToken *fake_enter(Backend *backend, GError **error);
/* Unlocks and gives |result|. */
bool fake_leave(FakeToken *token, bool result);
/* With the lock. */
bool fake_needs_login(const FakeToken *token, GError **error);
bool fake_needs_management_key(const FakeToken *token, GError **error);
char *fake_slot_name(guint number);

/* fake-keys.c: functions of the backend */
bool fake_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                       GCancellable *cancelled, GError **error);
bool fake_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                     GError **error);
bool fake_write_certificate(Backend *backend, const char *name, X509 *certificate, GError **error);
bool fake_clear_slot(Backend *backend, const char *name, GError **error);
EVP_PKEY *fake_open_key(Backend *backend, const char *name, GError **error);
void fake_close_key(Backend *backend, EVP_PKEY *key);
GPtrArray *fake_attest(Backend *backend, const char *name, GError **error);
