/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the key keeps without power: PIN and PUK with their counters, the management key, the keys of the
 * slots, and the data objects. All of it is one file, written whole and renamed into place, so that a replug,
 * a new process, or a killed one finds the last complete state. Under the hand's lock. */

#include "tests/virtual-yubikey/algorithm.h"
#include "tests/virtual-yubikey/openssl-types.h"
#include <stdbool.h>

#define PIN_LENGTH 8
#define MANAGEMENT_KEY_LONGEST 32
#define DEFAULT_TRIES 3

typedef struct Reference {
    guint8 value[PIN_LENGTH]; /* padded with FF */
    guint8 tries;
    guint8 left;
} Reference;

typedef struct ManagementKey {
    guint8 algorithm; /* 03 triple DES, 08 0A 0C AES-128, -192, -256 */
    guint8 key[MANAGEMENT_KEY_LONGEST];
    guint8 touch_policy;
} ManagementKey;

typedef enum KeyOrigin {
    ORIGIN_GENERATED = 1,
    ORIGIN_IMPORTED = 2,
} KeyOrigin;

typedef struct SlotKey {
    const Algorithm *algorithm;
    guint8 pin_policy; /* never PIN_POLICY_DEFAULT; the same for touch */
    guint8 touch_policy;
    guint8 origin;
    EVP_PKEY *key;
} SlotKey;

typedef struct Memory Memory;

struct Memory {
    char *path;
    Firmware firmware;
    guint32 serial;
    Reference pin;
    Reference puk;
    ManagementKey management;
    GHashTable *keys;    /* slot → SlotKey */
    GHashTable *objects; /* identifier → GBytes */
    bool changed;        /* since it was saved */
    guint64 compared;    /* how often somebody tried PIN or PUK; not saved */
    bool last_blocked;   /* the last wrong one is answered as blocked at once; not saved */

    /* Puts the factory's key and certificate for attestation in. An RSA key takes so long that it is made
     * when somebody first looks at it. */
    void (*make_attestation)(Memory *memory);
    bool has_attestation; /* it was called */
    char *root;           /* folder of the attestation root */
};

/* The state in |path|, or a key fresh from the factory if there is none, not saved yet; it has no attestation
 * key until |make_attestation| is set and needed. |firmware| and |serial|: 0 for what the file says; anything
 * else must agree with it. */
Memory *memory_open(const char *path, Firmware firmware, guint32 serial, GError **error);
void memory_free(Memory *memory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Memory, memory_free)

/* Writes the file if something changed. */
bool memory_save(Memory *memory, GError **error);
/* Everything as the factory made it, save the attestation key and its certificate. */
void memory_reset(Memory *memory);
/* PIN and PUK as the factory made them, with these tries. */
void memory_reset_references(Memory *memory, guint8 pin_tries, guint8 puk_tries);

/* What GET METADATA says of them. */
bool memory_has_default_pin(const Memory *memory);
bool memory_has_default_puk(const Memory *memory);
bool memory_has_default_management_key(const Memory *memory);

SlotKey *memory_key(Memory *memory, guint8 slot);
/* |key| transfer full. */
void memory_put_key(Memory *memory, guint8 slot, const SlotKey *contents, EVP_PKEY *key);
void memory_move_key(Memory *memory, guint8 from, guint8 to);
void memory_delete_key(Memory *memory, guint8 slot);

GBytes *memory_object(Memory *memory, guint32 object);
/* Nothing (|length| 0) deletes it. */
void memory_put_object(Memory *memory, guint32 object, const guint8 *bytes, gsize length);
