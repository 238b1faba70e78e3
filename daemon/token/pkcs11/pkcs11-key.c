/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Making, filling and emptying slots of a PKCS#11 token.
 *
 * A private key is sensitive, not extractable, private, and good for signatures alone. Its public key is
 * stored beside it under the same id and label, visible without a PIN, so that a slot can be shown before
 * anybody logged in. */

#include "daemon/openssl-cleanup.h"
#include "daemon/token/pkcs11/pkcs11-token.h"
#include <openssl/err.h>

static const unsigned char rsa_exponent[] = {0x01, 0x00, 0x01};

static bool add_private_usage(Template *template, const char *slot, const char *label, GError **error)
{
    template_add_bool(template, CKA_TOKEN, true);
    template_add_bool(template, CKA_PRIVATE, true);
    template_add_bool(template, CKA_SENSITIVE, true);
    template_add_bool(template, CKA_EXTRACTABLE, false);
    template_add_bool(template, CKA_SIGN, true);
    template_add_bool(template, CKA_DECRYPT, false);
    template_add_bool(template, CKA_UNWRAP, false);
    return template_add_name(template, slot, label, error);
}

static bool add_public_usage(Template *template, const char *slot, const char *label, GError **error)
{
    template_add_bool(template, CKA_TOKEN, true);
    template_add_bool(template, CKA_PRIVATE, false);
    template_add_bool(template, CKA_VERIFY, true);
    return template_add_name(template, slot, label, error);
}

static GArray *find(const Session *session, CK_OBJECT_CLASS class, const char *slot, GError **error)
{
    g_auto(Template) wanted = {.size = 0};
    return template_find(&wanted, class, slot, error) ? session_find(session, &wanted, error) : NULL;
}

static bool require_empty(const Session *session, const char *slot, GError **error)
{
    g_autoptr(GArray) private_keys = find(session, CKO_PRIVATE_KEY, slot, error);
    g_autoptr(GArray) public_keys = private_keys ? find(session, CKO_PUBLIC_KEY, slot, error) : NULL;
    if (!public_keys)
        return false;
    if (private_keys->len == 0 && public_keys->len == 0)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                "Slot %s on token %s already holds a key; clear it first or choose another slot", slot,
                session->serial);
    return false;
}

typedef struct NewKey {
    const char *slot;
    const char *label; /* or NULL */
    KeyType type;
    EVP_PKEY *key; /* to import */
} NewKey;

static bool generate(Pkcs11Token *token, const Session *session, void *data, GError **error)
{
    static const CK_ULONG bits[N_KEY_TYPES] = {
        [KEY_TYPE_RSA2048] = 2048, [KEY_TYPE_RSA3072] = 3072, [KEY_TYPE_RSA4096] = 4096};
    NewKey *wanted = data;
    CK_MECHANISM mechanism = {.mechanism = key_type_is_rsa(wanted->type)      ? CKM_RSA_PKCS_KEY_PAIR_GEN
                                           : wanted->type == KEY_TYPE_ED25519 ? CKM_EC_EDWARDS_KEY_PAIR_GEN
                                                                              : CKM_EC_KEY_PAIR_GEN};
    g_auto(Template) public_key = {.size = 0};
    g_auto(Template) private_key = {.size = 0};
    CK_OBJECT_HANDLE public_handle, private_handle;
    if (!pkcs11_token_is_logged_in(token, session, error) || !require_empty(session, wanted->slot, error) ||
        !add_public_usage(&public_key, wanted->slot, wanted->label, error) ||
        !add_private_usage(&private_key, wanted->slot, wanted->label, error))
        return false;
    if (key_type_is_rsa(wanted->type)) {
        template_add_number(&public_key, CKA_MODULUS_BITS, bits[wanted->type]);
        template_add(&public_key, CKA_PUBLIC_EXPONENT, rsa_exponent, sizeof rsa_exponent);
    } else {
        template_add_curve(&public_key, wanted->type);
    }
    CK_RV result = session->functions->C_GenerateKeyPair(session->handle, &mechanism, public_key.attributes,
                                                         public_key.size, private_key.attributes,
                                                         private_key.size, &public_handle, &private_handle);
    return module_check(result, error, "Token %s could not generate a key of type %s", token->serial,
                        key_type_to_string(wanted->type));
}

bool pkcs11_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                         GCancellable *cancelled, GError **error)
{
    NewKey wanted = {.slot = slot, .label = options->label, .type = type};
    if (g_cancellable_is_cancelled(cancelled)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "Generating a key in slot %s was cancelled",
                    slot);
        return false;
    }
    return pkcs11_token_run((Pkcs11Token *)backend, generate, &wanted, error);
}

static bool import(Pkcs11Token *token, const Session *session, void *data, GError **error)
{
    NewKey *wanted = data;
    g_auto(Template) private_key = {.size = 0};
    g_auto(Template) public_key = {.size = 0};
    CK_OBJECT_HANDLE private_handle, public_handle;
    template_add_number(&private_key, CKA_CLASS, CKO_PRIVATE_KEY);
    template_add_number(&public_key, CKA_CLASS, CKO_PUBLIC_KEY);
    if (!pkcs11_token_is_logged_in(token, session, error) || !require_empty(session, wanted->slot, error) ||
        !add_private_usage(&private_key, wanted->slot, wanted->label, error) ||
        !template_add_private_values(&private_key, wanted->key, wanted->type, error) ||
        !add_public_usage(&public_key, wanted->slot, wanted->label, error) ||
        !template_add_public_values(&public_key, wanted->key, wanted->type, error))
        return false;
    CK_FUNCTION_LIST *functions = session->functions;
    CK_RV result =
        functions->C_CreateObject(session->handle, private_key.attributes, private_key.size, &private_handle);
    if (!module_check(result, error, "Token %s did not take the %s key", token->serial,
                      key_type_to_string(wanted->type)))
        return false;
    result =
        functions->C_CreateObject(session->handle, public_key.attributes, public_key.size, &public_handle);
    if (result != CKR_OK)
        (void)functions->C_DestroyObject(session->handle, private_handle);
    return module_check(result, error, "Token %s did not take the public key", token->serial);
}

bool pkcs11_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                       GError **error)
{
    NewKey wanted = {.slot = slot, .label = options->label, .key = key};
    return key_type_of(key, &wanted.type, error) &&
           pkcs11_token_run((Pkcs11Token *)backend, import, &wanted, error);
}

static bool destroy_all(const Session *session, const GArray *objects, const char *slot, GError **error)
{
    CK_RV worst = CKR_OK;
    for (guint i = 0; i < objects->len; i++) {
        CK_RV result =
            session->functions->C_DestroyObject(session->handle, g_array_index(objects, CK_OBJECT_HANDLE, i));
        worst = worst == CKR_OK ? result : worst;
    }
    return module_check(worst, error, "An object in slot %s of token %s could not be removed", slot,
                        session->serial);
}

typedef struct NewCertificate {
    const char *slot;
    X509 *certificate;
} NewCertificate;

/* A DER value that OpenSSL writes with i2d_… */
#define add_der(template, type, i2d, value)                                                                  \
    do {                                                                                                     \
        unsigned char *der = NULL;                                                                           \
        int size = i2d(value, &der);                                                                         \
        if (size > 0)                                                                                        \
            template_add(template, type, der, (gsize)size);                                                  \
        OPENSSL_free(der);                                                                                   \
    } while (0)

/* The certificate has the key's label. Transfer full. */
static char *label_of_slot(const Session *session, const char *slot)
{
    g_autoptr(GArray) keys = find(session, CKO_PUBLIC_KEY, slot, NULL);
    return keys && keys->len > 0 ? session_get_label(session, g_array_index(keys, CK_OBJECT_HANDLE, 0))
                                 : NULL;
}

static bool write_certificate(Pkcs11Token *token, const Session *session, void *data, GError **error)
{
    NewCertificate *wanted = data;
    g_autoptr(GArray) old = find(session, CKO_CERTIFICATE, wanted->slot, error);
    g_autofree char *label = old ? label_of_slot(session, wanted->slot) : NULL;
    g_auto(Template) certificate = {.size = 0};
    CK_OBJECT_HANDLE handle;
    if (!old || !pkcs11_token_is_logged_in(token, session, error))
        return false;
    template_add_number(&certificate, CKA_CLASS, CKO_CERTIFICATE);
    template_add_number(&certificate, CKA_CERTIFICATE_TYPE, CKC_X_509);
    template_add_bool(&certificate, CKA_TOKEN, true);
    template_add_bool(&certificate, CKA_PRIVATE, false);
    if (!template_add_name(&certificate, wanted->slot, label, error))
        return false;
    add_der(&certificate, CKA_SUBJECT, i2d_X509_NAME, X509_get_subject_name(wanted->certificate));
    add_der(&certificate, CKA_ISSUER, i2d_X509_NAME, X509_get_issuer_name(wanted->certificate));
    add_der(&certificate, CKA_SERIAL_NUMBER, i2d_ASN1_INTEGER, X509_get0_serialNumber(wanted->certificate));
    add_der(&certificate, CKA_VALUE, i2d_X509, wanted->certificate);
    CK_RV result = session->functions->C_CreateObject(session->handle, certificate.attributes,
                                                      certificate.size, &handle);
    return module_check(result, error, "Token %s did not take the certificate for slot %s", token->serial,
                        wanted->slot) &&
           destroy_all(session, old, wanted->slot, error);
}

bool pkcs11_write_certificate(Backend *backend, const char *slot, X509 *certificate, GError **error)
{
    NewCertificate wanted = {slot, certificate};
    return pkcs11_token_run((Pkcs11Token *)backend, write_certificate, &wanted, error);
}

/* The private key goes first: if anything fails, what is left is harmless. */
static bool clear(Pkcs11Token *token, const Session *session, void *data, GError **error)
{
    static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKO_CERTIFICATE};
    const char *slot = data;
    guint found = 0;
    if (!pkcs11_token_is_logged_in(token, session, error))
        return false;
    pkcs11_token_drop_key(token, slot);
    for (gsize i = 0; i < G_N_ELEMENTS(classes); i++) {
        g_autoptr(GArray) objects = find(session, classes[i], slot, error);
        if (!objects || !destroy_all(session, objects, slot, error))
            return false;
        found += objects->len;
    }
    if (found > 0)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY, "Slot %s on token %s is empty", slot,
                token->serial);
    return false;
}

bool pkcs11_clear_slot(Backend *backend, const char *slot, GError **error)
{
    return pkcs11_token_run((Pkcs11Token *)backend, clear, (void *)slot, error);
}
