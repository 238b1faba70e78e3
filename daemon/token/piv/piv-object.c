/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading what the card says, and writing what it keeps for us. */

#include "daemon/token/piv/piv-object.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/piv/piv-key.h"
#include <openssl/err.h>
#include <string.h>
#include <zlib.h>

enum {
    METADATA_ALGORITHM = 1,
    METADATA_POLICY = 2,
    METADATA_ORIGIN = 3,
    METADATA_PUBLIC = 4,
    METADATA_DEFAULT = 5,
    METADATA_TRIES = 6,
};

void piv_metadata_clear(PivMetadata *metadata)
{
    g_clear_pointer(&metadata->public_key, EVP_PKEY_free);
}

static bool take_metadata(PivMetadata *metadata, guint32 tag, PivBytes value)
{
    switch (tag) {
    case METADATA_ALGORITHM:
        metadata->algorithm = value.size == 1 ? value.data[0] : 0;
        return value.size == 1;
    case METADATA_POLICY:
        if (value.size != 2)
            return false;
        metadata->pin_policy = value.data[0];
        metadata->touch_policy = value.data[1];
        return true;
    case METADATA_ORIGIN:
        metadata->origin = value.size == 1 ? value.data[0] : 0;
        return value.size == 1;
    case METADATA_DEFAULT:
        metadata->is_default = value.size == 1 && value.data[0] != 0;
        return value.size == 1;
    case METADATA_TRIES:
        metadata->tries_left = value.size == 2 ? value.data[1] : -1;
        return value.size == 2;
    default:
        return true;
    }
}

bool piv_metadata_parse(PivBytes answer, PivMetadata *ret_metadata)
{
    PivMetadata metadata = {.is_default = -1, .tries_left = -1};
    PivBytes value, public = {NULL, 0};
    guint32 tag;
    while (piv_tlv_next(&answer, &tag, &value)) {
        if (!take_metadata(&metadata, tag, value))
            return false;
        if (tag == METADATA_PUBLIC)
        public = value;
    }
    if (answer.size > 0 || metadata.algorithm == 0)
        return false;
    if (public.size > 0)
        metadata.public_key = piv_public_key(metadata.algorithm, public);
    *ret_metadata = metadata;
    return true;
}

bool piv_object_content(PivBytes answer, PivBytes *ret_content)
{
    guint32 tag;
    return piv_tlv_next(&answer, &tag, ret_content) && tag == 0x53 && answer.size == 0;
}

#define CERTIFICATE_MAX (64 * 1024)
#define WINDOW 15                 /* zlib: the largest one */
#define GZIP_WINDOW (WINDOW + 16) /* the same in gzip's format */

static X509 *read_der(const guint8 *der, gsize size)
{
    const unsigned char *at = der;
    g_autoptr(X509) certificate = d2i_X509(NULL, &at, (long)size);
    ERR_clear_error();
    return certificate && at == der + size ? g_steal_pointer(&certificate) : NULL;
}

/* |expected| bytes, or with 0 as many as there are. */
static X509 *read_compressed(PivBytes compressed, int window, gsize expected)
{
    g_autofree guint8 *der = g_malloc(CERTIFICATE_MAX);
    z_stream stream = {
        .next_in = (Bytef *)compressed.data,
        .avail_in = (uInt)compressed.size,
        .next_out = der,
        .avail_out = CERTIFICATE_MAX,
    };
    if (inflateInit2(&stream, window) != Z_OK)
        return NULL;
    int result = inflate(&stream, Z_FINISH);
    (void)inflateEnd(&stream);
    if (result != Z_STREAM_END || (expected && stream.total_out != expected))
        return NULL;
    return read_der(der, stream.total_out);
}

/* SP 800-73 has DER and gzip, told apart by tag 71, in which early programs wrote another bit. Net iD, as it
 * came with cards for years, writes 01 00, the length with its low byte first, and zlib's format. What is
 * there tells itself. */
X509 *piv_certificate_parse(PivBytes content)
{
    PivBytes value;
    if (!piv_tlv_find(content, 0x70, &value) || value.size < 4)
        return NULL;
    const guint8 *at = value.data;
    if (at[0] == 0x1f && at[1] == 0x8b)
        return read_compressed(value, GZIP_WINDOW, 0);
    if (at[0] == 0x01 && at[1] == 0x00)
        return read_compressed((PivBytes){at + 4, value.size - 4}, WINDOW, at[2] | (gsize)at[3] << 8);
    return read_der(at, value.size);
}

static GBytes *build(const guint8 *der, gsize size, bool compressed)
{
    g_autofree guint8 *content = g_malloc(PIV_OBJECT_MAX);
    PivWriter writer = {.data = content, .room = PIV_OBJECT_MAX};
    piv_write_tlv(&writer, 0x70, der, size);
    piv_write_byte_tlv(&writer, 0x71, compressed);
    piv_write_tlv(&writer, 0xfe, NULL, 0);
    return writer.overflow ? NULL : g_bytes_new_take(g_steal_pointer(&content), writer.size);
}

static GBytes *build_compressed(const guint8 *der, gsize size)
{
    guint8 compressed[PIV_OBJECT_MAX];
    z_stream stream = {
        .next_in = (Bytef *)der,
        .avail_in = (uInt)size,
        .next_out = compressed,
        .avail_out = sizeof compressed,
    };
    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return NULL;
    int result = deflate(&stream, Z_FINISH);
    (void)deflateEnd(&stream);
    return result == Z_STREAM_END ? build(compressed, stream.total_out, true) : NULL;
}

GBytes *piv_certificate_build(X509 *certificate)
{
    unsigned char *der = NULL;
    int size = i2d_X509(certificate, &der);
    GBytes *content = NULL;
    if (size > 0 && size <= CERTIFICATE_MAX)
        content = build(der, (gsize)size, false);
    if (size > 0 && size <= CERTIFICATE_MAX && !content)
        content = build_compressed(der, (gsize)size);
    OPENSSL_free(der);
    return content;
}

X509 *piv_attestation_parse(PivBytes answer)
{
    g_autoptr(X509) certificate = read_der(answer.data, answer.size);
    bool usable = certificate && X509_get0_pubkey(certificate);
    ERR_clear_error();
    return usable ? g_steal_pointer(&certificate) : NULL;
}

const PivManagementAlgorithm piv_management_algorithms[PIV_MANAGEMENT_ALGORITHMS] = {
    {"3des", 0x03, "DES-EDE3-ECB", 24, 8, 0},
    {"aes128", 0x08, "AES-128-ECB", 16, 16, FIRMWARE_AES},
    {"aes192", 0x0a, "AES-192-ECB", 24, 16, FIRMWARE_AES},
    {"aes256", 0x0c, "AES-256-ECB", 32, 16, FIRMWARE_AES},
};

const guint8 piv_factory_management_key[24] = {1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4,
                                               5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8};

const PivManagementAlgorithm *piv_management_algorithm(guint8 id)
{
    for (gsize i = 0; i < PIV_MANAGEMENT_ALGORITHMS; i++)
        if (piv_management_algorithms[i].id == id)
            return &piv_management_algorithms[i];
    return NULL;
}

const PivManagementAlgorithm *piv_management_algorithm_find(const char *name, Firmware firmware,
                                                            GError **error)
{
    for (gsize i = 0; i < PIV_MANAGEMENT_ALGORITHMS; i++) {
        const PivManagementAlgorithm *algorithm = &piv_management_algorithms[i];
        if (!g_str_equal(algorithm->name, name))
            continue;
        if (firmware >= algorithm->since)
            return algorithm;
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "This YubiKey's firmware has no AES management keys; only 3des is possible");
        return NULL;
    }
    g_autofree char *shown = g_utf8_make_valid(name, (gssize)strnlen(name, 64));
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "\"%s\" is no kind of management key; there are 3des, aes128, aes192 and aes256", shown);
    return NULL;
}

enum {
    TAG_ADMINISTRATION = 0x80,
    TAG_ADMINISTRATION_FLAGS = 0x81,
    TAG_ADMINISTRATION_SALT = 0x82,
    FLAG_KEY_PROTECTED = 0x02,
    TAG_PROTECTED = 0x88,
    TAG_PROTECTED_KEY = 0x89,
    TAG_PROTECTED_NEXT = 0xc9, /* ours: PRIVATE class */
};

static guint8 administration_flags(PivBytes content)
{
    PivBytes inner, flags;
    if (!piv_tlv_find(content, TAG_ADMINISTRATION, &inner) ||
        !piv_tlv_find(inner, TAG_ADMINISTRATION_FLAGS, &flags) || flags.size != 1)
        return 0;
    return flags.data[0];
}

bool piv_administration_says_protected(PivBytes content)
{
    return (administration_flags(content) & FLAG_KEY_PROTECTED) != 0;
}

bool piv_administration_has_salt(PivBytes content)
{
    PivBytes inner, salt;
    return piv_tlv_find(content, TAG_ADMINISTRATION, &inner) &&
           piv_tlv_find(inner, TAG_ADMINISTRATION_SALT, &salt);
}

/* All elements of |content| but two, byte by byte as they are; their size. Without |writer| that only. */
static gsize copy_others(PivWriter *writer, PivBytes content, guint32 one, guint32 other)
{
    gsize size = 0;
    guint32 tag;
    PivBytes value;
    for (PivBytes rest = content; piv_tlv_next(&content, &tag, &value); rest = content) {
        gsize length = rest.size - content.size;
        if (tag == one || tag == other)
            continue;
        if (writer)
            piv_write(writer, rest.data, length);
        size += length;
    }
    return size;
}

void piv_administration_write(PivWriter *writer, PivBytes old_content, bool protected, bool keep_salt)
{
    guint8 bytes[256];
    PivWriter inner = {.data = bytes, .room = sizeof bytes};
    PivBytes rest = {NULL, 0};
    guint8 flags = administration_flags(old_content);
    guint32 dropped = keep_salt ? TAG_ADMINISTRATION_FLAGS : TAG_ADMINISTRATION_SALT;
    flags = (guint8)(protected ? flags | FLAG_KEY_PROTECTED : flags & ~FLAG_KEY_PROTECTED);
    piv_write_byte_tlv(&inner, TAG_ADMINISTRATION_FLAGS, flags);
    (void)piv_tlv_find(old_content, TAG_ADMINISTRATION, &rest);
    (void)copy_others(&inner, rest, TAG_ADMINISTRATION_FLAGS, dropped);
    if (inner.overflow)
        writer->overflow = true;
    piv_write_tlv(writer, TAG_ADMINISTRATION, inner.data, inner.size);
    (void)copy_others(writer, old_content, TAG_ADMINISTRATION, TAG_ADMINISTRATION);
}

void piv_protected_parse(PivBytes content, PivProtected *ret_protected)
{
    PivBytes inner;
    *ret_protected = (PivProtected){.content = content};
    if (!piv_tlv_find(content, TAG_PROTECTED, &inner))
        return;
    (void)piv_tlv_find(inner, TAG_PROTECTED_KEY, &ret_protected->key);
    (void)piv_tlv_find(inner, TAG_PROTECTED_NEXT, &ret_protected->next);
}

void piv_protected_write(PivWriter *writer, PivBytes old_content, PivBytes key, PivBytes next)
{
    PivBytes rest = {NULL, 0};
    (void)piv_tlv_find(old_content, TAG_PROTECTED, &rest);
    gsize size = (key.size ? key.size + 2 : 0) + (next.size ? next.size + 2 : 0) +
                 copy_others(NULL, rest, TAG_PROTECTED_KEY, TAG_PROTECTED_NEXT);
    if (size > 0)
        piv_write_header(writer, TAG_PROTECTED, size);
    if (key.size)
        piv_write_tlv(writer, TAG_PROTECTED_KEY, key.data, key.size);
    if (next.size)
        piv_write_tlv(writer, TAG_PROTECTED_NEXT, next.data, next.size);
    (void)copy_others(writer, rest, TAG_PROTECTED_KEY, TAG_PROTECTED_NEXT);
    (void)copy_others(writer, old_content, TAG_PROTECTED, TAG_PROTECTED);
}
