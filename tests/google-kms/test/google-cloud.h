/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A Google Cloud of one's own, as a child process that ends with the test. The program comes from
 * $IOTHSM_GOOGLE_CLOUD. Calls block, with a thread-default main context of their own; failures are
 * assertions. */

#include "tests/support/support.h"
#include <json-glib/json-glib.h>

typedef struct GoogleCloud GoogleCloud;

/* Starts it with its world in |directory|; |options| are more of its options (NULL-terminated), may be
 * NULL. */
GoogleCloud *google_cloud_start(const char *directory, const char *const *options);
/* Ends the process; the object stays, so that google_cloud_start_again has the same port and world. */
void google_cloud_stop(GoogleCloud *cloud);
void google_cloud_start_again(GoogleCloud *cloud);
void google_cloud_free(GoogleCloud *cloud);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(GoogleCloud, google_cloud_free)

/* http://127.0.0.1:PORT: token endpoint (below /token), metadata server, Resource Manager and Cloud KMS. */
const char *google_cloud_url(const GoogleCloud *cloud);
/* The path of the key file of |account| ("signer", "viewer", "stranger"). Transfer full. */
char *google_cloud_credentials(const GoogleCloud *cloud, const char *account);

/* Posts |json| to /control; single quotes are taken for double ones. The second form gives the answer.
 * Transfer full. */
void google_cloud_tell(GoogleCloud *cloud, const char *json);
JsonObject *google_cloud_ask(GoogleCloud *cloud, const char *json);
/* A counter: "reads" "sign" "signatures" "keys" "token"…, as {"do": "counts"} has them. */
gint64 google_cloud_count(GoogleCloud *cloud, const char *name);
/* Until that counter is |at_least|; the default main context goes on meanwhile. */
void google_cloud_wait_for(GoogleCloud *cloud, const char *name, gint64 at_least);

/* Any call: gives the status and the body as text. |token|, |type| and |body| may be NULL. Transfer full. */
char *google_cloud_call(GoogleCloud *cloud, const char *method, const char *path, const char *token,
                        const char *type, const char *body, guint *ret_status);
