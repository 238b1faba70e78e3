/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The keys of the virtual YubiKey, from the reader's side: made, imported, used under their policies,
 * attested, moved, and still there after the process was killed. OpenSSL judges what they sign. */

#include "tests/virtual-yubikey/test/desk.h"
#include "tests/virtual-yubikey/tlv.h"
#include <openssl/core_names.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

static const guint8 digest[48] = "forty-eight bytes that stand for some digest...";

/* |key| must take what |desk| signs with it. */
static bool signature_is_good(Desk *desk, EVP_PKEY *key, guint8 slot, guint8 algorithm)
{
    gsize length = algorithm == P384 ? 48 : 32;
    bool good;
    if (EVP_PKEY_is_a(key, "RSA")) {
        gsize size = (gsize)EVP_PKEY_get_size(key);
        g_autofree guint8 *block = g_malloc(size);
        memset(block, 0xff, size);
        block[0] = 0;
        block[1] = 1;
        block[size - 33] = 0;
        memcpy(block + size - 32, digest, 32);
        g_assert_cmphex(reader_sign(desk->reader, slot, algorithm, block, size), ==, 0x9000);
    } else {
        g_assert_cmphex(reader_sign(desk->reader, slot, algorithm, digest, length), ==, 0x9000);
    }
    const guint8 *signature = desk->reader->data->data;
    if (EVP_PKEY_is_a(key, "ED25519")) {
        EVP_MD_CTX *context = EVP_MD_CTX_new();
        EVP_DigestVerifyInit(context, NULL, NULL, NULL, key);
        good = EVP_DigestVerify(context, signature, desk->reader->data->len, digest, length) == 1;
        EVP_MD_CTX_free(context);
        return good;
    }
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(key, NULL);
    EVP_PKEY_verify_init(context);
    if (EVP_PKEY_is_a(key, "RSA"))
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING);
    good = EVP_PKEY_verify(context, signature, desk->reader->data->len, digest, length) == 1;
    EVP_PKEY_CTX_free(context);
    return good;
}

static void generate_and_sign(Desk *desk, guint8 slot, guint8 algorithm)
{
    EVP_PKEY *key = reader_generate(desk->reader, slot, algorithm, "AA0101");
    g_assert_true(signature_is_good(desk, key, slot, algorithm));
    EVP_PKEY_free(key);
}

static void every_algorithm_of_the_firmware_signs(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_57);
    reader_manage(desk->reader, AES_192);
    generate_and_sign(desk, 0x9a, RSA_1024);
    generate_and_sign(desk, 0x9c, RSA_2048);
    generate_and_sign(desk, 0x9d, RSA_3072);
    generate_and_sign(desk, 0x9e, P256);
    generate_and_sign(desk, 0x82, P384);
    generate_and_sign(desk, 0x95, ED25519);
}

static void a_key_that_the_firmware_does_not_know_is_refused(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EXPECT(desk, "0047009A05AC03800105", 0x6A80);
    EXPECT(desk, "0047009A05AC03800116", 0x6A80);
    EXPECT(desk, "0047009A05AC038001E0", 0x6A80);
    EXPECT(desk, "0047009B05AC03800111", 0x6B00);
    EXPECT(desk, "0047009605AC03800111", 0x6B00);
    EXPECT(desk, "0047009A08AC06800111AA0104", 0x6A80);
    EXPECT(desk, "0047009A08AC06800111AB0104", 0x6A80);
    EXPECT(desk, "00FEE09A02 0700", 0x6A86);
    EXPECT(desk, "0087119A067C0482008100", 0x6A80); /* there is no key */
    EVP_PKEY_free(reader_generate(desk->reader, 0x9a, P256, ""));
    EXPECT(desk, "0087149A067C0482008100", 0x6A80); /* of another kind */
}

static void all_slots_hold_a_key_of_their_own(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    static const guint8 usual[] = {0x9a, 0x9c, 0x9d, 0x9e};
    EVP_PKEY *keys[24];
    reader_manage(desk->reader, TRIPLE_DES);
    for (guint i = 0; i < 24; i++)
        keys[i] = reader_generate(desk->reader, i < 4 ? usual[i] : (guint8)(0x82 + i - 4), P256, "AA0101");
    for (guint i = 0; i < 24; i++) {
        g_assert_true(signature_is_good(desk, keys[i], i < 4 ? usual[i] : (guint8)(0x82 + i - 4), P256));
        EVP_PKEY_free(keys[i]);
    }
}

static void append_number(EVP_PKEY *key, const char *name, guint8 tag, int length, GByteArray *to)
{
    guint8 bytes[512];
    BIGNUM *number = NULL;
    g_assert_true(EVP_PKEY_get_bn_param(key, name, &number));
    g_assert_cmpint(BN_bn2binpad(number, bytes, length), ==, length);
    tlv_append(to, tag, bytes, (gsize)length);
    BN_clear_free(number);
}

static GByteArray *import_command(EVP_PKEY *key)
{
    GByteArray *command = g_byte_array_new();
    guint8 raw[32];
    size_t length = sizeof raw;
    int half = EVP_PKEY_get_size(key) / 2;
    if (EVP_PKEY_is_a(key, "RSA")) {
        append_number(key, OSSL_PKEY_PARAM_RSA_FACTOR1, 1, half, command);
        append_number(key, OSSL_PKEY_PARAM_RSA_FACTOR2, 2, half, command);
        append_number(key, OSSL_PKEY_PARAM_RSA_EXPONENT1, 3, half, command);
        append_number(key, OSSL_PKEY_PARAM_RSA_EXPONENT2, 4, half, command);
        append_number(key, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, 5, half, command);
    } else if (EVP_PKEY_is_a(key, "EC")) {
        append_number(key, OSSL_PKEY_PARAM_PRIV_KEY, 6, EVP_PKEY_get_bits(key) / 8, command);
    } else {
        g_assert_true(EVP_PKEY_get_raw_private_key(key, raw, &length));
        tlv_append(command, 7, raw, length);
    }
    tlv_append_byte(command, 0xaa, 1);
    return command;
}

static void imported_keys_sign(void)
{
    static const struct {
        const char *type;
        guint8 algorithm;
    } kinds[] = {
        {"rsa2048", RSA_2048}, {"rsa4096", RSA_4096}, {"p256", P256}, {"p384", P384}, {"ed25519", ED25519}};
    g_autoptr(Desk) desk = desk_new(FIRMWARE_57);
    reader_manage(desk->reader, AES_192);
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        EVP_PKEY *key = test_key(kinds[i].type);
        g_autoptr(GByteArray) command = import_command(key);
        g_assert_cmphex(
            reader_command(desk->reader, 0xfe, kinds[i].algorithm, 0x9a, command->data, command->len), ==,
            0x9000);
        g_assert_true(signature_is_good(desk, key, 0x9a, kinds[i].algorithm));
        EXPECT(desk, "00F99A0000", 0x6A80); /* it was not made here: nothing to attest */
        command->data[3] ^= 0xff;
        if (kinds[i].algorithm == RSA_2048)
            g_assert_cmphex(reader_command(desk->reader, 0xfe, RSA_2048, 0x9a, command->data, command->len),
                            ==, 0x6A80);
        EVP_PKEY_free(key);
    }
}

static void deciphering_and_agreeing_give_the_secret(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EVP_PKEY *key = reader_generate(desk->reader, 0x9d, P256, "");
    EVP_PKEY *own = test_key("p256");
    guint8 point[65], secret[32];
    size_t length = sizeof point, secret_length = sizeof secret;
    EVP_PKEY_get_octet_string_param(own, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &length);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(own, NULL);
    EVP_PKEY_derive_init(context);
    EVP_PKEY_derive_set_peer(context, key);
    g_assert_cmpint(EVP_PKEY_derive(context, secret, &secret_length), ==, 1);
    EVP_PKEY_CTX_free(context);
    guint8 command[4 + 2 + 65] = {0x7c, 69, 0x82, 0, 0x85, 65};
    memcpy(command + 6, point, 65);
    g_assert_cmphex(reader_command(desk->reader, 0x87, P256, 0x9d, command, sizeof command), ==, 0x6982);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    g_assert_cmphex(reader_command(desk->reader, 0x87, P256, 0x9d, command, sizeof command), ==, 0x9000);
    g_assert_cmpmem(desk->reader->data->data + 4, desk->reader->data->len - 4, secret, secret_length);
    command[6 + 10] ^= 1; /* not on the curve */
    g_assert_cmphex(reader_command(desk->reader, 0x87, P256, 0x9d, command, sizeof command), ==, 0x6A80);
    EVP_PKEY_free(key);
    EVP_PKEY_free(own);
}

static guint16 sign_with(Desk *desk, guint8 slot)
{
    return reader_sign(desk->reader, slot, P256, digest, 32);
}

static void pin_policies_hold(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EVP_PKEY_free(reader_generate(desk->reader, 0x9a, P256, ""));       /* once */
    EVP_PKEY_free(reader_generate(desk->reader, 0x9c, P256, ""));       /* always */
    EVP_PKEY_free(reader_generate(desk->reader, 0x9e, P256, ""));       /* never */
    EVP_PKEY_free(reader_generate(desk->reader, 0x82, P256, "AA0103")); /* always */
    g_assert_cmphex(sign_with(desk, 0x9e), ==, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x9a), ==, 0x6982);
    g_assert_cmphex(sign_with(desk, 0x9c), ==, 0x6982);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x9a), ==, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x9a), ==, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x9c), ==, 0x6982); /* the PIN was not the command before */
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x9c), ==, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x9c), ==, 0x6982);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x82), ==, 0x9000);
    g_assert_cmphex(sign_with(desk, 0x82), ==, 0x6982);
}

#define SIGN_9A "0087119A26 7C24 8200 8120 00000000000000000000000000000000 00000000000000000000000000000001"

/* The key blinks; what |how| says happens. */
static guint16 sign_blinking(Desk *desk, const char *how)
{
    reader_begin(desk->reader, SIGN_9A);
    virtual_key_tell(desk->key, "wait touch");
    virtual_key_tell(desk->key, how);
    return reader_finish(desk->reader);
}

static void touch_policies_hold(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EVP_PKEY_free(reader_generate(desk->reader, 0x9a, P256, "AA0101 AB0102"));
    virtual_key_refuses(desk->key, "touch");
    g_assert_cmphex(sign_blinking(desk, "touch"), ==, 0x9000);
    g_assert_cmphex(sign_blinking(desk, "touch refuse"), ==, 0x6982);
    virtual_key_tell(desk->key, "touch seconds 0");
    EXPECT(desk, SIGN_9A, 0x6982);
    virtual_key_tell(desk->key, "touch seconds 15");
    virtual_key_tell(desk->key, "touch auto");
    EXPECT(desk, SIGN_9A, 0x9000);
    EVP_PKEY_free(reader_generate(desk->reader, 0x9a, P256, "AA0101 AB0103"));
    virtual_key_tell(desk->key, "touch hand");
    EXPECT(desk, SIGN_9A, 0x9000); /* cached from the last one */
    virtual_key_tell(desk->key, "touch forget");
    g_assert_cmphex(sign_blinking(desk, "touch refuse"), ==, 0x6982);
    g_assert_cmphex(sign_blinking(desk, "touch"), ==, 0x9000);
    EXPECT(desk, SIGN_9A, 0x9000);
}

static void a_key_that_is_pulled_out_while_it_blinks_is_gone(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EVP_PKEY_free(reader_generate(desk->reader, 0x9a, P256, "AA0101 AB0102"));
    reader_begin(desk->reader, SIGN_9A);
    virtual_key_tell(desk->key, "wait touch");
    virtual_key_tell(desk->key, "unplug");
    virtual_key_tell(desk->key, "wait gone");
    desk_plug(desk);
    g_assert_cmphex(sign_blinking(desk, "touch"), ==, 0x9000);
}

static X509 *take_certificate(const guint8 *bytes, gsize length)
{
    X509 *certificate = d2i_X509(NULL, &bytes, (long)length);
    g_assert_nonnull(certificate);
    return certificate;
}

static void assert_extension(X509 *certificate, const char *oid, const char *expected)
{
    ASN1_OBJECT *object = OBJ_txt2obj(oid, 1);
    X509_EXTENSION *extension = X509_get_ext(certificate, X509_get_ext_by_OBJ(certificate, object, -1));
    ASN1_OBJECT_free(object);
    g_assert_nonnull(extension);
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);
    GString *text = g_string_new(NULL);
    for (int i = 0; i < ASN1_STRING_length(value); i++)
        g_string_append_printf(text, "%02x", ASN1_STRING_get0_data(value)[i]);
    g_assert_cmpstr(text->str, ==, expected);
    g_string_free(text, TRUE);
}

static void write_pem(const char *path, X509 *certificate)
{
    g_autofree char *pem = test_certificate_pem(certificate);
    g_assert_true(g_file_set_contents(path, pem, -1, NULL));
}

static void attest(const char *firmware, guint8 management, const char *version)
{
    static const guint8 ask[] = {0x5c, 3, 0x5f, 0xff, 0x01};
    g_autoptr(Desk) desk = desk_new(firmware);
    Tlv object, intermediate;
    reader_manage(desk->reader, management);
    EXPECT(desk, "00F9820000", 0x6A88);
    EVP_PKEY *key = reader_generate(desk->reader, 0x82, P256, "AA0103 AB0102");
    g_assert_cmphex(reader_command(desk->reader, 0xf9, 0x82, 0, NULL, 0), ==, 0x9000);
    X509 *certificate = take_certificate(desk->reader->data->data, desk->reader->data->len);
    g_assert_cmphex(reader_command(desk->reader, 0xcb, 0x3f, 0xff, ask, sizeof ask), ==, 0x9000);
    g_assert_true(tlv_find(desk->reader->data->data, desk->reader->data->len, 0x53, &object));
    g_assert_true(tlv_find(object.value, object.length, 0x70, &intermediate));
    X509 *issuer = take_certificate(intermediate.value, intermediate.length);
    g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(certificate), key), ==, 1);
    assert_extension(certificate, "1.3.6.1.4.1.41482.3.3", version);
    assert_extension(certificate, "1.3.6.1.4.1.41482.3.7", "020400bc614e");
    assert_extension(certificate, "1.3.6.1.4.1.41482.3.8", "0302");
    assert_extension(certificate, "1.3.6.1.4.1.41482.3.9", "01");
    g_autofree char *root = g_build_filename(desk->directory, "attestation-root.pem", NULL);
    g_autofree char *middle = g_build_filename(desk->directory, "f9.pem", NULL);
    g_autofree char *end = g_build_filename(desk->directory, "82.pem", NULL);
    write_pem(middle, issuer);
    write_pem(end, certificate);
    g_free(TEST_RUN("openssl", "verify", "-CAfile", root, "-untrusted", middle, end));
    EVP_PKEY_free(key);
    X509_free(certificate);
    X509_free(issuer);
}

static void a_generated_key_is_attested_up_to_the_root(void)
{
    attest(FIRMWARE_4, TRIPLE_DES, "040307");
    attest(FIRMWARE_57, AES_192, "050701");
}

static void metadata_tells_of_a_key(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EVP_PKEY *key = reader_generate(desk->reader, 0x9c, P384, "AB0103");
    g_assert_cmphex(reader_command(desk->reader, 0xf7, 0, 0x9c, NULL, 0), ==, 0x9000);
    g_autofree char *text = reader_hex(desk->reader);
    g_assert_true(g_str_has_prefix(text, "010114"
                                         "02020303"
                                         "030101"
                                         "0463"
                                         "8661"
                                         "04"));
    EVP_PKEY *told = reader_public_key(P384, desk->reader->data->data + 12, desk->reader->data->len - 12);
    g_assert_cmpint(EVP_PKEY_eq(told, key), ==, 1);
    EVP_PKEY_free(told);
    EVP_PKEY_free(key);
}

static void keys_move_and_are_deleted(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_57);
    reader_manage(desk->reader, AES_192);
    EVP_PKEY *key = reader_generate(desk->reader, 0x9a, P256, "AA0101");
    EVP_PKEY_free(reader_generate(desk->reader, 0x83, P256, "AA0101"));
    EXPECT(desk, "00F6839A00", 0x6985); /* not over another key */
    EXPECT(desk, "00F6829C00", 0x6A88);
    EXPECT(desk, "00F6F99A00", 0x6A86);
    EXPECT(desk, "00F6829A00", 0x9000);
    EXPECT(desk, "00F7009A00", 0x6A88);
    g_assert_true(signature_is_good(desk, key, 0x82, P256));
    EXPECT(desk, "00F6FF8200", 0x9000);
    EXPECT(desk, "00F7008200", 0x6A88);
    EVP_PKEY_free(key);
}

static void a_killed_process_loses_nothing_that_was_answered(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_57);
    reader_manage(desk->reader, AES_192);
    EVP_PKEY *p256 = reader_generate(desk->reader, 0x9a, P256, "AA0101");
    EVP_PKEY *ed25519 = reader_generate(desk->reader, 0x82, ED25519, "AA0101");
    EXPECT(desk, "00DB3FFF08 5C035FC105 530101", 0x9000);
    EXPECT(desk, VERIFY_WRONG, 0x63C2);
    desk_restart_key(desk);
    EXPECT(desk, VERIFY_EMPTY, 0x63C2);
    EXPECT(desk, "00CB3FFF055C035FC105", 0x9000);
    EXPECT(desk, "00F8000000", 0x9000);
    g_assert_true(signature_is_good(desk, p256, 0x9a, P256));
    g_assert_true(signature_is_good(desk, ed25519, 0x82, ED25519));
    EVP_PKEY_free(p256);
    EVP_PKEY_free(ed25519);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/keys/" #name, name)
    TEST(every_algorithm_of_the_firmware_signs);
    TEST(a_key_that_the_firmware_does_not_know_is_refused);
    TEST(all_slots_hold_a_key_of_their_own);
    TEST(imported_keys_sign);
    TEST(deciphering_and_agreeing_give_the_secret);
    TEST(pin_policies_hold);
    TEST(touch_policies_hold);
    TEST(a_key_that_is_pulled_out_while_it_blinks_is_gone);
    TEST(a_generated_key_is_attested_up_to_the_root);
    TEST(metadata_tells_of_a_key);
    TEST(keys_move_and_are_deleted);
    TEST(a_killed_process_loses_nothing_that_was_answered);
    return g_test_run();
}
