/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* HTTPS towards Google for threads that wait: one thread of its own runs libsoup, everybody else hands it a
 * request and sleeps until the answer, the deadline or a cancellation, whichever is first. A session is a set
 * of connections; each token has one, with as many connections as it may have requests in flight.
 *
 * Server certificates are checked against the system's roots, redirects are not followed, answers are bounded
 * in size and time. Nothing of a request or an answer is ever logged. */

#include "daemon/secret.h"
#include "daemon/token/key-provider.h"

typedef struct GoogleHttp GoogleHttp;
typedef struct GoogleSession GoogleSession;

GoogleHttp *google_http_new(void);
/* After its sessions. Waits for the thread. Accepts NULL. */
void google_http_free(GoogleHttp *http);

GoogleSession *google_session_new(GoogleHttp *http, guint connections);
/* No request may be under way; never blocks. Accepts NULL. */
void google_session_free(GoogleSession *session);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GoogleSession, google_session_free)

typedef struct HttpRequest {
    const char *what;     /* for sentences: "sign with root:1" */
    const char *url;      /* checked by google_url_check */
    const char *type;     /* of |body| */
    GBytes *body;         /* POST; NULL: GET */
    const Secret *bearer; /* access token, or NULL */
    bool metadata;        /* for the metadata server: its own header both ways, and no proxy */
} HttpRequest;

#define HTTP_ANSWER_MAX (4U * 1024U * 1024U)

typedef struct HttpAnswer {
    guint status;
    char *body; /* with a NUL behind it; wiped when cleared */
    gsize size;
} HttpAnswer;

void http_answer_clear(HttpAnswer *answer);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HttpAnswer, http_answer_clear)

/* One request on the calling thread, repeated with growing pauses while the answer is 429 or 5xx and |limits|
 * allow, and once where the connection broke. True: |ret_answer| has any other status. Errors: LINK_DOWN (no
 * connection, or still 5xx), LIMITS_EXCEEDED (still 429, or an answer too large), TIMED_OUT, CANCELLED. Gives
 * up a little before the deadline, so that its sentence comes in time. */
bool google_session_send(GoogleSession *session, const HttpRequest *request, const KeyLimits *limits,
                         HttpAnswer *ret_answer, GError **error);

/* https, or http towards a loopback host. INVALID in words otherwise. */
bool google_url_check(const char *url, GError **error);
