/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A virtual YubiKey fresh from the factory, behind a real pcscd, and its backend: what the worker's thread
 * sees, called from the test's. And a second PC/SC client, the other program that has the card, too. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/yubikey/yubikey.h"
#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/virtual-yubikey/test/virtual-key.h"

#define PIN "123456"
#define WRONG_PIN "000000"
#define PUK "12345678"
#define SERIAL "12345678"
#define FIRMWARE_4 "4.3.7"
#define FIRMWARE_5 "5.4.3"
#define FIRMWARE_57 "5.7.1"
#define TRIPLE_DES_KEY "010203040506070801020304050607080102030405060708"

typedef struct Scene {
    char *directory;
    Pcsc *pcsc;
    VirtualKey *key;
    Backend *backend;
    /* What it reported of touches; written on the thread of the call. */
    gint touches_wanted;
    gint touches_ended;
    char *touch_slot;
} Scene;

Scene *scene_new(const char *firmware);
/* And it has a key in 9a (p256), and its PIN has been given. */
Scene *scene_new_ready(const char *firmware);
void scene_free(Scene *scene);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scene, scene_free)
/* A backend for the key that is in the reader now. */
Backend *scene_open(Scene *scene);
void scene_unplug(Scene *scene);
void scene_plug(Scene *scene);
void scene_stop_pcscd(Scene *scene);
/* And it has found the key again. */
void scene_start_pcscd(Scene *scene);

/* What the card has seen of an instruction since |reset_count|. */
guint64 seen(Scene *scene, const char *instruction);
void reset_count(Scene *scene);
/* PIN tries as the card itself counts them. */
int pin_tries(Scene *scene);

Secret *secret_of(const char *text);
Secret *secret_of_hex(const char *hex);
void log_in(Scene *scene);
/* Each must succeed; |options| may be NULL. */
void generate(Scene *scene, const char *slot, KeyType type, const KeyOptions *options);
TokenInfo *probe(Scene *scene);
/* NULL: not listed. */
SlotInfo *find_slot(const TokenInfo *info, const char *name);
bool is_free(const TokenInfo *info, const char *name);

/* Signs a message with the slot's key; OpenSSL has verified the signature with |public_key|. False with
 * |error|. */
bool try_sign(Scene *scene, const char *slot, EVP_PKEY *public_key, GError **error);
void assert_signs(Scene *scene, const char *slot, EVP_PKEY *public_key);
void assert_sign_fails(Scene *scene, const char *slot, IothsmError code);

#define assert_code(error, wanted)                                                                           \
    do {                                                                                                     \
        if (!g_error_matches(error, IOTHSM_ERROR, wanted))                                                   \
            g_error("%s:%d: expected %s, got: %s", __FILE__, __LINE__, #wanted,                              \
                    (error) ? (error)->message : "success");                                                 \
    } while (0)

/* The other program. */
typedef struct Other Other;
/* |exclusive|: as soon as nobody else has it. */
Other *other_connect(bool exclusive);
void other_free(Other *other); /* leaves the card as it is */
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Other, other_free)
void other_begin(Other *other);
void other_end(Other *other);
void other_reset(Other *other); /* resets the card and keeps its connection */
/* Ends its connection and has pcscd reset the card for it. */
void other_leave_and_reset(Other *other);
/* An APDU in hex; its status word. */
guint16 other_send(Other *other, const char *hex);
