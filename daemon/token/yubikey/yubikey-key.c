/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Keys and certificates coming and going.
 *
 * Before firmware 5.7 a key can't be deleted. Clearing its slot then overwrites it with one whose private
 * half is public knowledge, and which counts as no key from then on (piv_is_tombstone). Before firmware 5.3
 * an imported key shows only by a certificate; so one is put beside it, the temporary one by which the
 * original agent marks a slot whose certificate is yet to come (protocol.md 6.3). */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/piv/piv-key.h"
#include "daemon/token/slot.h"
#include "daemon/token/yubikey/yubikey-token.h"
#include <openssl/err.h>

#define TEMPORARY_SECONDS (365L * 24 * 60 * 60)
#define SERIAL_BITS 159 /* 20 octets, positive (RFC 5280, 4.1.2.2) */

typedef struct NewKey {
    const PivSlot *slot;
    KeyType type;
    guint8 pin_policy;
    guint8 touch_policy;
    EVP_PKEY *key; /* to import */
} NewKey;

static const PivSlot *find_writable(const YubiKey *yubikey, const char *name, GError **error)
{
    const PivSlot *slot = yubikey_find_slot(yubikey, name, error);
    if (!slot || slot->id != PIV_SLOT_ATTESTATION)
        return slot;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                "Slot f9 of %s holds the key that vouches for all others; it is not changed here",
                card_name(yubikey->card));
    return NULL;
}

static bool check_firmware(const YubiKey *yubikey, const NewKey *wanted, bool generates, GError **error)
{
    Firmware firmware = card_firmware(yubikey->card);
    g_autofree char *version = firmware_to_string(firmware);
    const char *name = card_name(yubikey->card);
    if (!piv_firmware_has(firmware, wanted->type))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "%s (firmware %s) has no %s keys", name,
                    version, key_type_to_string(wanted->type));
    else if (generates && key_type_is_rsa(wanted->type) && piv_firmware_makes_weak_rsa(firmware))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "%s (firmware %s) generates RSA keys that can be broken (CVE-2017-15361); import one, or "
                    "generate a p256 or p384 key",
                    name, version);
    else if ((wanted->pin_policy || wanted->touch_policy) && firmware < FIRMWARE_POLICIES)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "%s (firmware %s) has no PIN and touch policies", name, version);
    else if (wanted->touch_policy == PIV_TOUCH_CACHED && firmware < FIRMWARE_ATTESTATION)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "%s (firmware %s) has no touch policy \"cached\"", name, version);
    else
        return true;
    return false;
}

static bool take_wishes(const YubiKey *yubikey, const char *slot, const KeyOptions *options, NewKey *wanted,
                        GError **error)
{
    wanted->slot = find_writable(yubikey, slot, error);
    return wanted->slot && piv_pin_policy_from_string(options->pin_policy, &wanted->pin_policy, error) &&
           piv_touch_policy_from_string(options->touch_policy, &wanted->touch_policy, error) &&
           check_firmware(yubikey, wanted, wanted->key == NULL, error);
}

static bool require_empty(YubiKey *yubikey, const PivSlot *slot, GError **error)
{
    g_auto(SlotContents) contents = {0};
    if (!yubikey_read_slot(yubikey, slot, &contents, error))
        return false;
    if (contents.has_key)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_OCCUPIED,
                    "Slot %s on %s already holds a key; clear it first or choose another slot", slot->name,
                    card_name(yubikey->card));
    return !contents.has_key;
}

/* A certificate that is left from an earlier key would be one of another key; unless this is the key, which
 * comes back to it. */
static bool drop_stale_certificate(YubiKey *yubikey, const NewKey *wanted, GError **error)
{
    CardAnswer answer;
    PivBytes content;
    guint32 object = wanted->slot->object;
    if (!card_get_object(yubikey->card, object, &answer, &content, error))
        return false;
    g_autoptr(X509) certificate = content.size > 0 ? piv_certificate_parse(content) : NULL;
    if (certificate && wanted->key && X509_check_private_key(certificate, wanted->key) == 1)
        return true;
    ERR_clear_error();
    return content.size == 0 || card_put_object(yubikey->card, object, NULL, 0, error);
}

static bool generate_work(YubiKey *yubikey, void *data, GError **error)
{
    const NewKey *wanted = data;
    guint8 bytes[16];
    PivWriter writer = {.data = bytes, .room = sizeof bytes};
    PivBytes public;
    CardAnswer answer;
    piv_write_generate(&writer, wanted->type, wanted->pin_policy, wanted->touch_policy);
    if (!require_empty(yubikey, wanted->slot, error) || !yubikey_manage(yubikey, error) ||
        !drop_stale_certificate(yubikey, wanted, error) ||
        !card_send(yubikey->card, CARD_GENERATE, 0, wanted->slot->id, writer.data, writer.size, &answer,
                   error))
        return false;
    g_autoptr(EVP_PKEY) key = NULL;
    if (answer.status == CARD_OK && piv_tlv_find((PivBytes){answer.data, answer.size}, 0x7f49, &public))
        key = piv_public_key(piv_algorithm(wanted->type), public);
    if (!key)
        card_set_refusal(yubikey->card, error, answer.status, "generate a %s key in slot %s",
                         key_type_to_string(wanted->type), wanted->slot->name);
    return key != NULL;
}

bool yubikey_generate_key(Backend *backend, const char *slot, KeyType type, const KeyOptions *options,
                          GCancellable *cancelled, GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    NewKey wanted = {.type = type};
    if (!take_wishes(yubikey, slot, options, &wanted, error))
        return false;
    if (g_cancellable_is_cancelled(cancelled)) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED, "Generating a key in slot %s was cancelled",
                    wanted.slot->name);
        return false;
    }
    yubikey_forget_key(yubikey, wanted.slot);
    return yubikey_run(yubikey, generate_work, &wanted, error);
}

static bool put_certificate(YubiKey *yubikey, const PivSlot *slot, X509 *certificate, GError **error)
{
    g_autoptr(GBytes) content = piv_certificate_build(certificate);
    if (!content) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                    "The certificate is too long for %s, also when compressed", card_name(yubikey->card));
        return false;
    }
    gsize size;
    const void *bytes = g_bytes_get_data(content, &size);
    return card_put_object(yubikey->card, slot->object, bytes, size, error);
}

static bool set_random_serial(X509 *certificate)
{
    g_autoptr(BIGNUM) number = BN_new();
    return number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
           BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
}

/* Self-signed, while the private key is at hand. */
static X509 *temporary_certificate(EVP_PKEY *key)
{
    g_autoptr(X509) certificate = X509_new();
    g_autoptr(X509_NAME) name = X509_NAME_new();
    if (!certificate || !name ||
        !X509_NAME_add_entry_by_txt(name, "C", MBSTRING_ASC, (const guchar *)"US", -1, -1, 0) ||
        !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const guchar *)SLOT_TEMPORARY_SUBJECT, -1, -1,
                                    0) ||
        !X509_set_version(certificate, X509_VERSION_3) || !set_random_serial(certificate) ||
        !X509_set_subject_name(certificate, name) || !X509_set_issuer_name(certificate, name) ||
        !X509_gmtime_adj(X509_getm_notBefore(certificate), 0) ||
        !X509_gmtime_adj(X509_getm_notAfter(certificate), TEMPORARY_SECONDS) ||
        !X509_set_pubkey(certificate, key) || X509_sign(certificate, key, EVP_sha256()) == 0)
        return NULL;
    return g_steal_pointer(&certificate);
}

/* The card takes anything of the right size for a key, so the certificate that makes it visible is no promise
 * that it works: each signature is checked before it leaves. */
static bool mark_imported(YubiKey *yubikey, const NewKey *wanted, GError **error)
{
    g_autoptr(X509) certificate = temporary_certificate(wanted->key);
    if (!certificate) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "No temporary certificate could be made for slot %s",
                          wanted->slot->name);
        return false;
    }
    return put_certificate(yubikey, wanted->slot, certificate, error);
}

static bool send_import(YubiKey *yubikey, const NewKey *wanted, guint16 *ret_status, GError **error)
{
    g_auto(LockedBytes) bytes = locked_bytes_new(CARD_SECRET_ROOM(PIV_IMPORT_MAX));
    PivWriter writer = {.data = bytes.data + CARD_SECRET_HEAD, .room = PIV_IMPORT_MAX};
    gsize ignored;
    return piv_write_import(&writer, wanted->key, wanted->type, wanted->pin_policy, wanted->touch_policy,
                            error) &&
           card_send_secret(yubikey->card, CARD_IMPORT, piv_algorithm(wanted->type), wanted->slot->id, &bytes,
                            writer.size, &ignored, ret_status, error);
}

static bool import_work(YubiKey *yubikey, void *data, GError **error)
{
    const NewKey *wanted = data;
    guint16 status;
    if (!require_empty(yubikey, wanted->slot, error) || !yubikey_manage(yubikey, error) ||
        !drop_stale_certificate(yubikey, wanted, error) || !send_import(yubikey, wanted, &status, error))
        return false;
    if (status == CARD_WRONG_DATA)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_KEY, "%s does not take this %s key",
                    card_name(yubikey->card), key_type_to_string(wanted->type));
    else if (status != CARD_OK)
        card_set_refusal(yubikey->card, error, status, "take a %s key for slot %s",
                         key_type_to_string(wanted->type), wanted->slot->name);
    if (status != CARD_OK)
        return false;
    return card_firmware(yubikey->card) >= FIRMWARE_METADATA || mark_imported(yubikey, wanted, error);
}

bool yubikey_import_key(Backend *backend, const char *slot, EVP_PKEY *key, const KeyOptions *options,
                        GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    NewKey wanted = {.key = key};
    if (!key_type_of(key, &wanted.type, error) || !take_wishes(yubikey, slot, options, &wanted, error))
        return false;
    yubikey_forget_key(yubikey, wanted.slot);
    return yubikey_run(yubikey, import_work, &wanted, error);
}

typedef struct NewCertificate {
    const PivSlot *slot;
    X509 *certificate;
} NewCertificate;

static bool write_work(YubiKey *yubikey, void *data, GError **error)
{
    const NewCertificate *wanted = data;
    return yubikey_manage(yubikey, error) &&
           put_certificate(yubikey, wanted->slot, wanted->certificate, error);
}

/* The card replaces an object in one step. */
bool yubikey_write_certificate(Backend *backend, const char *slot, X509 *certificate, GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    NewCertificate wanted = {find_writable(yubikey, slot, error), certificate};
    return wanted.slot && yubikey_run(yubikey, write_work, &wanted, error);
}

static bool delete_key(YubiKey *yubikey, const PivSlot *slot, GError **error)
{
    CardAnswer answer;
    if (!card_send(yubikey->card, CARD_MOVE_KEY, 0xff, slot->id, NULL, 0, &answer, error))
        return false;
    if (answer.status != CARD_OK)
        card_set_refusal(yubikey->card, error, answer.status, "delete the key in slot %s", slot->name);
    return answer.status == CARD_OK;
}

static bool overwrite_key(YubiKey *yubikey, const PivSlot *slot, GError **error)
{
    g_autoptr(EVP_PKEY) tombstone = piv_tombstone();
    NewKey wanted = {.slot = slot, .type = KEY_TYPE_P256, .key = tombstone};
    guint16 status;
    if (!tombstone) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "There is nothing to overwrite slot %s with",
                          slot->name);
        return false;
    }
    if (!send_import(yubikey, &wanted, &status, error))
        return false;
    if (status != CARD_OK)
        card_set_refusal(yubikey->card, error, status, "overwrite the key in slot %s", slot->name);
    return status == CARD_OK;
}

/* The key goes first: if anything fails after that, what is left is harmless. */
static bool clear_work(YubiKey *yubikey, void *data, GError **error)
{
    const PivSlot *slot = data;
    g_auto(SlotContents) contents = {0};
    if (!yubikey_read_slot(yubikey, slot, &contents, error))
        return false;
    if (!contents.has_key && !contents.certificate) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY, "Slot %s of %s is empty", slot->name,
                    card_name(yubikey->card));
        return false;
    }
    bool deletes = card_firmware(yubikey->card) >= FIRMWARE_DELETE_KEY;
    return yubikey_manage(yubikey, error) &&
           (!contents.has_key || (deletes ? delete_key : overwrite_key)(yubikey, slot, error)) &&
           card_put_object(yubikey->card, slot->object, NULL, 0, error);
}

bool yubikey_clear_slot(Backend *backend, const char *name, GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    const PivSlot *slot = find_writable(yubikey, name, error);
    if (!slot)
        return false;
    yubikey_forget_key(yubikey, slot);
    return yubikey_run(yubikey, clear_work, (void *)slot, error);
}

typedef struct Attesting {
    const PivSlot *slot;
    GPtrArray *chain;
} Attesting;

static bool fail_attestation(YubiKey *yubikey, const PivSlot *slot, GError **error)
{
    g_auto(SlotContents) contents = {0};
    const char *name = card_name(yubikey->card);
    if (!yubikey_read_slot(yubikey, slot, &contents, error))
        return false;
    if (!contents.has_key)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY, "Slot %s of %s holds no key", slot->name,
                    name);
    else if (contents.origin == KEY_ORIGIN_GENERATED)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "%s has lost the key in slot f9 with which it vouches for others", name);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "The key in slot %s of %s was imported, so the token can't vouch for it", slot->name,
                    name);
    return false;
}

static bool attest_work(YubiKey *yubikey, void *data, GError **error)
{
    Attesting *attesting = data;
    g_auto(SlotContents) issuer = {0};
    CardAnswer answer;
    if (!card_send(yubikey->card, CARD_ATTEST, attesting->slot->id, 0, NULL, 0, &answer, error))
        return false;
    X509 *certificate = NULL;
    if (answer.status == CARD_OK)
        certificate = piv_attestation_parse((PivBytes){answer.data, answer.size});
    if (!certificate)
        return fail_attestation(yubikey, attesting->slot, error);
    g_ptr_array_set_size(attesting->chain, 0);
    g_ptr_array_add(attesting->chain, certificate);
    if (!yubikey_read_slot(yubikey, piv_slot_find("f9"), &issuer, error))
        return false;
    if (issuer.certificate)
        g_ptr_array_add(attesting->chain, g_steal_pointer(&issuer.certificate));
    return true;
}

GPtrArray *yubikey_attest(Backend *backend, const char *slot, GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    g_autoptr(GPtrArray) chain = g_ptr_array_new_with_free_func((GDestroyNotify)X509_free);
    Attesting attesting = {yubikey_find_slot(yubikey, slot, error), chain};
    if (!attesting.slot)
        return NULL;
    if (card_firmware(yubikey->card) < FIRMWARE_ATTESTATION || attesting.slot->id == PIV_SLOT_ATTESTATION) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "%s can't vouch for the key in slot %s",
                    card_name(yubikey->card), attesting.slot->name);
        return NULL;
    }
    return yubikey_run_reading(yubikey, attest_work, &attesting, error) ? g_steal_pointer(&chain) : NULL;
}
