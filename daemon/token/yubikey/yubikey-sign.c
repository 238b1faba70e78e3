/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A slot's private key as an EVP_PKEY whose signatures the card makes, each in a transaction of its own.
 *
 * A signature is sent once. When the card was reset or pulled out before, card_begin has healed that; when
 * the connection breaks afterwards, nobody knows whether the card has signed, and the caller is told. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/key-provider.h"
#include "daemon/token/piv/piv-key.h"
#include "daemon/token/yubikey/yubikey-token.h"
#include <openssl/err.h>
#include <string.h>

#define SIGNATURE_INPUT_MAX 3000 /* what a card takes in one command */

/* What is known of a key that was opened. */
typedef struct YubiKeyKey {
    YubiKey *yubikey;
    const PivSlot *slot;
    KeyType type;
    guint8 pin_policy; /* 0: not told */
    guint8 touch_policy;
    EVP_PKEY *opened;
} YubiKeyKey;

static bool wants_pin(const YubiKeyKey *key)
{
    return key->pin_policy != PIV_PIN_NEVER && (key->pin_policy != 0 || key->yubikey->pin);
}

/* Also where the policy is not told: that costs a command and always works. */
static bool wants_pin_each_time(const YubiKeyKey *key)
{
    return key->pin_policy == 0 || key->pin_policy == PIV_PIN_ALWAYS ||
           key->pin_policy == PIV_PIN_MATCH_ALWAYS;
}

static bool wants_touch(const YubiKeyKey *key)
{
    return key->touch_policy == PIV_TOUCH_ALWAYS || key->touch_policy == PIV_TOUCH_CACHED;
}

static void report_touch(const YubiKeyKey *key, bool wanted)
{
    const BackendReports *reports = &key->yubikey->backend.reports;
    if (wants_touch(key) && reports->touch)
        reports->touch(&key->yubikey->backend, key->slot->name, wanted, reports->userdata);
}

typedef struct Signing {
    const YubiKeyKey *key;
    const PivWriter *input;
    unsigned char *signature;
    size_t *size;
    bool unsigned_yet; /* the card can't have signed: it was not asked, or refused because it was reset */
} Signing;

/* Who lacks a PIN, and who lacks a finger, gets the same status word; and so does, or gets another one, who
 * talks to a card that was reset a moment ago. The card tells by what it still knows. */
static bool explain_refusal(Signing *signing, guint16 status, GError **error)
{
    const YubiKeyKey *key = signing->key;
    Card *card = key->yubikey->card;
    bool is_piv;
    if (!card_look(card, &is_piv, error))
        return false;
    bool lacks_pin = key->pin_policy != PIV_PIN_NEVER && !card_pin(card).verified;
    signing->unsigned_yet = !is_piv || (lacks_pin && wants_pin(key));
    if (status != CARD_SECURITY_STATUS || signing->unsigned_yet)
        card_set_refusal(card, error, status, "sign with the key in slot %s", key->slot->name);
    else if (lacks_pin || key->touch_policy == PIV_TOUCH_NEVER)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED,
                    "%s wants its PIN for the key in slot %s; give it with: iothsmctl pin set %u",
                    card_name(card), key->slot->name, card_serial(card));
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOUCH_TIMEOUT,
                    "Nobody touched %s in time for the key in slot %s; touch it when it blinks",
                    card_name(card), key->slot->name);
    return false;
}

static bool take_signature(const Signing *signing, const CardAnswer *answer, GError **error)
{
    PivBytes signature;
    if (!piv_signature((PivBytes){answer->data, answer->size}, &signature) ||
        signature.size > *signing->size) {
        card_set_refusal(signing->key->yubikey->card, error, answer->status, "answer with a signature");
        return false;
    }
    memcpy(signing->signature, signature.data, signature.size);
    *signing->size = signature.size;
    return true;
}

/* The card may have been in another program's hands until now. */
static bool is_still_wanted(const YubiKeyKey *key, GError **error)
{
    const KeyLimits *limits = key_provider_limits();
    if (g_cancellable_is_cancelled(limits->cancelled))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_CANCELLED,
                    "Nobody waits any more for the signature of the key in slot %s", key->slot->name);
    else if (g_get_monotonic_time() > limits->deadline)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TIMED_OUT,
                    "%s was not free in time to sign with the key in slot %s", card_name(key->yubikey->card),
                    key->slot->name);
    else
        return true;
    return false;
}

static bool sign_work(YubiKey *yubikey, void *data, GError **error)
{
    Signing *signing = data;
    const YubiKeyKey *key = signing->key;
    CardAnswer answer;
    if (!is_still_wanted(key, error))
        return false;
    if (wants_pin(key) &&
        !(wants_pin_each_time(key) ? yubikey_present_pin : yubikey_ensure_pin)(yubikey, error))
        return false;
    signing->unsigned_yet = false;
    report_touch(key, true);
    bool sent = card_send(yubikey->card, CARD_AUTHENTICATE, piv_algorithm(key->type), key->slot->id,
                          signing->input->data, signing->input->size, &answer, error);
    report_touch(key, false);
    if (!sent)
        return false;
    if (answer.status == CARD_OK)
        return take_signature(signing, &answer, error);
    return explain_refusal(signing, answer.status, error);
}

static bool is_about_card(const GError *error)
{
    return g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE) ||
           g_error_matches(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
}

/* Once more, where the card can't have signed: it may have been reset between two commands. */
static bool sign_input(Signing *signing, GError **error)
{
    YubiKey *yubikey = signing->key->yubikey;
    g_autoptr(GError) failure = NULL;
    signing->unsigned_yet = true;
    if (yubikey_run(yubikey, sign_work, signing, &failure))
        return true;
    if (signing->unsigned_yet && is_about_card(failure))
        return yubikey_run(yubikey, sign_work, signing, error);
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

static bool sign(void *data, KeyOperation operation, const unsigned char *input, size_t input_size,
                 unsigned char *signature, size_t *size)
{
    const YubiKeyKey *key = data;
    guint8 bytes[SIGNATURE_INPUT_MAX];
    PivWriter writer = {.data = bytes, .room = sizeof bytes};
    Signing signing = {.key = key, .input = &writer, .signature = signature, .size = size};
    GError *error = NULL;
    if (!piv_write_signature_input(&writer, key->type, input, input_size))
        g_set_error(&error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "%zu bytes are too long for %s to sign with the %s key in slot %s", input_size,
                    card_name(key->yubikey->card), key_type_to_string(key->type), key->slot->name);
    else if (sign_input(&signing, &error))
        return true;
    key_provider_explain(error);
    return false;
}

/* The key's last reference may be with somebody who has not closed it yet. */
static void key_release(void *data)
{
    g_free(data);
}

typedef struct Opening {
    const PivSlot *slot;
    YubiKeyKey *key;
} Opening;

static bool check_usable(const YubiKey *yubikey, const PivSlot *slot, const SlotContents *contents,
                         KeyType *ret_type, GError **error)
{
    const char *name = card_name(yubikey->card);
    if (!contents->has_key) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_SLOT_EMPTY, "Slot %s of %s holds no private key",
                    slot->name, name);
        return false;
    }
    if (!contents->public_key || !key_type_of(contents->public_key, ret_type, NULL) ||
        piv_algorithm(*ret_type) == 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "The key in slot %s of %s is of a kind that can't be used here", slot->name, name);
        return false;
    }
    return true;
}

static bool open_work(YubiKey *yubikey, void *data, GError **error)
{
    Opening *opening = data;
    g_auto(SlotContents) contents = {0};
    KeyType type;
    if (!yubikey_read_slot(yubikey, opening->slot, &contents, error) ||
        !check_usable(yubikey, opening->slot, &contents, &type, error))
        return false;
    YubiKeyKey *key = g_new0(YubiKeyKey, 1);
    *key = (YubiKeyKey){yubikey, opening->slot, type, contents.pin_policy, contents.touch_policy, NULL};
    ERR_clear_error();
    key->opened = key_provider_key(contents.public_key, sign, key, key_release);
    if (!key->opened) {
        g_free(key);
        error_set_openssl(error, IOTHSM_ERROR_UNSUPPORTED,
                          "The key in slot %s of %s is of a kind that can't be used here",
                          opening->slot->name, card_name(yubikey->card));
        return false;
    }
    opening->key = key;
    return true;
}

void yubikey_forget_key(YubiKey *yubikey, const PivSlot *slot)
{
    GHashTableIter iterator;
    gpointer name, key;
    g_hash_table_iter_init(&iterator, yubikey->keys);
    while (g_hash_table_iter_next(&iterator, &name, &key)) {
        if (slot && ((YubiKeyKey *)key)->slot != slot)
            continue;
        g_hash_table_iter_remove(&iterator);
        EVP_PKEY_free(((YubiKeyKey *)key)->opened);
    }
}

/* What was read from the card before it was pulled out is read again: another machine may have had it. */
static YubiKeyKey *find_key(YubiKey *yubikey, const PivSlot *slot, GError **error)
{
    guint generation = card_generation(yubikey->card);
    if (yubikey->keys_generation != generation)
        yubikey_forget_key(yubikey, NULL);
    YubiKeyKey *key = g_hash_table_lookup(yubikey->keys, slot->name);
    Opening opening = {slot, NULL};
    if (key || !yubikey_run_reading(yubikey, open_work, &opening, error))
        return key;
    yubikey->keys_generation = card_generation(yubikey->card);
    g_hash_table_replace(yubikey->keys, (char *)slot->name, opening.key);
    return opening.key;
}

EVP_PKEY *yubikey_open_key(Backend *backend, const char *name, GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    const PivSlot *slot = yubikey_find_slot(yubikey, name, error);
    if (!slot)
        return NULL;
    if (slot->id == PIV_SLOT_ATTESTATION) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "The key in slot f9 of %s signs attestations only", card_name(yubikey->card));
        return NULL;
    }
    YubiKeyKey *key = find_key(yubikey, slot, error);
    if (!key)
        return NULL;
    if (!yubikey->pin && key->pin_policy > PIV_PIN_NEVER) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED,
                    "%s needs its PIN first; give it with: iothsmctl pin set %u", card_name(yubikey->card),
                    card_serial(yubikey->card));
        return NULL;
    }
    EVP_PKEY_up_ref(key->opened);
    return key->opened;
}

void yubikey_close_key(Backend *backend, EVP_PKEY *key)
{
    EVP_PKEY_free(key);
}
