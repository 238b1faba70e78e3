/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Misbehaviour on request. A fault has a name, a place where it strikes, a probability and a number of times
 * that it strikes. Who stands at such a place asks whether one strikes now. The dice have a seed that is
 * told, so that a run can be repeated. Main thread. */

#include "tests/platform/envelope.h"
#include <json-glib/json-glib.h>

typedef enum FaultPlace {
    PLACE_SOLICIT = 1 << 0, /* a 'solicit signature' */
    PLACE_REQUEST = 1 << 1, /* a 'signature request' */
    PLACE_MESSAGE = PLACE_SOLICIT | PLACE_REQUEST,
    PLACE_BOOTSTRAP = 1 << 2,
    PLACE_UPLOAD = 1 << 3,
    PLACE_LINK = 1 << 4,
} FaultPlace;

typedef enum FaultKind {
    FAULT_FLAW, /* of the S/MIME layers: a Flaw says which */
    /* on the way */
    FAULT_DROP,
    FAULT_DELAY,
    FAULT_DUPLICATE,
    FAULT_REORDER,
    FAULT_CLOSE,
    /* in what a message says */
    FAULT_OLD_SIGNING_TIME,
    FAULT_FUTURE_SIGNING_TIME,
    FAULT_WRONG_CAINDEX,
    FAULT_WRONG_CA,
    FAULT_SIGUUID_DIFFERS,
    FAULT_REPLAY,
    FAULT_OTHER_SIGNTYPE,
    FAULT_UNKNOWN_TYPE,
    FAULT_OTHER_UUID,
    FAULT_NO_SMIME,
    FAULT_SMIME_NUMBER,
    FAULT_DEEP_JSON,
    FAULT_NOT_JSON,
    FAULT_BAD_UTF8,
    /* bootstrap */
    FAULT_BOOTSTRAP_REFUSE,
    FAULT_BOOTSTRAP_STATUS,
    FAULT_BOOTSTRAP_NOT_JSON,
    FAULT_BOOTSTRAP_NULL,
    FAULT_BOOTSTRAP_SLOW,
    FAULT_BOOTSTRAP_REDIRECT,
    FAULT_BOOTSTRAP_OTHER_CHANNEL,
    FAULT_BOOTSTRAP_BAD_TOKEN,
    /* CRL delivery */
    FAULT_UPLOAD_REFUSE,
    FAULT_UPLOAD_STATUS,
    FAULT_UPLOAD_NOT_JSON,
    FAULT_UPLOAD_SLOW,
    /* the link */
    FAULT_HANDSHAKE_STATUS,
    FAULT_WELCOME_REFUSE,
    FAULT_WELCOME_MISSING,
    FAULT_PUBLISH_ERROR,
    FAULT_PUBLISH_UNACKNOWLEDGED,
    FAULT_PUBLISH_LOST,
    FAULT_FRAME_NOT_JSON,
    FAULT_FRAME_ARRAY,
    FAULT_FRAME_EMPTY_OBJECT,
    FAULT_FRAME_BINARY,
    FAULT_FRAME_BAD_UTF8,
    FAULT_FRAME_LARGE,
    /* PubNub */
    FAULT_POLL_STATUS,
    FAULT_POLL_SILENT,
    FAULT_POLL_NOT_JSON,
    FAULT_POLL_TRUNCATED,
    FAULT_POLL_ODD,
    FAULT_POLL_CUT,
    FAULT_POST_STATUS,
    FAULT_TIME_STATUS,
    /* of the bytes on the way, where there is a relay */
    FAULT_RELAY_RESET,
    FAULT_RELAY_CUT,
    FAULT_RELAY_STALL,
    FAULT_RELAY_FREEZE,
    FAULT_KINDS
} FaultKind;

typedef struct Faults Faults;

Faults *faults_new(void);
void faults_free(Faults *faults);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Faults, faults_free)

typedef struct FaultOrder {
    const char *text;   /* NAME or NAME=PARAMETER */
    const char *at;     /* "solicit", "request" or NULL: wherever the fault can strike by default */
    gint64 count;       /* how many times; 0 = until cleared */
    double probability; /* 0 to 1 */
} FaultOrder;

bool faults_add(Faults *faults, const FaultOrder *order, GError **error);
/* A bit of everything that an agent has to survive without anybody noticing, each with a small probability.
 */
void faults_add_chaos(Faults *faults);
void faults_clear(Faults *faults);
void faults_seed(Faults *faults, guint32 seed);
guint32 faults_get_seed(const Faults *faults);

/* Whether |kind| strikes at |place| now; counts it as struck. |ret_parameter| (may be NULL): the number given
 * with it, or the kind's usual one. */
bool faults_strike(Faults *faults, FaultKind kind, FaultPlace place, gint64 *ret_parameter);
/* The same for kinds with a text. Transfer full; NULL: it doesn't strike. */
char *faults_strike_text(Faults *faults, FaultKind kind, FaultPlace place);
/* The flaw that strikes at |place| now. */
Flaw faults_strike_flaw(Faults *faults, FaultPlace place);

/* What is set and how often it struck. Transfer full. */
JsonArray *faults_describe(const Faults *faults);
/* The list for --help. Transfer full. */
char *faults_help(void);
