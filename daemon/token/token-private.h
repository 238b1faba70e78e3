/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What slot.c, token.c and the other token-….c know of each other: the token, its driver, and the act.
 *
 * An act is one thing done to a token on its worker: run it, read the token again, take over what was read on
 * the main thread, say that it is done. Its inputs are set before it is submitted; its results are written by
 * the thread and read by the main thread once |finished| is set. */

#include "daemon/token/slot.h"

/* The backend and what its jobs need besides, alive until the last job has let go. */
typedef struct Driver {
    gint references; /* atomic */
    gint probes;     /* atomic: how many were begun */
    gint refusal;    /* atomic: a PIN was refused outside of an act, and the main thread does not know yet */
    GMutex pins;     /* who has it may try one: token-pin.c; never taken inside of the backend */
    Backend *backend;
    char *serial;
    PinStore *store;
    Token *token; /* main thread; NULL once it is freed */
} Driver;

Driver *driver_ref(Driver *driver);
void driver_unref(Driver *driver);

/* What an act found out about the PIN that it had in hand. */
typedef enum PinVerdict { PIN_NOT_TRIED, PIN_ACCEPTED, PIN_REFUSED, PIN_FORGOTTEN } PinVerdict;

typedef struct Act Act;
typedef bool (*ActRunFunc)(Act *act, GCancellable *cancelled, GError **error);

struct Act {
    Token *token; /* for the main thread only */
    Driver *driver;
    ActRunFunc run; /* NULL: read the token again, that is all */
    /* Inputs */
    char *operation; /* what a person asked for, in words; NULL: nothing to show */
    char *slot;
    KeyType key_type;
    char *label;
    char *pin_policy;
    char *touch_policy;
    char *algorithm; /* of a management key, or NULL */
    Secret *secret;  /* PIN, old PIN, PUK, PEM or management key */
    Secret *other;   /* new PIN, passphrase or new management key; may be NULL */
    bool persist;
    bool protect;
    X509 *certificate;
    DoneFunc done;
    TextDoneFunc text_done; /* instead of |done|: gets |slot| */
    void *userdata;
    /* Results */
    gint finished; /* atomic: the thread is through */
    TokenInfo *info;
    gint probe; /* the number of the probe that made |info| */
    PinVerdict verdict;
    GError *failure;         /* why the token could not be read */
    char *note;              /* a sentence about the PIN that a person should see */
    bool only_token_ends_it; /* nobody else gives it up: then its look at the token may stop, too */
    /* Main thread */
    gint64 since; /* µs since the epoch: it was asked for then */
    bool submitted;
    bool applied;
};

typedef enum TokenDraining { TOKEN_NOT_DRAINING, TOKEN_DRAINS, TOKEN_DRAINED } TokenDraining;

Act *act_new(Token *token, ActRunFunc run);
/* token-pin.c, on the thread: what the driver found out about a PIN by itself is remembered, in an act or
 * after any other use of the token: at once, as the token may be gone before there is an act. */
void act_note_refused(Act *act);
void driver_note_refused(Driver *driver);
/* token-management-key.c, on the thread: the kept one, where the token wants one. Was it presented? */
bool act_present_management_key(Act *act, const TokenInfo *info);
/* Takes |act|. Never calls back from inside. */
void act_submit(Act *act, GCancellable *cancellable);
/* Ends |act| without having run it, with |error|, which is taken. */
void act_refuse(Act *act, GError *error);

struct Token {
    guint references;
    Driver *driver;
    Worker *worker; /* NULL: gone */
    Source *source;
    TokenEvents events;
    bool gone;
    bool probed;       /* |info| is from the token */
    gint probe;        /* the number of the probe behind |info| */
    TokenInfo *info;   /* never NULL */
    bool refreshing;   /* a read without anything else is under way */
    bool pin_refused;  /* the PIN we know was refused */
    char *failure;     /* why the token can't be read, or NULL */
    bool held;         /* because another program has it */
    guint retry;       /* timer: it is read again then */
    guint retry_after; /* seconds, of that timer */
    char *pin_note;    /* or NULL */
    GString *advice;   /* what token_message() said last */
    GPtrArray *slots;  /* Slot, by name */
    GPtrArray *acts;   /* Act with an operation, in order of submission */
    /* token-drain.c */
    TokenDraining draining;
    GPtrArray *drains;   /* who waits for the end of it; each has a reference */
    GSource *drain_look; /* or NULL */
    gint64 busy_until;   /* monotonic µs: when something ran last */
    /* token-touch.c */
    GPtrArray *touches; /* names of slots whose keys wait for a finger, in order */
    guint touch_timer;  /* they are shown then */
    bool touch_shown;
    char *touch_message;
};

/* Something that ran on the token is over: those who wait until it is drained look, soon. */
void token_drain_look(Token *token);
/* The same at once. */
void token_end_drains(Token *token);
void token_changed(Token *token);

/* Listens to the backend, before its first call. */
void touch_follow(Token *token);
/* Nobody waits any more. */
void touch_forget(Token *token);

/* Slots, by token.c. A token owns its listed slots without a reference to itself; a reference from outside
 * holds the token, too. */
Slot *slot_new(Token *token, SlotInfo *info);
/* The token lets go: the slot lives on for those who hold it, and answers TOKEN_GONE or SLOT_EMPTY. */
void slot_unlist(Slot *slot);
/* Takes |info| (transfer full) and says whether it tells something new. */
bool slot_update(Slot *slot, SlotInfo *info);
