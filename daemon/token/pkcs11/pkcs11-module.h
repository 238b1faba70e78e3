/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A PKCS#11 module in this process: loaded once, initialised as often as need be, and entered through a gate.
 *
 * A thread that uses the module is inside the gate from its first call to its last. To re-initialise, or to
 * log a token out under everybody's feet, a thread enters alone: it waits until all have left and keeps
 * newcomers waiting (before it, too, or busy signers would keep it out for ever). Nobody who is inside may
 * enter again. */

#include "daemon/error.h"
#include <gio/gio.h>
#include <openssl/types.h>
#include <stdbool.h>

/* libp11.h names two types that OpenSSL 3 declares only to those who ask for what it deprecates. */
typedef struct rsa_meth_st RSA_METHOD;
typedef struct ec_key_method_st EC_KEY_METHOD;
#include <libp11.h>
#include <p11-kit/pkcs11.h>

typedef struct Module {
    gint references; /* atomic */
    char *path;
    bool softhsm;
    GMutex gate_lock;
    GCond gate_changed;
    guint inside;
    guint waiting_alone;
    bool alone;
    GMutex clients_lock;
    GPtrArray *clients; /* ModuleClient */
    /* For who is inside: */
    void *library;
    CK_FUNCTION_LIST *functions; /* NULL: not loaded */
    PKCS11_CTX *context;
    PKCS11_SLOT *slots;
    unsigned int n_slots;
} Module;

/* Who keeps handles of the module. |forget| runs while nobody is inside, before all of them die. */
typedef struct ModuleClient {
    void (*forget)(struct ModuleClient *client);
} ModuleClient;

Module *module_new(const char *path, bool softhsm);
Module *module_ref(Module *module);
void module_unref(Module *module);

void module_enter(Module *module);
/* False where one would have to wait. */
bool module_try_enter(Module *module);
void module_leave(Module *module);
void module_enter_alone(Module *module);
void module_leave_alone(Module *module);

void module_add_client(Module *module, ModuleClient *client);
void module_remove_client(Module *module, ModuleClient *client);

/* Alone. Loads the library if it is not yet loaded, else initialises it again: all handles die. */
bool module_initialise(Module *module, GError **error);
/* Alone or inside. The serial numbers of the initialised tokens that are present. Transfer full. */
GPtrArray *module_serials(const Module *module);
/* Inside. The slot whose token has this serial number, read from it now. */
bool module_find_slot(const Module *module, const char *serial, CK_SLOT_ID *ret_slot,
                      CK_TOKEN_INFO *ret_info);

/* Text of a fixed-width, blank-padded field, valid UTF-8. Transfer full. */
char *module_text(const CK_UTF8CHAR *field, gsize size);
/* What identifies a token: its serial number, else its label. Transfer full. */
char *module_token_serial(const CK_TOKEN_INFO *info);

/* True for CKR_OK; else sets |error|: what |format| says, and what |result| means. */
bool module_check(CK_RV result, GError **error, const char *format, ...) G_GNUC_PRINTF(3, 4);
