/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One signature from the platform's side: solicit, take the first offer, request, take the answer, judge it
 * (protocol.md D.4 to D.6). Many run at once; each has a siguuid, by which what agents send finds its
 * exchange.
 *
 * An answer to a finished exchange is compared with the first one: the same again is a duplicate, another one
 * is a conflict, which no agent may ever cause. RSA work is done by work.h's threads, everything else on the
 * main thread. */

#include "tests/platform/message.h"
#include "tests/platform/order.h"
#include "tests/platform/platform.h"

typedef struct ExchangeOptions {
    gint64 ttl;                /* seconds in the envelopes; 0: none is said */
    guint timeout_ms;          /* for the first attempt; each further one gets twice as long, up to 12 s */
    guint attempts;            /* how often to begin again with the same siguuid and request */
    bool retry_refused;        /* a refusal is not the end while attempts are left */
    bool reuse_offer;          /* no solicitation where an earlier offer of the authority still holds */
    const char *uuid;          /* addressee of the request, NULL: who offered */
    const char *siguuid;       /* NULL: a fresh one */
    const char *outer_siguuid; /* of the request's envelope, NULL: the same */
    bool has_caindex;          /* |caindex| instead of the offered one */
    gint64 caindex;
    gint64 signing_time; /* of the request, seconds since the epoch; 0: now */
} ExchangeOptions;

typedef struct ExchangeResult {
    const char *siguuid;
    bool answered;       /* an answer came that could be read */
    bool success;        /* it says so */
    const char *message; /* of the answer */
    const char *result;  /* what was made (PEM), judged; NULL on failure */
    const char *error;   /* in words; NULL: all is well */
    gint64 elapsed;      /* µs from the first solicitation to the answer's arrival */
} ExchangeResult;

typedef void (*ExchangeDoneFunc)(const ExchangeResult *result, void *userdata);

Exchanges *exchanges_new(Platform *platform);
void exchanges_free(Exchanges *exchanges);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Exchanges, exchanges_free)

/* |authority| is registered; |done| runs once, later, on the main thread. */
bool exchange_start(Exchanges *exchanges, Authority *authority, Order *order, const ExchangeOptions *options,
                    ExchangeDoneFunc done, void *userdata, GError **error);

/* What an agent published on |channel|. */
void exchanges_take(Exchanges *exchanges, const char *channel, JsonObject *envelope);
/* A delivered CRL whose signature is right. False: nobody waits for it. */
bool exchanges_take_crl(Exchanges *exchanges, Authority *authority, const char *siguuid, const char *crl);

guint exchanges_running(const Exchanges *exchanges);
