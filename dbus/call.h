/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One method call, from its arrival to its answer: arguments are read and validated, the caller is
 * authorised, secrets are read, then the act runs, and what it says becomes the answer. The object may vanish
 * meanwhile: the call has a reference to what is behind it. A caller that leaves the bus has its call
 * cancelled. */

#include "daemon/ca/provision.h"
#include "daemon/secret.h"
#include "dbus/object.h"

#define CALL_SECRETS_MAX 2
/* PEM texts; the largest certificates with long extension lists are far below. */
#define CALL_PEM_MAX (1024U * 1024U)
/* Names, labels, policies. */
#define CALL_NAME_MAX 255U

/* What the methods carry; each uses its few. Texts belong to the message. */
typedef struct Arguments {
    const char *name; /* a slot's name, a label, a purpose, an algorithm */
    const char *pem;
    bool persist;
    bool on;
    bool protect;
    KeyType key_type;
    KeyOptions key;
    ProvisionOptions provision;
    void *token;                       /* Token; a reference, or NULL */
    int descriptors[CALL_SECRETS_MAX]; /* of the message, or -1 */
    Secret *secrets[CALL_SECRETS_MAX];
} Arguments;

struct Call {
    Bus *bus; /* NULL once the bus is gone: the answer goes nowhere then */
    sd_bus_message *message;
    const Method *method;
    const ObjectClass *class;
    void *subject; /* a reference: Manager, Token, Slot, Authority */
    GCancellable *cancellable;
    const char *action; /* the method's, unless reading the arguments found that another is needed */
    GPtrArray *details; /* pairs for polkit */
    Arguments arguments;
    struct SenderWatch *watch;
    bool asking; /* authorize has it */
    int64_t uid; /* the caller's user; -1: not known yet */
};

/* sd-bus's handler of every method: finds its row and takes it from there. */
int call_handle(sd_bus_message *message, void *object, sd_bus_error *ret_error);
/* The bus is going: open questions are dropped, work is cancelled, nothing is answered any more. */
void call_abandon(Call *call);

/* |value| is copied. */
void call_add_detail(Call *call, const char *name, const char *value);

/* Reading arguments in order. False with INVALID in words. */
bool call_read_name(Call *call, const char *what, const char **ret_text, GError **error);
bool call_read_pem(Call *call, const char *what, GError **error);
/* The descriptor that arguments.secrets[|index|] is read from, after authorisation. */
bool call_read_descriptor(Call *call, guint index, GError **error);

/* One option of an a{sv}: a place in the call's arguments by its type s, b, i or h. */
typedef struct CallOption {
    const char *name;
    char type;
    void *place; /* const char **, bool *, int *, int * */
} CallOption;
/* |options| ends with a NULL name. An unknown option is INVALID and named. */
bool call_read_options(Call *call, const CallOption *options, GError **error);

/* For what everybody may ask and is not answered at once, before it begins: false when too many such calls
 * are open, and this one is settled then. */
bool call_may_wait(Call *call);

/* Each settles |call| and frees it. */
void call_done(const GError *error, void *call);                        /* a DoneFunc: answers () */
void call_text_done(const char *text, const GError *error, void *call); /* a TextDoneFunc: answers (s) */
void call_answer_text(Call *call, const char *text);
void call_answer_path(Call *call, const char *path);
void call_fail(Call *call, const GError *error);
