/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What authority.c and authority-use-key.c know of each other: the authorities, and what waits for their
 * keys. */

#include "daemon/ca/authority.h"

struct Authority {
    guint references;
    AuthoritySet *set; /* NULL: it is not in a set any more */
    X509 *certificate;
    char *serial;
    char *thumbprint;
    char *subject;
    GPtrArray *slots; /* Slot, referenced */
    GQueue tasks;     /* what waits for a token, in the order in which it is to begin */
    bool waits;       /* it is in the set's queue */
    AuthorityLink link;
    char *link_message;
    gint64 next_attempt;
    guint64 signatures;
    guint64 denied;
    gint64 last_signature;
};

struct AuthoritySet {
    AuthorityEvents events;
    GHashTable *authorities; /* thumbprint → Authority, referenced */
    GPtrArray *ordered;      /* the same, by thumbprint */
    GHashTable *of_slot;     /* Slot → Authority, neither referenced: the authority holds the slot */
    GQueue waiting;          /* Authority with tasks, referenced; whose turn it is stands at the front */
    GQueue failing;          /* tasks that nobody can do, and that are not told yet */
    guint going_on;          /* idle source */
    bool handing_out;
};

/* |authority| leaves its set: what waits is told, soon, that there is no token any more. */
void authority_stop_waiting(Authority *authority);
/* The same for all at once, for the set's end. */
void authority_set_stop_waiting(AuthoritySet *set);
