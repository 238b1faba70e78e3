/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Trust is files that the operator gave, read when they are needed. */

#include "daemon/ca/trust.h"
#include "daemon/ca/name.h"
#include "daemon/ca/pem.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/state-file.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

enum { ANCHOR_FILE_MAX = 256 * 1024, ANCHORS_MAX = 64 };

static GPtrArray *anchors_new(void)
{
    return g_ptr_array_new_with_free_func((GDestroyNotify)X509_free);
}

/* All certificates of |text|; an error when there is none, something else, or too many. */
static GPtrArray *parse_anchors(const char *text, const char *what, GError **error)
{
    g_autoptr(GPtrArray) blocks = pem_read_blocks(text, ANCHORS_MAX);
    g_autoptr(GPtrArray) anchors = anchors_new();
    for (guint i = 0; blocks && i < blocks->len; i++) {
        X509 *certificate = pem_block_certificate(g_ptr_array_index(blocks, i));
        if (certificate)
            g_ptr_array_add(anchors, certificate);
    }
    if (blocks && anchors->len > 0 && anchors->len == blocks->len)
        return g_steal_pointer(&anchors);
    ERR_clear_error();
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE, "%s does not hold a PEM certificate",
                what);
    return NULL;
}

static GPtrArray *read_anchors(const char *path, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(GBytes) bytes = state_file_read(path, ANCHOR_FILE_MAX, &failure);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    if (!bytes)
        return anchors_new();
    gsize size = 0;
    const char *data = g_bytes_get_data(bytes, &size);
    g_autofree char *text = g_strndup(data ? data : "", size);
    return parse_anchors(strlen(text) == size ? text : "", path, error);
}

X509_STORE *trust_open_platform(const char *path, GError **error)
{
    g_autoptr(GPtrArray) anchors = read_anchors(path, error);
    if (!anchors)
        return NULL;
    if (anchors->len == 0) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_LINK_DOWN,
            "The platform's message verification CA is not known yet. For pkiaas.io it is the file "
            "smime_ca_pkiaas_io.pem in the public repository lspiehler/iot-hsm; give it to the service "
            "with: iothsmctl trust add --for=platform FILE");
        return NULL;
    }
    if (anchors->len > 1) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                    "%s holds %u certificates; it must hold the platform's message verification CA alone",
                    path, anchors->len);
        return NULL;
    }
    g_autoptr(X509_STORE) store = X509_STORE_new();
    if (!store || X509_STORE_add_cert(store, g_ptr_array_index(anchors, 0)) != 1) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "%s can't be used as a trust anchor", path);
        return NULL;
    }
    return g_steal_pointer(&store);
}

static char *yubico_path(const char *state_directory)
{
    return g_build_filename(state_directory, "trust", "yubico.pem", NULL);
}

X509_STORE *trust_open_yubico(const char *state_directory, GError **error)
{
    g_autofree char *path = yubico_path(state_directory);
    g_autoptr(GPtrArray) anchors = read_anchors(path, error);
    if (!anchors || anchors->len == 0)
        return NULL;
    g_autoptr(X509_STORE) store = X509_STORE_new();
    bool filled = store != NULL;
    for (guint i = 0; filled && i < anchors->len; i++)
        filled = X509_STORE_add_cert(store, g_ptr_array_index(anchors, i)) == 1;
    if (filled)
        return g_steal_pointer(&store);
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "%s can't be used as trust anchors", path);
    return NULL;
}

static bool is_ca(X509 *certificate, GError **error)
{
    if (X509_check_ca(certificate) > 0)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                "The certificate is not a CA certificate, so nothing can be trusted because of it");
    return false;
}

/* No more than can be read again. */
static bool write_anchors(const char *path, GPtrArray *anchors, GError **error)
{
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    for (guint i = 0; i < anchors->len; i++)
        PEM_write_bio_X509(bio, g_ptr_array_index(anchors, i));
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    if (anchors->len <= ANCHORS_MAX && size <= ANCHOR_FILE_MAX)
        return state_file_write(path, data, (gsize)size, error);
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                "%s would hold %u certificates in %ld bytes; %d in %d bytes are the most", path, anchors->len,
                size, ANCHORS_MAX, ANCHOR_FILE_MAX);
    return false;
}

bool trust_add(const char *state_directory, const char *platform_path, const char *purpose, const char *pem,
               GError **error)
{
    bool platform = g_strcmp0(purpose, "platform") == 0;
    if (!platform && g_strcmp0(purpose, "yubico") != 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "Certificates are trusted for platform or yubico, not for \"%s\"", purpose);
        return false;
    }
    g_autoptr(GPtrArray) given = parse_anchors(pem, "The text", error);
    if (!given)
        return false;
    if (given->len != 1) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE,
                    "There are %u certificates in it; give one at a time", given->len);
        return false;
    }
    X509 *certificate = g_ptr_array_index(given, 0);
    if (!is_ca(certificate, error))
        return false;
    if (platform)
        return write_anchors(platform_path, given, error);

    g_autofree char *path = yubico_path(state_directory);
    g_autoptr(GPtrArray) anchors = read_anchors(path, error);
    if (!anchors)
        return false;
    for (guint i = 0; i < anchors->len; i++)
        if (X509_cmp(g_ptr_array_index(anchors, i), certificate) == 0)
            return true;
    X509_up_ref(certificate);
    g_ptr_array_add(anchors, certificate);
    return write_anchors(path, anchors, error);
}

static void list_purpose(JsonArray *list, const char *purpose, const char *path)
{
    g_autoptr(GPtrArray) anchors = read_anchors(path, NULL);
    for (guint i = 0; anchors && i < anchors->len; i++) {
        const X509 *certificate = g_ptr_array_index(anchors, i);
        g_autofree char *subject = certificate_subject(certificate);
        g_autofree char *print = certificate_fingerprint(certificate);
        JsonObject *entry = json_object_new();
        json_object_set_string_member(entry, "purpose", purpose);
        json_object_set_string_member(entry, "subject", subject);
        json_object_set_string_member(entry, "fingerprint", print);
        json_object_set_int_member(entry, "notAfter", certificate_not_after(certificate));
        json_object_set_boolean_member(entry, "known", strcmp(print, TRUST_PKIAAS_IO_FINGERPRINT) == 0);
        json_array_add_object_element(list, entry);
    }
}

JsonArray *trust_list(const char *state_directory, const char *platform_path)
{
    JsonArray *list = json_array_new();
    g_autofree char *yubico = yubico_path(state_directory);
    list_purpose(list, "platform", platform_path);
    list_purpose(list, "yubico", yubico);
    return list;
}
