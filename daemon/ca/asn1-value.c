/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* OpenSSL's generator reads a small language in which a text can nest, tag and point into a configuration.
 * What reaches it here begins with one name out of a table and has the rest of the text as that value: the
 * generator takes everything behind the type's colon, and has no configuration to look into. */

#include "daemon/ca/asn1-value.h"
#include "daemon/ca/x509-cleanup.h"
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

enum { OID_LENGTH_MAX = 128, VALUE_LENGTH_MAX = 4096 };

static const char *const string_types[] = {
    "UTF8",          "UTF8String",      "IA5",           "IA5STRING",
    "PRINTABLE",     "PRINTABLESTRING", "VISIBLE",       "VISIBLESTRING",
    "BMP",           "BMPSTRING",       "UNIV",          "UNIVERSALSTRING",
    "T61",           "T61STRING",       "TELETEXSTRING", "NUMERIC",
    "NUMERICSTRING", "GENSTR",          "GeneralString", NULL};
static const char *const other_types[] = {
    "BOOL",      "BOOLEAN", "NULL",    "INT",     "INTEGER",         "ENUM", "ENUMERATED",  "OID",
    "OBJECT",    "UTC",     "UTCTIME", "GENTIME", "GENERALIZEDTIME", "OCT",  "OCTETSTRING", "BITSTR",
    "BITSTRING", NULL};
static const char *const formats[] = {"FORMAT:ASCII,", "FORMAT:UTF8,", "FORMAT:HEX,", "FORMAT:BITLIST,",
                                      NULL};

ASN1_OBJECT *asn1_object_from_dotted(const char *text)
{
    gsize length = strlen(text);
    if (length > OID_LENGTH_MAX || strspn(text, "0123456789.") != length || length < 3 || text[1] != '.' ||
        text[0] > '2' || text[length - 1] == '.' || strstr(text, ".."))
        return NULL;
    ASN1_OBJECT *object = OBJ_txt2obj(text, 1);
    if (!object)
        ERR_clear_error();
    return object;
}

ASN1_TYPE *asn1_value_from_text(const char *text)
{
    if (strlen(text) > VALUE_LENGTH_MAX)
        return NULL;
    const char *type = text;
    for (guint i = 0; formats[i] && type == text; i++)
        if (g_str_has_prefix(text, formats[i]))
            type = text + strlen(formats[i]);

    g_autofree char *name = g_strndup(type, strcspn(type, ":"));
    bool is_string = g_strv_contains(string_types, name);
    if (!is_string && !g_strv_contains(other_types, name))
        return NULL;
    g_autofree char *full = g_strconcat(is_string && type == text ? "FORMAT:UTF8," : "", text, NULL);
    ASN1_TYPE *value = ASN1_generate_v3(full, NULL);
    if (!value)
        ERR_clear_error();
    return value;
}

bool asn1_is_one_value(const unsigned char *data, gsize size)
{
    const unsigned char *at = data;
    if (size == 0 || size > G_MAXINT)
        return false;
    g_autoptr(ASN1_TYPE) value = d2i_ASN1_TYPE(NULL, &at, (long)size);
    if (!value)
        ERR_clear_error();
    return value && at == data + size;
}
