/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The management key of piv.h: GENERAL AUTHENTICATE for 9B, in which both sides or the host alone prove that
 * they have it (SP 800-73-4, part 2, appendix A.1), and Yubico's SET MANAGEMENT KEY. */

#include "tests/virtual-yubikey/piv.h"
#include "tests/virtual-yubikey/slots.h"
#include "tests/virtual-yubikey/tlv.h"
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <string.h>

static const struct {
    guint8 id;
    const char *cipher;
    guint8 key_length;
    guint8 block;
    Firmware since;
} ciphers[] = {
    {.id = 0x03, .cipher = "DES-EDE3-ECB", .key_length = 24, .block = 8},
    {.id = 0x08, .cipher = "AES-128-ECB", .key_length = 16, .block = 16, .since = FIRMWARE_AES},
    {.id = 0x0a, .cipher = "AES-192-ECB", .key_length = 24, .block = 16, .since = FIRMWARE_AES},
    {.id = 0x0c, .cipher = "AES-256-ECB", .key_length = 32, .block = 16, .since = FIRMWARE_AES},
};

/* -1: |firmware| doesn't know it. */
static int cipher_index(guint8 id, Firmware firmware)
{
    for (gsize i = 0; i < G_N_ELEMENTS(ciphers); i++)
        if (ciphers[i].id == id && firmware >= ciphers[i].since)
            return (int)i;
    return -1;
}

static gsize block_length(const Piv *piv)
{
    return ciphers[cipher_index(piv->memory->management.algorithm, piv->memory->firmware)].block;
}

/* One block under the management key. */
static void encipher(const Piv *piv, const guint8 *block, guint8 *ret_block)
{
    const ManagementKey *management = &piv->memory->management;
    int index = cipher_index(management->algorithm, piv->memory->firmware);
    g_autoptr(EVP_CIPHER) cipher = EVP_CIPHER_fetch(NULL, ciphers[index].cipher, NULL);
    g_autoptr(EVP_CIPHER_CTX) context = EVP_CIPHER_CTX_new();
    int length = 0;
    if (EVP_EncryptInit_ex2(context, cipher, management->key, NULL, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(context, 0) != 1 ||
        EVP_EncryptUpdate(context, ret_block, &length, block, ciphers[index].block) != 1)
        g_error("%s does not work", ciphers[index].cipher);
}

/* 80 without a value: the card shows |challenge| enciphered; 81 without a value: as it is. */
static guint16 begin(Piv *piv, Exchange exchange, GByteArray *answer)
{
    guint8 shown[CIPHER_BLOCK_LONGEST];
    gsize length = block_length(piv);
    g_autoptr(GByteArray) inner = g_byte_array_new();
    if (RAND_bytes(piv->challenge, sizeof piv->challenge) != 1)
        return SW_INTERNAL;
    memcpy(shown, piv->challenge, length);
    if (exchange == EXCHANGE_WITNESS)
        encipher(piv, piv->challenge, shown);
    tlv_append(inner, exchange == EXCHANGE_WITNESS ? 0x80 : 0x81, shown, length);
    tlv_append(answer, 0x7c, inner->data, inner->len);
    piv->exchange = exchange;
    return SW_SUCCESS;
}

static bool proved(Piv *piv, const Tlv *proof, const guint8 *expected)
{
    if (proof->length != block_length(piv) || CRYPTO_memcmp(proof->value, expected, proof->length) != 0)
        return false;
    return piv->memory->management.touch_policy == TOUCH_POLICY_NEVER || hand_wait_touch(piv->hand);
}

/* The host has deciphered the witness, and wants the same from the card. */
static guint16 finish_mutual(Piv *piv, const Tlv *witness, const Tlv *challenge, GByteArray *answer)
{
    guint8 proof[CIPHER_BLOCK_LONGEST];
    g_autoptr(GByteArray) inner = g_byte_array_new();
    if (challenge->length != block_length(piv))
        return SW_WRONG_DATA;
    if (!proved(piv, witness, piv->challenge))
        return SW_SECURITY_STATUS;
    encipher(piv, challenge->value, proof);
    tlv_append(inner, 0x82, proof, challenge->length);
    tlv_append(answer, 0x7c, inner->data, inner->len);
    piv->management_verified = true;
    return SW_SUCCESS;
}

static guint16 finish_single(Piv *piv, const Tlv *response)
{
    guint8 expected[CIPHER_BLOCK_LONGEST];
    encipher(piv, piv->challenge, expected);
    if (!proved(piv, response, expected))
        return SW_SECURITY_STATUS;
    piv->management_verified = true;
    return SW_SUCCESS;
}

guint16 piv_authenticate_management(Piv *piv, const Command *command, GByteArray *answer)
{
    Tlv template, witness, challenge, response;
    Exchange exchange = piv->exchange;
    if (command->p1 != piv->memory->management.algorithm)
        return SW_WRONG_P1P2;
    if (!tlv_find(command->data, command->length, 0x7c, &template))
        return SW_WRONG_DATA;
    bool has_witness = tlv_find(template.value, template.length, 0x80, &witness);
    bool has_challenge = tlv_find(template.value, template.length, 0x81, &challenge);
    bool has_response = tlv_find(template.value, template.length, 0x82, &response);
    piv->exchange = EXCHANGE_NONE;
    piv->management_verified = false;
    if (has_witness && witness.length == 0)
        return begin(piv, EXCHANGE_WITNESS, answer);
    if (has_challenge && challenge.length == 0)
        return begin(piv, EXCHANGE_CHALLENGE, answer);
    if (has_witness && has_challenge && exchange == EXCHANGE_WITNESS)
        return finish_mutual(piv, &witness, &challenge, answer);
    if (has_response && exchange == EXCHANGE_CHALLENGE)
        return finish_single(piv, &response);
    return exchange == EXCHANGE_NONE ? SW_SECURITY_STATUS : SW_WRONG_DATA;
}

/* FIPS 74, 3.6, without the parity bits. */
static bool is_weak_des_key(const guint8 *key)
{
    static const guint8 weak[][8] = {
        {0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00},
        {0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe, 0xfe},
        {0x1e, 0x1e, 0x1e, 0x1e, 0x0e, 0x0e, 0x0e, 0x0e},
        {0xe0, 0xe0, 0xe0, 0xe0, 0xf0, 0xf0, 0xf0, 0xf0},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(weak); i++) {
        guint same = 0;
        for (guint k = 0; k < 8; k++)
            same += (key[k] & 0xfe) == weak[i][k];
        if (same == 8)
            return true;
    }
    return false;
}

guint16 piv_set_management_key(Piv *piv, const Command *command, GByteArray *answer)
{
    ManagementKey *management = &piv->memory->management;
    if (command->p1 != 0xff || (command->p2 != 0xff && command->p2 != 0xfe))
        return SW_WRONG_P1P2;
    if (command->length < 3)
        return SW_WRONG_LENGTH;
    int index = cipher_index(command->data[0], piv->memory->firmware);
    const guint8 *key = command->data + 3;
    if (index < 0 || command->data[1] != SLOT_MANAGEMENT)
        return SW_WRONG_DATA;
    if (command->data[2] != ciphers[index].key_length || command->length != 3u + ciphers[index].key_length)
        return SW_WRONG_LENGTH;
    if (ciphers[index].block == 8 &&
        (is_weak_des_key(key) || is_weak_des_key(key + 8) || is_weak_des_key(key + 16)))
        return SW_WRONG_DATA;
    *management = (ManagementKey){
        .algorithm = command->data[0],
        .touch_policy = command->p2 == 0xfe ? TOUCH_POLICY_ALWAYS : TOUCH_POLICY_NEVER,
    };
    memcpy(management->key, key, ciphers[index].key_length);
    piv->memory->changed = true;
    return SW_SUCCESS;
}
