/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What goes wrong on request, and how much may be asked. One fault at most strikes a call. */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <stdbool.h>

/* What is asked of Google. The names are those of the counters, too. */
typedef enum Place {
    PLACE_TOKEN,    /* an access token for a service account */
    PLACE_METADATA, /* of the metadata server */
    PLACE_PROJECTS, /* list or search */
    PLACE_LOCATIONS,
    PLACE_RINGS,
    PLACE_KEYS,
    PLACE_VERSIONS,
    PLACE_PUBLIC_KEY,
    PLACE_PERMISSIONS, /* testIamPermissions */
    PLACE_SIGN,
    PLACE_ANY,
} Place;

const char *place_to_string(Place place);

typedef enum FaultKind {
    FAULT_NONE,
    FAULT_STATUS,          /* an error of that HTTP status */
    FAULT_SLOW,            /* the right answer, after |milliseconds| */
    FAULT_DROP,            /* the connection ends without an answer */
    FAULT_TRUNCATED,       /* half of the right JSON */
    FAULT_LARGE,           /* 16 MB of valid JSON */
    FAULT_NOT_JSON,        /* an HTML page with status 200 */
    FAULT_WRONG_CRC,       /* a checksum that isn't that of the answer */
    FAULT_DAMAGED,         /* bytes that changed after their checksum was made */
    FAULT_REQUEST_DAMAGED, /* the request came through damaged: INVALID_ARGUMENT */
    FAULT_UNVERIFIED,      /* the request's checksum was not looked at */
    FAULT_WRONG_NAME,      /* the answer is another version's */
} FaultKind;

typedef struct Fault {
    FaultKind kind;
    Place place;
    guint left; /* 0: for ever */
    guint status;
    guint milliseconds;
    int retry_after; /* seconds; -1: not told */
} Fault;

typedef struct Faults Faults;

Faults *faults_new(void);
void faults_free(Faults *faults);

/* Members "kind", "at" (any), "count" (1; 0: for ever), "status", "milliseconds", "retry_after". */
bool faults_add(Faults *faults, JsonObject *wish, GError **error);
void faults_clear(Faults *faults);
/* The one that strikes now, or FAULT_NONE. */
Fault faults_strike(Faults *faults, Place place);

/* Members "at" ("reads" or "signs"), "left" and "per_second" (0): a bucket of so many requests, refilled.
 * Without "left" the quota is lifted. */
bool faults_set_quota(Faults *faults, JsonObject *wish, GError **error);
bool faults_within_quota(Faults *faults, bool sign);
