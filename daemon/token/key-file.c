/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* OpenSSL's decoder does the reading; the callback here is what keeps it from asking on a terminal, and what
 * tells a missing passphrase, a wrong one and a broken file apart. */

#include "daemon/token/key-file.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-type.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

typedef struct Passphrase {
    const Secret *secret; /* or NULL */
    bool wanted;
} Passphrase;

static int give_passphrase(char *buffer, int room, int writing, void *userdata)
{
    Passphrase *passphrase = userdata;
    passphrase->wanted = true;
    if (!passphrase->secret || secret_size(passphrase->secret) > (gsize)room)
        return -1;
    memcpy(buffer, secret_data(passphrase->secret), secret_size(passphrase->secret));
    return (int)secret_size(passphrase->secret);
}

static void explain(const Passphrase *passphrase, GError **error)
{
    if (passphrase->wanted && !passphrase->secret)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PASSPHRASE_WRONG,
                    "The key file is protected by a passphrase; give it together with the file");
    else if (passphrase->wanted)
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_PASSPHRASE_WRONG,
            "The passphrase does not open the key file; it is not the right one, or the file is damaged");
    else
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_KEY,
            "The file is no private key; a PEM file with PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY or "
            "ENCRYPTED PRIVATE KEY is expected");
    ERR_clear_error();
}

EVP_PKEY *key_file_parse(const Secret *pem, const Secret *passphrase, GError **error)
{
    Passphrase asked = {.secret = passphrase};
    KeyType type;
    g_autoptr(BIO) bio = BIO_new_mem_buf(secret_data(pem), (int)secret_size(pem));
    ERR_clear_error();
    g_autoptr(EVP_PKEY) key = bio ? PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, &asked) : NULL;
    if (!key) {
        explain(&asked, error);
        return NULL;
    }
    /* Before the check, which would take minutes on a modulus of absurd size. */
    if (!key_type_of(key, &type, error))
        return NULL;
    g_autoptr(EVP_PKEY_CTX) check = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (!check || EVP_PKEY_check(check) <= 0) {
        error_set_openssl(error, IOTHSM_ERROR_BAD_KEY, "The parts of this %s key do not fit together",
                          key_type_to_string(type));
        return NULL;
    }
    ERR_clear_error();
    return g_steal_pointer(&key);
}
