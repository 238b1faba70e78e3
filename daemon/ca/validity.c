/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reads dates as JavaScript writes them: ISO 8601 texts with Z or an offset, or milliseconds since the epoch.
 */

#include "daemon/ca/validity.h"
#include "daemon/ca/refusal.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include <string.h>
#include <time.h>

#define SECONDS_PER_DAY G_GINT64_CONSTANT(86400)
#define FIRST_SECOND G_GINT64_CONSTANT(-631152000)  /* 1950-01-01T00:00:00Z */
#define LAST_SECOND G_GINT64_CONSTANT(253402300799) /* 9999-12-31T23:59:59Z */
enum { DAYS_DEFAULT = 365, DAYS_MAX = 3652059, DATE_LENGTH_MAX = 40, DAYS_LENGTH_MAX = 7 };

bool time_is_sane(gint64 seconds)
{
    return seconds >= FIRST_SECOND && seconds <= LAST_SECOND;
}

static bool is_integer(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64;
}

static const char *string_of(JsonNode *node)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : NULL;
}

/* What JavaScript calls falsy counts as absent, as it does in the original. */
static JsonNode *truthy_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    if (!node || JSON_NODE_HOLDS_NULL(node))
        return NULL;
    const char *text = string_of(node);
    if ((text && !*text) || (is_integer(node) && json_node_get_int(node) == 0))
        return NULL;
    if (JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_BOOLEAN &&
        !json_node_get_boolean(node))
        return NULL;
    return node;
}

static gint64 floor_seconds(gint64 milliseconds)
{
    return milliseconds / 1000 - (milliseconds % 1000 < 0);
}

static bool read_date(JsonNode *node, const char *name, gint64 *ret_seconds, GError **error)
{
    const char *text = string_of(node);
    gint64 seconds;

    if (text) {
        /* No default zone is given, so a text without Z or offset is refused. */
        g_autoptr(GDateTime) date =
            strlen(text) <= DATE_LENGTH_MAX ? g_date_time_new_from_iso8601(text, NULL) : NULL;
        if (!date)
            return refuse(error, "Invalid %s: not an ISO 8601 date with a time and a zone", name);
        seconds = g_date_time_to_unix(date);
    } else if (is_integer(node)) {
        seconds = floor_seconds(json_node_get_int(node));
    } else {
        return refuse(error, "Invalid %s: neither a date nor milliseconds", name);
    }
    if (!time_is_sane(seconds))
        return refuse(error, "Invalid %s: not between the years 1950 and 9999", name);
    *ret_seconds = seconds;
    return true;
}

static bool read_days(JsonNode *node, gint64 *ret_days)
{
    const char *text = string_of(node);
    guint64 days = 0;
    if (is_integer(node))
        days = json_node_get_int(node) > 0 ? (guint64)json_node_get_int(node) : 0;
    else if (!text || strlen(text) > DAYS_LENGTH_MAX ||
             !g_ascii_string_to_unsigned(text, 10, 1, DAYS_MAX, &days, NULL))
        return false;
    *ret_days = (gint64)days;
    return days >= 1 && days <= DAYS_MAX;
}

bool validity_days(JsonObject *object, gint64 now, gint64 fallback, gint64 *ret_end, GError **error)
{
    JsonNode *node = json_object_get_member(object, "days");
    gint64 days = fallback;
    if (node && !JSON_NODE_HOLDS_NULL(node)) {
        if (!read_days(node, &days))
            return refuse(error, "Invalid days: not a positive integer");
    } else if (fallback == 0) {
        return refuse(error, "Invalid days: missing");
    }
    if (!time_is_sane(now + days * SECONDS_PER_DAY))
        return refuse(error, "Invalid days: ends after the year 9999");
    *ret_end = now + days * SECONDS_PER_DAY;
    return true;
}

bool validity_from_options(JsonObject *options, gint64 now, Validity *ret_validity, GError **error)
{
    JsonNode *start = truthy_member(options, "startdate");
    JsonNode *end = truthy_member(options, "enddate");
    Validity validity = {.from = now};

    if (!start && !end) {
        if (!validity_days(options, now, DAYS_DEFAULT, &validity.to, error))
            return false;
    } else {
        if (!start || !end)
            return refuse(error, "Invalid %s: missing", start ? "enddate" : "startdate");
        if (!read_date(start, "startdate", &validity.from, error) ||
            !read_date(end, "enddate", &validity.to, error))
            return false;
        if (validity.to < validity.from)
            return refuse(error, "Invalid enddate: before startdate");
    }
    *ret_validity = validity;
    return true;
}

bool validity_from_intent(JsonObject *intent, const char *from, const char *to, Validity *ret_validity,
                          GError **error)
{
    Validity validity = {G_MININT64, G_MININT64};
    if (!json_get_integer(intent, from, &validity.from, error) ||
        !json_get_integer(intent, to, &validity.to, error))
        return false;
    if (!time_is_sane(validity.from) || !time_is_sane(validity.to))
        return refuse_as(error, IOTHSM_ERROR_FAILED, "The recorded dates of this request are damaged");
    *ret_validity = validity;
    return true;
}

ASN1_TIME *time_to_asn1(gint64 seconds)
{
    return ASN1_TIME_set(NULL, (time_t)seconds);
}
