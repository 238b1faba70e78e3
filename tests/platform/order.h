/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the platform wants from an authority: the `signtype` and `request` of protocol.md section 3, together
 * with the knowledge what a right result is. Immutable once made, so any thread may check with it. */

#include "tests/platform/members.h"
#include "tests/platform/openssl-types.h"

typedef struct Order Order;

/* |csr| PEM, |options| may be NULL. */
Order *order_certificate(const char *csr, JsonObject *options, GError **error);
Order *order_crl(const char *database, gint64 days);
Order *order_cms(JsonObject *options);
/* Anything: |request| is the text of the member `request`, |inner| (may be NULL) the text to send in place of
 * all; every answer is right. */
Order *order_raw(const char *signtype, const char *request, const char *inner);

Order *order_ref(Order *order);
void order_unref(Order *order);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Order, order_unref)

const char *order_signtype(const Order *order);
const char *order_inner(const Order *order);
/* Whether the result comes by CRL delivery before the answer. */
bool order_is_delivered(const Order *order);
/* A raw order is satisfied by a refusal, too. */
bool order_is_raw(const Order *order);

/* JSON of `request`, with its `ca` (raw orders: as given). Transfer full. */
char *order_request(const Order *order, const char *serial, const char *thumbprint);

/* Whether |result| is right. */
bool order_check(const Order *order, X509 *authority, X509_STORE *anchors, const char *result,
                 GError **error);
