/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See attestation.h. */

#include "tests/virtual-yubikey/attestation.h"
#include "tests/virtual-yubikey/crypto.h"
#include "tests/virtual-yubikey/slots.h"
#include "tests/virtual-yubikey/tlv.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define ROOT_NAME "Virtual YubiKey PIV Root CA"
#define INTERMEDIATE_NAME "Yubico PIV Attestation"
#define SECONDS_A_DAY (24L * 60 * 60)
#define VALID_DAYS (20 * 365)
#define FORM_FACTOR_USB_A_KEYCHAIN 1

/* Yubico's arc for PIV attestation. */
#define OID_FIRMWARE "1.3.6.1.4.1.41482.3.3"
#define OID_SERIAL "1.3.6.1.4.1.41482.3.7"
#define OID_POLICY "1.3.6.1.4.1.41482.3.8"
#define OID_FORM_FACTOR "1.3.6.1.4.1.41482.3.9"

static bool fail(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "the attestation %s can't be made", what);
    return false;
}

static bool set_name(X509_NAME *name, const char *common_name)
{
    return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const guchar *)common_name, -1, -1, 0) == 1;
}

static bool set_serial(X509 *certificate)
{
    g_autoptr(BIGNUM) number = BN_new();
    return number && BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
           BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
}

/* Without extensions and signature. |issuer| NULL: itself. */
static X509 *new_certificate(const char *common_name, EVP_PKEY *key, const X509 *issuer)
{
    g_autoptr(X509) certificate = X509_new();
    g_autoptr(X509_NAME) name = X509_NAME_new();
    if (!set_name(name, common_name) || !X509_set_version(certificate, X509_VERSION_3) ||
        !set_serial(certificate) || !X509_set_subject_name(certificate, name) ||
        !X509_set_issuer_name(certificate, issuer ? X509_get_subject_name(issuer) : name) ||
        !X509_set_pubkey(certificate, key))
        return NULL;
    if (issuer) {
        if (!X509_set1_notBefore(certificate, X509_get0_notBefore(issuer)) ||
            !X509_set1_notAfter(certificate, X509_get0_notAfter(issuer)))
            return NULL;
    } else if (!X509_gmtime_adj(X509_getm_notBefore(certificate), -SECONDS_A_DAY) ||
               !X509_gmtime_adj(X509_getm_notAfter(certificate), VALID_DAYS * SECONDS_A_DAY)) {
        return NULL;
    }
    return g_steal_pointer(&certificate);
}

static bool add_usual(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    g_autoptr(X509_EXTENSION) extension = X509V3_EXT_nconf_nid(NULL, &context, nid, value);
    return extension && X509_add_ext(certificate, extension, -1);
}

static X509 *new_ca(const char *common_name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *issuer_key,
                    const char *basic)
{
    g_autoptr(X509) certificate = new_certificate(common_name, key, issuer);
    if (!certificate || !add_usual(certificate, issuer, NID_basic_constraints, basic) ||
        !add_usual(certificate, issuer, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        X509_sign(certificate, issuer_key, EVP_sha256()) == 0)
        return NULL;
    return g_steal_pointer(&certificate);
}

typedef struct Root {
    X509 *certificate;
    EVP_PKEY *key;
} Root;

static void root_clear(Root *root)
{
    X509_free(root->certificate);
    EVP_PKEY_free(root->key);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Root, root_clear)

static bool read_root(const char *certificate_path, const char *key_path, Root *root)
{
    g_autoptr(BIO) certificate = BIO_new_file(certificate_path, "r");
    g_autoptr(BIO) key = BIO_new_file(key_path, "r");
    if (!certificate || !key)
        return false;
    root->certificate = PEM_read_bio_X509(certificate, NULL, NULL, NULL);
    root->key = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL);
    return root->certificate && root->key;
}

static bool make_root(const char *certificate_path, const char *key_path, Root *root)
{
    root->key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
    root->certificate = root->key ? new_ca(ROOT_NAME, root->key, NULL, root->key, "critical,CA:TRUE") : NULL;
    g_autoptr(BIO) certificate = BIO_new_file(certificate_path, "w");
    g_autoptr(BIO) key = BIO_new_file(key_path, "w");
    return root->certificate && certificate && key && PEM_write_bio_X509(certificate, root->certificate) &&
           PEM_write_bio_PrivateKey(key, root->key, NULL, NULL, 0, NULL, NULL);
}

/* Keys that share a folder may come from the factory at the same time. */
static bool open_root(const char *directory, Root *root, GError **error)
{
    g_autofree char *certificate = g_build_filename(directory, "attestation-root.pem", NULL);
    g_autofree char *key = g_build_filename(directory, "attestation-root.key", NULL);
    int folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || flock(folder, LOCK_EX) != 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s can't be locked: %s", directory,
                    g_strerror(errno));
        if (folder >= 0)
            close(folder);
        return false;
    }
    bool done = g_file_test(certificate, G_FILE_TEST_EXISTS) ? read_root(certificate, key, root)
                                                             : make_root(certificate, key, root);
    close(folder);
    return done || fail(error, "root");
}

/* As a certificate lies in its object: SP 800-73-4, part 1, appendix A. */
static void put_certificate(Memory *memory, guint32 object, X509 *certificate)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    guchar *der = NULL;
    int length = i2d_X509(certificate, &der);
    g_assert(length > 0);
    tlv_append(bytes, 0x70, der, (gsize)length);
    tlv_append_byte(bytes, 0x71, 0);
    tlv_append(bytes, 0xfe, NULL, 0);
    OPENSSL_free(der);
    memory_put_object(memory, object, bytes->data, bytes->len);
}

static X509 *get_certificate(Memory *memory, guint32 object)
{
    GBytes *bytes = memory_object(memory, object);
    Tlv tlv;
    if (!bytes || !tlv_find(g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes), 0x70, &tlv))
        return NULL;
    const guint8 *der = tlv.value;
    return d2i_X509(NULL, &der, (long)tlv.length);
}

/* As the vendor did it: RSA until 5.7, P-384 since. */
static bool make_intermediate(Memory *memory, GError **error)
{
    guint8 id = memory->firmware >= FIRMWARE_NEW_ALGORITHMS ? 0x14 : 0x07;
    SlotKey contents = {
        .algorithm = algorithm_find(id, memory->firmware),
        .pin_policy = (guint8)slot_pin_policy(SLOT_ATTESTATION),
        .touch_policy = TOUCH_POLICY_NEVER,
        .origin = ORIGIN_IMPORTED,
    };
    g_auto(Root) root = {0};
    if (!open_root(memory->root, &root, error))
        return false;
    g_autoptr(EVP_PKEY) key = key_generate(contents.algorithm);
    g_autoptr(X509) certificate = NULL;
    if (key)
        certificate =
            new_ca(INTERMEDIATE_NAME, key, root.certificate, root.key, "critical,CA:TRUE,pathlen:0");
    if (!certificate)
        return fail(error, "intermediate");
    put_certificate(memory, OBJECT_ATTESTATION, certificate);
    memory_put_key(memory, SLOT_ATTESTATION, &contents, g_steal_pointer(&key));
    return true;
}

static void make_attestation(Memory *memory)
{
    g_autoptr(GError) error = NULL;
    if (!make_intermediate(memory, &error))
        g_warning("slot F9 stays empty: %s", error->message);
}

bool attestation_install(Memory *memory, const char *directory, GError **error)
{
    g_auto(Root) root = {0};
    memory->root = g_strdup(directory);
    memory->make_attestation = make_attestation;
    return open_root(directory, &root, error);
}

static bool add_own(X509 *certificate, const char *oid, const guint8 *value, gsize length)
{
    g_autoptr(ASN1_OBJECT) object = OBJ_txt2obj(oid, 1);
    g_autoptr(ASN1_OCTET_STRING) octets = ASN1_OCTET_STRING_new();
    if (!object || !ASN1_OCTET_STRING_set(octets, value, (int)length))
        return false;
    g_autoptr(X509_EXTENSION) extension = X509_EXTENSION_create_by_OBJ(NULL, object, 0, octets);
    return extension && X509_add_ext(certificate, extension, -1);
}

static bool add_serial(X509 *certificate, guint32 serial)
{
    ASN1_INTEGER *number = ASN1_INTEGER_new();
    guchar *der = NULL;
    int length = ASN1_INTEGER_set_uint64(number, serial) ? i2d_ASN1_INTEGER(number, &der) : -1;
    bool done = length > 0 && add_own(certificate, OID_SERIAL, der, (gsize)length);
    OPENSSL_free(der);
    ASN1_INTEGER_free(number);
    return done;
}

static bool add_claims(X509 *certificate, const Memory *memory, const SlotKey *key)
{
    guint8 firmware[] = {FIRMWARE_MAJOR(memory->firmware), FIRMWARE_MINOR(memory->firmware),
                         FIRMWARE_PATCH(memory->firmware)};
    guint8 policy[] = {key->pin_policy, key->touch_policy};
    guint8 form_factor = FORM_FACTOR_USB_A_KEYCHAIN;
    return add_own(certificate, OID_FIRMWARE, firmware, sizeof firmware) &&
           add_serial(certificate, memory->serial) &&
           add_own(certificate, OID_POLICY, policy, sizeof policy) &&
           add_own(certificate, OID_FORM_FACTOR, &form_factor, 1);
}

bool attestation_certificate(Memory *memory, guint8 slot, GByteArray *to)
{
    const SlotKey *signer = memory_key(memory, SLOT_ATTESTATION);
    const SlotKey *key = memory_key(memory, slot);
    g_autofree char *name = g_strdup_printf("YubiKey PIV Attestation %02x", slot);
    g_autoptr(X509) issuer = get_certificate(memory, OBJECT_ATTESTATION);
    g_autoptr(X509) certificate = issuer ? new_certificate(name, key->key, issuer) : NULL;
    guchar *der = NULL;
    if (!signer || !certificate || !add_claims(certificate, memory, key) ||
        X509_sign(certificate, signer->key, EVP_sha256()) == 0)
        return false;
    int length = i2d_X509(certificate, &der);
    g_assert(length > 0);
    g_byte_array_append(to, der, (guint)length);
    OPENSSL_free(der);
    return true;
}
