/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A slot's private key as an EVP_PKEY whose signatures C_Sign makes, on as many threads as there are.
 *
 * libp11 has such keys, too, and 0.4.12 was tried: where the token holds an Ed25519 key it finds no key at
 * all, it signs with the handle of a key that was cleared meanwhile, and the call that would make it look
 * again crashes. So it serves for modules and slots, and keys are made here for all types alike.
 *
 * Who has a key open stays inside the module's gate until it is closed: nothing pulls the handle from under a
 * signature. Opened keys are kept, as opening means searching the token. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider.h"
#include "daemon/token/pkcs11/pkcs11-token.h"
#include <openssl/ec.h>
#include <openssl/err.h>
#include <string.h>

#define PKCS1_PADDING_MIN 11
#define RAW_ECDSA_MAX 132 /* r and s on P-521 */

typedef struct TokenKey {
    Pkcs11Token *token;
    char *slot;
    CK_OBJECT_HANDLE handle;
    int bits;
} TokenKey;

static void token_key_free(void *data)
{
    TokenKey *key = data;
    g_free(key->slot);
    g_free(key);
}

/* One C_SignInit and C_Sign. A session from before the token was pulled out is replaced, once. */
static bool sign_raw(const TokenKey *key, CK_MECHANISM_TYPE type, const unsigned char *input,
                     size_t input_size, unsigned char *signature, size_t *size)
{
    CK_MECHANISM mechanism = {.mechanism = type};
    g_autoptr(GError) error = NULL;
    Session session;
    CK_RV result = CKR_SESSION_HANDLE_INVALID;
    for (int round = 0; round < 2 && (result == CKR_SESSION_HANDLE_INVALID || result == CKR_SESSION_CLOSED);
         round++) {
        CK_ULONG length = *size;
        if (!pkcs11_session_open(key->token, &session, &error))
            break;
        result = session.functions->C_SignInit(session.handle, &mechanism, key->handle);
        if (result == CKR_OK)
            result =
                session.functions->C_Sign(session.handle, (CK_BYTE *)input, input_size, signature, &length);
        pkcs11_session_close(key->token, &session, result == CKR_OK);
        if (result == CKR_OK) {
            *size = length;
            return true;
        }
    }
    /* The key may have been replaced by another process: the next use looks for it again. */
    pkcs11_token_drop_key(key->token, key->slot);
    if (!error)
        module_check(result, &error, "Token %s did not sign", key->token->serial);
    key_provider_explain(g_steal_pointer(&error));
    return false;
}

/* Tokens like CKM_RSA_PKCS better than raw RSA, and some have nothing else: where the block is padded for
 * PKCS #1 v1.5 (RFC 8017, 9.2), they get what is inside. */
static bool sign_rsa(const TokenKey *key, const unsigned char *block, size_t block_size,
                     unsigned char *signature, size_t *size)
{
    if (block_size > PKCS1_PADDING_MIN && block[0] == 0 && block[1] == 1) {
        size_t at = 2;
        while (at < block_size && block[at] == 0xff)
            at++;
        if (at >= PKCS1_PADDING_MIN - 1 && at < block_size && block[at] == 0)
            return sign_raw(key, CKM_RSA_PKCS, block + at + 1, block_size - at - 1, signature, size);
    }
    return sign_raw(key, CKM_RSA_X_509, block, block_size, signature, size);
}

/* PKCS#11 takes no digest longer than the group's order, and answers with r and s side by side. */
static bool sign_ecdsa(const TokenKey *key, const unsigned char *digest, size_t digest_size,
                       unsigned char *signature, size_t *size)
{
    unsigned char raw[RAW_ECDSA_MAX];
    size_t raw_size = sizeof raw;
    unsigned char *at = signature;
    if (!sign_raw(key, CKM_ECDSA, digest, MIN(digest_size, (size_t)(key->bits + 7) / 8), raw, &raw_size))
        return false;
    g_autoptr(ECDSA_SIG) pair = ECDSA_SIG_new();
    g_autoptr(BIGNUM) r = BN_bin2bn(raw, (int)raw_size / 2, NULL);
    g_autoptr(BIGNUM) s = BN_bin2bn(raw + raw_size / 2, (int)raw_size / 2, NULL);
    if (!pair || !r || !s || !ECDSA_SIG_set0(pair, r, s))
        return false;
    (void)g_steal_pointer(&r);
    (void)g_steal_pointer(&s);
    int length = i2d_ECDSA_SIG(pair, NULL);
    if (length <= 0 || (size_t)length > *size)
        return false;
    *size = (size_t)i2d_ECDSA_SIG(pair, &at);
    return true;
}

static bool sign(void *data, KeyOperation operation, const unsigned char *input, size_t input_size,
                 unsigned char *signature, size_t *size)
{
    switch (operation) {
    case KEY_OPERATION_RSA_BLOCK:
        return sign_rsa(data, input, input_size, signature, size);
    case KEY_OPERATION_ECDSA_DIGEST:
        return sign_ecdsa(data, input, input_size, signature, size);
    case KEY_OPERATION_EDDSA_MESSAGE:
        return sign_raw(data, CKM_EDDSA, input, input_size, signature, size);
    case KEY_OPERATION_RSA_DIGEST:
        break; /* of bound keys, which these are not */
    }
    g_return_val_if_reached(false);
}

/* False without an error where there is none. */
static bool find_first(const Session *session, CK_OBJECT_CLASS class, const char *slot,
                       CK_OBJECT_HANDLE *ret_handle, GError **error)
{
    g_auto(Template) wanted = {.size = 0};
    if (!template_find(&wanted, class, slot, error))
        return false;
    g_autoptr(GArray) found = session_find(session, &wanted, error);
    if (!found || found->len == 0)
        return false;
    *ret_handle = g_array_index(found, CK_OBJECT_HANDLE, 0);
    return true;
}

/* From the public key object, the private key itself, or the certificate. Transfer full. */
static EVP_PKEY *find_public_key(const Session *session, const char *slot, CK_OBJECT_HANDLE private_key)
{
    CK_OBJECT_HANDLE object;
    EVP_PKEY *key = find_first(session, CKO_PUBLIC_KEY, slot, &object, NULL)
                        ? session_get_public_key(session, object)
                        : NULL;
    if (!key)
        key = session_get_public_key(session, private_key);
    if (!key && find_first(session, CKO_CERTIFICATE, slot, &object, NULL)) {
        g_autoptr(X509) certificate = session_get_certificate(session, object);
        key = certificate ? X509_get_pubkey(certificate) : NULL;
    }
    return key;
}

static bool find_private_key(Pkcs11Token *token, const Session *session, const char *slot,
                             CK_OBJECT_HANDLE *ret_handle, GError **error)
{
    GError *failure = NULL;
    if (!pkcs11_token_is_logged_in(token, session, error))
        return false;
    if (!find_first(session, CKO_PRIVATE_KEY, slot, ret_handle, &failure)) {
        if (failure)
            g_propagate_error(error, failure);
        else
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY,
                        "Slot %s on token %s holds no private key", slot, token->serial);
        return false;
    }
    if (session_get_bool(session, *ret_handle, CKA_ALWAYS_AUTHENTICATE, false)) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
            "The key in slot %s on token %s wants the PIN for each signature, which a service can't give",
            slot, token->serial);
        return false;
    }
    return true;
}

static EVP_PKEY *open_new(Pkcs11Token *token, const Session *session, const char *slot, GError **error)
{
    CK_OBJECT_HANDLE handle;
    if (!find_private_key(token, session, slot, &handle, error))
        return NULL;
    g_autoptr(EVP_PKEY) public_key = find_public_key(session, slot, handle);
    EVP_PKEY *opened = NULL;
    ERR_clear_error();
    if (public_key) {
        TokenKey *key = g_new0(TokenKey, 1);
        *key = (TokenKey){token, g_strdup(slot), handle, EVP_PKEY_get_bits(public_key)};
        opened = key_provider_key(public_key, sign, key, token_key_free);
        if (!opened)
            token_key_free(key);
    }
    if (!opened)
        error_set_openssl(error, IOTHSM_ERROR_UNSUPPORTED,
                          "The key in slot %s on token %s is of a kind that can't be used here", slot,
                          token->serial);
    return opened;
}

static EVP_PKEY *open_key(Pkcs11Token *token, const char *slot, GError **error)
{
    Session session;
    EVP_PKEY *key = pkcs11_token_take_key(token, slot);
    if (key || !pkcs11_session_open(token, &session, error))
        return key;
    key = open_new(token, &session, slot, error);
    pkcs11_session_close(token, &session, key != NULL);
    if (key)
        pkcs11_token_keep_key(token, slot, key);
    return key;
}

EVP_PKEY *pkcs11_open_key(Backend *backend, const char *slot, GError **error)
{
    Pkcs11Token *token = (Pkcs11Token *)backend;
    if (!pkcs11_token_enter(token, error))
        return NULL;
    EVP_PKEY *key = open_key(token, slot, error);
    if (!key)
        pkcs11_token_leave(token);
    return key;
}

void pkcs11_close_key(Backend *backend, EVP_PKEY *key)
{
    EVP_PKEY_free(key);
    pkcs11_token_leave((Pkcs11Token *)backend);
}
