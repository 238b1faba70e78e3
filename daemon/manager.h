/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The manager owns the parts and wires their callbacks: sources make tokens, tokens have slots, slots make
 * authorities, authorities get channels. It is the only file that knows everybody, and does nothing itself.
 * What the bus shows is read from here and from the parts; what changes is told through ManagerEvents. Main
 * thread. */

#include "daemon/ca/authority.h"
#include "daemon/config.h"
#include "daemon/link/link.h"
#include "daemon/log.h"
#include "daemon/token/slot.h"

typedef struct Manager Manager;

typedef struct ManagerEvents {
    void (*changed)(void *userdata); /* a property of the manager */
    void (*token_added)(Token *token, void *userdata);
    void (*token_removed)(Token *token, void *userdata);
    void (*token_changed)(Token *token, void *userdata);
    void (*slot_added)(Slot *slot, void *userdata);
    void (*slot_removed)(Slot *slot, void *userdata);
    void (*slot_changed)(Slot *slot, void *userdata);
    void (*authority_added)(Authority *authority, void *userdata);
    void (*authority_removed)(Authority *authority, void *userdata);
    void (*authority_changed)(Authority *authority, void *userdata);
    void (*signed_request)(Authority *authority, const char *siguuid, const char *kind, const char *result,
                           void *userdata);
    void (*denied_request)(Authority *authority, const char *siguuid, const char *kind, const char *reason,
                           void *userdata);
    /* Anything else that `monitor` prints: |id| "token-added", "link", "pin-wrong"…; |fields| ends with NULL.
     */
    void (*event)(const char *id, const LogField *fields, void *userdata);
    void *userdata;
} ManagerEvents;

/* What the daemon was started with. */
typedef struct ManagerOptions {
    const char *config_file;           /* NULL: the installed places */
    const char *state_directory;       /* absolute */
    const char *credentials_directory; /* NULL: none */
} ManagerOptions;

/* Opens state, journal and identity; blocks, before the main loop. */
Manager *manager_new(const ManagerOptions *options, GError **error);
/* Stops everything and waits for the tokens' threads. */
void manager_free(Manager *manager);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Manager, manager_free)

/* Before manager_start: one more place where tokens come from. Transfer full. */
void manager_add_source(Manager *manager, Source *source);
void manager_set_events(Manager *manager, const ManagerEvents *events);
/* |settled| runs when the first enumeration is over, but for what a network may keep back: then READY=1 is
 * true. */
void manager_start(Manager *manager, DoneFunc settled, void *userdata);

const Config *manager_config(const Manager *manager);
const char *manager_state_directory(const Manager *manager);
Link *manager_link(const Manager *manager);
AuthoritySet *manager_authorities(const Manager *manager);
GPtrArray *manager_tokens(const Manager *manager); /* Token, transfer none, ordered by serial */
guint64 manager_signatures(const Manager *manager);
guint64 manager_denied(const Manager *manager);
bool manager_can_persist_pins(const Manager *manager);
/* Sentences on what could be a token and can't be used, and what to do. Transfer full. */
GStrv manager_troubles(const Manager *manager);
/* "1 token ready, connected as https://pkiaas.io (2 authorities)": systemd's STATUS=. Transfer full. */
char *manager_status_text(const Manager *manager);
/* OpenMetrics text. Transfer full. */
char *manager_metrics(const Manager *manager);

/* Reads the configuration again, asks all sources, hurries the link. */
void manager_reload(Manager *manager, DoneFunc done, void *userdata);
/* |done| gets the new token's serial. UNSUPPORTED where SoftHSM2 is switched off or not installed. */
void manager_create_softhsm_token(Manager *manager, const char *label, Secret *so_pin, Secret *pin,
                                  TextDoneFunc done, void *userdata);
/* |on|: no new work for |token|, also after a restart; |done| when nothing runs on it any more. Off: it works
 * again. */
void manager_drain_token(Manager *manager, Token *token, bool on, GCancellable *cancellable, DoneFunc done,
                         void *userdata);
/* One step of the walk to a key ring in Google Cloud, as google_kms_browse; |credentials| NULL: those of the
 * machine. */
void manager_browse_google_kms(Manager *manager, const char *parent, Secret *credentials,
                               GCancellable *cancellable, TextDoneFunc done, void *userdata);
/* |done| gets the new token's serial. */
void manager_add_google_kms(Manager *manager, const char *key_ring, Secret *credentials,
                            GCancellable *cancellable, TextDoneFunc done, void *userdata);
/* SoftHSM2: with its keys. Google Cloud KMS: forgets the key ring. UNSUPPORTED otherwise. */
void manager_remove_token(Manager *manager, Token *token, DoneFunc done, void *userdata);
/* |purpose| "platform" or "yubico". */
void manager_add_trust_anchor(Manager *manager, const char *purpose, const char *pem, DoneFunc done,
                              void *userdata);
