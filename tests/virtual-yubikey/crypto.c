/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See crypto.h. */

#include "tests/virtual-yubikey/crypto.h"
#include "tests/virtual-yubikey/tlv.h"
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/rsa.h>

#define PUBLIC_EXPONENT 65537

EVP_PKEY *key_generate(const Algorithm *algorithm)
{
    switch (algorithm->family) {
    case FAMILY_RSA:
        return EVP_PKEY_Q_keygen(NULL, NULL, algorithm->type, (size_t)algorithm->bytes * 8);
    case FAMILY_EC:
        return EVP_PKEY_Q_keygen(NULL, NULL, algorithm->type, algorithm->group);
    default:
        return EVP_PKEY_Q_keygen(NULL, NULL, algorithm->type);
    }
}

static EVP_PKEY *key_from(const Algorithm *algorithm, OSSL_PARAM_BLD *build)
{
    g_autoptr(OSSL_PARAM) parameters = OSSL_PARAM_BLD_to_param(build);
    g_autoptr(EVP_PKEY_CTX) context = EVP_PKEY_CTX_new_from_name(NULL, algorithm->type, NULL);
    EVP_PKEY *key = NULL;
    if (!parameters || !context || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_KEYPAIR, parameters) != 1)
        return NULL;
    return key;
}

/* Each number as the card takes it: half a modulus long. */
static BIGNUM *import_number(const Algorithm *algorithm, guint32 tag, const guint8 *bytes, gsize length)
{
    Tlv tlv;
    if (!tlv_find(bytes, length, tag, &tlv) || tlv.length != algorithm->bytes / 2)
        return NULL;
    return BN_bin2bn(tlv.value, (int)tlv.length, NULL);
}

/* d for the two primes, which have to fit the exponent that goes with |dp|. */
static BIGNUM *private_exponent(const BIGNUM *p, const BIGNUM *q, const BIGNUM *dp, const BIGNUM *e,
                                BN_CTX *work)
{
    g_autoptr(BIGNUM) p1 = BN_dup(p);
    g_autoptr(BIGNUM) q1 = BN_dup(q);
    g_autoptr(BIGNUM) phi = BN_new();
    g_autoptr(BIGNUM) check = BN_new();
    if (!BN_sub_word(p1, 1) || !BN_sub_word(q1, 1) || !BN_mul(phi, p1, q1, work))
        return NULL;
    g_autoptr(BIGNUM) d = BN_mod_inverse(NULL, e, phi, work);
    if (!d || !BN_mod(check, d, p1, work) || BN_cmp(check, dp) != 0)
        return NULL;
    return g_steal_pointer(&d);
}

static EVP_PKEY *import_rsa(const Algorithm *algorithm, const guint8 *bytes, gsize length)
{
    g_autoptr(BN_CTX) work = BN_CTX_new();
    g_autoptr(BIGNUM) p = import_number(algorithm, 1, bytes, length);
    g_autoptr(BIGNUM) q = import_number(algorithm, 2, bytes, length);
    g_autoptr(BIGNUM) dp = import_number(algorithm, 3, bytes, length);
    g_autoptr(BIGNUM) dq = import_number(algorithm, 4, bytes, length);
    g_autoptr(BIGNUM) inverse = import_number(algorithm, 5, bytes, length);
    g_autoptr(BIGNUM) n = BN_new();
    g_autoptr(BIGNUM) e = BN_new();
    if (!p || !q || !dp || !dq || !inverse || !BN_set_word(e, PUBLIC_EXPONENT) || !BN_mul(n, p, q, work) ||
        BN_num_bytes(n) != (int)algorithm->bytes)
        return NULL;
    g_autoptr(BIGNUM) d = private_exponent(p, q, dp, e, work);
    g_autoptr(OSSL_PARAM_BLD) build = OSSL_PARAM_BLD_new();
    if (!d || !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_D, d) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR1, p) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR2, q) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, inverse))
        return NULL;
    return key_from(algorithm, build);
}

/* The public point is the card's to compute. */
static EVP_PKEY *import_ec(const Algorithm *algorithm, const Tlv *value)
{
    int curve = EC_curve_nist2nid(algorithm->group);
    g_autoptr(BN_CTX) work = BN_CTX_new();
    g_autoptr(EC_GROUP) group = EC_GROUP_new_by_curve_name(curve);
    g_autoptr(EC_POINT) point = EC_POINT_new(group);
    g_autoptr(BIGNUM) d = BN_bin2bn(value->value, (int)value->length, NULL);
    guint8 public[2 * 64 + 1];
    if (BN_is_zero(d) || BN_cmp(d, EC_GROUP_get0_order(group)) >= 0 ||
        EC_POINT_mul(group, point, d, NULL, NULL, work) != 1)
        return NULL;
    size_t size =
        EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, public, sizeof public, work);
    g_autoptr(OSSL_PARAM_BLD) build = OSSL_PARAM_BLD_new();
    if (size == 0 ||
        !OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, algorithm->group, 0) ||
        !OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, public, size) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, d))
        return NULL;
    return key_from(algorithm, build);
}

EVP_PKEY *key_import(const Algorithm *algorithm, const guint8 *bytes, gsize length)
{
    Tlv value;
    if (algorithm->family == FAMILY_RSA)
        return import_rsa(algorithm, bytes, length);
    if (!tlv_find(bytes, length, algorithm->import_tag, &value) || value.length != algorithm->bytes)
        return NULL;
    if (algorithm->family == FAMILY_EC)
        return import_ec(algorithm, &value);
    return EVP_PKEY_new_raw_private_key_ex(NULL, algorithm->type, NULL, value.value, value.length);
}

static void append_number(EVP_PKEY *key, const char *name, guint32 tag, GByteArray *to)
{
    g_autoptr(BIGNUM) number = NULL;
    if (EVP_PKEY_get_bn_param(key, name, &number) != 1)
        g_error("a key without %s", name);
    gsize length = (gsize)BN_num_bytes(number);
    g_autofree guint8 *bytes = g_malloc(length);
    BN_bn2bin(number, bytes);
    tlv_append(to, tag, bytes, length);
}

void key_append_public(const Algorithm *algorithm, EVP_PKEY *key, GByteArray *to)
{
    guint8 public[2 * 64 + 1];
    size_t length = sizeof public;
    if (algorithm->family == FAMILY_RSA) {
        append_number(key, OSSL_PKEY_PARAM_RSA_N, 0x81, to);
        append_number(key, OSSL_PKEY_PARAM_RSA_E, 0x82, to);
        return;
    }
    if (EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, public, sizeof public, &length) != 1)
        g_error("a key without its public half");
    tlv_append(to, 0x86, public, length);
}

/* The same for signing and deciphering: the host pads. */
static bool raw_rsa(EVP_PKEY *key, const guint8 *bytes, gsize length, GByteArray *to)
{
    guint8 result[512];
    size_t size = sizeof result;
    g_autoptr(EVP_PKEY_CTX) context = EVP_PKEY_CTX_new(key, NULL);
    if (EVP_PKEY_decrypt_init(context) != 1 || EVP_PKEY_CTX_set_rsa_padding(context, RSA_NO_PADDING) != 1 ||
        EVP_PKEY_decrypt(context, result, &size, bytes, length) != 1)
        return false;
    g_byte_array_append(to, result, (guint)size);
    return true;
}

static bool ecdsa(EVP_PKEY *key, const guint8 *digest, gsize length, GByteArray *to)
{
    guint8 signature[128];
    size_t size = sizeof signature;
    g_autoptr(EVP_PKEY_CTX) context = EVP_PKEY_CTX_new(key, NULL);
    if (EVP_PKEY_sign_init(context) != 1 || EVP_PKEY_sign(context, signature, &size, digest, length) != 1)
        return false;
    g_byte_array_append(to, signature, (guint)size);
    return true;
}

static bool eddsa(EVP_PKEY *key, const guint8 *message, gsize length, GByteArray *to)
{
    guint8 signature[64];
    size_t size = sizeof signature;
    g_autoptr(EVP_MD_CTX) context = EVP_MD_CTX_new();
    if (EVP_DigestSignInit(context, NULL, NULL, NULL, key) != 1 ||
        EVP_DigestSign(context, signature, &size, message, length) != 1)
        return false;
    g_byte_array_append(to, signature, (guint)size);
    return true;
}

bool key_sign(const Algorithm *algorithm, EVP_PKEY *key, const guint8 *bytes, gsize length, GByteArray *to)
{
    switch (algorithm->family) {
    case FAMILY_RSA:
        return length == algorithm->bytes && raw_rsa(key, bytes, length, to);
    case FAMILY_EC:
        return length > 0 && length <= algorithm->bytes && ecdsa(key, bytes, length, to);
    case FAMILY_EDWARDS:
        return eddsa(key, bytes, length, to);
    default:
        return false;
    }
}

/* The other side's key, which is a point of |key|'s curve. Transfer full. */
static EVP_PKEY *peer_of(const Algorithm *algorithm, EVP_PKEY *key, const guint8 *bytes, gsize length)
{
    if (algorithm->family == FAMILY_MONTGOMERY)
        return EVP_PKEY_new_raw_public_key_ex(NULL, algorithm->type, NULL, bytes, length);
    g_autoptr(EVP_PKEY) peer = EVP_PKEY_new();
    if (algorithm->family != FAMILY_EC || EVP_PKEY_copy_parameters(peer, key) != 1 ||
        EVP_PKEY_set1_encoded_public_key(peer, bytes, length) != 1)
        return NULL;
    return g_steal_pointer(&peer);
}

bool key_agree(const Algorithm *algorithm, EVP_PKEY *key, const guint8 *bytes, gsize length, GByteArray *to)
{
    guint8 secret[64];
    size_t size = sizeof secret;
    g_autoptr(EVP_PKEY) peer = peer_of(algorithm, key, bytes, length);
    g_autoptr(EVP_PKEY_CTX) context = EVP_PKEY_CTX_new(key, NULL);
    if (!peer || EVP_PKEY_derive_init(context) != 1 || EVP_PKEY_derive_set_peer(context, peer) != 1 ||
        EVP_PKEY_derive(context, secret, &size) != 1)
        return false;
    g_byte_array_append(to, secret, (guint)size);
    return true;
}
