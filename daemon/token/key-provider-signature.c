/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Operations with a key: hash, pad, have the token sign. A verify operation on the key's public part knows
 * padding, salt and digest, makes the AlgorithmIdentifier, and verifies. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider-private.h"
#include "daemon/token/rsa-padding.h"
#include <openssl/rsa.h>

#define RSA_BLOCK_MAX 2048 /* bytes; OpenSSL itself allows moduli of 16384 bits */

/* One signature on its way. */
typedef struct Signature {
    Key *key;
    EVP_PKEY_CTX *settings; /* a verify operation on the public key; NULL for Ed25519 */
    EVP_MD *digest;         /* NULL: none was named */
    EVP_MD_CTX *hash;       /* of the digest_… functions */
} Signature;

static void *signature_new(void *provider, const char *properties)
{
    return g_new0(Signature, 1);
}

static void signature_reset(Signature *signature)
{
    g_clear_pointer(&signature->key, key_unref);
    g_clear_pointer(&signature->settings, EVP_PKEY_CTX_free);
    g_clear_pointer(&signature->digest, EVP_MD_free);
    g_clear_pointer(&signature->hash, EVP_MD_CTX_free);
}

static void signature_free(void *data)
{
    if (!data)
        return;
    signature_reset(data);
    g_free(data);
}

/* EVP_DigestSignFinal signs with a duplicate and keeps the original open. */
static void *signature_dup(void *data)
{
    const Signature *from = data;
    Signature *to = g_new0(Signature, 1);
    if (from->key)
        to->key = key_ref(from->key);
    if (from->digest && EVP_MD_up_ref(from->digest))
        to->digest = from->digest;
    if (from->settings)
        to->settings = EVP_PKEY_CTX_dup(from->settings);
    if (from->hash && (to->hash = EVP_MD_CTX_new()) && !EVP_MD_CTX_copy_ex(to->hash, from->hash))
        g_clear_pointer(&to->hash, EVP_MD_CTX_free);
    if ((from->settings && !to->settings) || (from->hash && !to->hash)) {
        signature_free(to);
        return NULL;
    }
    return to;
}

static bool set_digest(Signature *signature, const char *name)
{
    const EVP_MD *bound = signature->key ? signature->key->bound_digest : NULL;
    if (bound && !EVP_MD_is_a(bound, name))
        return fail("this key signs with %s only, not with %s", EVP_MD_get0_name(bound), name);
    if (signature->digest && EVP_MD_is_a(signature->digest, name))
        return true;
    g_autoptr(EVP_MD) digest = EVP_MD_fetch(NULL, name, NULL);
    if (!digest || EVP_MD_get_size(digest) <= 0 || signature->hash)
        return fail("the digest %s can't be used here", name);
    EVP_MD_free(signature->digest);
    signature->digest = g_steal_pointer(&digest);
    return true;
}

static int signature_set_params(void *data, const OSSL_PARAM params[])
{
    Signature *signature = data;
    if (!params || !params[0].key)
        return 1;
    if (!signature->settings)
        return fail("Ed25519 has no settings");
    const OSSL_PARAM *digest = OSSL_PARAM_locate_const(params, OSSL_SIGNATURE_PARAM_DIGEST);
    const char *name = NULL;
    if (digest && (!OSSL_PARAM_get_utf8_string_ptr(digest, &name) || !set_digest(signature, name)))
        return 0;
    return EVP_PKEY_CTX_set_params(signature->settings, params) > 0;
}

static int signature_get_params(void *data, OSSL_PARAM params[])
{
    static const unsigned char ed25519_identifier[] = {0x30, 5, 6, 3, 0x2b, 0x65, 0x70};
    Signature *signature = data;
    if (signature->settings)
        return EVP_PKEY_CTX_get_params(signature->settings, params) > 0;
    OSSL_PARAM *identifier = OSSL_PARAM_locate(params, OSSL_SIGNATURE_PARAM_ALGORITHM_ID);
    return !identifier ||
           OSSL_PARAM_set_octet_string(identifier, ed25519_identifier, sizeof ed25519_identifier);
}

static const OSSL_PARAM *signature_gettable(void *data, void *provider)
{
    static const OSSL_PARAM list[] = {OSSL_PARAM_octet_string(OSSL_SIGNATURE_PARAM_ALGORITHM_ID, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PAD_MODE, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_PSS_SALTLEN, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_SIGNATURE_PARAM_MGF1_DIGEST, NULL, 0),
                                      OSSL_PARAM_END};
    return list;
}

static const OSSL_PARAM *signature_settable(void *data, void *provider)
{
    return signature_gettable(data, provider) + 1; /* not the AlgorithmIdentifier */
}

/* A bound key's operations begin with all that it can do. */
static int apply_scheme(Signature *signature)
{
    const Key *key = signature->key;
    if (!key->bound_digest)
        return 1;
    const OSSL_PARAM digest[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, (char *)key->scheme.digest, 0),
        OSSL_PARAM_construct_end()};
    return signature_set_params(signature, digest) &&
           (!key->scheme.pss ||
            (EVP_PKEY_CTX_set_rsa_padding(signature->settings, RSA_PKCS1_PSS_PADDING) > 0 &&
             EVP_PKEY_CTX_set_rsa_pss_saltlen(signature->settings, RSA_PSS_SALTLEN_DIGEST) > 0));
}

/* All operations begin here; without |key| the last one's goes on. */
static int begin(void *data, void *key, const OSSL_PARAM params[])
{
    Signature *signature = data;
    g_clear_pointer(&signature->hash, EVP_MD_CTX_free);
    if (key) {
        signature_reset(signature);
        signature->key = key_ref(key);
        if (signature->key->kind != KIND_ED25519) {
            signature->settings = EVP_PKEY_CTX_new_from_pkey(NULL, signature->key->at.public_key, NULL);
            if (!signature->settings || EVP_PKEY_verify_init(signature->settings) <= 0 ||
                !apply_scheme(signature))
                return 0;
        }
    }
    return signature->key && signature_set_params(signature, params);
}

/* A bound key's padding was set in begin(); who has set another one since is told so. */
static bool padding_is_bound(const Signature *signature)
{
    const KeyScheme *scheme = &signature->key->scheme;
    char mgf1[80];
    int padding = 0;
    if (EVP_PKEY_CTX_get_rsa_padding(signature->settings, &padding) <= 0)
        return false;
    if (!scheme->pss)
        return padding == RSA_PKCS1_PADDING;
    return padding == RSA_PKCS1_PSS_PADDING &&
           rsa_padding_salt_size(signature->settings, signature->key->at.public_key, signature->digest) ==
               EVP_MD_get_size(signature->digest) &&
           EVP_PKEY_CTX_get_rsa_mgf1_md_name(signature->settings, mgf1, sizeof mgf1) > 0 &&
           EVP_MD_is_a(signature->digest, mgf1);
}

/* The one way to the callback. |output| NULL asks for the room that is needed. */
static int make_signature(void *data, unsigned char *output, size_t *size, size_t room,
                          const unsigned char *input, size_t input_size)
{
    static const KeyOperation operations[N_KINDS] = {KEY_OPERATION_RSA_BLOCK, KEY_OPERATION_ECDSA_DIGEST,
                                                     KEY_OPERATION_EDDSA_MESSAGE};
    const Signature *signature = data;
    const Key *key = signature->key;
    KeyOperation operation = key ? operations[key->kind] : KEY_OPERATION_RSA_BLOCK;
    unsigned char block[RSA_BLOCK_MAX];
    if (!key)
        return fail("no key");
    if (!output) {
        *size = key->size;
        return 1;
    }
    if (room < key->size || key->size > sizeof block)
        return fail("a signature of this key needs %zu bytes", key->size);
    if (signature->digest && input_size != (size_t)EVP_MD_get_size(signature->digest))
        return fail("the digest has %zu bytes instead of %d", input_size, EVP_MD_get_size(signature->digest));
    if (key->kind == KIND_RSA && key->bound_digest) {
        if (!padding_is_bound(signature))
            return fail("this key signs with %s and %s padding only", key->scheme.digest,
                        key->scheme.pss ? "PSS" : "PKCS #1 v1.5");
        operation = KEY_OPERATION_RSA_DIGEST;
    } else if (key->kind == KIND_RSA) {
        if (!rsa_padding_block(signature->settings, key->at.public_key, signature->digest, input, input_size,
                               block, key->size))
            return 0;
        input = block;
        input_size = key->size;
    }
    size_t made = room;
    if (!key->at.sign(key->at.userdata, operation, input, input_size, output, &made))
        return ERR_peek_last_error() ? 0 : fail("the token did not sign");
    if (made == 0 || made > key->size || (key->kind != KIND_EC && made != key->size)) {
        OPENSSL_cleanse(output, room);
        return fail("the token answered with a signature of %zu bytes", made);
    }
    *size = made;
    return 1;
}

static int check_signature(void *data, const unsigned char *signature_bytes, size_t size,
                           const unsigned char *input, size_t input_size)
{
    Signature *signature = data;
    if (signature->settings)
        return EVP_PKEY_verify(signature->settings, signature_bytes, size, input, input_size) > 0;
    g_autoptr(EVP_MD_CTX) check = EVP_MD_CTX_new();
    return check && EVP_DigestVerifyInit(check, NULL, NULL, NULL, signature->key->at.public_key) > 0 &&
           EVP_DigestVerify(check, signature_bytes, size, input, input_size) > 0;
}

static int hash_begin(void *data, const char *digest, void *key, const OSSL_PARAM params[])
{
    Signature *signature = data;
    OSSL_PARAM named[] = {OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, (char *)digest, 0),
                          OSSL_PARAM_construct_end()};
    if (!begin(signature, key, NULL) || (digest && digest[0] && !signature_set_params(signature, named)) ||
        !signature_set_params(signature, params))
        return 0;
    if (!signature->digest)
        return fail("no digest was named");
    signature->hash = EVP_MD_CTX_new();
    return signature->hash && EVP_DigestInit_ex2(signature->hash, signature->digest, NULL);
}

static int hash_update(void *data, const unsigned char *input, size_t size)
{
    Signature *signature = data;
    return signature->hash && EVP_DigestUpdate(signature->hash, input, size);
}

static int hash_sign(void *data, unsigned char *output, size_t *size, size_t room)
{
    Signature *signature = data;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_size = 0;
    if (!signature->hash || (output && !EVP_DigestFinal_ex(signature->hash, digest, &digest_size)))
        return 0;
    return make_signature(signature, output, size, room, digest, digest_size);
}

static int hash_verify(void *data, const unsigned char *signature_bytes, size_t size)
{
    Signature *signature = data;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_size = 0;
    return signature->hash && EVP_DigestFinal_ex(signature->hash, digest, &digest_size) &&
           check_signature(signature, signature_bytes, size, digest, digest_size);
}

/* Ed25519 takes the whole message and no digest. */
static int message_begin(void *data, const char *digest, void *key, const OSSL_PARAM params[])
{
    if (digest && digest[0])
        return fail("Ed25519 takes no digest");
    return begin(data, key, params);
}

#define SIGNATURE                                                                                            \
    FUNCTION(OSSL_FUNC_SIGNATURE_NEWCTX, signature_new),                                                     \
        FUNCTION(OSSL_FUNC_SIGNATURE_FREECTX, signature_free),                                               \
        FUNCTION(OSSL_FUNC_SIGNATURE_DUPCTX, signature_dup),                                                 \
        FUNCTION(OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, signature_get_params),                                  \
        FUNCTION(OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, signature_gettable)

static const OSSL_DISPATCH hash_signature[] = {
    SIGNATURE,
    FUNCTION(OSSL_FUNC_SIGNATURE_SET_CTX_PARAMS, signature_set_params),
    FUNCTION(OSSL_FUNC_SIGNATURE_SETTABLE_CTX_PARAMS, signature_settable),
    FUNCTION(OSSL_FUNC_SIGNATURE_SIGN_INIT, begin),
    FUNCTION(OSSL_FUNC_SIGNATURE_SIGN, make_signature),
    FUNCTION(OSSL_FUNC_SIGNATURE_VERIFY_INIT, begin),
    FUNCTION(OSSL_FUNC_SIGNATURE_VERIFY, check_signature),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, hash_begin),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_UPDATE, hash_update),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_FINAL, hash_sign),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, hash_begin),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_UPDATE, hash_update),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_FINAL, hash_verify),
    LAST};
static const OSSL_DISPATCH message_signature[] = {
    SIGNATURE,
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN_INIT, message_begin),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_SIGN, make_signature),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY_INIT, message_begin),
    FUNCTION(OSSL_FUNC_SIGNATURE_DIGEST_VERIFY, check_signature),
    LAST};

const OSSL_ALGORITHM key_provider_signatures[] = {
    {"RSA:rsaEncryption", "provider=" PROVIDER_NAME, hash_signature, NULL},
    {"ECDSA", "provider=" PROVIDER_NAME, hash_signature, NULL},
    {"ED25519", "provider=" PROVIDER_NAME, message_signature, NULL},
    {NULL, NULL, NULL, NULL}};
