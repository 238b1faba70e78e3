/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* An authority: one CA certificate, known by its thumbprint, and the slots that hold its key (several =
 * redundancy and load sharing). It appears with its first slot and goes with its last.
 *
 * The set of all authorities follows the slots: the manager tells it about every slot change, it tells the
 * link and the bus what became of the authorities. Main thread. */

#include "daemon/token/slot.h"

typedef struct Authority Authority;
typedef struct AuthoritySet AuthoritySet;

typedef enum AuthorityLink {
    AUTHORITY_NOT_CONNECTED,
    AUTHORITY_CONNECTED,
    AUTHORITY_UNREGISTERED
} AuthorityLink;

typedef struct AuthorityEvents {
    void (*added)(Authority *authority, void *userdata);
    void (*removed)(Authority *authority, void *userdata);
    void (*changed)(Authority *authority, void *userdata); /* slots, link state, counters */
    void *userdata;
} AuthorityEvents;

AuthoritySet *authority_set_new(const AuthorityEvents *events);
void authority_set_free(AuthoritySet *set);
/* Call for a slot that appeared, changed or is about to go (|present| false). A slot makes an authority when
 * it holds a private key and a matching CA certificate that is neither temporary nor attestation. */
void authority_set_update(AuthoritySet *set, Slot *slot, bool present);
GPtrArray *authority_set_all(const AuthoritySet *set); /* Authority, transfer none, ordered by thumbprint */
/* By thumbprint; transfer none or NULL. */
Authority *authority_set_find(const AuthoritySet *set, const char *thumbprint);
/* Of |slot|; transfer none or NULL. */
Authority *authority_set_of_slot(const AuthoritySet *set, const Slot *slot);

Authority *authority_ref(Authority *authority);
void authority_unref(Authority *authority);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Authority, authority_unref)

X509 *authority_certificate(const Authority *authority); /* transfer none */
const char *authority_serial(const Authority *authority);
const char *authority_thumbprint(const Authority *authority);
const char *authority_subject(const Authority *authority);
GPtrArray *authority_slots(const Authority *authority); /* Slot, transfer none; empty once removed */

/* One thing to be done with an authority's key. */
typedef struct AuthorityWork {
    SlotKeyFunc run; /* on the token's thread, once or never */
    void *data;
    GDestroyNotify free_data; /* on the main thread, when the thread has let go; may be NULL */
    gint64 begin_by;          /* µs of g_get_monotonic_time(): not begun by then is CANCELLED */
    gint64 end_by;            /* begun, and not over by then, is TIMED_OUT */
    bool first;               /* before everything that waits */
    GPtrArray *tried;         /* Slot, referenced; or NULL. They get no turn; a slot that failed is added */
    DoneFunc done;
    void *userdata;
} AuthorityWork;

/* Runs |work| with the key of |authority|, in the order of the calls, on the slot whose token has the
 * shortest queue. Authorities that share a token take turns. Work that has not begun on a token which goes
 * away, or does not get to it, has its turn on another one; what had begun ends with the token's error, and
 * whoever wants it done elsewhere says so with |tried|. |done| never runs from inside this call. False, with
 * the data freed and |done| not called, where no token with the key takes work. */
bool authority_use_key(Authority *authority, const AuthorityWork *work, GError **error);
/* How much waits for a token. */
guint authority_waiting(const Authority *authority);
/* A token changed its state: what waits looks again, soon. */
void authority_set_go_on(AuthoritySet *set);
/* A token with its key takes work, and none that is about to be drained. */
bool authority_is_served(const Authority *authority);

/* What the link says about it; each setter reports `changed` where something did. |next_attempt| in µs since
 * the epoch, 0 = none. */
void authority_set_link(Authority *authority, AuthorityLink state, const char *message, gint64 next_attempt);
AuthorityLink authority_link(const Authority *authority);
const char *authority_link_to_string(AuthorityLink state);
const char *authority_link_message(const Authority *authority);
gint64 authority_next_attempt(const Authority *authority);

void authority_count_signature(Authority *authority);
void authority_count_denied(Authority *authority);
guint64 authority_signatures(const Authority *authority);
guint64 authority_denied(const Authority *authority);
gint64 authority_last_signature(const Authority *authority); /* µs since the epoch, 0 = none */
