/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* See scene.h. One pcscd serves all tests of a program, unless one of them ends it. */

#include "tests/yubikey/scene.h"
#include "daemon/token/key-provider.h"
#include <openssl/err.h>
#include <string.h>
#include <winscard.h>

static void on_touch(Backend *backend, const char *slot, bool wanted, void *userdata)
{
    Scene *scene = userdata;
    g_atomic_int_inc(wanted ? &scene->touches_wanted : &scene->touches_ended);
    g_free(scene->touch_slot);
    scene->touch_slot = g_strdup(slot);
}

Backend *scene_open(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *serial = NULL;
    Backend *backend = yubikey_new(pcsc_reader_name(0), &serial, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(serial, ==, SERIAL);
    backend->reports = (BackendReports){.touch = on_touch, .userdata = scene};
    return backend;
}

Scene *scene_new(const char *firmware)
{
    Scene *scene = g_new0(Scene, 1);
    g_autofree char *version = g_strconcat("--firmware=", firmware, NULL);
    const char *options[] = {"--serial=" SERIAL, version, NULL};
    scene->directory = test_directory();
    scene->pcsc = pcsc_start();
    scene->key = virtual_key_start(scene->directory, pcsc_port(scene->pcsc, 0), options);
    pcsc_wait_card(scene->pcsc, 0, true);
    scene->backend = scene_open(scene);
    return scene;
}

void scene_free(Scene *scene)
{
    if (!scene)
        return;
    if (scene->backend)
        scene->backend->class->free(scene->backend);
    virtual_key_free(scene->key);
    pcsc_free(scene->pcsc);
    g_free(scene->directory);
    g_free(scene->touch_slot);
    g_free(scene);
}

void scene_unplug(Scene *scene)
{
    virtual_key_tell(scene->key, "unplug");
    pcsc_wait_card(scene->pcsc, 0, false);
}

void scene_plug(Scene *scene)
{
    virtual_key_tell(scene->key, "plug");
    pcsc_wait_card(scene->pcsc, 0, true);
}

void scene_stop_pcscd(Scene *scene)
{
    g_clear_pointer(&scene->key, virtual_key_free);
    g_clear_pointer(&scene->pcsc, pcsc_free);
}

void scene_start_pcscd(Scene *scene)
{
    scene->pcsc = pcsc_start();
    scene->key = virtual_key_start(scene->directory, pcsc_port(scene->pcsc, 0), NULL);
    pcsc_wait_card(scene->pcsc, 0, true);
}

guint64 seen(Scene *scene, const char *instruction)
{
    return virtual_key_count(scene->key, instruction);
}

void reset_count(Scene *scene)
{
    virtual_key_tell(scene->key, "count reset");
}

int pin_tries(Scene *scene)
{
    g_autofree char *tries = virtual_key_ask(scene->key, "tries");
    g_assert_true(g_str_has_prefix(tries, "pin="));
    return (int)g_ascii_strtoull(tries + 4, NULL, 10);
}

Secret *secret_of(const char *text)
{
    return secret_new(text, strlen(text));
}

static GByteArray *bytes_of_hex(const char *hex)
{
    GByteArray *bytes = g_byte_array_new();
    for (; *hex; hex++) {
        if (*hex == ' ')
            continue;
        guint8 byte = (guint8)(g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]));
        g_byte_array_append(bytes, &byte, 1);
        hex++;
    }
    return bytes;
}

Secret *secret_of_hex(const char *hex)
{
    g_autoptr(GByteArray) bytes = bytes_of_hex(hex);
    return secret_new(bytes->data, bytes->len);
}

void log_in(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) pin = secret_of(PIN);
    (void)scene->backend->class->login(scene->backend, pin, false, &error);
    g_assert_no_error(error);
}

void generate(Scene *scene, const char *slot, KeyType type, const KeyOptions *options)
{
    static const KeyOptions none = {NULL, NULL, NULL};
    g_autoptr(GError) error = NULL;
    (void)scene->backend->class->generate_key(scene->backend, slot, type, options ? options : &none, NULL,
                                              &error);
    g_assert_no_error(error);
}

TokenInfo *probe(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    TokenInfo *info = scene->backend->class->probe(scene->backend, &error);
    g_assert_no_error(error);
    return info;
}

SlotInfo *find_slot(const TokenInfo *info, const char *name)
{
    for (guint i = 0; i < info->slots->len; i++) {
        SlotInfo *slot = g_ptr_array_index(info->slots, i);
        if (g_str_equal(slot->name, name))
            return slot;
    }
    return NULL;
}

bool is_free(const TokenInfo *info, const char *name)
{
    return g_strv_contains((const char *const *)info->free_slots, name);
}

static bool sign_and_verify(EVP_PKEY *key, EVP_PKEY *public_key, GError **error)
{
    static const unsigned char message[] = "a message";
    unsigned char signature[1024];
    size_t size = sizeof signature;
    const EVP_MD *digest = EVP_PKEY_is_a(public_key, "ED25519") ? NULL : EVP_sha256();
    g_autoptr(EVP_MD_CTX) signing = EVP_MD_CTX_new();
    g_autoptr(EVP_MD_CTX) verifying = EVP_MD_CTX_new();
    ERR_clear_error();
    if (EVP_DigestSignInit(signing, NULL, digest, NULL, key) != 1 ||
        EVP_DigestSign(signing, signature, &size, message, sizeof message) != 1) {
        GError *explanation = key_provider_take_explanation();
        g_assert_nonnull(explanation);
        g_propagate_error(error, explanation);
        return false;
    }
    g_assert_cmpint(EVP_DigestVerifyInit(verifying, NULL, digest, NULL, public_key), ==, 1);
    g_assert_cmpint(EVP_DigestVerify(verifying, signature, size, message, sizeof message), ==, 1);
    return true;
}

bool try_sign(Scene *scene, const char *slot, EVP_PKEY *public_key, GError **error)
{
    Backend *backend = scene->backend;
    EVP_PKEY *key = backend->class->open_key(backend, slot, error);
    if (!key)
        return false;
    bool done = sign_and_verify(key, public_key ? public_key : key, error);
    backend->class->close_key(backend, key);
    return done;
}

void assert_signs(Scene *scene, const char *slot, EVP_PKEY *public_key)
{
    g_autoptr(GError) error = NULL;
    (void)try_sign(scene, slot, public_key, &error);
    g_assert_no_error(error);
}

void assert_sign_fails(Scene *scene, const char *slot, IothsmError code)
{
    g_autoptr(GError) error = NULL;
    g_assert_false(try_sign(scene, slot, NULL, &error));
    assert_code(error, code);
}

struct Other {
    SCARDCONTEXT context;
    SCARDHANDLE card;
};

Other *other_connect(bool exclusive)
{
    Other *other = g_new0(Other, 1);
    DWORD protocol;
    g_assert_cmpint(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &other->context), ==,
                    SCARD_S_SUCCESS);
    LONG result;
    do
        result = SCardConnect(other->context, pcsc_reader_name(0),
                              exclusive ? SCARD_SHARE_EXCLUSIVE : SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1,
                              &other->card, &protocol);
    while (exclusive && result == SCARD_E_SHARING_VIOLATION);
    if (result != SCARD_S_SUCCESS)
        g_error("the other program: %s", pcsc_stringify_error(result));
    return other;
}

void other_free(Other *other)
{
    if (!other)
        return;
    (void)SCardDisconnect(other->card, SCARD_LEAVE_CARD);
    (void)SCardReleaseContext(other->context);
    g_free(other);
}

void other_begin(Other *other)
{
    g_assert_cmpint(SCardBeginTransaction(other->card), ==, SCARD_S_SUCCESS);
}

void other_end(Other *other)
{
    g_assert_cmpint(SCardEndTransaction(other->card, SCARD_LEAVE_CARD), ==, SCARD_S_SUCCESS);
}

void other_reset(Other *other)
{
    DWORD protocol;
    g_assert_cmpint(
        SCardReconnect(other->card, SCARD_SHARE_SHARED, SCARD_PROTOCOL_T1, SCARD_RESET_CARD, &protocol), ==,
        SCARD_S_SUCCESS);
}

void other_leave_and_reset(Other *other)
{
    g_assert_cmpint(SCardDisconnect(other->card, SCARD_RESET_CARD), ==, SCARD_S_SUCCESS);
}

guint16 other_send(Other *other, const char *hex)
{
    g_autoptr(GByteArray) apdu = bytes_of_hex(hex);
    guint8 answer[258];
    DWORD size = sizeof answer;
    g_assert_cmpint(SCardTransmit(other->card, SCARD_PCI_T1, apdu->data, apdu->len, NULL, answer, &size), ==,
                    SCARD_S_SUCCESS);
    g_assert_cmpuint(size, >=, 2);
    return (guint16)(answer[size - 2] << 8 | answer[size - 1]);
}

Scene *scene_new_ready(const char *firmware)
{
    Scene *scene = scene_new(firmware);
    generate(scene, "9a", KEY_TYPE_P256, NULL);
    log_in(scene);
    return scene;
}
