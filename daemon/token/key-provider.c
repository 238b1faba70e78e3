/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The provider lives in a library context of its own, beside "base" (whose encoders write the public key), so
 * nothing that the application fetches ever meets it. A key made here carries its key manager along:
 * libcrypto first tries to take the key to the application's provider, and signs here once it learns that the
 * private part does not export. That refusal in key_export() is what the whole arrangement hangs on.
 *
 * Everything public is passed on to the default provider: a key keeps a plain public EVP_PKEY, and a
 * signature keeps a verify operation on it, which knows padding, salt and digest, makes the
 * AlgorithmIdentifier and verifies. Provider and application share one libcrypto, so errors are raised
 * straight into its queue. */

#include "daemon/token/key-provider.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <string.h>

#define PROVIDER_NAME "iothsm"
#define PARAM_KEY "iothsm-key" /* octet pointer to a KeyRequest */
#define RSA_BLOCK_MAX 2048     /* bytes; OpenSSL itself allows moduli of 16384 bits */

#define fail(...) (ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, __VA_ARGS__), 0)

G_DEFINE_AUTOPTR_CLEANUP_FUNC(EVP_MD, EVP_MD_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(X509_SIG, X509_SIG_free)

typedef enum KeyKind { KIND_RSA, KIND_EC, KIND_ED25519, N_KINDS } KeyKind;
static const char *const kind_names[N_KINDS] = {"RSA", "EC", "ED25519"};

/* What key_provider_key() hands to the key manager's import function. */
typedef struct KeyRequest {
    EVP_PKEY *public_key;
    KeySignFunc sign;
    void *userdata;
    void (*release)(void *userdata);
} KeyRequest;

/* Does not change after import, so signatures on all threads share it. */
typedef struct Key {
    gint references;
    KeyKind kind;
    KeyRequest at; /* public_key is our own reference */
    size_t size;   /* the longest signature */
} Key;

static Key *key_new(KeyKind kind)
{
    Key *key = g_new0(Key, 1);
    key->references = 1;
    key->kind = kind;
    return key;
}

static void *key_new_rsa(void *provider)
{
    return key_new(KIND_RSA);
}

static void *key_new_ec(void *provider)
{
    return key_new(KIND_EC);
}

static void *key_new_ed25519(void *provider)
{
    return key_new(KIND_ED25519);
}

static Key *key_ref(Key *key)
{
    g_atomic_int_inc(&key->references);
    return key;
}

static void key_unref(void *data)
{
    Key *key = data;
    if (!key || !g_atomic_int_dec_and_test(&key->references))
        return;
    if (key->at.release)
        key->at.release(key->at.userdata);
    EVP_PKEY_free(key->at.public_key);
    g_free(key);
}

/* Through its encoding, so that no private part and no foreign provider comes along. */
static EVP_PKEY *public_part(EVP_PKEY *key)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    const unsigned char *at = der;
    EVP_PKEY *public_key = size > 0 ? d2i_PUBKEY(NULL, &at, size) : NULL;
    OPENSSL_free(der);
    return public_key;
}

/* Also called when libcrypto wants to bring an ordinary key here; that one has no PARAM_KEY. */
static int key_import(void *data, int selection, const OSSL_PARAM params[])
{
    Key *key = data;
    const OSSL_PARAM *param = OSSL_PARAM_locate_const(params, PARAM_KEY);
    const void *request = NULL;
    size_t size = 0;
    if (!param || key->at.public_key || !OSSL_PARAM_get_octet_ptr(param, &request, &size) ||
        size != sizeof(KeyRequest))
        return 0;
    const KeyRequest *wanted = request;
    EVP_PKEY *public_key = public_part(wanted->public_key);
    if (!public_key)
        return 0;
    key->at = *wanted;
    key->at.public_key = public_key;
    key->size = (size_t)EVP_PKEY_get_size(public_key);
    return 1;
}

static int key_has(const void *data, int selection)
{
    const Key *key = data;
    return key && key->at.public_key != NULL;
}

static int key_match(const void *one, const void *other, int selection)
{
    const Key *a = one;
    const Key *b = other;
    if (!a->at.public_key || !b->at.public_key)
        return 0;
    if (selection & OSSL_KEYMGMT_SELECT_KEYPAIR)
        return EVP_PKEY_eq(a->at.public_key, b->at.public_key) == 1;
    return EVP_PKEY_parameters_eq(a->at.public_key, b->at.public_key) == 1;
}

/* Nothing at all to who wants the private part too: with the public part in hand libcrypto would go on to
 * sign in the default provider and never come here. */
static int key_export(void *data, int selection, OSSL_CALLBACK *callback, void *argument)
{
    Key *key = data;
    if (!key->at.public_key || (selection & OSSL_KEYMGMT_SELECT_PRIVATE_KEY))
        return 0;
    return EVP_PKEY_export(key->at.public_key, selection, callback, argument);
}

static int key_get_params(void *data, OSSL_PARAM params[])
{
    Key *key = data;
    return key->at.public_key && EVP_PKEY_get_params(key->at.public_key, params);
}

static const OSSL_PARAM *key_gettable(void *provider)
{
    static const OSSL_PARAM list[] = {
        OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL), OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
        OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
        OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0), OSSL_PARAM_END};
    return list;
}

static const OSSL_PARAM *key_types(int selection)
{
    static const OSSL_PARAM list[] = {OSSL_PARAM_octet_ptr(PARAM_KEY, NULL, 0), OSSL_PARAM_END};
    return list;
}

/* Without this an EC key would look for a signature algorithm named EC. */
static const char *ec_operation_name(int operation)
{
    return operation == OSSL_OP_SIGNATURE ? "ECDSA" : NULL;
}

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
            if (!signature->settings || EVP_PKEY_verify_init(signature->settings) <= 0)
                return 0;
        }
    }
    return signature->key && signature_set_params(signature, params);
}

/* RFC 8017, 8.1.1: -1 when the salt does not fit. */
static int pss_salt_size(const Signature *signature, int digest_size)
{
    int longest = (EVP_PKEY_get_bits(signature->key->at.public_key) + 6) / 8 - digest_size - 2;
    int salt = 0;
    if (EVP_PKEY_CTX_get_rsa_pss_saltlen(signature->settings, &salt) <= 0)
        return -1;
    if (salt == RSA_PSS_SALTLEN_DIGEST)
        salt = digest_size;
    else if (salt == RSA_PSS_SALTLEN_AUTO || salt == RSA_PSS_SALTLEN_MAX)
        salt = longest;
    return salt >= 0 && salt <= longest ? salt : -1;
}

/* XORs MGF1(|seed|) onto |mask| (RFC 8017, B.2.1). */
static bool apply_mgf1(const EVP_MD *md, const unsigned char *seed, size_t seed_size, unsigned char *mask,
                       size_t size)
{
    g_autoptr(EVP_MD_CTX) hash = EVP_MD_CTX_new();
    size_t step = (size_t)EVP_MD_get_size(md);
    for (size_t at = 0, count = 0; at < size; at += step, count++) {
        unsigned char counter[4] = {0, 0, (unsigned char)(count >> 8), (unsigned char)count};
        unsigned char block[EVP_MAX_MD_SIZE];
        if (!hash || !EVP_DigestInit_ex2(hash, md, NULL) || !EVP_DigestUpdate(hash, seed, seed_size) ||
            !EVP_DigestUpdate(hash, counter, sizeof counter) || !EVP_DigestFinal_ex(hash, block, NULL))
            return false;
        for (size_t i = 0; i < step && at + i < size; i++)
            mask[at + i] ^= block[i];
    }
    return true;
}

/* EMSA-PSS-ENCODE (RFC 8017, 9.1.1) into |block|, as long as the modulus. */
static int pss_block(const Signature *signature, const unsigned char *digest, unsigned char *block)
{
    static const unsigned char zeros[8];
    char mgf1_name[80];
    int digest_size = signature->digest ? EVP_MD_get_size(signature->digest) : 0;
    int salt_size = digest_size > 0 ? pss_salt_size(signature, digest_size) : -1;
    if (salt_size < 0 ||
        EVP_PKEY_CTX_get_rsa_mgf1_md_name(signature->settings, mgf1_name, sizeof mgf1_name) <= 0)
        return fail("PSS: no digest, or key too short for digest and salt");
    g_autoptr(EVP_MD) mgf1 = EVP_MD_fetch(NULL, mgf1_name, NULL);
    g_autoptr(EVP_MD_CTX) hash = EVP_MD_CTX_new();
    if (!mgf1 || !hash)
        return 0;

    int bits = EVP_PKEY_get_bits(signature->key->at.public_key) - 1;
    size_t encoded_size = (size_t)(bits + 7) / 8;
    unsigned char *encoded = block + signature->key->size - encoded_size;
    size_t masked_size = encoded_size - (size_t)digest_size - 1;
    unsigned char *hashed = encoded + masked_size;
    unsigned char *salt = hashed - salt_size;
    memset(block, 0, signature->key->size);
    salt[-1] = 1;
    if ((salt_size > 0 && RAND_bytes(salt, salt_size) <= 0) ||
        !EVP_DigestInit_ex2(hash, signature->digest, NULL) || !EVP_DigestUpdate(hash, zeros, sizeof zeros) ||
        !EVP_DigestUpdate(hash, digest, (size_t)digest_size) ||
        !EVP_DigestUpdate(hash, salt, (size_t)salt_size) || !EVP_DigestFinal_ex(hash, hashed, NULL) ||
        !apply_mgf1(mgf1, hashed, (size_t)digest_size, encoded, masked_size))
        return 0;
    encoded[0] &= (unsigned char)(0xff >> (8 * (int)encoded_size - bits));
    encoded[encoded_size - 1] = 0xbc;
    return 1;
}

/* EMSA-PKCS1-v1_5-ENCODE (RFC 8017, 9.2). Without a digest the caller brings the DigestInfo. */
static int pkcs1_block(const Signature *signature, const unsigned char *input, size_t input_size,
                       unsigned char *block)
{
    size_t size = signature->key->size;
    g_autoptr(X509_SIG) digest_info = X509_SIG_new();
    unsigned char der[EVP_MAX_MD_SIZE + 64];
    if (signature->digest) {
        X509_ALGOR *algorithm;
        ASN1_OCTET_STRING *octets;
        unsigned char *at = der;
        X509_SIG_getm(digest_info, &algorithm, &octets);
        if (input_size > EVP_MAX_MD_SIZE ||
            !X509_ALGOR_set0(algorithm, OBJ_nid2obj(EVP_MD_get_type(signature->digest)), V_ASN1_NULL, NULL) ||
            !ASN1_OCTET_STRING_set(octets, input, (int)input_size) ||
            i2d_X509_SIG(digest_info, NULL) > (int)sizeof der)
            return fail("the digest can't be put into a DigestInfo");
        input_size = (size_t)i2d_X509_SIG(digest_info, &at);
        input = der;
    }
    if (size < 11 || input_size > size - 11)
        return fail("%zu bytes are too many for this RSA key", input_size);
    memset(block, 0xff, size);
    block[0] = 0;
    block[1] = 1;
    block[size - input_size - 1] = 0;
    memcpy(block + size - input_size, input, input_size);
    return 1;
}

static int rsa_block(const Signature *signature, const unsigned char *input, size_t input_size,
                     unsigned char *block)
{
    int padding = 0;
    if (EVP_PKEY_CTX_get_rsa_padding(signature->settings, &padding) <= 0)
        return 0;
    if (padding == RSA_PKCS1_PADDING)
        return pkcs1_block(signature, input, input_size, block);
    if (padding == RSA_PKCS1_PSS_PADDING)
        return pss_block(signature, input, block);
    return fail("this RSA padding is not supported");
}

/* The one way to the callback. |output| NULL asks for the room that is needed. */
static int make_signature(void *data, unsigned char *output, size_t *size, size_t room,
                          const unsigned char *input, size_t input_size)
{
    static const KeyOperation operations[N_KINDS] = {KEY_OPERATION_RSA_BLOCK, KEY_OPERATION_ECDSA_DIGEST,
                                                     KEY_OPERATION_EDDSA_MESSAGE};
    const Signature *signature = data;
    const Key *key = signature->key;
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
    if (key->kind == KIND_RSA) {
        if (!rsa_block(signature, input, input_size, block))
            return 0;
        input = block;
        input_size = key->size;
    }
    size_t made = room;
    if (!key->at.sign(key->at.userdata, operations[key->kind], input, input_size, output, &made))
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

#define FUNCTION(id, function)                                                                               \
    {                                                                                                        \
        id, (void (*)(void))(function)                                                                       \
    }
#define KEY_MANAGER(new)                                                                                     \
    FUNCTION(OSSL_FUNC_KEYMGMT_NEW, new), FUNCTION(OSSL_FUNC_KEYMGMT_FREE, key_unref),                       \
        FUNCTION(OSSL_FUNC_KEYMGMT_HAS, key_has), FUNCTION(OSSL_FUNC_KEYMGMT_MATCH, key_match),              \
        FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT, key_import), FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_types), \
        FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT, key_export), FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_types), \
        FUNCTION(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),                                              \
        FUNCTION(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable)
#define SIGNATURE                                                                                            \
    FUNCTION(OSSL_FUNC_SIGNATURE_NEWCTX, signature_new),                                                     \
        FUNCTION(OSSL_FUNC_SIGNATURE_FREECTX, signature_free),                                               \
        FUNCTION(OSSL_FUNC_SIGNATURE_DUPCTX, signature_dup),                                                 \
        FUNCTION(OSSL_FUNC_SIGNATURE_GET_CTX_PARAMS, signature_get_params),                                  \
        FUNCTION(OSSL_FUNC_SIGNATURE_GETTABLE_CTX_PARAMS, signature_gettable)
#define LAST                                                                                                 \
    {                                                                                                        \
        0, NULL                                                                                              \
    }

static const OSSL_DISPATCH rsa_keys[] = {KEY_MANAGER(key_new_rsa), LAST};
static const OSSL_DISPATCH ec_keys[] = {
    KEY_MANAGER(key_new_ec), FUNCTION(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, ec_operation_name), LAST};
static const OSSL_DISPATCH ed25519_keys[] = {KEY_MANAGER(key_new_ed25519), LAST};

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

/* By the standard names: EVP_PKEY_get_id, and with it CMS, knows a key by its key manager's name. */
static const OSSL_ALGORITHM key_managers[] = {
    {"RSA:rsaEncryption", "provider=" PROVIDER_NAME, rsa_keys, NULL},
    {"EC:id-ecPublicKey", "provider=" PROVIDER_NAME, ec_keys, NULL},
    {"ED25519", "provider=" PROVIDER_NAME, ed25519_keys, NULL},
    {NULL, NULL, NULL, NULL}};
static const OSSL_ALGORITHM signatures[] = {
    {"RSA:rsaEncryption", "provider=" PROVIDER_NAME, hash_signature, NULL},
    {"ECDSA", "provider=" PROVIDER_NAME, hash_signature, NULL},
    {"ED25519", "provider=" PROVIDER_NAME, message_signature, NULL},
    {NULL, NULL, NULL, NULL}};

static const OSSL_ALGORITHM *provider_query(void *provider, int operation, int *no_cache)
{
    *no_cache = 0;
    if (operation == OSSL_OP_KEYMGMT)
        return key_managers;
    return operation == OSSL_OP_SIGNATURE ? signatures : NULL;
}

static int provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                         void **ret_provider)
{
    static const OSSL_DISPATCH functions[] = {FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, provider_query),
                                              LAST};
    *ret_provider = (void *)handle;
    *out = functions;
    return 1;
}

static GPrivate explanation = G_PRIVATE_INIT((GDestroyNotify)g_error_free);

void key_provider_explain(GError *error)
{
    ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR, "%s", error->message);
    g_private_replace(&explanation, error);
}

GError *key_provider_take_explanation(void)
{
    GError *error = g_private_get(&explanation);
    g_private_set(&explanation, NULL);
    return error;
}

/* One for the process: keys may live until its end. */
static OSSL_LIB_CTX *provider_context(void)
{
    static OSSL_LIB_CTX *context;
    static gsize once;
    if (g_once_init_enter(&once)) {
        OSSL_LIB_CTX *made = OSSL_LIB_CTX_new();
        if (made && OSSL_PROVIDER_add_builtin(made, PROVIDER_NAME, provider_init) &&
            OSSL_PROVIDER_load(made, PROVIDER_NAME) && OSSL_PROVIDER_load(made, "base"))
            context = made;
        g_once_init_leave(&once, 1);
    }
    return context;
}

EVP_PKEY *key_provider_key(EVP_PKEY *public_key, KeySignFunc sign, void *userdata, void (*release)(void *))
{
    KeyRequest request = {public_key, sign, userdata, release};
    void *pointer = &request;
    OSSL_PARAM params[] = {OSSL_PARAM_construct_octet_ptr(PARAM_KEY, &pointer, sizeof request),
                           OSSL_PARAM_construct_end()};
    const char *name = NULL;
    for (int kind = 0; kind < N_KINDS && !name; kind++)
        name = EVP_PKEY_is_a(public_key, kind_names[kind]) ? kind_names[kind] : NULL;
    if (!provider_context() || !name) {
        ERR_raise_data(ERR_LIB_USER, ERR_R_INTERNAL_ERROR,
                       name ? "the key provider could not be started"
                            : "the key is neither RSA, EC nor Ed25519");
        return NULL;
    }
    g_autoptr(EVP_PKEY_CTX) maker =
        EVP_PKEY_CTX_new_from_name(provider_context(), name, "provider=" PROVIDER_NAME);
    EVP_PKEY *key = NULL;
    if (!maker || EVP_PKEY_fromdata_init(maker) <= 0 ||
        EVP_PKEY_fromdata(maker, &key, EVP_PKEY_KEYPAIR, params) <= 0)
        return NULL;
    return key;
}
