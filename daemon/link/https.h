/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* HTTPS towards the platform: one way to make a libsoup session, and one kind of request, a POST of JSON that
 * is answered with JSON. The server's certificate is checked against the system's roots, or against one PEM
 * file alone where the operator gave one; redirects are never followed; answers are bounded in size and time.
 */

#include <json-glib/json-glib.h>
#include <libsoup/soup.h>
#include <stdbool.h>

/* More than any answer of the platform to a bootstrap or a CRL needs. */
#define HTTPS_ANSWER_MAX (256U * 1024U)

/* |tls_ca|: a PEM file, or NULL for the system's roots. Transfer full. */
SoupSession *https_session_new(const char *tls_ca, GError **error);

/* |url| with the scheme |secure|, or with |plain| towards a loopback host. INVALID in words otherwise. */
bool https_url_is_allowed(const char *url, const char *secure, const char *plain, GError **error);

/* |answer| is NULL where the body is no JSON object. |error|: no HTTP answer at all, in words; LINK_DOWN, or
 * the socket's own code where https_error_is_offline is true. */
typedef void (*HttpsDoneFunc)(guint status, JsonObject *answer, const GError *error, void *userdata);

/* |cancellable| belongs to this request alone: the time limit cancels it, too. |done| runs exactly once; with
 * IOTHSM_ERROR_CANCELLED after somebody else cancelled. */
void https_post(SoupSession *session, const char *url, GBytes *body, guint timeout_seconds,
                GCancellable *cancellable, HttpsDoneFunc done, void *userdata);

/* One sentence about why |message| to |message|'s host failed, with the TLS reason spelled out. Transfer
 * full. */
char *https_describe_failure(SoupMessage *message, const GError *error);

/* No route, no name server: what a machine without a network says. */
bool https_error_is_offline(const GError *error);

/* A text of the platform's made fit for a status line: one line, valid UTF-8, at most 300 characters.
 * Transfer full. */
char *https_one_line(const char *text);
