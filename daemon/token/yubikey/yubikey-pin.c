/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PIN and PUK, and the rule that none is tried unasked: the tries left are read before each VERIFY, and with
 * two or fewer nothing is presented but what a person typed just now.
 *
 * A PIN that the card has accepted is presented again when the card has forgotten it (it was reset, or pulled
 * out and put back), and before each signature of a key that wants it each time. */

#include "daemon/error.h"
#include "daemon/token/yubikey/yubikey-token.h"
#include <string.h>

#define PIN_SIZE_MIN 6
#define PIN_SIZE 8 /* of what is sent, padded with FF */
#define TRIES_KEPT 2
#define REFUSED 0x63c0 /* with the tries that are left */

static YubiKey *yubikey_of(Backend *backend)
{
    return (YubiKey *)backend;
}

static bool check_size(const YubiKey *yubikey, const Secret *pin, const char *what, GError **error)
{
    gsize size = secret_size(pin);
    if (size >= PIN_SIZE_MIN && size <= PIN_SIZE && memchr(secret_data(pin), 0xff, size) == NULL)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "The %s of a YubiKey has %d to %d characters; nothing was sent to %s", what, PIN_SIZE_MIN,
                PIN_SIZE, card_name(yubikey->card));
    return false;
}

/* One or two references, each padded; the answer's status word. */
static bool send(YubiKey *yubikey, guint8 instruction, guint8 reference, const Secret *one,
                 const Secret *other, guint16 *ret_status, GError **error)
{
    gsize size = other ? 2 * PIN_SIZE : PIN_SIZE, ignored;
    g_auto(LockedBytes) bytes = locked_bytes_new(CARD_SECRET_ROOM(size));
    guint8 *at = bytes.data + CARD_SECRET_HEAD;
    memset(at, 0xff, size);
    memcpy(at, secret_data(one), secret_size(one));
    if (other)
        memcpy(at + PIN_SIZE, secret_data(other), secret_size(other));
    return card_send_secret(yubikey->card, instruction, 0, reference, &bytes, size, &ignored, ret_status,
                            error);
}

static bool is_refused(guint16 status)
{
    return (status & 0xfff0) == REFUSED;
}

/* The same where a try was left a moment ago. Some answer the last wrong one as they answer from then on:
 * blocked. It was compared, all the same. */
static bool send_try(YubiKey *yubikey, guint8 instruction, guint8 reference, const Secret *one,
                     const Secret *other, guint16 *ret_status, GError **error)
{
    if (!send(yubikey, instruction, reference, one, other, ret_status, error))
        return false;
    if (*ret_status == CARD_BLOCKED)
        *ret_status = REFUSED;
    return true;
}

static bool verify(YubiKey *yubikey, const Secret *pin, guint16 *ret_status, GError **error)
{
    return send_try(yubikey, CARD_VERIFY, PIV_REFERENCE_PIN, pin, NULL, ret_status, error);
}

static bool check_status(const YubiKey *yubikey, guint16 status, const char *what, GError **error)
{
    const char *name = card_name(yubikey->card);
    if (status == CARD_OK)
        return true;
    if (is_refused(status))
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_WRONG, "%s refused the %s; %d tries are left", name,
                    what, status & 0xf);
    else if (status == CARD_BLOCKED)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED, "The %s of %s is blocked", what, name);
    else if (status == CARD_WRONG_DATA || status == CARD_CONDITIONS)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "%s does not take that as its new PIN; choose another one of %d to %d characters", name,
                    PIN_SIZE_MIN, PIN_SIZE);
    else
        card_set_refusal(yubikey->card, error, status, "take the %s", what);
    return false;
}

static bool may_try(YubiKey *yubikey, bool insist, GError **error)
{
    const char *name = card_name(yubikey->card);
    int tries;
    if (!card_count_pin_tries(yubikey->card, &tries, error))
        return false;
    if (tries < 0 || tries > TRIES_KEPT || (insist && tries > 0))
        return true;
    if (tries == 0)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED,
                    "The PIN of %s is blocked; unblock it with its PUK: iothsmctl pin unblock %u", name,
                    card_serial(yubikey->card));
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED,
                    "%s has only %d PIN tries left, so its PIN was not presented; give it yourself with: "
                    "iothsmctl pin set %u",
                    name, tries, card_serial(yubikey->card));
    return false;
}

static void keep_pin(YubiKey *yubikey, Secret *pin)
{
    secret_ref(pin);
    secret_unref(yubikey->pin);
    yubikey->pin = pin;
}

/* It was right once. Somebody changed it: it is never presented again. */
static void drop_pin_as_refused(YubiKey *yubikey)
{
    secret_unref(yubikey->refused);
    yubikey->refused = g_steal_pointer(&yubikey->pin);
}

Secret *yubikey_take_refused(Backend *backend)
{
    return g_steal_pointer(&yubikey_of(backend)->refused);
}

bool yubikey_present_pin(YubiKey *yubikey, GError **error)
{
    g_autoptr(GError) failure = NULL;
    guint16 status;
    if (!yubikey->pin) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED,
                    "%s needs its PIN first; give it with: iothsmctl pin set %u", card_name(yubikey->card),
                    card_serial(yubikey->card));
        return false;
    }
    if (!may_try(yubikey, false, &failure)) {
        if (g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED))
            g_clear_pointer(&yubikey->pin, secret_unref);
        g_propagate_error(error, g_steal_pointer(&failure));
        return false;
    }
    if (!verify(yubikey, yubikey->pin, &status, error))
        return false;
    if (is_refused(status))
        drop_pin_as_refused(yubikey);
    return check_status(yubikey, status, "PIN", error);
}

bool yubikey_ensure_pin(YubiKey *yubikey, GError **error)
{
    return (yubikey->pin && card_pin(yubikey->card).verified) || yubikey_present_pin(yubikey, error);
}

/* A mistyped PIN must not take the right one away from a service that works: what was verified a moment ago,
 * in this same transaction, is verified again, which gives back the try, too. */
static bool verify_old_again(YubiKey *yubikey, guint16 *status, GError **error)
{
    guint16 again;
    if (!verify(yubikey, yubikey->pin, &again, error))
        return false;
    if (is_refused(again)) {
        drop_pin_as_refused(yubikey);
        *status = again;
    }
    return true;
}

/* Before another PIN: the one that the card accepted once, where it has forgotten that. It is right, most of
 * the time, and then a mistyped one takes nothing away. |*ret_verified| false: there is none any more. */
static bool verify_old_first(YubiKey *yubikey, bool *ret_verified, GError **error)
{
    g_autoptr(GError) failure = NULL;
    *ret_verified = yubikey->pin && card_pin(yubikey->card).verified;
    if (!yubikey->pin || *ret_verified)
        return true;
    *ret_verified = yubikey_present_pin(yubikey, &failure);
    if (*ret_verified || !yubikey->pin)
        return card_ask_pin(yubikey->card, error);
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

/* What a person typed, or what was kept: in VERIFY, or with |new_pin| in CHANGE REFERENCE. */
static bool try_pin(YubiKey *yubikey, guint8 instruction, Secret *pin, Secret *new_pin, bool insist,
                    guint16 *ret_status, GError **error)
{
    bool known = secret_equal(yubikey->pin, pin), verified = false;
    if ((!known && !verify_old_first(yubikey, &verified, error)) || !may_try(yubikey, insist, error) ||
        !send_try(yubikey, instruction, PIV_REFERENCE_PIN, pin, new_pin, ret_status, error))
        return false;
    if (!is_refused(*ret_status))
        return true;
    if (known)
        drop_pin_as_refused(yubikey);
    else if (verified && (*ret_status & 0xf) >= TRIES_KEPT)
        return verify_old_again(yubikey, ret_status, error);
    return true;
}

static bool log_in(YubiKey *yubikey, Secret *pin, bool insist, GError **error)
{
    guint16 status;
    if (card_pin(yubikey->card).verified && secret_equal(yubikey->pin, pin))
        return true;
    if (!try_pin(yubikey, CARD_VERIFY, pin, NULL, insist, &status, error))
        return false;
    if (status == CARD_OK)
        keep_pin(yubikey, pin);
    return check_status(yubikey, status, "PIN", error);
}

typedef struct PinWork {
    Secret *one;
    Secret *other;
    bool insist;
} PinWork;

static bool login_work(YubiKey *yubikey, void *data, GError **error)
{
    const PinWork *work = data;
    return log_in(yubikey, work->one, work->insist, error);
}

bool yubikey_login(Backend *backend, Secret *pin, bool insist, GError **error)
{
    PinWork work = {.one = pin, .insist = insist};
    return check_size(yubikey_of(backend), pin, "PIN", error) &&
           yubikey_run(yubikey_of(backend), login_work, &work, error);
}

static bool logout_work(YubiKey *yubikey, void *data, GError **error)
{
    return !card_pin(yubikey->card).verified || card_forget_verified(yubikey->card, error);
}

/* A card that is not there has forgotten the PIN by itself. */
bool yubikey_logout(Backend *backend, GError **error)
{
    YubiKey *yubikey = yubikey_of(backend);
    g_autoptr(GError) failure = NULL;
    g_clear_pointer(&yubikey->pin, secret_unref);
    if (yubikey_run(yubikey, logout_work, NULL, &failure) ||
        g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE))
        return true;
    g_propagate_error(error, g_steal_pointer(&failure));
    return false;
}

/* A person types both, so short tries don't hinder. */
static bool change_work(YubiKey *yubikey, void *data, GError **error)
{
    const PinWork *work = data;
    guint16 status;
    if (!try_pin(yubikey, CARD_CHANGE_REFERENCE, work->one, work->other, true, &status, error) ||
        !check_status(yubikey, status, "PIN", error))
        return false;
    if (yubikey->pin)
        keep_pin(yubikey, work->other);
    return true;
}

bool yubikey_change_pin(Backend *backend, Secret *old_pin, Secret *new_pin, GError **error)
{
    PinWork work = {.one = old_pin, .other = new_pin};
    return check_size(yubikey_of(backend), old_pin, "PIN", error) &&
           check_size(yubikey_of(backend), new_pin, "new PIN", error) &&
           yubikey_run(yubikey_of(backend), change_work, &work, error);
}

static bool unblock_work(YubiKey *yubikey, void *data, GError **error)
{
    const PinWork *work = data;
    g_auto(PivMetadata) metadata = {.tries_left = -1};
    bool found;
    guint16 status;
    if (!card_get_metadata(yubikey->card, PIV_REFERENCE_PUK, &metadata, &found, error))
        return false;
    if (metadata.tries_left == 0) {
        g_set_error(
            error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_BLOCKED,
            "The PUK of %s is blocked; if its PIN is, too, only a reset of its PIV application helps, "
            "which destroys all keys in it: ykman piv reset",
            card_name(yubikey->card));
        return false;
    }
    if (!(metadata.tries_left > 0 ? send_try : send)(yubikey, CARD_RESET_RETRY_COUNTER, PIV_REFERENCE_PIN,
                                                     work->one, work->other, &status, error) ||
        !check_status(yubikey, status, "PUK", error))
        return false;
    g_clear_pointer(&yubikey->pin, secret_unref);
    return true;
}

bool yubikey_unblock_pin(Backend *backend, Secret *puk, Secret *new_pin, GError **error)
{
    PinWork work = {.one = puk, .other = new_pin};
    return check_size(yubikey_of(backend), puk, "PUK", error) &&
           check_size(yubikey_of(backend), new_pin, "new PIN", error) &&
           yubikey_run(yubikey_of(backend), unblock_work, &work, error);
}
