/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The format of a sealed file and the key that opens it.
 *
 * A sealed file is "IOTHSM-SEALED-1" LF, 12 bytes nonce, ciphertext, 16 bytes tag; the additional data are
 * the header line, the kind's directory, a zero byte and the owner. The credential itself encrypts nothing:
 * each job has a key of its own, derived with HKDF-SHA-256. */

#include "daemon/sealing.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/state-file.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <string.h>

enum { KEY_SIZE = 32, NONCE_SIZE = 12, TAG_SIZE = 16, CREDENTIAL_SIZE_MIN = 16, CREDENTIAL_SIZE_MAX = 4096 };

static const char header[] = "IOTHSM-SEALED-1\n";
enum { HEADER_SIZE = sizeof header - 1, AROUND_SIZE = HEADER_SIZE + NONCE_SIZE + TAG_SIZE };

struct Sealing {
    gint references; /* atomic */
    char *state_directory;
    Secret *credential; /* NULL: there is none */
    Secret *key;        /* derived from it */
};

Secret *sealing_derive(const Sealing *sealing, const char *purpose)
{
    if (!sealing->credential)
        return NULL;
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *context = EVP_KDF_CTX_new(kdf);
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret_data(sealing->credential),
                                          secret_size(sealing->credential)),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)purpose, strlen(purpose)),
        OSSL_PARAM_construct_end(),
    };
    char *bytes = NULL;
    g_autoptr(Secret) secret = secret_new_blank(KEY_SIZE, &bytes);
    bool ok = EVP_KDF_derive(context, (unsigned char *)bytes, KEY_SIZE, parameters) == 1;
    EVP_KDF_CTX_free(context);
    EVP_KDF_free(kdf);
    return ok ? g_steal_pointer(&secret) : NULL;
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
    if (size < CREDENTIAL_SIZE_MIN || size > CREDENTIAL_SIZE_MAX)
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

Sealing *sealing_new(const char *state_directory, const char *credentials_directory, GError **error)
{
    g_autoptr(GError) failure = NULL;
    g_autoptr(Sealing) sealing = g_new0(Sealing, 1);
    sealing->references = 1;
    sealing->state_directory = g_strdup(state_directory);
    sealing->credential = read_credential(credentials_directory, &failure);
    if (failure) {
        g_propagate_error(error, g_steal_pointer(&failure));
        return NULL;
    }
    if (sealing->credential && !(sealing->key = sealing_derive(sealing, "iothsm sealing"))) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The key that seals secrets can't be derived");
        return NULL;
    }
    return g_steal_pointer(&sealing);
}

Sealing *sealing_ref(Sealing *sealing)
{
    g_atomic_int_inc(&sealing->references);
    return sealing;
}

void sealing_unref(Sealing *sealing)
{
    if (!sealing || !g_atomic_int_dec_and_test(&sealing->references))
        return;
    secret_unref(sealing->key);
    secret_unref(sealing->credential);
    g_free(sealing->state_directory);
    g_free(sealing);
}

const char *sealing_state_directory(const Sealing *sealing)
{
    return sealing->state_directory;
}

bool sealing_available(const Sealing *sealing)
{
    return sealing->key != NULL;
}

/* An owner's name comes from a token or from a person: it must not choose the path. */
static char *sealed_path(const Sealing *sealing, const SealingKind *kind, const char *owner)
{
    g_autofree char *name = g_uri_escape_string(owner, NULL, FALSE);
    g_autofree char *file = g_strconcat(name, ".sealed", NULL);
    return g_build_filename(sealing->state_directory, kind->directory, file, NULL);
}

typedef int (*UpdateFunc)(EVP_CIPHER_CTX *context, unsigned char *to, int *size, const unsigned char *from,
                          int from_size);

static bool bind(EVP_CIPHER_CTX *context, UpdateFunc update, const SealingKind *kind, const char *owner)
{
    int n = 0;
    return update(context, NULL, &n, (const unsigned char *)header, HEADER_SIZE) == 1 &&
           update(context, NULL, &n, (const unsigned char *)kind->directory,
                  (int)strlen(kind->directory) + 1) == 1 &&
           update(context, NULL, &n, (const unsigned char *)owner, (int)strlen(owner)) == 1;
}

static GByteArray *seal(const Sealing *sealing, const SealingKind *kind, const char *owner,
                        const Secret *secret)
{
    g_autoptr(EVP_CIPHER_CTX) context = EVP_CIPHER_CTX_new();
    g_autoptr(GByteArray) sealed = g_byte_array_new();
    gsize size = secret_size(secret);
    int n = 0;

    g_byte_array_set_size(sealed, (guint)(AROUND_SIZE + size));
    unsigned char *nonce = sealed->data + HEADER_SIZE;
    unsigned char *text = nonce + NONCE_SIZE;
    memcpy(sealed->data, header, HEADER_SIZE);
    bool ok =
        RAND_bytes(nonce, NONCE_SIZE) == 1 &&
        EVP_EncryptInit_ex2(context, EVP_aes_256_gcm(), (const unsigned char *)secret_data(sealing->key),
                            nonce, NULL) == 1 &&
        bind(context, EVP_EncryptUpdate, kind, owner) &&
        EVP_EncryptUpdate(context, text, &n, (const unsigned char *)secret_data(secret), (int)size) == 1 &&
        EVP_EncryptFinal_ex(context, text + n, &n) == 1 &&
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, text + size) == 1;
    return ok ? g_steal_pointer(&sealed) : NULL;
}

static Secret *unseal(const Sealing *sealing, const SealingKind *kind, const char *owner, GBytes *file)
{
    gsize size = 0;
    const unsigned char *data = g_bytes_get_data(file, &size);
    if (size < AROUND_SIZE || memcmp(data, header, HEADER_SIZE) != 0)
        return NULL;
    g_autoptr(EVP_CIPHER_CTX) context = EVP_CIPHER_CTX_new();
    const unsigned char *nonce = data + HEADER_SIZE;
    const unsigned char *text = nonce + NONCE_SIZE;
    gsize length = size - AROUND_SIZE;
    char *bytes = NULL;
    g_autoptr(Secret) secret = secret_new_blank(length, &bytes);
    unsigned char *plain = (unsigned char *)bytes;
    int n = 0;

    bool ok = EVP_DecryptInit_ex2(context, EVP_aes_256_gcm(),
                                  (const unsigned char *)secret_data(sealing->key), nonce, NULL) == 1 &&
              EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, (void *)(text + length)) == 1 &&
              bind(context, EVP_DecryptUpdate, kind, owner) &&
              EVP_DecryptUpdate(context, plain, &n, text, (int)length) == 1 &&
              EVP_DecryptFinal_ex(context, plain + n, &n) == 1;
    return ok ? g_steal_pointer(&secret) : NULL;
}

bool sealing_write(const Sealing *sealing, const SealingKind *kind, const char *owner, const Secret *secret,
                   GError **error)
{
    if (!sealing->key) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
            "There is no sealing key, so the %s can't be kept on disk; leave out persist, or give the "
            "service the credential iothsm.key",
            kind->what);
        return false;
    }
    g_autoptr(GByteArray) sealed =
        secret_size(secret) <= SECRET_SIZE_MAX ? seal(sealing, kind, owner, secret) : NULL;
    if (!sealed) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "The %s of %s can't be sealed", kind->what, owner);
        return false;
    }
    g_autofree char *path = sealed_path(sealing, kind, owner);
    return state_file_write(path, sealed->data, sealed->len, error);
}

Secret *sealing_read(const Sealing *sealing, const SealingKind *kind, const char *owner, GError **error)
{
    if (!sealing->key)
        return NULL;
    g_autofree char *path = sealed_path(sealing, kind, owner);
    g_autoptr(GError) failure = NULL;
    g_autoptr(GBytes) file = state_file_read(path, AROUND_SIZE + SECRET_SIZE_MAX, &failure);
    if (!file && !failure)
        return NULL;
    Secret *secret = file ? unseal(sealing, kind, owner, file) : NULL;
    if (secret)
        return secret;
    if (state_file_set_aside(path, failure ? failure->message : "the sealing key does not open it", error))
        g_set_error(error, IOTHSM_ERROR, (gint)kind->lost,
                    "The %s kept for %s can't be opened with this machine's sealing key; %s", kind->what,
                    owner, kind->remedy);
    return NULL;
}

bool sealing_forget(const Sealing *sealing, const SealingKind *kind, const char *owner, GError **error)
{
    g_autofree char *path = sealed_path(sealing, kind, owner);
    if (g_unlink(path) == 0 || errno == ENOENT)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "Can't remove %s: %s", path, g_strerror(errno));
    return false;
}
