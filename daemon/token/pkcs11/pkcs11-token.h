/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One PKCS#11 token as a Backend: its way into the module, its sessions, its login.
 *
 * A token is "open" while it has a session of its own; that one is for PINs and for being there, as a PKCS#11
 * login lasts as long as the application has a session with the token, and covers all of them. What a call
 * does, it does in a session that it takes for itself alone, from those that lie idle or a new one. When the
 * module was initialised again, or the token was pulled out and put back, the next call opens it anew, by its
 * serial number, and presents the PIN that it has accepted before. */

#include "daemon/token/backend.h"
#include "daemon/token/pkcs11/pkcs11-object.h"

typedef struct Pkcs11Token {
    Backend backend;
    ModuleClient client;
    Module *module;
    char *serial;
    GMutex lock; /* guards what follows; nobody enters the module's gate with it */
    bool open;
    bool login_required;
    bool writable;
    CK_SLOT_ID slot_id;
    CK_SESSION_HANDLE session;
    Secret *pin;      /* the token has accepted it; NULL: not logged in */
    Secret *refused;  /* it had accepted it, and refused it since; for take_refused */
    GHashTable *keys; /* slot name → EVP_PKEY */
    GArray *idle;     /* CK_SESSION_HANDLE: logged in like all, and doing nothing */
} Pkcs11Token;

Backend *pkcs11_token_new(Module *module, const char *serial);

/* In the gate, opens the token if need be and runs |work| in a session of its own; once more if the session
 * turns out to be lost. */
typedef bool (*SessionFunc)(Pkcs11Token *token, const Session *session, void *data, GError **error);
bool pkcs11_token_run(Pkcs11Token *token, SessionFunc work, void *data, GError **error);
/* The same in two halves, for what stays inside the gate: false leaves nothing to do. */
bool pkcs11_token_enter(Pkcs11Token *token, GError **error);
void pkcs11_token_leave(Pkcs11Token *token);
bool pkcs11_session_open(Pkcs11Token *token, Session *ret_session, GError **error);
/* With |again| it is kept for the next call; not after a failure, which may have left something half done in
 * it. */
void pkcs11_session_close(Pkcs11Token *token, Session *session, bool again);
/* PIN_REQUIRED where the token wants a login and has none. */
bool pkcs11_token_is_logged_in(Pkcs11Token *token, const Session *session, GError **error);

/* Opened keys, inside the gate. Transfer full, or NULL. */
EVP_PKEY *pkcs11_token_take_key(Pkcs11Token *token, const char *slot);
void pkcs11_token_keep_key(Pkcs11Token *token, const char *slot, EVP_PKEY *key);
void pkcs11_token_drop_key(Pkcs11Token *token, const char *slot);

/* pkcs11-probe.c */
TokenInfo *pkcs11_probe(Backend *backend, GError **error);
/* What the flags say about tries left: 0, 1, 2 (at most), or -1. SoftHSM2 raises them and never blocks. */
int pkcs11_pin_retries(const Module *module, CK_FLAGS flags);

/* pkcs11-key.c */
bool pkcs11_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                         GCancellable *cancelled, GError **error);
bool pkcs11_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                       GError **error);
bool pkcs11_write_certificate(Backend *backend, const char *slot, X509 *certificate, GError **error);
bool pkcs11_clear_slot(Backend *backend, const char *slot, GError **error);

/* pkcs11-sign.c */
EVP_PKEY *pkcs11_open_key(Backend *backend, const char *slot, GError **error);
void pkcs11_close_key(Backend *backend, EVP_PKEY *key);
