/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who we are to Google: a service account by its key file (JSON), or the machine by its metadata server; and
 * the access token that this is good for, renewed before it expires. Shared by all key rings of the same
 * account, from any thread: one renewal at a time, and while it runs the old token still serves. */

#include "daemon/token/google-kms/google-http.h"

typedef struct GoogleCredentials GoogleCredentials;

/* Of the key file's text; INVALID in words for anything else. Transfer full. */
GoogleCredentials *google_credentials_parse(const Secret *json, GError **error);
/* |metadata|: the server's address without a slash at its end. Transfer full. */
GoogleCredentials *google_credentials_new_metadata(const char *metadata);

GoogleCredentials *google_credentials_ref(GoogleCredentials *credentials);
void google_credentials_unref(GoogleCredentials *credentials); /* accepts NULL */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GoogleCredentials, google_credentials_unref)

/* "name@project.iam.gserviceaccount.com", or "this machine's service account". */
const char *google_credentials_account(const GoogleCredentials *credentials);
bool google_credentials_equal(const GoogleCredentials *one, const GoogleCredentials *other);

/* An access token that is good for a while. Blocks where one has to be fetched. CLOUD_REFUSED in Google's
 * words, LINK_DOWN, TIMED_OUT, CANCELLED. Transfer full. */
Secret *google_credentials_access(GoogleCredentials *credentials, GoogleSession *session,
                                  const KeyLimits *limits, GError **error);
/* Google did not accept |access| (401): it is not handed out again. */
void google_credentials_refuse(GoogleCredentials *credentials, const Secret *access);

/* The JWT by which the service account asks for an access token (RFC 7523), made at |now|, in seconds since
 * the epoch. Transfer full. */
Secret *google_credentials_assertion(const GoogleCredentials *credentials, gint64 now, GError **error);
