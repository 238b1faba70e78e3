/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A platform inside the test program that follows a script: right answers unless told otherwise. It believes
 * the CA certificates that it is given; its messages are signed by "platform" (signers.h). One HTTP server
 * has the bootstrap, the CRL upload and the WebSocket. */

#include "tests/unit/link/signers.h"
#include "tests/unit/link/websocket-server.h"

#define PLATFORM_PUBLISHER "pn-platform-publisher-id"

typedef struct ScriptedPlatform {
    WebsocketServer *link;
    char *url; /* http://127.0.0.1:PORT */
    X509_STORE *authorities;
    X509 *agent; /* the channel certificate of the last bootstrap: recipient of requests */
    guint bootstraps;
    guint next_id;

    /* The script of the bootstrap. */
    guint status;              /* 0: 200 */
    const char *body;          /* instead of a right one */
    const char *refused;       /* thumbprint that is answered success:false */
    const char *signed_by;     /* signers.h; NULL: platform */
    const char *websocket_url; /* instead of the right one */
    gint64 expires;            /* seconds */
    bool pubnub;               /* names keys of PubNub, too */
    bool holds;                /* answers wait for scripted_platform_release */
    GPtrArray *held;           /* SoupServerMessage */

    /* The script of the CRL upload, and what came. */
    guint crl_status;
    const char *crl_body;
    GPtrArray *crls; /* char *: the inner JSON */
} ScriptedPlatform;

ScriptedPlatform *scripted_platform_new(void);
void scripted_platform_free(ScriptedPlatform *platform);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(ScriptedPlatform, scripted_platform_free)
void scripted_platform_believe(ScriptedPlatform *platform, X509 *ca);

/* Answers what was held, and holds no more. */
void scripted_platform_release(ScriptedPlatform *platform);

/* The channel id of the CA with |thumbprint|. Transfer full. */
char *scripted_platform_channel(const char *thumbprint);

/* What the platform sends; members that are zero are left out or usual. */
typedef struct ScriptedMessage {
    const char *type; /* "solicit signature", "signature request" */
    const char *channel;
    const char *content;   /* JSON (' for "), signed; for a request deflated and encrypted before */
    const char *envelope;  /* further members of the envelope: "'ttl':60,'caindex':0" */
    const char *publisher; /* NULL: PLATFORM_PUBLISHER */
    const char *signed_by; /* NULL: platform */
    const char *id;        /* NULL: the next number */
    GBytes *plaintext;     /* instead of deflated |content| */
    gint64 age_ms;
} ScriptedMessage;
void scripted_platform_send(ScriptedPlatform *platform, const ScriptedMessage *message);

/* The signed offer for |siguuid|, and the answer to it: the inner JSON, after every layer was checked. They
 * wait. Transfer full. */
JsonObject *scripted_platform_offer(ScriptedPlatform *platform, const char *siguuid);
JsonObject *scripted_platform_answer(ScriptedPlatform *platform, const char *siguuid);
/* Envelopes of |type| that came so far. */
guint scripted_platform_count(ScriptedPlatform *platform, const char *type);
