/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A token as the rest of the daemon sees it: one HSM with its state, its PIN and its slots.
 *
 * It lives on the main thread, owns its backend and the worker on which every backend call runs, and re-reads
 * its slots after each change. All acts are asynchronous. References may outlive the hardware: a token that
 * is gone answers TOKEN_GONE to everything. */

#include "daemon/pin-store.h"
#include "daemon/token/source.h"
#include "daemon/worker.h"

typedef struct Token Token;
typedef struct Slot Slot;

typedef enum TokenState {
    TOKEN_STATE_STARTING,
    TOKEN_STATE_READY,
    TOKEN_STATE_BUSY, /* an operation of a person runs (not: a signature) */
    TOKEN_STATE_TOUCH_NEEDED,
    TOKEN_STATE_DRAINING,
    TOKEN_STATE_HELD,
    TOKEN_STATE_FAILED,
    TOKEN_STATE_GONE,
} TokenState;

typedef struct TokenEvents {
    void (*changed)(Token *token, void *userdata); /* any property of it */
    void (*slot_added)(Token *token, Slot *slot, void *userdata);
    void (*slot_removed)(Token *token, Slot *slot, void *userdata);
    void (*slot_changed)(Token *token, Slot *slot, void *userdata);
    void *userdata;
} TokenEvents;

/* Transfer full of |backend|. |source| is kept for token_source(), |store| too; both outlive the token. */
Token *token_new(Backend *backend, const char *serial, Source *source, PinStore *store,
                 const TokenEvents *events);
Token *token_ref(Token *token);
void token_unref(Token *token);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Token, token_unref)

/* Probes for the first time and presents the stored PIN, if there is one that was not refused before. |done|
 * when the slots are known, whatever became of the PIN. */
void token_start(Token *token, DoneFunc done, void *userdata);
/* The hardware went away: slots are removed, work ends with TOKEN_GONE, state is GONE. */
void token_gone(Token *token);
/* token_gone, and waits for the worker: for shutdown. */
void token_close_and_join(Token *token);
/* Reads slots and state again. */
void token_refresh(Token *token, DoneFunc done, void *userdata);

Source *token_source(const Token *token);
const char *token_kind(const Token *token);
const char *token_serial(const Token *token);
const char *token_label(const Token *token);
const char *token_model(const Token *token);
const char *token_firmware(const Token *token);
TokenState token_state(const Token *token);
const char *token_state_to_string(TokenState state);
/* "" or a sentence: why it is not ready, what to do. Until the next call. */
const char *token_message(const Token *token);
const char *token_operation(const Token *token);  /* "" or what runs: "generating rsa4096 in slot 01" */
gint64 token_operation_since(const Token *token); /* µs since the epoch: asked for then; 0: nothing runs */
const char *token_touch_slot(const Token *token); /* "" or the slot whose key waits for a finger */
PinState token_pin_state(const Token *token);
const char *pin_state_to_string(PinState state);
int token_pin_retries(const Token *token);
int token_puk_retries(const Token *token);
const char *token_management_key_state(const Token *token);
const char *const *token_free_slots(const Token *token);
const char *const *token_key_types(const Token *token);
GPtrArray *token_slots(const Token *token);                  /* Slot, transfer none, ordered by name */
Slot *token_find_slot(const Token *token, const char *name); /* transfer none, or NULL */
guint token_load(const Token *token);    /* jobs waiting or running: what a scheduler compares */
guint token_threads(const Token *token); /* how many of them can run at once */

/* From now on nothing is offered for it to the platform; what it has, and what was offered before, is
 * finished. Off again: as before. */
void token_set_draining(Token *token, bool on);
/* As at the end of that, at once: for one that was drained when it was seen last. */
void token_set_drained(Token *token);
bool token_is_draining(const Token *token); /* or drained */
bool token_is_drained(const Token *token);  /* it takes nothing more */
/* |done| when a draining token is drained; CANCELLED where the draining ends first, TOKEN_GONE. Never
 * from inside. */
void token_wait_drained(Token *token, GCancellable *cancellable, DoneFunc done, void *userdata);

/* A person gives the PIN: it is tried once, kept in memory, and sealed on disk with |persist| (INVALID where
 * there is no sealing key). A PIN that was refused before is PIN_WRONG without a try. */
void token_set_pin(Token *token, Secret *pin, bool persist, GCancellable *cancellable, DoneFunc done,
                   void *userdata);
/* The factory PIN, where the token says that it still has it; PIN_WRONG without a try where it doesn't. */
void token_use_factory_pin(Token *token, bool persist, GCancellable *cancellable, DoneFunc done,
                           void *userdata);
void token_forget_pin(Token *token, GCancellable *cancellable, DoneFunc done, void *userdata);
void token_change_pin(Token *token, Secret *old_pin, Secret *new_pin, GCancellable *cancellable,
                      DoneFunc done, void *userdata);
void token_unblock_pin(Token *token, Secret *puk, Secret *new_pin, GCancellable *cancellable, DoneFunc done,
                       void *userdata);

/* Management keys, here and in |change|, are hexadecimal digits. The token has |key|: it is tried, used from
 * now on, and sealed on disk with |persist|. */
void token_set_management_key(Token *token, Secret *key, bool persist, GCancellable *cancellable,
                              DoneFunc done, void *userdata);
/* The token gets another one: change->replacement, or with change->protect a random one. */
void token_change_management_key(Token *token, const ManagementKeyChange *change, bool persist,
                                 GCancellable *cancellable, DoneFunc done, void *userdata);
/* The one on disk; what the driver holds in memory goes with it or with the token. */
void token_forget_management_key(Token *token, GCancellable *cancellable, DoneFunc done, void *userdata);

/* |slot| "" = the first free one. |done| gets the slot's name; the slot is listed by then. */
void token_generate_key(Token *token, const char *slot, KeyType type, const KeyOptions *options,
                        GCancellable *cancellable, TextDoneFunc done, void *userdata);
/* |pem|: PKCS#8 or traditional; |passphrase| or NULL. PASSPHRASE_WRONG, BAD_KEY, UNSUPPORTED in words. */
void token_import_key(Token *token, const char *slot, Secret *pem, Secret *passphrase,
                      const KeyOptions *options, GCancellable *cancellable, TextDoneFunc done,
                      void *userdata);
