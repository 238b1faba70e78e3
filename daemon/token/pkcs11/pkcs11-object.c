/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PKCS#11 attributes to OpenSSL's keys and back (PKCS#11 2.40 and 3.0: RSA 2.1, EC 2.3). */

#include "daemon/token/pkcs11/pkcs11-object.h"
#include "daemon/openssl-cleanup.h"
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <string.h>

#define OBJECTS_MAX 4096             /* of one class on one token */
#define VALUE_SIZE_MAX (64U * 1024U) /* of one attribute */
#define ID_SIZE_MAX 255
#define LABEL_NAME_PREFIX "label="
#define COORDINATE_MAX 66 /* bytes of a P-521 coordinate */

void template_clear(Template *template)
{
    for (CK_ULONG i = 0; i < template->size; i++)
        OPENSSL_secure_clear_free(template->attributes[i].pValue, template->attributes[i].ulValueLen);
    template->size = 0;
}

void template_add(Template *template, CK_ATTRIBUTE_TYPE type, const void *value, gsize size)
{
    g_assert(template->size < TEMPLATE_SIZE_MAX);
    CK_ATTRIBUTE *attribute = &template->attributes[template->size++];
    *attribute = (CK_ATTRIBUTE){.type = type, .ulValueLen = size};
    if (size == 0)
        return;
    attribute->pValue = OPENSSL_secure_malloc(size);
    if (!attribute->pValue) /* the secure heap is full; what is wiped in the end all the same */
        attribute->pValue = OPENSSL_malloc(size);
    if (!attribute->pValue)
        g_error("out of memory for an attribute of %zu bytes", size);
    memcpy(attribute->pValue, value, size);
}

void template_add_bool(Template *template, CK_ATTRIBUTE_TYPE type, bool value)
{
    CK_BBOOL byte = value ? CK_TRUE : CK_FALSE;
    template_add(template, type, &byte, sizeof byte);
}

void template_add_number(Template *template, CK_ATTRIBUTE_TYPE type, CK_ULONG value)
{
    template_add(template, type, &value, sizeof value);
}

/* Exactly the spelling that we show, so that one slot has one name. */
static bool parse_hex(const char *text, unsigned char *id, gsize *ret_size)
{
    gsize length = strlen(text);
    if (length == 0 || length % 2 != 0 || length / 2 > ID_SIZE_MAX ||
        strspn(text, "0123456789abcdef") != length)
        return false;
    for (gsize i = 0; i < length / 2; i++)
        id[i] =
            (unsigned char)(g_ascii_xdigit_value(text[2 * i]) << 4 | g_ascii_xdigit_value(text[2 * i + 1]));
    *ret_size = length / 2;
    return true;
}

bool template_add_name(Template *template, const char *slot, const char *label, GError **error)
{
    unsigned char id[ID_SIZE_MAX];
    gsize size = 0;
    if (g_str_has_prefix(slot, LABEL_NAME_PREFIX) && slot[strlen(LABEL_NAME_PREFIX)]) {
        label = slot + strlen(LABEL_NAME_PREFIX);
    } else if (!parse_hex(slot, id, &size)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "\"%s\" is no slot of a PKCS#11 token; a slot is named by its id, pairs of lower-case "
                    "hexadecimal digits such as 01",
                    slot);
        return false;
    }
    template_add(template, CKA_ID, id, size);
    if (label)
        template_add(template, CKA_LABEL, label, strlen(label));
    return true;
}

bool template_find(Template *template, CK_OBJECT_CLASS class, const char *slot, GError **error)
{
    template_add_number(template, CKA_CLASS, class);
    return template_add_name(template, slot, NULL, error);
}

GArray *session_find(const Session *session, Template *template, GError **error)
{
    g_autoptr(GArray) found = g_array_new(FALSE, FALSE, sizeof(CK_OBJECT_HANDLE));
    CK_FUNCTION_LIST *functions = session->functions;
    CK_RV result = functions->C_FindObjectsInit(session->handle, template->attributes, template->size);
    if (!module_check(result, error, "Token %s could not be searched", session->serial))
        return NULL;
    CK_ULONG count = 0;
    do {
        CK_OBJECT_HANDLE handles[64];
        count = 0;
        result = functions->C_FindObjects(session->handle, handles, G_N_ELEMENTS(handles), &count);
        if (result == CKR_OK)
            g_array_append_vals(found, handles, (guint)MIN(count, G_N_ELEMENTS(handles)));
    } while (result == CKR_OK && count > 0 && found->len < OBJECTS_MAX);
    (void)functions->C_FindObjectsFinal(session->handle);
    if (!module_check(result, error, "Token %s could not be searched", session->serial))
        return NULL;
    return g_steal_pointer(&found);
}

GBytes *session_get(const Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
    CK_ATTRIBUTE attribute = {.type = type};
    if (session->functions->C_GetAttributeValue(session->handle, object, &attribute, 1) != CKR_OK ||
        attribute.ulValueLen == CK_UNAVAILABLE_INFORMATION || attribute.ulValueLen > VALUE_SIZE_MAX)
        return NULL;
    g_autofree unsigned char *value = g_malloc(attribute.ulValueLen + 1);
    attribute.pValue = value;
    if (attribute.ulValueLen > 0 &&
        session->functions->C_GetAttributeValue(session->handle, object, &attribute, 1) != CKR_OK)
        return NULL;
    return g_bytes_new_take(g_steal_pointer(&value), attribute.ulValueLen);
}

bool session_get_bool(const Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, bool or_else)
{
    CK_BBOOL value = CK_FALSE;
    CK_ATTRIBUTE attribute = {.type = type, .pValue = &value, .ulValueLen = sizeof value};
    if (session->functions->C_GetAttributeValue(session->handle, object, &attribute, 1) != CKR_OK)
        return or_else;
    return value != CK_FALSE;
}

CK_ULONG session_get_number(const Session *session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
    CK_ULONG value = 0;
    CK_ATTRIBUTE attribute = {.type = type, .pValue = &value, .ulValueLen = sizeof value};
    if (session->functions->C_GetAttributeValue(session->handle, object, &attribute, 1) != CKR_OK)
        return CK_UNAVAILABLE_INFORMATION;
    return value;
}

char *session_get_label(const Session *session, CK_OBJECT_HANDLE object)
{
    g_autoptr(GBytes) label = session_get(session, object, CKA_LABEL);
    if (!label || g_bytes_get_size(label) == 0)
        return NULL;
    return module_text(g_bytes_get_data(label, NULL), g_bytes_get_size(label));
}

char *session_get_name(const Session *session, CK_OBJECT_HANDLE object)
{
    g_autoptr(GBytes) id = session_get(session, object, CKA_ID);
    gsize size = 0;
    const unsigned char *bytes = id ? g_bytes_get_data(id, &size) : NULL;
    if (size > ID_SIZE_MAX)
        return NULL;
    if (size == 0) {
        g_autofree char *label = session_get_label(session, object);
        return label ? g_strconcat(LABEL_NAME_PREFIX, label, NULL) : NULL;
    }
    GString *name = g_string_sized_new(2 * size);
    for (gsize i = 0; i < size; i++)
        g_string_append_printf(name, "%02x", bytes[i]);
    return g_string_free(name, FALSE);
}

static EVP_PKEY *key_from_params(const char *kind, OSSL_PARAM_BLD *builder)
{
    g_autoptr(OSSL_PARAM) params = OSSL_PARAM_BLD_to_param(builder);
    g_autoptr(EVP_PKEY_CTX) maker = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
    EVP_PKEY *key = NULL;
    if (!params || !maker || EVP_PKEY_fromdata_init(maker) <= 0 ||
        EVP_PKEY_fromdata(maker, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0)
        return NULL;
    return key;
}

static EVP_PKEY *get_rsa(const Session *session, CK_OBJECT_HANDLE object)
{
    g_autoptr(GBytes) modulus = session_get(session, object, CKA_MODULUS);
    g_autoptr(GBytes) exponent = session_get(session, object, CKA_PUBLIC_EXPONENT);
    if (!modulus || !exponent)
        return NULL;
    g_autoptr(BIGNUM) n = BN_bin2bn(g_bytes_get_data(modulus, NULL), (int)g_bytes_get_size(modulus), NULL);
    g_autoptr(BIGNUM) e = BN_bin2bn(g_bytes_get_data(exponent, NULL), (int)g_bytes_get_size(exponent), NULL);
    g_autoptr(OSSL_PARAM_BLD) builder = OSSL_PARAM_BLD_new();
    if (!n || !e || BN_is_zero(n) || BN_is_zero(e) || !builder ||
        !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) ||
        !OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e))
        return NULL;
    return key_from_params("RSA", builder);
}

/* CKA_EC_POINT is a DER OCTET STRING; some tokens leave the wrapping away. Transfer full. */
static ASN1_OCTET_STRING *get_point(const Session *session, CK_OBJECT_HANDLE object)
{
    g_autoptr(GBytes) value = session_get(session, object, CKA_EC_POINT);
    if (!value || g_bytes_get_size(value) == 0)
        return NULL;
    const unsigned char *at = g_bytes_get_data(value, NULL);
    const unsigned char *end = at + g_bytes_get_size(value);
    g_autoptr(ASN1_OCTET_STRING) point = d2i_ASN1_OCTET_STRING(NULL, &at, (long)g_bytes_get_size(value));
    if (point && at == end)
        return g_steal_pointer(&point);
    g_autoptr(ASN1_OCTET_STRING) bare = ASN1_OCTET_STRING_new();
    if (!bare || !ASN1_OCTET_STRING_set(bare, g_bytes_get_data(value, NULL), (int)g_bytes_get_size(value)))
        return NULL;
    return g_steal_pointer(&bare);
}

static EVP_PKEY *get_ec(const Session *session, CK_OBJECT_HANDLE object)
{
    g_autoptr(GBytes) curve = session_get(session, object, CKA_EC_PARAMS);
    g_autoptr(ASN1_OCTET_STRING) point = get_point(session, object);
    if (!curve || !point)
        return NULL;
    const unsigned char *at = g_bytes_get_data(curve, NULL);
    g_autoptr(ASN1_OBJECT) identifier = d2i_ASN1_OBJECT(NULL, &at, (long)g_bytes_get_size(curve));
    const char *group = identifier ? OBJ_nid2sn(OBJ_obj2nid(identifier)) : NULL;
    g_autoptr(OSSL_PARAM_BLD) builder = OSSL_PARAM_BLD_new();
    if (!group || !builder ||
        !OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) ||
        !OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, ASN1_STRING_get0_data(point),
                                          (size_t)ASN1_STRING_length(point)))
        return NULL;
    return key_from_params("EC", builder);
}

static EVP_PKEY *get_ed25519(const Session *session, CK_OBJECT_HANDLE object)
{
    g_autoptr(ASN1_OCTET_STRING) point = get_point(session, object);
    if (!point)
        return NULL;
    return EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, ASN1_STRING_get0_data(point),
                                       (size_t)ASN1_STRING_length(point));
}

EVP_PKEY *session_get_public_key(const Session *session, CK_OBJECT_HANDLE object)
{
    EVP_PKEY *key = NULL;
    switch (session_get_number(session, object, CKA_KEY_TYPE)) {
    case CKK_RSA:
        key = get_rsa(session, object);
        break;
    case CKK_EC:
        key = get_ec(session, object);
        break;
    case CKK_EC_EDWARDS:
        key = get_ed25519(session, object);
        break;
    default:
        break;
    }
    ERR_clear_error();
    return key;
}

X509 *session_get_certificate(const Session *session, CK_OBJECT_HANDLE object)
{
    g_autoptr(GBytes) value = session_get(session, object, CKA_VALUE);
    if (!value)
        return NULL;
    const unsigned char *at = g_bytes_get_data(value, NULL);
    X509 *certificate = d2i_X509(NULL, &at, (long)g_bytes_get_size(value));
    ERR_clear_error();
    return certificate;
}

void template_add_curve(Template *template, KeyType type)
{
    static const int curves[N_KEY_TYPES] = {[KEY_TYPE_P256] = NID_X9_62_prime256v1,
                                            [KEY_TYPE_P384] = NID_secp384r1,
                                            [KEY_TYPE_P521] = NID_secp521r1,
                                            [KEY_TYPE_ED25519] = NID_ED25519};
    unsigned char der[32];
    unsigned char *at = der;
    int size = i2d_ASN1_OBJECT(OBJ_nid2obj(curves[type]), &at);
    template_add(template, CKA_EC_PARAMS, der, (gsize)size);
}

static bool add_number(Template *template, CK_ATTRIBUTE_TYPE type, EVP_PKEY *key, const char *param,
                       int width)
{
    g_autoptr(BIGNUM) number = BN_secure_new();
    if (!number || !EVP_PKEY_get_bn_param(key, param, &number))
        return false;
    int size = MAX(width, BN_num_bytes(number));
    unsigned char *bytes = OPENSSL_secure_malloc((size_t)size);
    bool added = bytes && BN_bn2binpad(number, bytes, size) == size;
    if (added)
        template_add(template, type, bytes, (gsize)size);
    OPENSSL_secure_clear_free(bytes, (size_t)size);
    return added;
}

static bool add_point(Template *template, EVP_PKEY *key, KeyType type)
{
    unsigned char point[1 + 2 * COORDINATE_MAX];
    unsigned char der[sizeof point + 8];
    unsigned char *at = der;
    size_t size = sizeof point;
    g_autoptr(ASN1_OCTET_STRING) octets = ASN1_OCTET_STRING_new();
    bool got = type == KEY_TYPE_ED25519
                   ? EVP_PKEY_get_raw_public_key(key, point, &size) > 0
                   : EVP_PKEY_set_utf8_string_param(key, OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT,
                                                    OSSL_PKEY_EC_POINT_CONVERSION_FORMAT_UNCOMPRESSED) > 0 &&
                         EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point,
                                                         &size) > 0;
    if (!got || !octets || !ASN1_OCTET_STRING_set(octets, point, (int)size))
        return false;
    template_add(template, CKA_EC_POINT, der, (gsize)i2d_ASN1_OCTET_STRING(octets, &at));
    return true;
}

static CK_KEY_TYPE key_type_number(KeyType type)
{
    if (key_type_is_rsa(type))
        return CKK_RSA;
    return type == KEY_TYPE_ED25519 ? CKK_EC_EDWARDS : CKK_EC;
}

bool template_add_public_values(Template *template, EVP_PKEY *key, KeyType type, GError **error)
{
    bool added;
    template_add_number(template, CKA_KEY_TYPE, key_type_number(type));
    if (key_type_is_rsa(type)) {
        added = add_number(template, CKA_MODULUS, key, OSSL_PKEY_PARAM_RSA_N, 0) &&
                add_number(template, CKA_PUBLIC_EXPONENT, key, OSSL_PKEY_PARAM_RSA_E, 0);
    } else {
        template_add_curve(template, type);
        added = add_point(template, key, type);
    }
    if (!added)
        error_set_openssl(error, IOTHSM_ERROR_BAD_KEY, "The public key can't be taken apart");
    return added;
}

static bool add_private_rsa(Template *template, EVP_PKEY *key)
{
    return add_number(template, CKA_MODULUS, key, OSSL_PKEY_PARAM_RSA_N, 0) &&
           add_number(template, CKA_PUBLIC_EXPONENT, key, OSSL_PKEY_PARAM_RSA_E, 0) &&
           add_number(template, CKA_PRIVATE_EXPONENT, key, OSSL_PKEY_PARAM_RSA_D, 0) &&
           add_number(template, CKA_PRIME_1, key, OSSL_PKEY_PARAM_RSA_FACTOR1, 0) &&
           add_number(template, CKA_PRIME_2, key, OSSL_PKEY_PARAM_RSA_FACTOR2, 0) &&
           add_number(template, CKA_EXPONENT_1, key, OSSL_PKEY_PARAM_RSA_EXPONENT1, 0) &&
           add_number(template, CKA_EXPONENT_2, key, OSSL_PKEY_PARAM_RSA_EXPONENT2, 0) &&
           add_number(template, CKA_COEFFICIENT, key, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, 0);
}

static bool add_private_ed25519(Template *template, EVP_PKEY *key)
{
    size_t size = 32;
    unsigned char *seed = OPENSSL_secure_malloc(size);
    bool added = seed && EVP_PKEY_get_raw_private_key(key, seed, &size) > 0;
    if (added)
        template_add(template, CKA_VALUE, seed, size);
    OPENSSL_secure_clear_free(seed, 32);
    return added;
}

bool template_add_private_values(Template *template, EVP_PKEY *key, KeyType type, GError **error)
{
    bool added;
    template_add_number(template, CKA_KEY_TYPE, key_type_number(type));
    if (key_type_is_rsa(type)) {
        added = add_private_rsa(template, key);
    } else {
        template_add_curve(template, type);
        added = type == KEY_TYPE_ED25519 ? add_private_ed25519(template, key)
                                         : add_number(template, CKA_VALUE, key, OSSL_PKEY_PARAM_PRIV_KEY,
                                                      (EVP_PKEY_get_bits(key) + 7) / 8);
    }
    if (!added)
        error_set_openssl(error, IOTHSM_ERROR_BAD_KEY, "The private key lacks parts that the token needs");
    return added;
}
