/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Names come from Google: in paths they are escaped. */

#include "daemon/token/google-kms/google-kms-store.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/state-file.h"
#include "daemon/token/google-kms/google-kms-answer.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#define DIRECTORY "google-kms"
#define RING_MAX_SIZE 4096
#define CERTIFICATE_MAX_SIZE (64 * 1024)

static const SealingKind credentials_kind = {
    .directory = DIRECTORY,
    .what = "Google credentials",
    .lost = IOTHSM_ERROR_CLOUD_REFUSED,
    .remedy = "remove the key ring and add it again with iothsmctl kms add",
};

void kms_stored_free(KmsStored *stored)
{
    if (!stored)
        return;
    g_free(stored->key_ring);
    g_free(stored->serial);
    secret_unref(stored->credentials);
    g_clear_error(&stored->failure);
    g_free(stored);
}

static char *path_of(const KmsStore *store, const char *folder, const char *name, const char *suffix)
{
    g_autofree char *escaped = name ? g_uri_escape_string(name, NULL, FALSE) : g_strdup("");
    g_autofree char *file = g_strconcat(escaped, suffix, NULL);
    return g_build_filename(sealing_state_directory(store->sealing), DIRECTORY, folder, file, NULL);
}

static char *ring_path(const KmsStore *store, const char *serial)
{
    return path_of(store, "", serial, ".json");
}

static char *certificates_path(const KmsStore *store, const char *serial)
{
    return path_of(store, "certificates", serial, "");
}

static char *certificate_path(const KmsStore *store, const char *serial, const char *slot)
{
    g_autofree char *folder = certificates_path(store, serial);
    g_autofree char *escaped = g_uri_escape_string(slot, NULL, FALSE);
    g_autofree char *file = g_strconcat(escaped, ".pem", NULL);
    return g_build_filename(folder, file, NULL);
}

/* --- key rings ---------------------------------------------------------------------------------------- */

static KmsStored *read_ring(GBytes *bytes, bool *ret_sealed, GError **error)
{
    gsize size = 0;
    const char *text = g_bytes_get_data(bytes, &size);
    g_autoptr(JsonObject) ring = json_object_parse(text, size, error);
    const char *name = ring ? json_get_string(ring, "keyRing", NULL) : NULL;
    const char *credentials = ring ? json_get_string(ring, "credentials", NULL) : NULL;
    if (!ring)
        return NULL;
    if (!name || !kms_key_ring_check(name, NULL) ||
        (g_strcmp0(credentials, "sealed") != 0 && g_strcmp0(credentials, "metadata") != 0)) {
        g_set_error_literal(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "it does not describe a key ring");
        return NULL;
    }
    *ret_sealed = g_str_equal(credentials, "sealed");
    KmsStored *stored = g_new0(KmsStored, 1);
    stored->key_ring = g_strdup(name);
    stored->serial = kms_key_ring_serial(name);
    return stored;
}

static void load_credentials(const KmsStore *store, KmsStored *stored)
{
    stored->credentials = sealing_read(store->sealing, &credentials_kind, stored->serial, &stored->failure);
    if (!stored->credentials && !stored->failure)
        stored->failure = g_error_new(IOTHSM_ERROR, IOTHSM_ERROR_CLOUD_REFUSED,
                                      "The sealed credentials of key ring %s can't be read; give the service "
                                      "the sealing key that it had, or "
                                      "%s",
                                      stored->serial, credentials_kind.remedy);
}

static bool load_ring(const KmsStore *store, const char *path, GPtrArray *rings, GError **error)
{
    g_autoptr(GError) failure = NULL;
    bool sealed = false;
    g_autoptr(GBytes) bytes = state_file_read(path, RING_MAX_SIZE, &failure);
    if (!bytes && !failure)
        return true;
    KmsStored *stored = bytes ? read_ring(bytes, &sealed, &failure) : NULL;
    if (!stored)
        return state_file_set_aside(path, failure->message, error);
    if (sealed)
        load_credentials(store, stored);
    g_ptr_array_add(rings, stored);
    return true;
}

static int by_serial(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const KmsStored *const *)a)->serial, (*(const KmsStored *const *)b)->serial);
}

GPtrArray *kms_store_load(const KmsStore *store, GError **error)
{
    g_autofree char *folder = path_of(store, "", NULL, "");
    g_autoptr(GPtrArray) rings = g_ptr_array_new_with_free_func((GDestroyNotify)kms_stored_free);
    g_autoptr(GError) failure = NULL;
    g_autoptr(GDir) directory = g_dir_open(folder, 0, &failure);
    if (g_error_matches(failure, G_FILE_ERROR, G_FILE_ERROR_NOENT))
        return g_steal_pointer(&rings);
    if (!directory) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "The configured key rings can't be read: %s",
                    failure->message);
        return NULL;
    }
    const char *name;
    while ((name = g_dir_read_name(directory)) && rings->len < KMS_RINGS_MAX) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_str_has_suffix(name, ".json") && !load_ring(store, path, rings, error))
            return NULL;
    }
    g_ptr_array_sort(rings, by_serial);
    return g_steal_pointer(&rings);
}

bool kms_store_save(const KmsStore *store, const char *key_ring, const Secret *credentials, GError **error)
{
    g_autofree char *serial = kms_key_ring_serial(key_ring);
    g_autofree char *path = ring_path(store, serial);
    g_autoptr(JsonObject) ring = json_object_new();
    if (credentials && !sealing_write(store->sealing, &credentials_kind, serial, credentials, error))
        return false;
    json_object_set_string_member(ring, "keyRing", key_ring);
    json_object_set_string_member(ring, "credentials", credentials ? "sealed" : "metadata");
    g_autofree char *text = json_object_to_text(ring);
    return state_file_write(path, text, strlen(text), error);
}

static bool remove_file(const char *path, GError **error)
{
    if (g_remove(path) == 0 || errno == ENOENT)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "%s can't be removed: %s", path, g_strerror(errno));
    return false;
}

static bool remove_certificates(const KmsStore *store, const char *serial, GError **error)
{
    g_autofree char *folder = certificates_path(store, serial);
    g_autoptr(GDir) directory = g_dir_open(folder, 0, NULL);
    const char *name;
    while (directory && (name = g_dir_read_name(directory))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (!remove_file(path, error))
            return false;
    }
    return remove_file(folder, error);
}

/* The file that makes it a key ring goes first: what is left of an interrupted removal does nothing. */
bool kms_store_remove(const KmsStore *store, const char *serial, GError **error)
{
    g_autofree char *path = ring_path(store, serial);
    return remove_file(path, error) && sealing_forget(store->sealing, &credentials_kind, serial, error) &&
           remove_certificates(store, serial, error);
}

/* --- certificates ------------------------------------------------------------------------------------- */

X509 *kms_store_certificate(const KmsStore *store, const char *serial, const char *slot, GError **error)
{
    g_autofree char *path = certificate_path(store, serial, slot);
    g_autoptr(GBytes) bytes = state_file_read(path, CERTIFICATE_MAX_SIZE, error);
    if (!bytes)
        return NULL;
    gsize size = 0;
    const void *data = g_bytes_get_data(bytes, &size);
    g_autoptr(BIO) bio = BIO_new_mem_buf(data, (int)size);
    X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, (void *)""); /* no passphrase is asked for */
    if (!certificate) {
        ERR_clear_error();
        (void)state_file_set_aside(path, "it holds no certificate", error);
    }
    return certificate;
}

bool kms_store_set_certificate(const KmsStore *store, const char *serial, const char *slot, X509 *certificate,
                               GError **error)
{
    g_autofree char *path = certificate_path(store, serial, slot);
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    if (PEM_write_bio_X509(bio, certificate) != 1) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The certificate can't be written");
        return false;
    }
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    return state_file_write(path, data, (gsize)size, error);
}

bool kms_store_clear_certificate(const KmsStore *store, const char *serial, const char *slot, GError **error)
{
    g_autofree char *path = certificate_path(store, serial, slot);
    if (g_remove(path) == 0)
        return true;
    if (errno == ENOENT)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
                    "Slot %s of key ring %s has no certificate to clear; its key is managed in Google Cloud",
                    slot, serial);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "%s can't be removed: %s", path,
                    g_strerror(errno));
    return false;
}
