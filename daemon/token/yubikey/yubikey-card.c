/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PC/SC with its many ways to lose a card, and PIV's few commands that are not about a key. */

#include "daemon/token/yubikey/yubikey-card.h"
#include "daemon/error.h"
#include <openssl/crypto.h>
#include <reader.h>
#include <string.h>
#include <winscard.h>
#include <ykpiv.h>

#define CONNECT_ATTEMPTS 3
#define BLOCK_MAX 255
#define ANSWER_MAX 258
/* How long another program may keep the card in a transaction of its own before it counts as holding it. */
#define HELD_AFTER (2 * G_TIME_SPAN_SECOND)
#define HELD_POLL (20 * G_TIME_SPAN_MILLISECOND)

enum {
    INSTRUCTION_SELECT = 0xa4,
    INSTRUCTION_GET_SERIAL = 0xf8,
    INSTRUCTION_GET_VERSION = 0xfd,
    INSTRUCTION_OTP = 0x01,
    OTP_GET_SERIAL = 0x10,
};

static const guint8 application_piv[] = {0xa0, 0x00, 0x00, 0x03, 0x08};
static const guint8 application_management[] = {0xa0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17};
static const guint8 application_otp[] = {0xa0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01, 0x01};

struct Card {
    char *reader;
    char *name;
    guint32 serial; /* 0: not known yet */
    Firmware firmware;
    guint generation;
    bool has_context;
    SCARDCONTEXT context;
    bool connected;
    SCARDHANDLE handle;
    ykpiv_state *library;
    bool lost; /* the connection broke inside this transaction */
    CardPin pin;
};

Card *card_new(const char *reader)
{
    Card *card = g_new0(Card, 1);
    card->reader = g_strdup(reader);
    card->name = g_strdup_printf("The YubiKey in reader \"%s\"", reader);
    return card;
}

static void disconnect(Card *card)
{
    if (card->library)
        (void)ykpiv_done_with_external_card(g_steal_pointer(&card->library));
    if (card->connected)
        (void)SCardDisconnect(card->handle, SCARD_LEAVE_CARD);
    card->connected = false;
    card->lost = false;
}

static void leave_service(Card *card)
{
    disconnect(card);
    if (card->has_context)
        (void)SCardReleaseContext(card->context);
    card->has_context = false;
}

void card_free(Card *card)
{
    if (!card)
        return;
    leave_service(card);
    g_free(card->reader);
    g_free(card->name);
    g_free(card);
}

const char *card_reader(const Card *card)
{
    return card->reader;
}

const char *card_name(const Card *card)
{
    return card->name;
}

guint32 card_serial(const Card *card)
{
    return card->serial;
}

Firmware card_firmware(const Card *card)
{
    return card->firmware;
}

guint card_generation(const Card *card)
{
    return card->generation;
}

CardPin card_pin(const Card *card)
{
    return card->pin;
}

static bool service_is_gone(LONG result)
{
    return result == SCARD_E_NO_SERVICE || result == SCARD_E_SERVICE_STOPPED ||
           result == SCARD_F_COMM_ERROR || result == SCARD_E_INVALID_HANDLE ||
           result == SCARD_E_SYSTEM_CANCELLED;
}

static bool fail(const Card *card, LONG result, GError **error)
{
    switch (result) {
    case SCARD_E_SHARING_VIOLATION:
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_HELD,
                    "%s is held by another program; end that program, or have it share the card (GnuPG: "
                    "gpgconf --kill scdaemon)",
                    card->name);
        break;
    case SCARD_W_REMOVED_CARD:
    case SCARD_E_NO_SMARTCARD:
    case SCARD_E_READER_UNAVAILABLE:
    case SCARD_E_UNKNOWN_READER:
    case SCARD_E_NO_READERS_AVAILABLE:
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE, "%s is gone; plug it in again", card->name);
        break;
    case SCARD_E_NO_ACCESS:
    case SCARD_W_SECURITY_VIOLATION:
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "The smart card service pcscd does not let this service use %s; allow it the polkit "
                    "actions org.debian.pcsc-lite.access_pcsc and access_card",
                    card->name);
        break;
    case SCARD_W_UNRESPONSIVE_CARD:
    case SCARD_W_UNPOWERED_CARD:
    case SCARD_W_UNSUPPORTED_CARD:
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "%s does not answer; pull it out and plug it in again", card->name);
        break;
    default:
        if (service_is_gone(result))
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                        "%s can't be reached, because the smart card service pcscd is not running; start it "
                        "with: systemctl start pcscd.socket",
                        card->name);
        else
            g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "%s can't be used: %s", card->name,
                        pcsc_stringify_error(result));
    }
    return false;
}

/* What became of the connection: the sentence for it, and a new one next time. An exchange that failed while
 * pcscd still believes in the card is a card on its way out. */
static void set_lost(Card *card, GError **error)
{
    DWORD state = 0, protocol = 0, atr_size = MAX_ATR_SIZE;
    BYTE atr[MAX_ATR_SIZE];
    LONG result = SCardStatus(card->handle, NULL, NULL, &state, &protocol, atr, &atr_size);
    card->lost = true;
    if (service_is_gone(result))
        fail(card, result, error);
    else
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                    "%s was gone before it had answered; plug it in again", card->name);
}

void card_set_refusal(const Card *card, GError **error, guint16 status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED, "%s did not %s: it answered with status word %04X",
                card->name, what, status);
}

bool card_send(Card *card, guint8 instruction, guint8 p1, guint8 p2, const void *data, gsize size,
               CardAnswer *ret_answer, GError **error)
{
    const unsigned char header[] = {0, instruction, p1, p2};
    unsigned long length = sizeof ret_answer->data;
    int status = 0;
    if (card->lost) {
        set_lost(card, error);
        return false;
    }
    ykpiv_rc result = ykpiv_transfer_data(card->library, header, data ? data : (const void *)"", (long)size,
                                          ret_answer->data, &length, &status);
    /* An answer without a status word is what a driver makes of a card that has just gone. */
    if (result == YKPIV_PCSC_ERROR || (result == YKPIV_OK && status == 0)) {
        set_lost(card, error);
        return false;
    }
    if (result != YKPIV_OK) {
        card->lost = true;
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "%s answered with something that is no answer: %s", card->name, ykpiv_strerror(result));
        return false;
    }
    ret_answer->size = length;
    ret_answer->status = (guint16)status;
    return true;
}

static bool transmit(Card *card, const guint8 *apdu, gsize size, guint8 *answer, gsize room, gsize *ret_size,
                     guint16 *ret_status, GError **error)
{
    DWORD length = room;
    if (card->lost) {
        set_lost(card, error);
        return false;
    }
    LONG result = SCardTransmit(card->handle, SCARD_PCI_T1, apdu, size, NULL, answer, &length);
    if (result != SCARD_S_SUCCESS || length < 2) {
        set_lost(card, error);
        return false;
    }
    *ret_size = length - 2;
    *ret_status = (guint16)(answer[length - 2] << 8 | answer[length - 1]);
    return true;
}

LockedBytes locked_bytes_new(gsize room)
{
    LockedBytes bytes = {OPENSSL_secure_zalloc(room), room};
    if (!bytes.data)
        bytes.data = OPENSSL_zalloc(room);
    if (!bytes.data)
        g_error("out of memory for a secret of %zu bytes", room);
    return bytes;
}

void locked_bytes_clear(LockedBytes *bytes)
{
    OPENSSL_secure_clear_free(bytes->data, bytes->room);
}

/* The header of each block overwrites the end of the block before it, which has been sent. */
bool card_send_secret(Card *card, guint8 instruction, guint8 p1, guint8 p2, LockedBytes *bytes, gsize size,
                      gsize *ret_size, guint16 *ret_status, GError **error)
{
    gsize at = 0;
    g_return_val_if_fail(bytes->room >= CARD_SECRET_ROOM(size), false);
    do {
        guint8 none[2];
        gsize block = MIN(size - at, BLOCK_MAX);
        bool last = at + block == size;
        guint8 *apdu = bytes->data + at;
        const guint8 header[] = {last ? 0 : 0x10, instruction, p1, p2, (guint8)block};
        memcpy(apdu, header, sizeof header);
        if (!transmit(card, apdu, sizeof header + block, last ? bytes->data : none,
                      last ? ANSWER_MAX : sizeof none, ret_size, ret_status, error))
            return false;
        at += block;
    } while (at < size && *ret_status == CARD_OK);
    return true;
}

static bool select_application(Card *card, const guint8 *identifier, gsize size, bool *ret_selected,
                               GError **error)
{
    CardAnswer answer;
    if (!card_send(card, INSTRUCTION_SELECT, 4, 0, identifier, size, &answer, error))
        return false;
    *ret_selected = answer.status == CARD_OK;
    return true;
}

static bool select_piv(Card *card, GError **error)
{
    bool selected;
    if (!select_application(card, application_piv, sizeof application_piv, &selected, error))
        return false;
    if (!selected)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "%s has no PIV application, or it is switched off; switch it on with: ykman config usb "
                    "--enable PIV",
                    card->name);
    return selected;
}

/* An empty VERIFY. The status word of another application means that PIV is not selected. */
bool card_look(Card *card, bool *ret_is_piv, GError **error)
{
    CardAnswer answer;
    if (!card_send(card, CARD_VERIFY, 0, PIV_REFERENCE_PIN, NULL, 0, &answer, error))
        return false;
    *ret_is_piv = true;
    card->pin = (CardPin){.verified = answer.status == CARD_OK, .tries_left = -1};
    if (answer.status == CARD_BLOCKED)
        card->pin.tries_left = 0;
    else if ((answer.status & 0xfff0) == 0x63c0)
        card->pin.tries_left = answer.status & 0xf;
    else if (!card->pin.verified)
        *ret_is_piv = false;
    return true;
}

bool card_ask_pin(Card *card, GError **error)
{
    bool is_piv;
    if (!card_look(card, &is_piv, error))
        return false;
    if (!is_piv)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED,
                    "%s does not say how many PIN tries are left, so none is made", card->name);
    return is_piv;
}

bool card_count_pin_tries(Card *card, int *ret_tries, GError **error)
{
    g_auto(PivMetadata) metadata = {.tries_left = -1};
    bool found;
    if (card->pin.verified && !card_get_metadata(card, PIV_REFERENCE_PIN, &metadata, &found, error))
        return false;
    *ret_tries = card->pin.verified ? metadata.tries_left : card->pin.tries_left;
    return true;
}

static bool read_version(Card *card, GError **error)
{
    CardAnswer answer;
    if (!card_send(card, INSTRUCTION_GET_VERSION, 0, 0, NULL, 0, &answer, error))
        return false;
    if (answer.status != CARD_OK || answer.size != 3) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED, "%s is no YubiKey: it tells no version",
                    card->name);
        return false;
    }
    card->firmware = FIRMWARE((Firmware)answer.data[0], (Firmware)answer.data[1], answer.data[2]);
    return true;
}

/* Before firmware 5 only the OTP application tells it, which may be switched off. */
static bool ask_serial(Card *card, CardAnswer *answer, GError **error)
{
    bool selected;
    if (card->firmware >= FIRMWARE_SERIAL)
        return card_send(card, INSTRUCTION_GET_SERIAL, 0, 0, NULL, 0, answer, error);
    *answer = (CardAnswer){.status = CARD_NO_OBJECT};
    return select_application(card, application_otp, sizeof application_otp, &selected, error) &&
           (!selected || card_send(card, INSTRUCTION_OTP, OTP_GET_SERIAL, 0, NULL, 0, answer, error)) &&
           select_piv(card, error);
}

static bool read_serial(Card *card, GError **error)
{
    CardAnswer answer;
    if (!ask_serial(card, &answer, error))
        return false;
    guint32 serial = 0;
    if (answer.status == CARD_OK && answer.size == 4)
        serial = (guint32)answer.data[0] << 24 | (guint32)answer.data[1] << 16 |
                 (guint32)answer.data[2] << 8 | answer.data[3];
    if (serial == 0) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED,
                    "%s tells no serial number to know it by%s", card->name,
                    card->firmware < FIRMWARE_SERIAL ? "; switch its OTP application on" : "");
        return false;
    }
    if (card->serial != 0 && card->serial != serial) {
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_GONE,
                    "%s is gone; the one in its reader is YubiKey %u", card->name, serial);
        return false;
    }
    if (card->serial == 0) {
        card->serial = serial;
        g_free(card->name);
        card->name = g_strdup_printf("YubiKey %u", serial);
    }
    return true;
}

static LONG connect_card(Card *card)
{
    DWORD protocol = 0;
    LONG result = SCARD_S_SUCCESS;
    if (!card->has_context) {
        result = SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &card->context);
        card->has_context = result == SCARD_S_SUCCESS;
    }
    if (result == SCARD_S_SUCCESS)
        result = SCardConnect(card->context, card->reader, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1,
                              &card->handle, &protocol);
    if (result != SCARD_S_SUCCESS)
        return result;
    card->connected = true;
    card->generation++;
    if (ykpiv_init(&card->library, 0) != YKPIV_OK ||
        ykpiv_connect_with_external_card(card->library, (uintptr_t)card->context, (uintptr_t)card->handle) !=
            YKPIV_OK)
        return SCARD_E_NO_SMARTCARD;
    return result;
}

/* SCardBeginTransaction waits for as long as another program's transaction takes, however long that is.
 * Asking the reader for an attribute of its own is refused meanwhile, and so tells. */
static LONG wait_turn(Card *card)
{
    gint64 end = g_get_monotonic_time() + HELD_AFTER;
    for (;;) {
        BYTE atr[MAX_ATR_SIZE];
        DWORD size = sizeof atr;
        LONG result = SCardGetAttrib(card->handle, SCARD_ATTR_ATR_STRING, atr, &size);
        if (result != SCARD_E_SHARING_VIOLATION || g_get_monotonic_time() > end)
            return result == SCARD_E_SHARING_VIOLATION ? result : SCARD_S_SUCCESS;
        g_usleep(HELD_POLL);
    }
}

/* |*ret_reset|: the card was reset since, and maybe pulled out in the same moment. */
static LONG begin_transaction(Card *card, bool *ret_reset)
{
    LONG result = wait_turn(card);
    if (result == SCARD_S_SUCCESS)
        result = SCardBeginTransaction(card->handle);
    *ret_reset = result == SCARD_W_RESET_CARD;
    if (!*ret_reset)
        return result;
    DWORD protocol;
    result = SCardReconnect(card->handle, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_LEAVE_CARD, &protocol);
    return result == SCARD_S_SUCCESS ? SCardBeginTransaction(card->handle) : result;
}

/* In the transaction: the right card with PIV selected, and what it says of the PIN. |is_new|: it may be
 * another one than before. */
static bool enter(Card *card, bool is_new, GError **error)
{
    bool is_piv = false;
    if (is_new && (!select_piv(card, error) || !read_version(card, error) || !read_serial(card, error)))
        return false;
    if (is_new)
        return card_ask_pin(card, error);
    if (!card_look(card, &is_piv, error))
        return false;
    return card->pin.verified || (select_piv(card, error) && card_ask_pin(card, error));
}

static bool try_begin(Card *card, GError **error)
{
    bool is_new = !card->connected, was_reset = false;
    LONG result = is_new ? connect_card(card) : SCARD_S_SUCCESS;
    if (result == SCARD_S_SUCCESS)
        result = begin_transaction(card, &was_reset);
    if (result != SCARD_S_SUCCESS) {
        if (service_is_gone(result))
            leave_service(card);
        else if (result != SCARD_E_SHARING_VIOLATION || is_new)
            disconnect(card);
        return fail(card, result, error);
    }
    if (enter(card, is_new || was_reset, error))
        return true;
    (void)SCardEndTransaction(card->handle, SCARD_LEAVE_CARD);
    disconnect(card);
    return false;
}

/* Nothing but harmless questions were asked when this fails, so it may be tried again. The first attempt
 * after a card came back meets the end of the old connection. */
bool card_begin(Card *card, GError **error)
{
    for (guint attempt = 1;; attempt++) {
        g_autoptr(GError) failure = NULL;
        bool was_connected = card->connected;
        if (try_begin(card, &failure))
            return true;
        if (!was_connected || attempt == CONNECT_ATTEMPTS ||
            g_error_matches(failure, IOTHSM_ERROR, IOTHSM_ERROR_TOKEN_HELD)) {
            g_propagate_error(error, g_steal_pointer(&failure));
            return false;
        }
    }
}

void card_end(Card *card)
{
    LONG result = SCardEndTransaction(card->handle, SCARD_LEAVE_CARD);
    if (card->lost || result != SCARD_S_SUCCESS)
        disconnect(card);
}

static gsize write_object(guint8 bytes[5], guint32 object)
{
    const guint8 header[] = {0x5c, 3, (guint8)(object >> 16), (guint8)(object >> 8), (guint8)object};
    memcpy(bytes, header, sizeof header);
    return sizeof header;
}

bool card_get_object(Card *card, guint32 object, CardAnswer *answer, PivBytes *ret_content, GError **error)
{
    guint8 name[5];
    if (!card_send(card, CARD_GET_DATA, 0x3f, 0xff, name, write_object(name, object), answer, error))
        return false;
    *ret_content = (PivBytes){NULL, 0};
    if (answer->status == CARD_NO_OBJECT)
        return true;
    if (answer->status == CARD_OK && piv_object_content((PivBytes){answer->data, answer->size}, ret_content))
        return true;
    card_set_refusal(card, error, answer->status, "give out its object %06X", object);
    return false;
}

bool card_put_object(Card *card, guint32 object, const void *content, gsize size, GError **error)
{
    guint8 bytes[PIV_OBJECT_MAX + 16];
    PivWriter writer = {.data = bytes, .room = sizeof bytes};
    CardAnswer answer;
    writer.size = write_object(bytes, object);
    piv_write_tlv(&writer, 0x53, content, size);
    g_return_val_if_fail(!writer.overflow, false);
    if (!card_send(card, CARD_PUT_DATA, 0x3f, 0xff, bytes, writer.size, &answer, error))
        return false;
    if (answer.status == CARD_NO_SPACE)
        g_set_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED,
                    "%s has no room left for its object %06X; clear a slot that is not needed", card->name,
                    object);
    else if (answer.status != CARD_OK)
        card_set_refusal(card, error, answer.status, "take its object %06X", object);
    return answer.status == CARD_OK;
}

bool card_get_metadata(Card *card, guint8 reference, PivMetadata *ret_metadata, bool *ret_found,
                       GError **error)
{
    CardAnswer answer;
    *ret_found = false;
    if (card->firmware < FIRMWARE_METADATA)
        return true;
    if (!card_send(card, CARD_GET_METADATA, 0, reference, NULL, 0, &answer, error))
        return false;
    if (answer.status == CARD_NO_REFERENCE)
        return true;
    if (answer.status != CARD_OK || !piv_metadata_parse((PivBytes){answer.data, answer.size}, ret_metadata)) {
        card_set_refusal(card, error, answer.status, "tell about its key %02X", reference);
        return false;
    }
    *ret_found = true;
    return true;
}

bool card_forget_verified(Card *card, GError **error)
{
    bool selected;
    return select_application(card, application_management, sizeof application_management, &selected,
                              error) &&
           select_piv(card, error) && card_ask_pin(card, error);
}
