/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Nothing is copied while reading: an entry points into the text, so a million lines cost 40 MB and no
 * allocation each. Ordering by serial number is what finds the same number twice, which `openssl ca` refuses
 * as well: which of the two lines is true cannot be known here. */

#include "daemon/ca/crl-database.h"
#include "daemon/ca/asn1-value.h"
#include "daemon/ca/refusal.h"
#include "daemon/ca/x509-cleanup.h"
#include <openssl/objects.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef struct Text {
    const char *at;
    gsize length;
} Text;

enum { STATUS, EXPIRY, REVOKED, SERIAL, FILE_NAME, SUBJECT, N_FIELDS };
enum { UTC_LENGTH = 13, GENERALIZED_LENGTH = 15, DETAIL_LENGTH_MAX = 64 };

typedef enum Detail { DETAIL_NONE, DETAIL_TIME, DETAIL_OBJECT } Detail;

static const struct {
    const char *name;
    gint8 value; /* RFC 5280 5.3.1 */
    Detail detail;
} reasons[] = {
    {"unspecified", 0, DETAIL_NONE},       {"keyCompromise", 1, DETAIL_NONE},
    {"CACompromise", 2, DETAIL_NONE},      {"affiliationChanged", 3, DETAIL_NONE},
    {"superseded", 4, DETAIL_NONE},        {"cessationOfOperation", 5, DETAIL_NONE},
    {"certificateHold", 6, DETAIL_NONE},   {"removeFromCRL", 8, DETAIL_NONE},
    {"holdInstruction", 6, DETAIL_OBJECT}, {"keyTime", 1, DETAIL_TIME},
    {"CAkeyTime", 2, DETAIL_TIME},
};

static bool refuse_line(GError **error, guint line, const char *format, ...) G_GNUC_PRINTF(3, 4);
static bool refuse_line(GError **error, guint line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *reason = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return refuse(error, "Invalid database: line %u: %s", line, reason);
}

static bool are_digits(const char *at, gsize count)
{
    for (gsize i = 0; i < count; i++)
        if (!g_ascii_isdigit(at[i]))
            return false;
    return true;
}

static guint two_digits(const char *at)
{
    return (guint)(at[0] - '0') * 10 + (guint)(at[1] - '0');
}

/* YYYYMMDDHHMMSSZ, and where |two_digit_year| is fine YYMMDDHHMMSSZ. */
static bool is_time(Text text, bool two_digit_year)
{
    if (!(text.length == GENERALIZED_LENGTH || (two_digit_year && text.length == UTC_LENGTH)) ||
        text.at[text.length - 1] != 'Z' || !are_digits(text.at, text.length - 1))
        return false;
    const char *month = text.at + text.length - 11;
    guint year = two_digits(month - 2);
    /* RFC 5280 4.1.2.5.1: two digits are the years 1950 to 2049. */
    guint century = text.length == GENERALIZED_LENGTH ? two_digits(text.at) : year >= 50 ? 19 : 20;
    return century >= 1 &&
           g_date_valid_dmy((GDateDay)two_digits(month + 2), (GDateMonth)two_digits(month),
                            (GDateYear)(century * 100 + year)) &&
           two_digits(month + 4) < 24 && two_digits(month + 6) < 60 && two_digits(month + 8) < 60;
}

static bool equals(Text text, const char *word)
{
    return text.length == strlen(word) && g_ascii_strncasecmp(text.at, word, text.length) == 0;
}

/* Cuts |*rest| behind the first |separator|; the whole of it where there is none. */
static Text cut(Text *rest, char separator)
{
    const char *end = memchr(rest->at, separator, rest->length);
    Text head = {rest->at, end ? (gsize)(end - rest->at) : rest->length};
    gsize skip = end ? head.length + 1 : head.length;
    *rest = (Text){rest->at + skip, rest->length - skip};
    return head;
}

static bool check_detail(Detail kind, Text detail)
{
    if (kind == DETAIL_NONE)
        return detail.length == 0;
    if (kind == DETAIL_TIME)
        return is_time(detail, false);
    char name[DETAIL_LENGTH_MAX + 1];
    if (detail.length == 0 || detail.length > DETAIL_LENGTH_MAX)
        return false;
    memcpy(name, detail.at, detail.length);
    name[detail.length] = '\0';
    g_autoptr(ASN1_OBJECT) object =
        OBJ_txt2nid(name) != NID_undef ? OBJ_txt2obj(name, 0) : asn1_object_from_dotted(name);
    return object != NULL;
}

/* DATE[,REASON[,DETAIL]] */
static bool read_revocation(Revocation *entry, Text field, GError **error)
{
    Text rest = field;
    Text time = cut(&rest, ',');
    bool has_reason = time.length < field.length;
    Text reason = cut(&rest, ',');

    if (!is_time(time, true))
        return refuse_line(error, entry->line, "invalid revocation date %.*s", (int)MIN(time.length, 32),
                           time.at);
    entry->time = time.at;
    entry->time_length = (guint8)time.length;
    entry->reason = REVOCATION_NO_REASON;
    if (!has_reason)
        return true;
    for (gsize i = 0; i < G_N_ELEMENTS(reasons); i++) {
        if (!equals(reason, reasons[i].name))
            continue;
        if (!check_detail(reasons[i].detail, rest))
            return refuse_line(error, entry->line, "invalid %s %.*s", reasons[i].name,
                               (int)MIN(rest.length, 32), rest.at);
        entry->reason = reasons[i].value;
        if (reasons[i].detail != DETAIL_NONE) {
            entry->detail = rest.at;
            entry->detail_length = (guint8)rest.length;
        }
        return true;
    }
    return refuse_line(error, entry->line, "invalid reason code %.*s", (int)MIN(reason.length, 32),
                       reason.at);
}

static bool read_serial(Revocation *entry, Text field, GError **error)
{
    if (field.length < 2 || field.length % 2 || field.length > CRL_SERIAL_DIGITS_MAX)
        return refuse_line(error, entry->line, "bad serial number length (%" G_GSIZE_FORMAT ")",
                           field.length);
    for (gsize i = 0; i < field.length; i++)
        if (!g_ascii_isxdigit(field.at[i]))
            return refuse_line(error, entry->line, "bad character in the serial number");
    while (field.length > 2 && field.at[0] == '0' && field.at[1] == '0')
        field = (Text){field.at + 2, field.length - 2};
    entry->serial = field.at;
    entry->digits = (guint8)field.length;
    return true;
}

static bool read_fields(Text line, Text fields[N_FIELDS])
{
    for (int i = 0; i < SUBJECT; i++) {
        fields[i] = cut(&line, '\t');
        if (fields[i].at + fields[i].length == line.at) /* no tab behind it */
            return false;
    }
    fields[SUBJECT] = line;
    /* OpenSSL's writer puts a backslash before a tab that is part of a field. */
    for (const char *tab = line.at; (tab = memchr(tab, '\t', (gsize)(line.at + line.length - tab))); tab++)
        if (tab == line.at || tab[-1] != '\\')
            return false;
    return true;
}

static bool read_line(Revocation *entry, Text line, GError **error)
{
    Text fields[N_FIELDS];
    if (line.length > CRL_LINE_LENGTH_MAX)
        return refuse_line(error, entry->line, "longer than %d bytes", CRL_LINE_LENGTH_MAX);
    if (!read_fields(line, fields))
        return refuse_line(error, entry->line, "not six fields with tabs between");
    if (fields[STATUS].length != 1 || !strchr("VRE", fields[STATUS].at[0]))
        return refuse_line(error, entry->line, "the status is not V, R or E");
    if (!is_time(fields[EXPIRY], true))
        return refuse_line(error, entry->line, "invalid expiry date");
    entry->revoked = fields[STATUS].at[0] == 'R';
    if (!entry->revoked && fields[REVOKED].length > 0)
        return refuse_line(error, entry->line, "not revoked, but with a revocation date");
    return read_serial(entry, fields[SERIAL], error) &&
           (!entry->revoked || read_revocation(entry, fields[REVOKED], error));
}

static int compare(const void *a, const void *b)
{
    const Revocation *left = a;
    const Revocation *right = b;
    return left->digits != right->digits ? (int)left->digits - (int)right->digits
                                         : strncasecmp(left->serial, right->serial, left->digits);
}

/* Orders, refuses doubles, and drops what is not revoked. */
static bool keep_revoked(GArray *entries, GError **error)
{
    Revocation *entry = (Revocation *)(void *)entries->data;
    guint kept = 0;

    if (entries->len > 0) /* an empty array has no data to point to */
        qsort(entry, entries->len, sizeof *entry, compare);
    for (guint i = 1; i < entries->len; i++)
        if (compare(&entry[i - 1], &entry[i]) == 0)
            return refuse_line(error, MAX(entry[i - 1].line, entry[i].line),
                               "the serial number of line %u again", MIN(entry[i - 1].line, entry[i].line));
    for (guint i = 0; i < entries->len; i++)
        if (entry[i].revoked)
            entry[kept++] = entry[i];
    g_array_set_size(entries, kept);
    return true;
}

GArray *crl_database_read(const char *database, GError **error)
{
    g_autoptr(GArray) entries = g_array_new(FALSE, FALSE, sizeof(Revocation));
    Text rest = {database, strlen(database)};

    for (guint number = 1; rest.length > 0; number++) {
        Text line = cut(&rest, '\n');
        if (number > CRL_LINES_MAX)
            return refuse_as(error, IOTHSM_ERROR_LIMITS_EXCEEDED, "Invalid database: more than %d lines",
                             CRL_LINES_MAX),
                   NULL;
        if (line.length > 0 && line.at[0] == '#')
            continue;
        if (line.length > 0 && line.at[line.length - 1] == '\r')
            line.length--;
        Revocation entry = {.line = number};
        if (!read_line(&entry, line, error))
            return NULL;
        g_array_append_val(entries, entry);
    }
    return keep_revoked(entries, error) ? g_steal_pointer(&entries) : NULL;
}
