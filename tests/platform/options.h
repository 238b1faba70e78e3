/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The options of the client's verbs, in groups, and the `options` objects of protocol.md 3.2 and 3.3 made of
 * them. */

#include "tests/platform/members.h"
#include <gio/gio.h>

#define OPTION_UNSET G_MININT64

typedef enum OptionGroups {
    OPTIONS_TEMPLATE = 1 << 0,
    OPTIONS_AUTHORITY = 1 << 1,
    OPTIONS_EXCHANGE = 1 << 2,
    OPTIONS_CERTIFICATE = 1 << 3,
    OPTIONS_CRL = 1 << 4,
    OPTIONS_CMS = 1 << 5,
    OPTIONS_DRIVE = 1 << 6,
    OPTIONS_FAULTS = 1 << 7,
    OPTIONS_RAW = 1 << 8,
    OPTIONS_WAIT = 1 << 9,
    OPTIONS_JSON = 1 << 10, /* prints JSON, on one line if asked */
} OptionGroups;

typedef struct ClientOptions {
    char *directory;
    gboolean json;
    char *out;
    char *ca;
    char *name;
    char *subject;
    char *crl_url;
    char *issuer_url;
    gint64 days;
    gint64 pathlen;
    char *siguuid;
    gint64 ttl;
    gint64 timeout; /* seconds */
    gint64 attempts;
    gboolean reuse_offer;
    char *csr;
    char *new_key;
    char *key_out;
    char *key_usage;
    char *eku;
    char **dns;
    char **ip;
    char **uri;
    char **email;
    char *options;
    char **revoke;
    char *data;
    char *outform;
    char *encoding;
    char *addcerts;
    char *contenttype;
    gboolean no_smimecap;
    char *kind;
    gint64 requests;
    gint64 concurrency;
    gint64 samples;
    gint64 linger;
    gint64 seconds;
    gboolean retry_refused;
    gboolean list;
    gboolean clear;
    char *at;
    gint64 count;
    double probability; /* < 0: unset */
    gint64 seed;
    gint64 close_now;
    gboolean chaos;
    char *signtype;
    char *json_file;
    char *inner_file;
    char *uuid;
    char *outer_siguuid;
    gint64 caindex;
    gint64 signing_time;
    char *counter;
    gint64 value;
    gint64 agents;
    char **rest;
} ClientOptions;

/* Needs --directory. */
bool options_parse(ClientOptions *options, OptionGroups groups, const char *summary, int *argc, char ***argv,
                   GError **error);

/* Transfer full. */
JsonObject *options_for_certificate(const ClientOptions *options, GError **error);
/* |ret_data|: the bytes to be signed. */
JsonObject *options_for_cms(const ClientOptions *options, GBytes **ret_data, GError **error);
