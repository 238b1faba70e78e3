/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a kind of token must be able to do, as a table of functions.
 *
 * A backend is one token as its driver sees it. Every function runs on a thread of that token's worker and
 * may block; with |threads| > 1 several run at once and the backend does its own locking. A backend knows
 * nothing of the bus, the link or the main loop, and never logs: it answers with errors that name the token
 * and the slot and say what to do. No function ever tries a PIN that it was not handed in that very call,
 * with one exception: a PIN that the token accepted may be presented again after the driver re-opened the
 * token. If the token refuses it then, take_refused gives it to who remembers such PINs. */

#include "daemon/secret.h"
#include "daemon/token/key-type.h"
#include <openssl/x509.h>

typedef enum PinState {
    PIN_STATE_NOT_NEEDED,
    PIN_STATE_MISSING, /* wanted, and none is known */
    PIN_STATE_FACTORY, /* the token says it still has the factory PIN */
    PIN_STATE_SET,     /* accepted */
    PIN_STATE_WRONG,   /* the known one was refused */
    PIN_STATE_BLOCKED,
} PinState;

typedef enum KeyOrigin { KEY_ORIGIN_UNKNOWN, KEY_ORIGIN_GENERATED, KEY_ORIGIN_IMPORTED } KeyOrigin;

/* PIV's policies; NULL in tokens that have none. */
typedef struct KeyOptions {
    const char *pin_policy;   /* "never" "once" "always" or NULL: the token's default */
    const char *touch_policy; /* "never" "always" "cached" or NULL: the token's default */
    const char *label;        /* PKCS#11's CKA_LABEL, or NULL */
} KeyOptions;

/* One occupied slot as read from the token. Immutable after it left the backend. */
typedef struct SlotInfo {
    char *name;           /* "9c"; PKCS#11: CKA_ID in lower-case hex */
    char *label;          /* or NULL */
    EVP_PKEY *public_key; /* NULL: the slot holds a certificate only */
    X509 *certificate;    /* NULL: none */
    bool has_private_key;
    KeyOrigin origin;
    char *pin_policy;   /* or NULL */
    char *touch_policy; /* or NULL */
    bool attestation;   /* the token's own attestation slot: read only */
} SlotInfo;

SlotInfo *slot_info_new(const char *name);
void slot_info_free(SlotInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(SlotInfo, slot_info_free)

/* The token as a whole, read together with its slots. Immutable after it left the backend. */
typedef struct TokenInfo {
    char *serial; /* the identity: never a reader or slot number */
    char *label;
    char *model;
    char *firmware;
    PinState pin_state;   /* NOT_NEEDED, MISSING, FACTORY, SET or BLOCKED, as the token tells */
    int pin_retries;      /* -1: the token does not tell */
    int puk_retries;      /* -1: the token does not tell */
    char *management_key; /* "not-needed" "factory" "set" "missing" "protected" */
    GStrv free_slots;     /* names a new key can take, at most 32, in the order to offer them */
    GStrv key_types;      /* what this token can generate, by key_type_to_string names */
    GPtrArray *slots;     /* SlotInfo, owned */
    GError *outdated; /* or NULL: why the token could not be read now, and this is what was known before */
} TokenInfo;

TokenInfo *token_info_new(void);
void token_info_free(TokenInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(TokenInfo, token_info_free)

typedef struct Backend Backend;

/* What a backend tells from the inside of a call, on the thread of that call; token.c fills it in before the
 * first one. A backend that has nothing to tell leaves it alone. */
typedef struct BackendReports {
    /* The token waits for a finger (|wanted|), or does no more: |slot|'s key has a touch policy. */
    void (*touch)(Backend *backend, const char *slot, bool wanted, void *userdata);
    void *userdata;
} BackendReports;

/* What is to become of a management key (PIV 9B). */
typedef struct ManagementKeyChange {
    Secret *current;       /* raw bytes; NULL: the one given before, the PIN-protected or the factory's */
    Secret *replacement;   /* raw bytes; NULL with |protect|: a random one; NULL without: nothing is changed,
                              |current| is tried and used from now on */
    const char *algorithm; /* "3des" "aes128" "aes192" "aes256", or NULL: as the token has it */
    bool protect;          /* keep the replacement on the token, readable with the PIN */
    bool unasked;          /* nobody is there: |current| alone is not tried where that takes a touch */
} ManagementKeyChange;

typedef struct BackendClass {
    const char *kind; /* "softhsm2" "pkcs11" "yubikey" "google-kms" "fake" */
    guint threads;    /* how many calls may run at once; 0: as many as there are processors */
    bool remote;      /* what it says comes over a network, which may be away: nothing waits for it */

    /* The name by which the token lists the slot that |spelling| means; NULL: it means none. On any thread.
     * May be NULL: its slots have one name each. */
    const char *(*slot_name)(const char *spelling);
    /* What else a person may call the slot of that |name|, static; NULL: nothing. There where slot_name is.
     */
    const char *(*slot_other_name)(const char *name);

    void (*free)(Backend *backend);

    /* Reads everything about the token. Needs no PIN; where private objects are hidden without one, what is
     * visible is listed. What is |outdated| is asked for again by and by. Transfer full. */
    TokenInfo *(*probe)(Backend *backend, GError **error);

    /* Reads the tries left first and answers PIN_BLOCKED without a try where two or fewer are left (unless
     * |insist|: a person typed it just now). PIN_WRONG says how many are left. */
    bool (*login)(Backend *backend, Secret *pin, bool insist, GError **error);
    bool (*logout)(Backend *backend, GError **error);
    bool (*change_pin)(Backend *backend, Secret *old_pin, Secret *new_pin, GError **error);
    /* |puk|: PIV's PUK, PKCS#11's security officer PIN. */
    bool (*unblock_pin)(Backend *backend, Secret *puk, Secret *new_pin, GError **error);

    /* SLOT_OCCUPIED where |slot| holds a key; NULL |slot| is not allowed here: token.c has chosen. */
    bool (*generate_key)(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                         GCancellable *cancelled, GError **error);
    bool (*import_key)(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                       GError **error);
    /* Replaces the slot's certificate; the new one is in place before the old one goes. */
    bool (*write_certificate)(Backend *backend, const char *slot, X509 *certificate, GError **error);
    /* A PIN that was accepted once and refused when it was presented again; NULL where there is none. Each is
     * given once. Transfer full. The function may be NULL. */
    Secret *(*take_refused)(Backend *backend);

    /* May be NULL: the token has no management key. MANAGEMENT_KEY_WRONG where |current| is refused. */
    bool (*set_management_key)(Backend *backend, const ManagementKeyChange *change, GError **error);
    /* Forgets the one that a person gave. There where set_management_key is. */
    void (*forget_management_key)(Backend *backend);
    /* The certificate by which the token vouches that |slot|'s key was made inside it, then that of the key
     * which signed it: X509, owned. UNSUPPORTED where the key was imported or the token can't. May be NULL.
     */
    GPtrArray *(*attest)(Backend *backend, const char *slot, GError **error);

    /* Removes key and certificate. */
    bool (*clear_slot)(Backend *backend, const char *slot, GError **error);

    /* The private key of |slot| for signing, good until close_key: PIN_REQUIRED where the token is not logged
     * in. The backend may cache it; it stays usable by several threads at once when |threads| is not 1. */
    EVP_PKEY *(*open_key)(Backend *backend, const char *slot, GError **error);
    void (*close_key)(Backend *backend, EVP_PKEY *key);
} BackendClass;

struct Backend {
    const BackendClass *class;
    BackendReports reports;
};

/* Has it what PIV adds to a token: policies for PIN and touch, a management key, a known factory PIN? */
bool backend_is_piv(const Backend *backend);
