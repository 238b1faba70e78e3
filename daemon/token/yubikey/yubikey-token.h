/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the parts of a YubiKey's backend know of each other. All of it belongs to the worker's one thread. */

#include "daemon/token/backend.h"
#include "daemon/token/yubikey/yubikey-card.h"

typedef struct YubiKey {
    Backend backend;
    Card *card;
    Secret *pin;        /* the card has accepted it */
    Secret *refused;    /* it had accepted it, and refused it since; for take_refused */
    Secret *management; /* the management key that a person gave, once the card has accepted it */
    Secret *proved;     /* the one that the card accepted in this transaction */
    int is_factory;     /* the management key, tried out in |factory_generation| of the card; -1: not tried */
    guint factory_generation;
    GHashTable *keys; /* slot name → YubiKeyKey */
    guint keys_generation;
} YubiKey;

/* Runs |work| between card_begin and card_end. */
typedef bool (*YubiKeyWork)(YubiKey *yubikey, void *data, GError **error);
bool yubikey_run(YubiKey *yubikey, YubiKeyWork work, void *data, GError **error);
/* The same for what only reads: once more where the connection broke. */
bool yubikey_run_reading(YubiKey *yubikey, YubiKeyWork work, void *data, GError **error);

/* A slot as the card tells of it. */
typedef struct SlotContents {
    bool has_key;
    guint8 algorithm; /* 0: not told */
    EVP_PKEY *public_key;
    guint8 pin_policy; /* 0: not told */
    guint8 touch_policy;
    KeyOrigin origin;
    X509 *certificate;
} SlotContents;
void slot_contents_clear(SlotContents *contents);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(SlotContents, slot_contents_clear)

/* yubikey-probe.c. In a transaction. */
bool yubikey_read_slot(YubiKey *yubikey, const PivSlot *slot, SlotContents *ret_contents, GError **error);
TokenInfo *yubikey_probe(Backend *backend, GError **error);
/* INVALID for what is no slot's name. */
const PivSlot *yubikey_find_slot(const YubiKey *yubikey, const char *name, GError **error);

/* yubikey-pin.c */
bool yubikey_login(Backend *backend, Secret *pin, bool insist, GError **error);
bool yubikey_logout(Backend *backend, GError **error);
bool yubikey_change_pin(Backend *backend, Secret *old_pin, Secret *new_pin, GError **error);
bool yubikey_unblock_pin(Backend *backend, Secret *puk, Secret *new_pin, GError **error);
Secret *yubikey_take_refused(Backend *backend);
/* In a transaction: presents the PIN that was accepted before. PIN_REQUIRED where there is none, PIN_BLOCKED
 * where tries are short, PIN_WRONG where the card has another one now. */
bool yubikey_present_pin(YubiKey *yubikey, GError **error);
/* In a transaction: the same unless the card has it already. */
bool yubikey_ensure_pin(YubiKey *yubikey, GError **error);

/* yubikey-management-key.c */
bool yubikey_set_management_key(Backend *backend, const ManagementKeyChange *change, GError **error);
void yubikey_forget_management_key(Backend *backend);
/* In a transaction: proves the management key. MANAGEMENT_KEY_REQUIRED where none is known. */
bool yubikey_manage(YubiKey *yubikey, GError **error);
/* In a transaction: "factory" "set" "missing" "protected"; NULL with |error|. */
const char *yubikey_management_key_state(YubiKey *yubikey, GError **error);

/* yubikey-key.c */
bool yubikey_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                          GCancellable *cancelled, GError **error);
bool yubikey_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                        GError **error);
bool yubikey_write_certificate(Backend *backend, const char *slot, X509 *certificate, GError **error);
bool yubikey_clear_slot(Backend *backend, const char *slot, GError **error);
GPtrArray *yubikey_attest(Backend *backend, const char *slot, GError **error);

/* yubikey-sign.c */
EVP_PKEY *yubikey_open_key(Backend *backend, const char *slot, GError **error);
void yubikey_close_key(Backend *backend, EVP_PKEY *key);
/* |slot| NULL: all. */
void yubikey_forget_key(YubiKey *yubikey, const PivSlot *slot);
