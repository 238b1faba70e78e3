/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* One table: a row a type, with the name users type, the spelling of pkcs11-tool, and what OpenSSL calls it.
 */

#include "daemon/token/key-type.h"
#include "daemon/error.h"

static const struct {
    const char *name;
    const char *pkcs11_tool;
    int id;            /* of the EVP_PKEY */
    int bits;          /* RSA only */
    const char *group; /* EC only */
} types[N_KEY_TYPES] = {
    [KEY_TYPE_RSA2048] = {"rsa2048", "rsa:2048", EVP_PKEY_RSA, 2048, NULL},
    [KEY_TYPE_RSA3072] = {"rsa3072", "rsa:3072", EVP_PKEY_RSA, 3072, NULL},
    [KEY_TYPE_RSA4096] = {"rsa4096", "rsa:4096", EVP_PKEY_RSA, 4096, NULL},
    [KEY_TYPE_P256] = {"p256", "EC:prime256v1", EVP_PKEY_EC, 0, "prime256v1"},
    [KEY_TYPE_P384] = {"p384", "EC:secp384r1", EVP_PKEY_EC, 0, "secp384r1"},
    [KEY_TYPE_P521] = {"p521", "EC:secp521r1", EVP_PKEY_EC, 0, "secp521r1"},
    [KEY_TYPE_ED25519] = {"ed25519", "EC:edwards25519", EVP_PKEY_ED25519, 0, NULL},
};

const char *key_type_to_string(KeyType type)
{
    return types[type].name;
}

bool key_type_is_rsa(KeyType type)
{
    return types[type].id == EVP_PKEY_RSA;
}

bool key_type_from_string(const char *text, KeyType *ret_type, GError **error)
{
    for (int type = 0; type < N_KEY_TYPES; type++) {
        if (g_ascii_strcasecmp(text, types[type].name) == 0 ||
            g_ascii_strcasecmp(text, types[type].pkcs11_tool) == 0) {
            *ret_type = (KeyType)type;
            return true;
        }
    }
    g_autoptr(GString) names = g_string_new(NULL);
    for (int type = 0; type < N_KEY_TYPES; type++)
        g_string_append_printf(names, "%s%s", type > 0 ? ", " : "", types[type].name);
    g_autofree char *shown = g_utf8_make_valid(text, (gssize)strnlen(text, 64));
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID, "\"%s\" is no key type; the types are %s", shown,
                names->str);
    return false;
}

bool key_type_of(const EVP_PKEY *key, KeyType *ret_type, GError **error)
{
    int id = EVP_PKEY_get_base_id(key);
    int bits = EVP_PKEY_get_bits(key);
    char group[80] = "";
    if (id == EVP_PKEY_EC)
        (void)EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
    for (int type = 0; type < N_KEY_TYPES; type++) {
        if (id == types[type].id && (types[type].bits == 0 || bits == types[type].bits) &&
            (types[type].group == NULL || g_str_equal(group, types[type].group))) {
            *ret_type = (KeyType)type;
            return true;
        }
    }
    if (id == EVP_PKEY_RSA)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "An RSA key of %d bits is not supported; RSA keys have 2048, 3072 or 4096", bits);
    else if (id == EVP_PKEY_EC)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "An EC key on %s is not supported; the curves are P-256, P-384 and P-521",
                    group[0] ? group : "an unnamed curve");
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "A key of the kind %s is not supported",
                    EVP_PKEY_get0_type_name(key) ? EVP_PKEY_get0_type_name(key) : "unknown");
    return false;
}
