/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Points in time of requests (protocol.md 3.2.1): read without any help of the local time zone, kept as
 * seconds since the epoch, written as UTCTime through 2049 and GeneralizedTime from 2050 on (RFC
 * 5280 4.1.2.5). */

#include <glib.h>
#include <json-glib/json-glib.h>
#include <openssl/asn1.h>
#include <stdbool.h>

typedef struct Validity {
    gint64 from;
    gint64 to;
} Validity;

/* From 1950-01-01, the first day that UTCTime can say, to 9999-12-31T23:59:59Z. */
bool time_is_sane(gint64 seconds);

/* Of |options|: startdate and enddate, or |now| and `days` (365 where there are none). */
bool validity_from_options(JsonObject *options, gint64 now, Validity *ret_validity, GError **error);

/* The member `days`: a positive integer, or a text of one. |fallback| 0: it must be there. The end, |now| +
 * days, is checked. */
bool validity_days(JsonObject *object, gint64 now, gint64 fallback, gint64 *ret_end, GError **error);

/* Two members of an intent. */
bool validity_from_intent(JsonObject *intent, const char *from, const char *to, Validity *ret_validity,
                          GError **error);

/* Transfer full. |seconds| must be sane. */
ASN1_TIME *time_to_asn1(gint64 seconds);
