/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Between PIV's TLVs and OpenSSL's keys. Private numbers go from OpenSSL straight into the writer's memory.
 */

#include "daemon/token/piv/piv-key.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <string.h>

#define PUBLIC_EXPONENT 65537
#define MODULUS_MAX 512
#define POINT_MAX (2 * 48 + 1)

static EVP_PKEY *key_from(const char *type, int selection, OSSL_PARAM_BLD *build)
{
    EVP_PKEY *key = NULL;
    g_autoptr(OSSL_PARAM) parameters = OSSL_PARAM_BLD_to_param(build);
    g_autoptr(EVP_PKEY_CTX) context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    if (parameters && context && EVP_PKEY_fromdata_init(context) == 1)
        (void)EVP_PKEY_fromdata(context, &key, selection, parameters);
    ERR_clear_error();
    return key;
}

static EVP_PKEY *rsa_public_key(PivBytes tlvs)
{
    PivBytes modulus, exponent;
    if (!piv_tlv_find(tlvs, 0x81, &modulus) || !piv_tlv_find(tlvs, 0x82, &exponent) ||
        modulus.size > MODULUS_MAX || modulus.size == 0 || exponent.size > 8)
        return NULL;
    g_autoptr(BIGNUM) n = BN_bin2bn(modulus.data, (int)modulus.size, NULL);
    g_autoptr(BIGNUM) e = BN_bin2bn(exponent.data, (int)exponent.size, NULL);
    g_autoptr(OSSL_PARAM_BLD) build = OSSL_PARAM_BLD_new();
    if (!n || !e || !build || !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e))
        return NULL;
    return key_from("RSA", EVP_PKEY_PUBLIC_KEY, build);
}

static EVP_PKEY *ec_public_key(const char *group, PivBytes tlvs)
{
    PivBytes point;
    g_autoptr(OSSL_PARAM_BLD) build = OSSL_PARAM_BLD_new();
    if (!piv_tlv_find(tlvs, 0x86, &point) || point.size == 0 || point.size > POINT_MAX || !build ||
        !OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) ||
        !OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.data, point.size))
        return NULL;
    return key_from("EC", EVP_PKEY_PUBLIC_KEY, build);
}

static EVP_PKEY *raw_public_key(int type, PivBytes tlvs)
{
    PivBytes raw;
    if (!piv_tlv_find(tlvs, 0x86, &raw))
        return NULL;
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(type, NULL, raw.data, raw.size);
    ERR_clear_error();
    return key;
}

EVP_PKEY *piv_public_key(guint8 algorithm, PivBytes tlvs)
{
    KeyType type;
    if (algorithm == PIV_RSA1024)
        return rsa_public_key(tlvs);
    if (algorithm == PIV_X25519)
        return raw_public_key(EVP_PKEY_X25519, tlvs);
    if (!piv_key_type(algorithm, &type))
        return NULL;
    switch (type) {
    case KEY_TYPE_P256:
        return ec_public_key("P-256", tlvs);
    case KEY_TYPE_P384:
        return ec_public_key("P-384", tlvs);
    case KEY_TYPE_ED25519:
        return raw_public_key(EVP_PKEY_ED25519, tlvs);
    default:
        return rsa_public_key(tlvs);
    }
}

/* |name| of |key| as a number of |size| bytes. */
static bool write_number(PivWriter *writer, guint32 tag, const EVP_PKEY *key, const char *name, gsize size)
{
    BIGNUM *number = NULL;
    piv_write_header(writer, tag, size);
    if (writer->overflow || writer->room - writer->size < size ||
        EVP_PKEY_get_bn_param(key, name, &number) != 1)
        return false;
    bool done = BN_bn2binpad(number, writer->data + writer->size, (int)size) == (int)size;
    BN_clear_free(number);
    writer->size += size;
    return done;
}

static bool has_usual_exponent(const EVP_PKEY *key)
{
    BIGNUM *number = NULL;
    bool usual = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &number) == 1 &&
                 BN_is_word(number, PUBLIC_EXPONENT);
    BN_free(number);
    return usual;
}

static bool has_two_primes(const EVP_PKEY *key)
{
    BIGNUM *third = NULL;
    bool more = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_FACTOR3, &third) == 1;
    BN_clear_free(third);
    ERR_clear_error();
    return !more;
}

static bool write_rsa(PivWriter *writer, const EVP_PKEY *key, KeyType type, GError **error)
{
    static const char *const names[] = {OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2,
                                        OSSL_PKEY_PARAM_RSA_EXPONENT1, OSSL_PKEY_PARAM_RSA_EXPONENT2,
                                        OSSL_PKEY_PARAM_RSA_COEFFICIENT1};
    if (!has_usual_exponent(key) || !has_two_primes(key)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "A YubiKey takes RSA keys of two primes with public exponent %d only", PUBLIC_EXPONENT);
        return false;
    }
    for (guint i = 0; i < G_N_ELEMENTS(names); i++) {
        if (!write_number(writer, i + 1, key, names[i], piv_key_size(type) / 2)) {
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_KEY,
                        "The RSA key lacks the primes and exponents that a YubiKey needs");
            return false;
        }
    }
    return true;
}

static bool write_raw(PivWriter *writer, const EVP_PKEY *key, gsize size)
{
    size_t length = size;
    piv_write_header(writer, 0x07, size);
    if (writer->overflow || writer->room - writer->size < size ||
        EVP_PKEY_get_raw_private_key(key, writer->data + writer->size, &length) != 1 || length != size)
        return false;
    writer->size += size;
    return true;
}

static void write_policies(PivWriter *writer, guint8 pin_policy, guint8 touch_policy)
{
    if (pin_policy)
        piv_write_byte_tlv(writer, 0xaa, pin_policy);
    if (touch_policy)
        piv_write_byte_tlv(writer, 0xab, touch_policy);
}

bool piv_write_import(PivWriter *writer, EVP_PKEY *key, KeyType type, guint8 pin_policy, guint8 touch_policy,
                      GError **error)
{
    bool written;
    if (key_type_is_rsa(type)) {
        if (!write_rsa(writer, key, type, error))
            return false;
        written = true;
    } else if (type == KEY_TYPE_ED25519) {
        written = write_raw(writer, key, piv_key_size(type));
    } else {
        written = write_number(writer, 0x06, key, OSSL_PKEY_PARAM_PRIV_KEY, piv_key_size(type));
    }
    write_policies(writer, pin_policy, touch_policy);
    if (!written || writer->overflow) {
        error_set_openssl(error, IOTHSM_ERROR_BAD_KEY, "The key's private part can't be read");
        return false;
    }
    return true;
}

void piv_write_generate(PivWriter *writer, KeyType type, guint8 pin_policy, guint8 touch_policy)
{
    guint8 bytes[9];
    PivWriter inner = {.data = bytes, .room = sizeof bytes};
    piv_write_byte_tlv(&inner, 0x80, piv_algorithm(type));
    write_policies(&inner, pin_policy, touch_policy);
    piv_write_tlv(writer, 0xac, inner.data, inner.size);
}

/* SHA-256 of "IoT-HSM: this slot was cleared". */
static const guint8 tombstone[32] = {0xd9, 0x18, 0x7b, 0xde, 0xa9, 0x36, 0xae, 0x7e, 0x7d, 0xd0, 0x8b,
                                     0x81, 0xb3, 0xba, 0x4d, 0xed, 0xd9, 0xe0, 0x35, 0x92, 0x7e, 0xb7,
                                     0xd9, 0x51, 0xc3, 0x9e, 0x05, 0x1e, 0xb3, 0xc7, 0x83, 0x04};

EVP_PKEY *piv_tombstone(void)
{
    guint8 point[POINT_MAX];
    g_autoptr(EC_GROUP) group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
    g_autoptr(EC_POINT) public_point = group ? EC_POINT_new(group) : NULL;
    g_autoptr(BIGNUM) number = BN_bin2bn(tombstone, sizeof tombstone, NULL);
    g_autoptr(OSSL_PARAM_BLD) build = OSSL_PARAM_BLD_new();
    if (!public_point || !number || !build ||
        EC_POINT_mul(group, public_point, number, NULL, NULL, NULL) != 1)
        return NULL;
    size_t size =
        EC_POINT_point2oct(group, public_point, POINT_CONVERSION_UNCOMPRESSED, point, sizeof point, NULL);
    if (size == 0 || !OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) ||
        !OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, size) ||
        !OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, number))
        return NULL;
    return key_from("EC", EVP_PKEY_KEYPAIR, build);
}

bool piv_is_tombstone(const EVP_PKEY *public_key)
{
    if (!public_key || EVP_PKEY_get_base_id(public_key) != EVP_PKEY_EC)
        return false;
    g_autoptr(EVP_PKEY) key = piv_tombstone();
    return key && EVP_PKEY_eq(key, public_key) == 1;
}

/* A digest is the left end of it where it is longer than the field, and the same number where it is shorter
 * (FIPS 186-5, 6.4.1). */
bool piv_write_signature_input(PivWriter *writer, KeyType type, const guint8 *input, gsize size)
{
    static const guint8 zeros[POINT_MAX] = {0};
    gsize width = type == KEY_TYPE_ED25519 ? size : piv_key_size(type);
    gsize padding = 0;
    if (type == KEY_TYPE_P256 || type == KEY_TYPE_P384) {
        size = MIN(size, width);
        padding = width - size;
    } else if (size != width) {
        return false;
    }
    if (width > writer->room)
        return false;
    gsize header = width > 0xff ? 4 : width >= 0x80 ? 3 : 2;
    piv_write_header(writer, 0x7c, 2 + header + width);
    piv_write_tlv(writer, 0x82, NULL, 0);
    piv_write_header(writer, 0x81, width);
    piv_write(writer, zeros, padding);
    piv_write(writer, input, size);
    return !writer->overflow;
}

bool piv_signature(PivBytes answer, PivBytes *ret_signature)
{
    PivBytes inner;
    return piv_tlv_find(answer, 0x7c, &inner) && piv_tlv_find(inner, 0x82, ret_signature);
}
