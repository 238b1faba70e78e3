/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The text of an OpenSSL CA index (protocol.md 3.4), read in one pass: one certificate a line, six fields
 * with tabs between. Every mistake is an error that names the line. */

#include <glib.h>
#include <openssl/x509.h>
#include <stdbool.h>

enum { CRL_LINES_MAX = 4000000, CRL_LINE_LENGTH_MAX = 65536, CRL_SERIAL_DIGITS_MAX = 128 };

typedef enum RevocationReason {
    REVOCATION_NO_REASON = -1,
    /* The others are the values of RFC 5280 5.3.1. */
} RevocationReason;

/* One revoked certificate. The texts point into the database. */
typedef struct Revocation {
    const char *serial; /* |digits| hex digits, no leading zero pair */
    const char *time;   /* |time_length| 13 (YYMMDDHHMMSSZ) or 15 (YYYYMMDDHHMMSSZ) */
    const char *detail; /* of the reason: an OID for holdInstruction, a time for the key times; else NULL */
    guint line;
    gint8 reason;
    guint8 digits;
    guint8 time_length;
    guint8 detail_length;
    bool revoked; /* false: a V or E line, kept only until its serial is known to be the only one */
} Revocation;

/* Revoked certificates ordered by serial number, each number once. Transfer full (the array, not the texts).
 */
GArray *crl_database_read(const char *database, GError **error);
