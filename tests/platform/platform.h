/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of a running platform, for those who need several of them. Made by serve.c, alive as long as the
 * main loop runs. */

#include "tests/platform/authority.h"
#include "tests/platform/faults.h"
#include "tests/platform/pki.h"
#include "tests/platform/tally.h"
#include "tests/platform/token.h"

typedef struct Link Link;
typedef struct Exchanges Exchanges;
typedef struct Pubnub Pubnub;

typedef struct Platform {
    GMainLoop *loop;
    char *directory;
    char *url;         /* http://127.0.0.1:PORT, or https; the relay's where there is one */
    char *publisher;   /* what the platform is called on the link */
    char *transports;  /* what the bootstrap names: "websocket", "pubnub" or "both" */
    gint64 token_life; /* seconds */
    guint64 message_size;
    guint key_sets; /* of PubNub; authorities take turns */
    guint poll_ms;  /* an idle PubNub subscribe is answered after that */
    TokenKey token_key;
    Pki *pki;
    Registry *registry;
    Faults *faults;
    Tally *tally;
    Link *link;
    Pubnub *pubnub;
    Exchanges *exchanges;
} Platform;
