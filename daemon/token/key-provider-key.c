/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys as libcrypto holds them. A key made here carries its key manager along: libcrypto first tries to take
 * the key to the application's provider, and signs here once it learns that the private part does not export.
 * That refusal in key_export() is what the whole arrangement hangs on. Everything else about a key is said by
 * a plain public EVP_PKEY of the default provider that it keeps. */

#include "daemon/token/key-provider-private.h"
#include <openssl/x509.h>

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

Key *key_ref(Key *key)
{
    g_atomic_int_inc(&key->references);
    return key;
}

void key_unref(void *data)
{
    Key *key = data;
    if (!key || !g_atomic_int_dec_and_test(&key->references))
        return;
    if (key->at.release)
        key->at.release(key->at.userdata);
    EVP_PKEY_free(key->at.public_key);
    EVP_MD_free(key->bound_digest);
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

/* The name is EVP_MD's own, which lives as long as the digest. */
static bool key_bind(Key *key, const KeyScheme *scheme)
{
    if (!scheme || key->kind == KIND_ED25519)
        return true;
    key->bound_digest = EVP_MD_fetch(NULL, scheme->digest, NULL);
    key->scheme = *scheme;
    key->scheme.digest = key->bound_digest ? EVP_MD_get0_name(key->bound_digest) : NULL;
    return key->bound_digest || fail("the digest %s is not known", scheme->digest);
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
    if (!public_key || !key_bind(key, wanted->scheme)) {
        EVP_PKEY_free(public_key);
        return 0;
    }
    key->at = *wanted;
    key->at.public_key = public_key;
    key->at.scheme = NULL;
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
    if (!key->at.public_key || !EVP_PKEY_get_params(key->at.public_key, params))
        return 0;
    OSSL_PARAM *mandatory =
        key->bound_digest ? OSSL_PARAM_locate(params, OSSL_PKEY_PARAM_MANDATORY_DIGEST) : NULL;
    return !mandatory || OSSL_PARAM_set_utf8_string(mandatory, key->scheme.digest);
}

static const OSSL_PARAM *key_gettable(void *provider)
{
    static const OSSL_PARAM list[] = {OSSL_PARAM_int(OSSL_PKEY_PARAM_BITS, NULL),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_SECURITY_BITS, NULL),
                                      OSSL_PARAM_int(OSSL_PKEY_PARAM_MAX_SIZE, NULL),
                                      OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_DEFAULT_DIGEST, NULL, 0),
                                      OSSL_PARAM_utf8_string(OSSL_PKEY_PARAM_MANDATORY_DIGEST, NULL, 0),
                                      OSSL_PARAM_END};
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

#define KEY_MANAGER(new)                                                                                     \
    FUNCTION(OSSL_FUNC_KEYMGMT_NEW, new), FUNCTION(OSSL_FUNC_KEYMGMT_FREE, key_unref),                       \
        FUNCTION(OSSL_FUNC_KEYMGMT_HAS, key_has), FUNCTION(OSSL_FUNC_KEYMGMT_MATCH, key_match),              \
        FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT, key_import), FUNCTION(OSSL_FUNC_KEYMGMT_IMPORT_TYPES, key_types), \
        FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT, key_export), FUNCTION(OSSL_FUNC_KEYMGMT_EXPORT_TYPES, key_types), \
        FUNCTION(OSSL_FUNC_KEYMGMT_GET_PARAMS, key_get_params),                                              \
        FUNCTION(OSSL_FUNC_KEYMGMT_GETTABLE_PARAMS, key_gettable)

static const OSSL_DISPATCH rsa_keys[] = {KEY_MANAGER(key_new_rsa), LAST};
static const OSSL_DISPATCH ec_keys[] = {
    KEY_MANAGER(key_new_ec), FUNCTION(OSSL_FUNC_KEYMGMT_QUERY_OPERATION_NAME, ec_operation_name), LAST};
static const OSSL_DISPATCH ed25519_keys[] = {KEY_MANAGER(key_new_ed25519), LAST};

/* By the standard names: EVP_PKEY_get_id, and with it CMS, knows a key by its key manager's name. */
const OSSL_ALGORITHM key_provider_key_managers[] = {
    {"RSA:rsaEncryption", "provider=" PROVIDER_NAME, rsa_keys, NULL},
    {"EC:id-ecPublicKey", "provider=" PROVIDER_NAME, ec_keys, NULL},
    {"ED25519", "provider=" PROVIDER_NAME, ed25519_keys, NULL},
    {NULL, NULL, NULL, NULL}};
