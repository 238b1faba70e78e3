/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The running stand-in: its parts, and the calls that it answers. Everything is on the main thread. */

#include "tests/google-kms/faults.h"
#include "tests/google-kms/world.h"
#include <libsoup/soup.h>

typedef struct Cloud {
    GMainLoop *loop;
    char *directory;
    char *url; /* http://127.0.0.1:PORT */
    World *world;
    Faults *faults;
    GHashTable *tokens; /* text to AccessToken */
    gint64 token_life;  /* seconds */
    guint page_size;    /* at most so many on a page, whatever the caller wants */
    guint64 counts[PLACE_ANY];
    guint64 signatures; /* that were made and sent */
    GHashTable *ports;  /* where calls came from: one a connection */
    guint signing;      /* calls at PLACE_SIGN that are not over */
    guint most_signing;
} Cloud;

/* One request from its arrival to its answer. */
typedef struct Call {
    Cloud *cloud;
    SoupServerMessage *message;
    GHashTable *query; /* may be NULL */
    Fault fault;
    Account *account; /* whose access token it brought, or NULL */
} Call;

/* Counts it and lets a fault strike. false: the fault has answered already. */
bool call_begin(Call *call, Cloud *cloud, SoupServerMessage *message, GHashTable *query, Place place);

/* Answers with |object| (taken), as the fault wants it. */
void call_answer(Call *call, JsonObject *object);
/* Answers as Google's APIs do: {"error": {"code", "message", "status"}}. */
void call_refuse(Call *call, guint code, const char *status, const char *format, ...) G_GNUC_PRINTF(4, 5);
/* The request's body as an object, NULL where it is none. Transfer full. */
JsonObject *call_body(Call *call);
/* The text of a member, or NULL. */
const char *member_text(JsonObject *object, const char *name);

/* Gives |account| an access token: the answer of the token endpoint and of the metadata server. */
void call_grant_token(Call *call, Account *account);
/* Sets call->account by the Authorization header, or refuses with UNAUTHENTICATED. */
bool call_authenticate(Call *call);
/* The next page of |total| things; gives the first's index and one past the last's, and sets "nextPageToken"
 * in |object| where more follow. false: the page token is refused. */
bool call_page(Call *call, guint total, JsonObject *object, guint *ret_first, guint *ret_end);

/* Each part of the service puts its paths on the server. */
void oauth_serve(Cloud *cloud, SoupServer *server);
void kms_serve(Cloud *cloud, SoupServer *server);
void control_serve(Cloud *cloud, SoupServer *server);
/* What is asked below /v1/projects, for a call that is authenticated and within its quota. */
void kms_sign(Call *call, const char *version_name);
void kms_public_key(Call *call, const char *version_name);
