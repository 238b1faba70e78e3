/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One sealed file a token, one list of refused PINs for all.
 *
 * A sealed file is "IOTHSM-PIN-1" LF, 12 bytes nonce, ciphertext, 16 bytes tag; the additional data are the
 * header line and the token's serial. The key for sealing and the key for fingerprints are derived from the
 * credential with HKDF-SHA-256, so that neither can be used for the other's job. */

#include "daemon/pin-store.h"
#include "daemon/error.h"
#include "daemon/log.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/state-file.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

enum { KEY_SIZE = 32, NONCE_SIZE = 12, TAG_SIZE = 16, KEY_SIZE_MIN = 16, FILE_SIZE_MAX = 4096 };

static const char header[] = "IOTHSM-PIN-1\n";
enum { HEADER_SIZE = sizeof header - 1 };

struct PinStore {
    char *directory;         /* STATE/pins */
    Secret *sealing_key;     /* NULL: nothing is written */
    Secret *fingerprint_key; /* always there; random where there is no credential */
    GMutex lock;             /* guards refused and its file */
    GHashTable *refused;     /* "SERIAL HEX" as a set */
};

static Secret *derive(const void *material, gsize size, const char *purpose)
{
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    unsigned char key[KEY_SIZE];
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)material, size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)purpose, strlen(purpose)),
        OSSL_PARAM_construct_end(),
    };
    bool ok = EVP_KDF_derive(context, key, sizeof key, parameters) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    Secret *secret = ok ? secret_new(key, sizeof key) : NULL;
    OPENSSL_cleanse(key, sizeof key);
    return secret;
}

/* NULL without an error: no credential was handed to us. */
static Secret *read_credential(const char *directory, GError **error)
{
    if (!directory)
        return NULL;
    g_autofree char *path = g_build_filename(directory, "iothsm.key", NULL);
    if (!g_file_test(path, G_FILE_TEST_EXISTS))
        return NULL;
    char *data = NULL;
    gsize size = 0;
    g_autoptr(GError) failure = NULL;
    if (!g_file_get_contents(path, &data, &size, &failure)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "The sealing key can't be read: %s",
                    failure->message);
        return NULL;
    }
    Secret *secret = NULL;
    if (size < KEY_SIZE_MIN || size > FILE_SIZE_MAX)
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
            "The sealing key iothsm.key has %zu bytes; it must have 16 to 4096, for example 32 random ones",
            size);
    else
        secret = secret_new(data, size);
    OPENSSL_cleanse(data, size);
    g_free(data);
    return secret;
}

static bool make_keys(PinStore *store, const Secret *credential)
{
    if (credential) {
        store->sealing_key = derive(secret_data(credential), secret_size(credential), "iothsm pin sealing");
        store->fingerprint_key =
            derive(secret_data(credential), secret_size(credential), "iothsm refused pin fingerprint");
        return store->sealing_key && store->fingerprint_key;
    }
    unsigned char random[KEY_SIZE];
    if (RAND_priv_bytes(random, sizeof random) != 1)
        return false;
    store->fingerprint_key = secret_new(random, sizeof random);
    OPENSSL_cleanse(random, sizeof random);
    return true;
}

static char *refused_path(const PinStore *store)
{
    return g_build_filename(store->directory, "refused", NULL);
}

static bool load_refused(PinStore *store, GError **error)
{
    if (!store->sealing_key)
        return true;
    g_autofree char *path = refused_path(store);
    g_autoptr(GError) failure = NULL;
    g_autoptr(GBytes) bytes = state_file_read(path, 1 << 20, &failure);
    if (failure)
        return state_file_set_aside(path, failure->message, error);
    if (!bytes)
        return true;
    g_autofree char *text = g_strndup(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++)
        if (**line)
            g_hash_table_add(store->refused, g_strdup(*line));
    return true;
}

PinStore *pin_store_new(const char *state_directory, const char *credentials_directory, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(Secret) credential = read_credential(credentials_directory, &failure);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    g_autoptr(PinStore) store = g_new0(PinStore, 1);
    g_mutex_init(&store->lock);
    store->directory = g_build_filename(state_directory, "pins", NULL);
    store->refused = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    if (!make_keys(store, credential)) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The key that seals PINs can't be derived");
        return NULL;
    }
    return load_refused(store, error) ? g_steal_pointer(&store) : NULL;
}

void pin_store_free(PinStore *store)
{
    if (!store)
        return;
    secret_unref(store->sealing_key);
    secret_unref(store->fingerprint_key);
    g_hash_table_unref(store->refused);
    g_mutex_clear(&store->lock);
    g_free(store->directory);
    g_free(store);
}

bool pin_store_can_persist(const PinStore *store)
{
    return store->sealing_key != NULL;
}

/* A serial number comes from the token: it must not choose the path. */
static char *sealed_path(const PinStore *store, const char *serial)
{
    g_autofree char *name = g_uri_escape_string(serial, NULL, FALSE);
    g_autofree char *file = g_strdup_printf("token-%s.sealed", name);
    return g_build_filename(store->directory, file, NULL);
}

static bool seal(const PinStore *store, const char *serial, const Secret *pin, GByteArray *sealed)
{
    g_autoptr(EVP_CIPHER_CTX) context = EVP_CIPHER_CTX_new();
    gsize size = secret_size(pin);
    int n = 0;

    g_byte_array_set_size(sealed, (guint)(HEADER_SIZE + NONCE_SIZE + size + TAG_SIZE));
    unsigned char *nonce = sealed->data + HEADER_SIZE;
    unsigned char *text = nonce + NONCE_SIZE;
    memcpy(sealed->data, header, HEADER_SIZE);
    return RAND_bytes(nonce, NONCE_SIZE) == 1 &&
           EVP_EncryptInit_ex2(context, EVP_aes_256_gcm(),
                               (const unsigned char *)secret_data(store->sealing_key), nonce, NULL) == 1 &&
           EVP_EncryptUpdate(context, NULL, &n, sealed->data, HEADER_SIZE) == 1 &&
           EVP_EncryptUpdate(context, NULL, &n, (const unsigned char *)serial, (int)strlen(serial)) == 1 &&
           EVP_EncryptUpdate(context, text, &n, (const unsigned char *)secret_data(pin), (int)size) == 1 &&
           EVP_EncryptFinal_ex(context, text + n, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, text + size) == 1;
}

static Secret *unseal(const PinStore *store, const char *serial, const unsigned char *data, gsize size)
{
    if (size < HEADER_SIZE + NONCE_SIZE + TAG_SIZE || memcmp(data, header, HEADER_SIZE) != 0)
        return NULL;
    g_autoptr(EVP_CIPHER_CTX) context = EVP_CIPHER_CTX_new();
    const unsigned char *nonce = data + HEADER_SIZE;
    const unsigned char *text = nonce + NONCE_SIZE;
    gsize length = size - HEADER_SIZE - NONCE_SIZE - TAG_SIZE;
    unsigned char *plain = OPENSSL_secure_zalloc(length + 1);
    int n = 0;

    bool ok = plain &&
              EVP_DecryptInit_ex2(context, EVP_aes_256_gcm(),
                                  (const unsigned char *)secret_data(store->sealing_key), nonce, NULL) == 1 &&
              EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, (void *)(text + length)) == 1 &&
              EVP_DecryptUpdate(context, NULL, &n, data, HEADER_SIZE) == 1 &&
              EVP_DecryptUpdate(context, NULL, &n, (const unsigned char *)serial, (int)strlen(serial)) == 1 &&
              EVP_DecryptUpdate(context, plain, &n, text, (int)length) == 1 &&
              EVP_DecryptFinal_ex(context, plain + n, &n) == 1;
    Secret *secret = ok ? secret_new(plain, length) : NULL;
    OPENSSL_secure_clear_free(plain, length + 1);
    return secret;
}

bool pin_store_save(PinStore *store, const char *serial, const Secret *pin, GError **error)
{
    if (!store->sealing_key) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
            "There is no sealing key, so the PIN can't be kept on disk; leave out persist, or give the "
            "service the credential iothsm.key");
        return false;
    }
    g_autoptr(GByteArray) sealed = g_byte_array_new();
    if (secret_size(pin) > FILE_SIZE_MAX / 2 || !seal(store, serial, pin, sealed)) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The PIN of token %s can't be sealed", serial);
        return false;
    }
    g_autofree char *path = sealed_path(store, serial);
    return state_file_write(path, sealed->data, sealed->len, error);
}

Secret *pin_store_load(PinStore *store, const char *serial, GError **error)
{
    if (!store->sealing_key)
        return NULL;
    g_autofree char *path = sealed_path(store, serial);
    g_autoptr(GError) failure = NULL;
    g_autoptr(GBytes) bytes = state_file_read(path, FILE_SIZE_MAX, &failure);
    if (!bytes && !failure)
        return NULL;
    gsize size = 0;
    const unsigned char *data = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    Secret *pin = data ? unseal(store, serial, data, size) : NULL;
    if (pin)
        return pin;
    if (!state_file_set_aside(path, failure ? failure->message : "the sealing key does not open it", error))
        return NULL;
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED,
        "The PIN kept for token %s can't be opened with this machine's sealing key; give it again with "
        "iothsmctl pin set",
        serial);
    return NULL;
}

bool pin_store_forget(PinStore *store, const char *serial, GError **error)
{
    g_autofree char *path = sealed_path(store, serial);
    if (g_unlink(path) == 0 || errno == ENOENT)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't remove %s: %s", path, g_strerror(errno));
    return false;
}

/* "SERIAL HEX": an HMAC over serial and PIN, so that equal PINs of two tokens look different. */
static char *fingerprint(const PinStore *store, const char *serial, const Secret *pin)
{
    unsigned char mac[EVP_MAX_MD_SIZE];
    gsize serial_size = strlen(serial) + 1;
    gsize size = serial_size + secret_size(pin);
    unsigned char *text = OPENSSL_secure_zalloc(size);
    unsigned int mac_size = 0;

    g_assert(text);
    memcpy(text, serial, serial_size);
    memcpy(text + serial_size, secret_data(pin), secret_size(pin));
    HMAC(EVP_sha256(), secret_data(store->fingerprint_key), (int)secret_size(store->fingerprint_key), text,
         size, mac, &mac_size);
    OPENSSL_secure_clear_free(text, size);

    g_autofree char *name = g_uri_escape_string(serial, NULL, FALSE);
    GString *line = g_string_new(name);
    g_string_append_c(line, ' ');
    for (unsigned int i = 0; i < mac_size; i++)
        g_string_append_printf(line, "%02x", mac[i]);
    return g_string_free(line, FALSE);
}

static bool write_refused(PinStore *store, GError **error)
{
    if (!store->sealing_key)
        return true;
    g_autoptr(GString) text = g_string_new(NULL);
    GHashTableIter iterator;
    gpointer line;
    g_hash_table_iter_init(&iterator, store->refused);
    while (g_hash_table_iter_next(&iterator, &line, NULL))
        g_string_append_printf(text, "%s\n", (const char *)line);
    g_autofree char *path = refused_path(store);
    return state_file_write(path, text->str, text->len, error);
}

bool pin_store_note_refused(PinStore *store, const char *serial, const Secret *pin, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return !g_hash_table_add(store->refused, fingerprint(store, serial, pin)) || write_refused(store, error);
}

bool pin_store_was_refused(PinStore *store, const char *serial, const Secret *pin)
{
    g_autofree char *line = fingerprint(store, serial, pin);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return g_hash_table_contains(store->refused, line);
}

bool pin_store_note_accepted(PinStore *store, const char *serial, const Secret *pin, GError **error)
{
    g_autofree char *line = fingerprint(store, serial, pin);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return !g_hash_table_remove(store->refused, line) || write_refused(store, error);
}

static gboolean belongs_to(gpointer line, gpointer value, gpointer prefix)
{
    return g_str_has_prefix(line, prefix);
}

bool pin_store_clear_refused(PinStore *store, const char *serial, GError **error)
{
    g_autofree char *name = g_uri_escape_string(serial, NULL, FALSE);
    g_autofree char *prefix = g_strdup_printf("%s ", name);
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&store->lock);
    return g_hash_table_foreach_remove(store->refused, belongs_to, prefix) == 0 ||
           write_refused(store, error);
}
