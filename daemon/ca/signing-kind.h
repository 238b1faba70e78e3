/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a kind of thing to be signed must be able to do. |work| is its own object, made by `new` with every
 * check that a request can fail, used by one thread at a time. */

#include "daemon/ca/signing.h"

typedef struct SigningKind {
    const char *signtype;
    bool delivered;
    /* |intent|: what `intent` wrote the first time, or NULL. Transfer full. */
    void *(*new)(JsonObject *request, X509 *ca, const SigningRules *rules, gint64 now, JsonObject *intent,
                 GError **error);
    void (*free)(void *work);
    void (*intent)(const void *work, JsonObject *to);
    /* Transfer full. */
    char *(*summary)(const void *work);
    /* Signs, verifies, and gives the text of the answer. Errors may carry detail behind ": ". Transfer full.
     */
    char *(*sign)(void *work, X509 *ca, EVP_PKEY *key, GError **error);
} SigningKind;

extern const SigningKind certificate_signing;
extern const SigningKind crl_signing;
extern const SigningKind cms_signing;
