/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What all channels of the link share. It belongs to the link; who outlives the link's end (a signature under
 * way at a token) does not look at it any more. Main thread. */

#include "daemon/ca/authority.h"
#include "daemon/config.h"
#include "daemon/link/identity.h"
#include "daemon/link/journal/journal.h"
#include "daemon/link/message/envelope.h"
#include "daemon/link/turnstile.h"
#include "daemon/metrics.h"
#include "daemon/worker.h"
#include <libsoup/soup.h>

typedef struct RouteTimes RouteTimes;

typedef struct LinkContext {
    const Config *config;
    const RouteTimes *route_times; /* route.h */
    Identity *identity;
    Journal *journal;
    Worker *crypto;       /* S/MIME, building what is to be signed: as many threads as processors */
    GTlsDatabase *roots;  /* of TLS; NULL: the system's */
    SoupSession *https;   /* bootstrap and CRL delivery */
    Turnstile *turnstile; /* before bootstraps at the platform */
    EnvelopeTrust *trust; /* NULL: unconfigured */
    Metrics *metrics;     /* g_rc_box: a request that outlives the link holds a reference */
} LinkContext;

/* The authority's serial number as the platform may know it ([Platform] ShortSerial=). Transfer full. */
char *link_context_serial(const LinkContext *context, Authority *authority);
/* |serial| is one of the two texts that a platform may have for it (protocol.md 5). */
bool authority_answers_to(Authority *authority, const char *serial, const char *thumbprint);
