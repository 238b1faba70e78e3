/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Reading a whole YubiKey, without its PIN.
 *
 * From firmware 5.3 on the card tells of each key by itself. Before that it has to be concluded: a key that
 * the card attests was generated in it, and one that it does not attest is there if a certificate says so. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/attestation.h"
#include "daemon/token/piv/piv-key.h"
#include "daemon/token/yubikey/yubikey-token.h"

void slot_contents_clear(SlotContents *contents)
{
    g_clear_pointer(&contents->public_key, EVP_PKEY_free);
    g_clear_pointer(&contents->certificate, X509_free);
}

const PivSlot *yubikey_find_slot(const YubiKey *yubikey, const char *name, GError **error)
{
    const PivSlot *slot = piv_slot_find(name);
    if (slot)
        return slot;
    g_autofree char *shown = g_utf8_make_valid(name, (gssize)strnlen(name, 64));
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "\"%s\" is no slot of %s; its slots are 9a, 9c, 9d, 9e and 82 to 95", shown,
                card_name(yubikey->card));
    return NULL;
}

static bool read_certificate(YubiKey *yubikey, const PivSlot *slot, SlotContents *contents, GError **error)
{
    CardAnswer answer;
    PivBytes content;
    if (!card_get_object(yubikey->card, slot->object, &answer, &content, error))
        return false;
    contents->certificate = content.size > 0 ? piv_certificate_parse(content) : NULL;
    return true;
}

static bool read_by_metadata(YubiKey *yubikey, const PivSlot *slot, SlotContents *contents, GError **error)
{
    g_auto(PivMetadata) metadata = {0};
    bool found;
    if (!card_get_metadata(yubikey->card, slot->id, &metadata, &found, error))
        return false;
    if (!found || piv_is_tombstone(metadata.public_key))
        return true;
    contents->has_key = true;
    contents->algorithm = metadata.algorithm;
    contents->public_key = g_steal_pointer(&metadata.public_key);
    contents->pin_policy = metadata.pin_policy;
    contents->touch_policy = metadata.touch_policy;
    if (metadata.origin == PIV_ORIGIN_GENERATED)
        contents->origin = KEY_ORIGIN_GENERATED;
    else if (metadata.origin == PIV_ORIGIN_IMPORTED)
        contents->origin = KEY_ORIGIN_IMPORTED;
    return true;
}

static void take_claims(SlotContents *contents, X509 *certificate)
{
    g_autoptr(Attestation) claims = attestation_read(certificate, NULL);
    contents->has_key = true;
    contents->public_key = X509_get_pubkey(certificate);
    contents->origin = KEY_ORIGIN_GENERATED;
    if (claims) {
        (void)piv_pin_policy_from_string(claims->pin_policy, &contents->pin_policy, NULL);
        (void)piv_touch_policy_from_string(claims->touch_policy, &contents->touch_policy, NULL);
    }
}

static bool read_by_attestation(YubiKey *yubikey, const PivSlot *slot, SlotContents *contents,
                                bool *ret_may_be_imported, GError **error)
{
    CardAnswer answer;
    if (!card_send(yubikey->card, CARD_ATTEST, slot->id, 0, NULL, 0, &answer, error))
        return false;
    *ret_may_be_imported = answer.status != CARD_NO_REFERENCE;
    g_autoptr(X509) certificate = NULL;
    if (answer.status == CARD_OK)
        certificate = piv_attestation_parse((PivBytes){answer.data, answer.size});
    if (certificate)
        take_claims(contents, certificate);
    return true;
}

bool yubikey_read_slot(YubiKey *yubikey, const PivSlot *slot, SlotContents *ret_contents, GError **error)
{
    g_auto(SlotContents) contents = {0};
    Firmware firmware = card_firmware(yubikey->card);
    bool is_attestation = slot->id == PIV_SLOT_ATTESTATION;
    bool may_be_imported = true;
    if (!read_certificate(yubikey, slot, &contents, error))
        return false;
    if (firmware >= FIRMWARE_METADATA) {
        if (!read_by_metadata(yubikey, slot, &contents, error))
            return false;
    } else {
        if (firmware >= FIRMWARE_ATTESTATION && !is_attestation &&
            !read_by_attestation(yubikey, slot, &contents, &may_be_imported, error))
            return false;
        if (!contents.has_key && contents.certificate && may_be_imported) {
            contents.has_key = true;
            contents.public_key = X509_get_pubkey(contents.certificate);
            contents.origin = firmware >= FIRMWARE_ATTESTATION && !is_attestation ? KEY_ORIGIN_IMPORTED
                                                                                  : KEY_ORIGIN_UNKNOWN;
        }
    }
    *ret_contents = contents;
    contents = (SlotContents){0};
    return true;
}

static SlotInfo *slot_info(const PivSlot *slot, SlotContents *contents)
{
    SlotInfo *info = slot_info_new(slot->name);
    info->public_key = g_steal_pointer(&contents->public_key);
    info->certificate = g_steal_pointer(&contents->certificate);
    info->has_private_key = contents->has_key;
    info->origin = contents->origin;
    info->pin_policy = g_strdup(piv_pin_policy_to_string(contents->pin_policy));
    info->touch_policy = g_strdup(piv_touch_policy_to_string(contents->touch_policy));
    info->attestation = slot->id == PIV_SLOT_ATTESTATION;
    return info;
}

static bool read_slots(YubiKey *yubikey, TokenInfo *info, GError **error)
{
    bool taken[G_MAXUINT8 + 1] = {false};
    for (guint i = 0; i < PIV_SLOTS; i++) {
        g_auto(SlotContents) contents = {0};
        const PivSlot *slot = &piv_slots[i];
        if (!yubikey_read_slot(yubikey, slot, &contents, error))
            return false;
        taken[slot->id] = contents.has_key;
        if (contents.has_key || contents.certificate)
            g_ptr_array_add(info->slots, slot_info(slot, &contents));
    }
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    const PivSlot *slot;
    for (guint i = 0; (slot = piv_slot_offered(i)) != NULL; i++)
        if (!taken[slot->id])
            g_strv_builder_add(names, slot->name);
    info->free_slots = g_strv_builder_end(names);
    return true;
}

static bool read_pin(YubiKey *yubikey, TokenInfo *info, GError **error)
{
    g_auto(PivMetadata) pin = {.is_default = -1, .tries_left = -1};
    g_auto(PivMetadata) puk = {.is_default = -1, .tries_left = -1};
    bool found;
    if (!card_get_metadata(yubikey->card, PIV_REFERENCE_PIN, &pin, &found, error) ||
        !card_get_metadata(yubikey->card, PIV_REFERENCE_PUK, &puk, &found, error))
        return false;
    info->pin_retries = pin.tries_left >= 0 ? pin.tries_left : card_pin(yubikey->card).tries_left;
    info->puk_retries = puk.tries_left;
    if (info->pin_retries == 0)
        info->pin_state = PIN_STATE_BLOCKED;
    else if (yubikey->pin)
        info->pin_state = PIN_STATE_SET;
    else
        info->pin_state = pin.is_default == 1 ? PIN_STATE_FACTORY : PIN_STATE_MISSING;
    return true;
}

static GStrv list_key_types(Firmware firmware)
{
    g_autoptr(GStrvBuilder) names = g_strv_builder_new();
    for (KeyType type = 0; type < N_KEY_TYPES; type++)
        if (piv_firmware_has(firmware, type) &&
            !(key_type_is_rsa(type) && piv_firmware_makes_weak_rsa(firmware)))
            g_strv_builder_add(names, key_type_to_string(type));
    return g_strv_builder_end(names);
}

static const char *model(Firmware firmware)
{
    switch (FIRMWARE_MAJOR(firmware)) {
    case 4:
        return "YubiKey 4";
    case 5:
        return "YubiKey 5";
    default:
        return FIRMWARE_MAJOR(firmware) < 4 ? "YubiKey NEO" : "YubiKey";
    }
}

static bool probe(YubiKey *yubikey, void *data, GError **error)
{
    TokenInfo **ret_info = data;
    g_autoptr(TokenInfo) info = token_info_new();
    Firmware firmware = card_firmware(yubikey->card);
    const char *management_key;
    if (!read_pin(yubikey, info, error) || !read_slots(yubikey, info, error) ||
        !(management_key = yubikey_management_key_state(yubikey, error)))
        return false;
    info->serial = g_strdup_printf("%u", card_serial(yubikey->card));
    info->label = g_strdup(card_name(yubikey->card));
    info->model = g_strdup(model(firmware));
    info->firmware = firmware_to_string(firmware);
    info->management_key = g_strdup(management_key);
    info->key_types = list_key_types(firmware);
    *ret_info = g_steal_pointer(&info);
    return true;
}

TokenInfo *yubikey_probe(Backend *backend, GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    TokenInfo *info = NULL;
    yubikey_forget_key(yubikey, NULL);
    return yubikey_run_reading(yubikey, probe, &info, error) ? info : NULL;
}
