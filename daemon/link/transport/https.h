/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* HTTPS towards the platform and PubNub: one way to make a libsoup session, one way to send a request, and
 * the request that the platform knows, a POST of JSON that is answered with JSON. The server's certificate is
 * checked against the system's roots, or against one PEM file alone where the operator gave one; redirects
 * are never followed; answers are bounded in size and time; a proxy is used as GIO has it configured. */

#include <json-glib/json-glib.h>
#include <libsoup/soup.h>
#include <stdbool.h>

/* More than any answer of the platform to a bootstrap or a CRL needs. */
#define HTTPS_ANSWER_MAX (256U * 1024U)

/* Eight bootstraps at once and a CRL on its way, each on its own connection. */
#define HTTPS_CONNECTIONS 12

/* |roots|: NULL for the system's. |connections|: to one host, further requests wait. Nothing ends a request
 * but its own time limit. Transfer full. */
SoupSession *https_session_new(GTlsDatabase *roots, guint connections);

/* |url| with the scheme |secure|, or with |plain| towards a loopback host. INVALID in words otherwise. */
bool https_url_is_allowed(const char *url, const char *secure, const char *plain, GError **error);

/* |body| as it came, whatever |status|. |error|: no HTTP answer at all, in words; TIMED_OUT after the time
 * limit, LINK_DOWN, or the socket's own code where https_error_is_offline is true. */
typedef void (*HttpsAnsweredFunc)(guint status, GBytes *body, const GError *error, void *userdata);

/* |message| belongs to the caller, and may reach the server twice: where a connection that was kept open
 * turns out to be closed, libsoup sends it again. |cancellable| belongs to this request alone: the time limit
 * cancels it, too. |answered| runs exactly once; with IOTHSM_ERROR_CANCELLED after somebody else cancelled.
 */
void https_send(SoupSession *session, SoupMessage *message, gsize answer_max, guint timeout_seconds,
                GCancellable *cancellable, HttpsAnsweredFunc answered, void *userdata);

/* |answer| is NULL where the body is no JSON object. |error| as in
 * HttpsAnsweredFunc. */
typedef void (*HttpsDoneFunc)(guint status, JsonObject *answer, const GError *error, void *userdata);

/* https_send with |body| and an answer of at most HTTPS_ANSWER_MAX bytes; |done| runs exactly once. */
void https_post(SoupSession *session, const char *url, GBytes *body, guint timeout_seconds,
                GCancellable *cancellable, HttpsDoneFunc done, void *userdata);

/* RFC 6585; libsoup has no name for it. */
#define HTTPS_TOO_MANY_REQUESTS 429
/* "Forbidden" for 403. */
const char *https_status_phrase(guint status);

/* One sentence about why |message| to |message|'s host failed, with the TLS reason spelled out. Transfer
 * full. */
char *https_describe_failure(SoupMessage *message, const GError *error);

/* No route, no name server: what a machine without a network says. */
bool https_error_is_offline(const GError *error);

/* A text of the platform's made fit for a status line: one line, valid UTF-8, at most 300 characters.
 * Transfer full. */
char *https_one_line(const char *text);
