/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PIV as a YubiKey has it (SP 800-73-4 with Yubico's extensions), as far as it is facts and bytes: slots,
 * algorithms, policies, firmware, and BER-TLV. Pure: nothing here talks to a card. */

#include "daemon/token/key-type.h"

/* Firmware versions as numbers that can be compared. */
typedef guint32 Firmware;
#define FIRMWARE(major, minor, patch) ((Firmware)((major) << 16 | (minor) << 8 | (patch)))
#define FIRMWARE_MAJOR(firmware) ((guint)(firmware) >> 16)
#define FIRMWARE_POLICIES FIRMWARE(4, 0, 0)      /* PIN and touch policies, P-384 */
#define FIRMWARE_ATTESTATION FIRMWARE(4, 3, 0)   /* ATTEST, the touch policy "cached" */
#define FIRMWARE_SERIAL FIRMWARE(5, 0, 0)        /* GET SERIAL in the PIV application */
#define FIRMWARE_METADATA FIRMWARE(5, 3, 0)      /* GET METADATA */
#define FIRMWARE_AES FIRMWARE(5, 4, 2)           /* AES management keys */
#define FIRMWARE_DELETE_KEY FIRMWARE(5, 7, 0)    /* MOVE KEY, and with it deleting */
#define FIRMWARE_NEW_KEY_TYPES FIRMWARE(5, 7, 0) /* RSA-3072, RSA-4096, Ed25519 */

/* "5.4.3". Transfer full. */
char *firmware_to_string(Firmware firmware);

typedef struct PivSlot {
    const char *name; /* "9c" */
    guint8 id;        /* key reference in an APDU */
    guint8 pkcs11_id; /* CKA_ID in ykcs11, by which the original agent names slots */
    guint32 object;   /* of its certificate */
} PivSlot;

#define PIV_SLOTS 25 /* with the attestation slot, which is the last one */
#define PIV_SLOT_MANAGEMENT 0x9b
#define PIV_SLOT_ATTESTATION 0xf9

/* What a token leaves the factory with, and no secret. */
#define PIV_FACTORY_PIN "123456"
/* Key references of PIN and PUK. */
enum { PIV_REFERENCE_PIN = 0x80, PIV_REFERENCE_PUK = 0x81 };

extern const PivSlot piv_slots[PIV_SLOTS];
/* A PIV name in any case, or the original agent's id ("02", hexadecimal: protocol.md 6.2). NULL: neither. */
const PivSlot *piv_slot_find(const char *spelling);
/* The order in which to offer free slots: that for signatures first, the one that wants no PIN last. NULL
 * behind the last. */
const PivSlot *piv_slot_offered(guint at);

enum {
    PIV_OBJECT_PROTECTED = 0x5fc109,      /* "printed information", readable with the PIN */
    PIV_OBJECT_ADMINISTRATION = 0x5fff00, /* Yubico's: what is kept where */
};

/* Algorithm bytes. */
enum { PIV_RSA1024 = 0x06, PIV_X25519 = 0xe1 };
guint8 piv_algorithm(KeyType type); /* 0: PIV has none */
bool piv_key_type(guint8 algorithm, KeyType *ret_type);
/* Bytes of a modulus, a field element, or a raw key. */
gsize piv_key_size(KeyType type);
bool piv_firmware_has(Firmware firmware, KeyType type);
/* Firmware 4.2.6 to 4.3.4 makes RSA keys whose private half can be computed (CVE-2017-15361). */
bool piv_firmware_makes_weak_rsa(Firmware firmware);

/* Policy bytes; names as KeyOptions has them. */
enum { PIV_PIN_NEVER = 1, PIV_PIN_ONCE = 2, PIV_PIN_ALWAYS = 3, PIV_PIN_MATCH_ALWAYS = 5 };
enum { PIV_TOUCH_NEVER = 1, PIV_TOUCH_ALWAYS = 2, PIV_TOUCH_CACHED = 3 };
const char *piv_pin_policy_to_string(guint8 policy); /* NULL: unknown */
const char *piv_touch_policy_to_string(guint8 policy);
/* NULL becomes 0, which is the token's default. */
bool piv_pin_policy_from_string(const char *name, guint8 *ret_policy, GError **error);
bool piv_touch_policy_from_string(const char *name, guint8 *ret_policy, GError **error);

typedef struct PivBytes {
    const guint8 *data;
    gsize size;
} PivBytes;

/* Takes one TLV off the front of |rest|: tags of one or two bytes, lengths of up to two. False at the end and
 * for what is no TLV; at the end |rest| is empty. */
bool piv_tlv_next(PivBytes *rest, guint32 *ret_tag, PivBytes *ret_value);
/* The first |tag| at the top level of |bytes|. */
bool piv_tlv_find(PivBytes bytes, guint32 tag, PivBytes *ret_value);

/* Writes into memory that the caller chose, which may have to be locked; never beyond its end. */
typedef struct PivWriter {
    guint8 *data;
    gsize room;
    gsize size;    /* written so far */
    bool overflow; /* something did not fit: what is there is worth nothing */
} PivWriter;

void piv_write(PivWriter *writer, const void *bytes, gsize size);
void piv_write_header(PivWriter *writer, guint32 tag, gsize size);
void piv_write_tlv(PivWriter *writer, guint32 tag, const void *value, gsize size);
void piv_write_byte_tlv(PivWriter *writer, guint32 tag, guint8 value);
