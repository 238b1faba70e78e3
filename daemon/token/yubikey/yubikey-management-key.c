/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The management key (PIV 9B): both sides prove that they have it before the card lets anything be changed.
 * SP 800-73-4, part 2, appendix A.1; triple DES, and AES on newer firmware, which libykpiv 2.2.0 lacks.
 *
 * Where it comes from, in this order: what a person gave; what the token keeps of it for those who have the
 * PIN; the factory's. Unlike a PIN it has no counter, so that trying costs nothing.
 *
 * A key that the token is to keep is written there beside the old one before it becomes valid, and the old
 * one goes afterwards: at no moment is the valid key known to nobody. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/yubikey/yubikey-token.h"
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

/* What an answer of 256 bytes can give back, with the header around it. */
#define PROTECTED_MAX 252

enum { TAG_WITNESS = 0x80, TAG_CHALLENGE = 0x81, TAG_RESPONSE = 0x82 };

/* The management key as the card tells of it. */
typedef struct Kind {
    const PivManagementAlgorithm *algorithm;
    int is_default; /* -1: not told */
    bool wants_touch;
} Kind;

static bool read_kind(YubiKey *yubikey, Kind *ret_kind, GError **error)
{
    g_auto(PivMetadata) metadata = {.algorithm = 0x03, .is_default = -1};
    bool found;
    if (!card_get_metadata(yubikey->card, PIV_SLOT_MANAGEMENT, &metadata, &found, error))
        return false;
    *ret_kind = (Kind){piv_management_algorithm(metadata.algorithm), metadata.is_default,
                       metadata.touch_policy == PIV_TOUCH_ALWAYS};
    if (!ret_kind->algorithm)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "The management key of %s is of an unknown kind (%02X)", card_name(yubikey->card),
                    metadata.algorithm);
    return ret_kind->algorithm != NULL;
}

/* One block under |key|. */
static bool run_block(const PivManagementAlgorithm *algorithm, const guint8 *key, bool encrypt,
                      const guint8 *input, guint8 *output, GError **error)
{
    g_autoptr(EVP_CIPHER) cipher = EVP_CIPHER_fetch(NULL, algorithm->cipher, NULL);
    g_autoptr(EVP_CIPHER_CTX) context = EVP_CIPHER_CTX_new();
    int size = 0;
    if (cipher && context && EVP_CipherInit_ex2(context, cipher, key, NULL, encrypt, NULL) == 1 &&
        EVP_CIPHER_CTX_set_padding(context, 0) == 1 &&
        EVP_CipherUpdate(context, output, &size, input, (int)algorithm->block_size) == 1 &&
        (gsize)size == algorithm->block_size)
        return true;
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "OpenSSL has no %s", algorithm->cipher);
    return false;
}

static bool take_block(const CardAnswer *answer, guint32 tag, gsize size, guint8 *block)
{
    PivBytes inner, value;
    if (answer->status != CARD_OK || !piv_tlv_find((PivBytes){answer->data, answer->size}, 0x7c, &inner) ||
        !piv_tlv_find(inner, tag, &value) || value.size != size)
        return false;
    memcpy(block, value.data, size);
    return true;
}

static bool ask_witness(YubiKey *yubikey, const Kind *kind, guint8 *witness, GError **error)
{
    static const guint8 question[] = {0x7c, 2, TAG_WITNESS, 0};
    CardAnswer answer;
    if (!card_send(yubikey->card, CARD_AUTHENTICATE, kind->algorithm->id, PIV_SLOT_MANAGEMENT, question,
                   sizeof question, &answer, error))
        return false;
    if (take_block(&answer, TAG_WITNESS, kind->algorithm->block_size, witness))
        return true;
    card_set_refusal(yubikey->card, error, answer.status, "ask for its management key");
    return false;
}

static void report_touch(YubiKey *yubikey, const Kind *kind, bool wanted)
{
    const BackendReports *reports = &yubikey->backend.reports;
    if (kind->wants_touch && reports->touch)
        reports->touch(&yubikey->backend, "9b", wanted, reports->userdata);
}

/* Both proofs. |*ret_proved| false: the card has another key, or nobody touched it. */
static bool prove(YubiKey *yubikey, const Kind *kind, PivBytes key, bool *ret_proved, GError **error)
{
    gsize size = kind->algorithm->block_size;
    guint8 witness[PIV_MANAGEMENT_BLOCK_MAX], challenge[PIV_MANAGEMENT_BLOCK_MAX];
    guint8 expected[PIV_MANAGEMENT_BLOCK_MAX], given[PIV_MANAGEMENT_BLOCK_MAX];
    guint8 bytes[2 + 2 * (2 + PIV_MANAGEMENT_BLOCK_MAX)];
    PivWriter writer = {.data = bytes, .room = sizeof bytes};
    CardAnswer answer;
    *ret_proved = false;
    if (key.size != kind->algorithm->key_size)
        return true;
    if (!ask_witness(yubikey, kind, given, error) ||
        !run_block(kind->algorithm, key.data, false, given, witness, error))
        return false;
    if (RAND_bytes(challenge, sizeof challenge) != 1) {
        error_set_openssl(error, IOTHSM_ERROR_FAILED, "No random numbers");
        return false;
    }
    piv_write_header(&writer, 0x7c, 2 * (2 + size));
    piv_write_tlv(&writer, TAG_WITNESS, witness, size);
    piv_write_tlv(&writer, TAG_CHALLENGE, challenge, size);
    report_touch(yubikey, kind, true);
    bool sent = card_send(yubikey->card, CARD_AUTHENTICATE, kind->algorithm->id, PIV_SLOT_MANAGEMENT,
                          writer.data, writer.size, &answer, error);
    report_touch(yubikey, kind, false);
    if (!sent || !run_block(kind->algorithm, key.data, true, challenge, expected, error))
        return false;
    if (answer.status != CARD_OK)
        return true;
    *ret_proved = take_block(&answer, TAG_RESPONSE, size, given) && CRYPTO_memcmp(given, expected, size) == 0;
    if (*ret_proved) {
        secret_unref(yubikey->proved);
        yubikey->proved = secret_new(key.data, key.size);
    } else {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_SUSPECT,
                    "%s took the management key without having it; it may not be a YubiKey",
                    card_name(yubikey->card));
    }
    return *ret_proved;
}

static PivBytes bytes_of(const Secret *secret)
{
    return (PivBytes){(const guint8 *)secret_data(secret), secret_size(secret)};
}

static bool read_administration(YubiKey *yubikey, CardAnswer *answer, PivBytes *ret_content, GError **error)
{
    return card_get_object(yubikey->card, PIV_OBJECT_ADMINISTRATION, answer, ret_content, error);
}

static bool set_overlong(const YubiKey *yubikey, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                "The object 5FC109 of %s has no room for a management key beside what another program keeps "
                "in it; nothing was changed",
                card_name(yubikey->card));
    return false;
}

/* What the token keeps for those who have the PIN. |ret_protected| points into |bytes|. */
static bool read_protected(YubiKey *yubikey, LockedBytes *bytes, PivProtected *ret_protected, GError **error)
{
    static const guint8 question[] = {0x5c, 3, PIV_OBJECT_PROTECTED >> 16, PIV_OBJECT_PROTECTED >> 8 & 0xff,
                                      PIV_OBJECT_PROTECTED & 0xff};
    gsize size;
    guint16 status;
    PivBytes content = {NULL, 0};
    if (!yubikey_ensure_pin(yubikey, error))
        return false;
    memcpy(bytes->data + CARD_SECRET_HEAD, question, sizeof question);
    if (!card_send_secret(yubikey->card, CARD_GET_DATA, 0x3f, 0xff, bytes, sizeof question, &size, &status,
                          error))
        return false;
    if (status == CARD_OK && !piv_object_content((PivBytes){bytes->data, size}, &content))
        content = (PivBytes){NULL, 0};
    piv_protected_parse(content, ret_protected);
    if (status >> 8 == 0x61)
        return set_overlong(yubikey, error);
    if (status == CARD_OK || status == CARD_NO_OBJECT)
        return true;
    card_set_refusal(yubikey->card, error, status, "give out the management key that it keeps");
    return false;
}

/* The first one that is written is the longest. */
static bool write_protected(YubiKey *yubikey, PivBytes old_content, PivBytes key, PivBytes next,
                            GError **error)
{
    static const guint8 name[] = {0x5c, 3, PIV_OBJECT_PROTECTED >> 16, PIV_OBJECT_PROTECTED >> 8 & 0xff,
                                  PIV_OBJECT_PROTECTED & 0xff};
    g_auto(LockedBytes) content = locked_bytes_new(PROTECTED_MAX);
    g_auto(LockedBytes) bytes = locked_bytes_new(CARD_SECRET_ROOM(PROTECTED_MAX + 16));
    PivWriter inner = {.data = content.data, .room = content.room};
    PivWriter writer = {.data = bytes.data + CARD_SECRET_HEAD, .room = PROTECTED_MAX + 16};
    gsize ignored;
    guint16 status;
    piv_protected_write(&inner, old_content, key, next);
    if (inner.overflow)
        return set_overlong(yubikey, error);
    piv_write(&writer, name, sizeof name);
    piv_write_tlv(&writer, 0x53, inner.data, inner.size);
    g_return_val_if_fail(!writer.overflow, false);
    if (!card_send_secret(yubikey->card, CARD_PUT_DATA, 0x3f, 0xff, &bytes, writer.size, &ignored, &status,
                          error))
        return false;
    if (status != CARD_OK)
        card_set_refusal(yubikey->card, error, status, "keep the management key");
    return status == CARD_OK;
}

/* A salt belongs to a key that was derived from the PIN: it goes when that one is no longer valid. */
static bool write_administration(YubiKey *yubikey, bool protected, bool keep_salt, GError **error)
{
    guint8 bytes[512];
    PivWriter writer = {.data = bytes, .room = sizeof bytes};
    CardAnswer answer;
    PivBytes content;
    if (!read_administration(yubikey, &answer, &content, error))
        return false;
    if (piv_administration_says_protected(content) == protected &&
        (keep_salt || !piv_administration_has_salt(content)))
        return true;
    piv_administration_write(&writer, content, protected, keep_salt);
    if (writer.overflow) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "The administrative data of %s is too long to be changed", card_name(yubikey->card));
        return false;
    }
    return card_put_object(yubikey->card, PIV_OBJECT_ADMINISTRATION, writer.data, writer.size, error);
}

static bool is_protected(YubiKey *yubikey, bool *ret_protected, GError **error)
{
    CardAnswer answer;
    PivBytes content;
    if (!read_administration(yubikey, &answer, &content, error))
        return false;
    *ret_protected = piv_administration_says_protected(content);
    return true;
}

static bool prove_protected(YubiKey *yubikey, const Kind *kind, bool *ret_proved, GError **error)
{
    g_auto(LockedBytes) bytes = locked_bytes_new(CARD_SECRET_ROOM(0));
    PivProtected kept;
    return read_protected(yubikey, &bytes, &kept, error) &&
           prove(yubikey, kind, kept.key, ret_proved, error) &&
           (*ret_proved || prove(yubikey, kind, kept.next, ret_proved, error));
}

static bool prove_factory(YubiKey *yubikey, const Kind *kind, bool *ret_proved, GError **error)
{
    PivBytes key = {piv_factory_management_key, sizeof piv_factory_management_key};
    guint generation = card_generation(yubikey->card);
    *ret_proved = false;
    if (kind->is_default == 0)
        return true;
    if (!prove(yubikey, kind, key, ret_proved, error))
        return false;
    yubikey->is_factory = *ret_proved;
    yubikey->factory_generation = generation;
    return true;
}

/* The card does not tell a finger that did not come from a key that is the wrong one. The key stays: asking
 * for it again would not help who was just not at the desk. */
static bool set_untouched(const YubiKey *yubikey, GError **error)
{
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOUCH_TIMEOUT,
                "%s was not touched in time for its management key, or has another one now; touch it when it "
                "blinks, or give the key with: iothsmctl management-key set %u",
                card_name(yubikey->card), card_serial(yubikey->card));
    return false;
}

static bool prove_known(YubiKey *yubikey, const Kind *kind, bool *ret_proved, GError **error)
{
    bool protected = false;
    *ret_proved = false;
    if (yubikey->management && !prove(yubikey, kind, bytes_of(yubikey->management), ret_proved, error))
        return false;
    if (*ret_proved)
        return true;
    if (yubikey->management && kind->wants_touch)
        return set_untouched(yubikey, error);
    g_clear_pointer(&yubikey->management, secret_unref);
    if (kind->is_default != 1 && !is_protected(yubikey, &protected, error))
        return false;
    if (protected && !prove_protected(yubikey, kind, ret_proved, error))
        return false;
    if (protected && !*ret_proved && kind->wants_touch)
        return set_untouched(yubikey, error);
    return *ret_proved || prove_factory(yubikey, kind, ret_proved, error);
}

bool yubikey_manage(YubiKey *yubikey, GError **error)
{
    Kind kind;
    bool proved;
    if (!read_kind(yubikey, &kind, error) || !prove_known(yubikey, &kind, &proved, error))
        return false;
    if (!proved)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_MANAGEMENT_KEY_REQUIRED,
                    "%s has a management key of its own, which is not known here; give it with: iothsmctl "
                    "management-key set %u",
                    card_name(yubikey->card), card_serial(yubikey->card));
    return proved;
}

const char *yubikey_management_key_state(YubiKey *yubikey, GError **error)
{
    Kind kind;
    bool protected, proved = false;
    if (!read_kind(yubikey, &kind, error) || !is_protected(yubikey, &protected, error))
        return NULL;
    if (kind.is_default == 1)
        return "factory";
    if (protected)
        return "protected";
    if (yubikey->management)
        return "set";
    if (kind.is_default == 0)
        return "missing";
    if (yubikey->is_factory < 0 || yubikey->factory_generation != card_generation(yubikey->card)) {
        if (!prove_factory(yubikey, &kind, &proved, error))
            return NULL;
    }
    return yubikey->is_factory == 1 ? "factory" : "missing";
}

typedef struct Change {
    const ManagementKeyChange *wanted;
    const PivManagementAlgorithm *algorithm; /* of the replacement */
    Secret *replacement;                     /* NULL: none */
} Change;

static bool check_key_size(const YubiKey *yubikey, const PivManagementAlgorithm *algorithm, const Secret *key,
                           GError **error)
{
    if (secret_size(key) == algorithm->key_size)
        return true;
    g_set_error(
        error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
        "A management key of the kind %s has %zu bytes (%zu hexadecimal digits); nothing was sent to %s",
        algorithm->name, algorithm->key_size, 2 * algorithm->key_size, card_name(yubikey->card));
    return false;
}

static bool prove_current(YubiKey *yubikey, const Kind *kind, Secret *current, GError **error)
{
    bool proved;
    if (!current)
        return yubikey_manage(yubikey, error);
    if (!check_key_size(yubikey, kind->algorithm, current, error) ||
        !prove(yubikey, kind, bytes_of(current), &proved, error))
        return false;
    if (!proved)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_MANAGEMENT_KEY_WRONG,
                    "%s refused the management key%s; nothing was changed", card_name(yubikey->card),
                    kind->wants_touch ? ", or nobody touched it in time" : "");
    return proved;
}

static Secret *random_key(const PivManagementAlgorithm *algorithm, GError **error)
{
    g_auto(LockedBytes) bytes = locked_bytes_new(PIV_MANAGEMENT_KEY_MAX);
    if (RAND_priv_bytes(bytes.data, (int)algorithm->key_size) == 1)
        return secret_new(bytes.data, algorithm->key_size);
    error_set_openssl(error, IOTHSM_ERROR_FAILED, "No random numbers");
    return NULL;
}

/* SET MANAGEMENT KEY; a touch that it wanted before, it wants again. */
static bool send_key(YubiKey *yubikey, const Kind *kind, const Change *change, GError **error)
{
    gsize size = 3 + change->algorithm->key_size, ignored;
    g_auto(LockedBytes) bytes = locked_bytes_new(CARD_SECRET_ROOM(size));
    guint8 *at = bytes.data + CARD_SECRET_HEAD;
    guint16 status;
    at[0] = change->algorithm->id;
    at[1] = PIV_SLOT_MANAGEMENT;
    at[2] = (guint8)change->algorithm->key_size;
    memcpy(at + 3, secret_data(change->replacement), change->algorithm->key_size);
    if (!card_send_secret(yubikey->card, CARD_SET_MANAGEMENT_KEY, 0xff, kind->wants_touch ? 0xfe : 0xff,
                          &bytes, size, &ignored, &status, error))
        return false;
    if (status == CARD_WRONG_DATA)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                    "%s does not take that management key, because it is a weak one; choose another",
                    card_name(yubikey->card));
    else if (status != CARD_OK)
        card_set_refusal(yubikey->card, error, status, "take the management key");
    return status == CARD_OK;
}

static bool is_proved(const YubiKey *yubikey, PivBytes key)
{
    return key.size > 0 && secret_is(yubikey->proved, key.data, key.size);
}

/* The next key lies on the token before it is valid, and the valid one until it is not: but only where it lay
 * there before, as a person's key is the person's to keep. */
static bool replace_and_protect(YubiKey *yubikey, const Kind *kind, const Change *change, GError **error)
{
    static const PivBytes none = {NULL, 0};
    g_auto(LockedBytes) bytes = locked_bytes_new(CARD_SECRET_ROOM(0));
    PivBytes valid = none, key = bytes_of(change->replacement);
    PivProtected kept;
    if (!read_protected(yubikey, &bytes, &kept, error))
        return false;
    if (is_proved(yubikey, kept.key))
        valid = kept.key;
    else if (is_proved(yubikey, kept.next))
        valid = kept.next;
    return write_protected(yubikey, kept.content, valid, key, error) &&
           write_administration(yubikey, true, true, error) && send_key(yubikey, kind, change, error) &&
           write_protected(yubikey, kept.content, key, none, error) &&
           write_administration(yubikey, true, false, error);
}

/* What the token kept is good for nothing afterwards. It goes where the PIN is known: without it nobody can
 * tell what else lies in the same object. */
static bool replace_openly(YubiKey *yubikey, const Kind *kind, const Change *change, GError **error)
{
    static const PivBytes none = {NULL, 0};
    g_auto(LockedBytes) bytes = locked_bytes_new(CARD_SECRET_ROOM(0));
    PivProtected kept;
    bool protected;
    if (!is_protected(yubikey, &protected, error))
        return false;
    bool clean = protected && yubikey->pin;
    if (clean && !read_protected(yubikey, &bytes, &kept, error))
        return false;
    return send_key(yubikey, kind, change, error) && write_administration(yubikey, false, false, error) &&
           (!clean || write_protected(yubikey, kept.content, none, none, error));
}

static void keep_key(YubiKey *yubikey, Secret *key)
{
    secret_ref(key);
    secret_unref(yubikey->management);
    yubikey->management = key;
}

static bool choose_replacement(YubiKey *yubikey, const Kind *kind, Change *change, GError **error)
{
    const ManagementKeyChange *wanted = change->wanted;
    change->algorithm = kind->algorithm;
    if (wanted->algorithm && !(change->algorithm = piv_management_algorithm_find(
                                   wanted->algorithm, card_firmware(yubikey->card), error)))
        return false;
    if (wanted->replacement) {
        change->replacement = secret_ref(wanted->replacement);
        return check_key_size(yubikey, change->algorithm, change->replacement, error);
    }
    if (wanted->protect)
        return (change->replacement = random_key(change->algorithm, error)) != NULL;
    if (wanted->current)
        return true;
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID,
                "Nothing was asked of the management key of %s; give the current one, a new one, or have one "
                "made that the PIN protects",
                card_name(yubikey->card));
    return false;
}

static bool change_work(YubiKey *yubikey, void *data, GError **error)
{
    Change *change = data;
    const ManagementKeyChange *wanted = change->wanted;
    Kind kind;
    if (!read_kind(yubikey, &kind, error) || !choose_replacement(yubikey, &kind, change, error))
        return false;
    /* Without the PIN a key can't be kept: that is to fail before anything else happens. */
    if (wanted->protect && !yubikey_ensure_pin(yubikey, error))
        return false;
    bool untried = wanted->unasked && kind.wants_touch && !change->replacement;
    if (untried ? !check_key_size(yubikey, kind.algorithm, wanted->current, error)
                : !prove_current(yubikey, &kind, wanted->current, error))
        return false;
    yubikey->is_factory = -1;
    if (!change->replacement) {
        keep_key(yubikey, wanted->current);
        return true;
    }
    if (!(wanted->protect ? replace_and_protect : replace_openly)(yubikey, &kind, change, error))
        return false;
    if (wanted->protect)
        g_clear_pointer(&yubikey->management, secret_unref);
    else
        keep_key(yubikey, change->replacement);
    return true;
}

bool yubikey_set_management_key(Backend *backend, const ManagementKeyChange *change, GError **error)
{
    YubiKey *yubikey = (YubiKey *)backend;
    Change work = {.wanted = change};
    bool done = yubikey_run(yubikey, change_work, &work, error);
    secret_unref(work.replacement);
    return done;
}

void yubikey_forget_management_key(Backend *backend)
{
    g_clear_pointer(&((YubiKey *)backend)->management, secret_unref);
}
