/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PIV's bytes, without any card. */

#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/piv/piv-key.h"
#include "daemon/token/piv/piv-object.h"
#include "tests/support/support.h"
#include <openssl/pem.h>
#include <string.h>

#define BYTES(...) ((PivBytes){(const guint8[]){__VA_ARGS__}, sizeof((const guint8[]){__VA_ARGS__})})

static void slots_have_two_names_and_an_object(void)
{
    for (guint i = 0; i < PIV_SLOTS; i++) {
        g_autofree char *pkcs11 = g_strdup_printf("%02x", i + 1);
        g_autofree char *upper = g_ascii_strup(piv_slots[i].name, -1);
        g_assert_true(piv_slot_find(piv_slots[i].name) == &piv_slots[i]);
        g_assert_true(piv_slot_find(upper) == &piv_slots[i]);
        g_assert_true(piv_slot_find(pkcs11) == &piv_slots[i]);
    }
    g_assert_cmphex(piv_slot_find("9e")->object, ==, 0x5fc101);
    g_assert_cmphex(piv_slot_find("82")->object, ==, 0x5fc10d);
    g_assert_cmphex(piv_slot_find("95")->object, ==, 0x5fc120);
    g_assert_cmphex(piv_slot_find("f9")->object, ==, 0x5fff01);
    static const char *const others[] = {"",   "9",   "9b",  "96", "81",   "00",
                                         "1a", "9c ", " 9c", "gg", "0x9c", "é"};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++)
        g_assert_null(piv_slot_find(others[i]));
}

static void each_slot_but_the_attestation_is_offered_once(void)
{
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    guint count = 0;
    for (const PivSlot *slot; (slot = piv_slot_offered(count)) != NULL; count++)
        g_hash_table_add(names, (char *)slot->name);
    g_assert_cmpuint(count, ==, PIV_SLOTS - 1);
    g_assert_cmpuint(g_hash_table_size(names), ==, count);
    g_assert_false(g_hash_table_contains(names, "f9"));
    g_assert_cmpstr(piv_slot_offered(0)->name, ==, "9c");
    g_assert_cmpstr(piv_slot_offered(count - 1)->name, ==, "9e");
}

static void firmware_decides_what_keys_there_are(void)
{
    g_assert_true(piv_firmware_has(FIRMWARE(1, 0, 0), KEY_TYPE_P256));
    g_assert_false(piv_firmware_has(FIRMWARE(3, 5, 0), KEY_TYPE_P384));
    g_assert_true(piv_firmware_has(FIRMWARE(5, 4, 3), KEY_TYPE_P384));
    g_assert_false(piv_firmware_has(FIRMWARE(5, 6, 9), KEY_TYPE_ED25519));
    g_assert_true(piv_firmware_has(FIRMWARE(5, 7, 0), KEY_TYPE_RSA4096));
    g_assert_false(piv_firmware_has(FIRMWARE(9, 0, 0), KEY_TYPE_P521));
    g_assert_false(piv_firmware_makes_weak_rsa(FIRMWARE(4, 2, 5)));
    g_assert_true(piv_firmware_makes_weak_rsa(FIRMWARE(4, 2, 6)));
    g_assert_true(piv_firmware_makes_weak_rsa(FIRMWARE(4, 3, 4)));
    g_assert_false(piv_firmware_makes_weak_rsa(FIRMWARE(4, 3, 5)));
    g_autofree char *text = firmware_to_string(FIRMWARE(5, 10, 255));
    g_assert_cmpstr(text, ==, "5.10.255");
}

static void lengths_are_read_and_written_in_all_forms(void)
{
    static const gsize sizes[] = {0, 1, 127, 128, 255, 256, 3000, 65535};
    g_autofree guint8 *value = g_malloc0(65535);
    g_autofree guint8 *room = g_malloc(65600);
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        PivWriter writer = {.data = room, .room = 65600};
        PivBytes read;
        piv_write_tlv(&writer, 0x5f21, value, sizes[i]);
        piv_write_byte_tlv(&writer, 0x30, 7);
        g_assert_false(writer.overflow);
        g_assert_true(piv_tlv_find((PivBytes){room, writer.size}, 0x5f21, &read));
        g_assert_cmpuint(read.size, ==, sizes[i]);
        g_assert_true(piv_tlv_find((PivBytes){room, writer.size}, 0x30, &read));
        g_assert_cmpuint(read.data[0], ==, 7);
    }
}

static void a_writer_never_leaves_its_room(void)
{
    guint8 room[8] = {0};
    room[7] = 0xaa;
    PivWriter writer = {.data = room, .room = 7};
    piv_write_tlv(&writer, 0x53, "12345", 5);
    g_assert_false(writer.overflow);
    piv_write(&writer, "6", 1);
    g_assert_true(writer.overflow);
    g_assert_cmphex(room[7], ==, 0xaa);
    PivWriter long_value = {.data = room, .room = 7};
    piv_write_header(&long_value, 0x53, G_MAXUINT16 + 1);
    g_assert_true(long_value.overflow);
}

static void broken_tlvs_are_none(void)
{
    guint32 tag;
    PivBytes value;
    PivBytes broken[] = {
        BYTES(0x53),       BYTES(0x53, 0x02, 0x00),       BYTES(0x53, 0x80, 0x00, 0x00),
        BYTES(0x53, 0x81), BYTES(0x53, 0x82, 0x01),       BYTES(0x53, 0x83, 0x00, 0x00, 0x01, 0x00),
        BYTES(0x5f),       BYTES(0x5f, 0x81, 0x01, 0x00), BYTES(0x53, 0x84, 0xff, 0xff, 0xff, 0xff)};
    for (gsize i = 0; i < G_N_ELEMENTS(broken); i++)
        g_assert_false(piv_tlv_next(&broken[i], &tag, &value));
}

static void metadata_is_read_or_refused(void)
{
    g_auto(PivMetadata) metadata = {0};
    g_assert_true(
        piv_metadata_parse(BYTES(1, 1, 0xff, 5, 1, 1, 6, 2, 8, 3, 0x7e, 1, 0 /* unknown */), &metadata));
    g_assert_cmpint(metadata.is_default, ==, 1);
    g_assert_cmpint(metadata.tries_left, ==, 3);
    g_assert_true(piv_metadata_parse(BYTES(1, 1, 0x0a, 2, 2, 0, 2), &metadata));
    g_assert_cmphex(metadata.algorithm, ==, 0x0a);
    g_assert_cmpuint(metadata.touch_policy, ==, PIV_TOUCH_ALWAYS);
    g_assert_cmpint(metadata.is_default, ==, -1);
    g_assert_cmpint(metadata.tries_left, ==, -1);
    g_assert_false(piv_metadata_parse(BYTES(2, 2, 1, 1), &metadata)); /* no algorithm */
    g_assert_false(piv_metadata_parse(BYTES(1, 2, 1, 1), &metadata));
    g_assert_false(piv_metadata_parse(BYTES(1, 1, 7, 2, 1, 1), &metadata));
    g_assert_false(piv_metadata_parse(BYTES(1, 1, 7, 6, 1, 1), &metadata));
    g_assert_false(piv_metadata_parse(BYTES(1, 1, 7, 9), &metadata));
    g_assert_true(piv_metadata_parse(BYTES(1, 1, 0x11, 4, 4, 0x86, 2, 4, 9), &metadata)); /* no point */
    g_assert_null(metadata.public_key);
}

static void a_digest_fits_the_field(void)
{
    guint8 room[600];
    guint8 digest[64];
    memset(digest, 0x5a, sizeof digest);
    PivWriter writer = {.data = room, .room = sizeof room};
    g_assert_true(piv_write_signature_input(&writer, KEY_TYPE_P256, digest, 64));
    g_assert_cmpuint(writer.size, ==, 2 + 2 + 2 + 32);
    g_assert_cmphex(room[6], ==, 0x5a);
    writer = (PivWriter){.data = room, .room = sizeof room};
    g_assert_true(piv_write_signature_input(&writer, KEY_TYPE_P384, digest, 32));
    g_assert_cmpuint(writer.size, ==, 2 + 2 + 2 + 48);
    g_assert_cmphex(room[6], ==, 0);
    g_assert_cmphex(room[6 + 16], ==, 0x5a);
    writer = (PivWriter){.data = room, .room = sizeof room};
    g_assert_false(piv_write_signature_input(&writer, KEY_TYPE_RSA2048, digest, 64));
    writer = (PivWriter){.data = room, .room = 40};
    g_assert_false(piv_write_signature_input(&writer, KEY_TYPE_ED25519, digest, 64));
}

static void the_tombstone_is_known(void)
{
    g_autoptr(EVP_PKEY) tombstone = piv_tombstone();
    g_autoptr(EVP_PKEY) again = piv_tombstone();
    g_autoptr(EVP_PKEY) other = test_key("p256");
    g_autoptr(EVP_PKEY) rsa = test_key("rsa2048");
    g_assert_cmpint(EVP_PKEY_eq(tombstone, again), ==, 1);
    g_assert_true(piv_is_tombstone(again));
    g_assert_false(piv_is_tombstone(other));
    g_assert_false(piv_is_tombstone(rsa));
    g_assert_false(piv_is_tombstone(NULL));
}

static void keys_that_a_card_does_not_take_are_refused(void)
{
    guint8 room[PIV_IMPORT_MAX];
    PivWriter writer = {.data = room, .room = sizeof room};
    g_autoptr(GError) error = NULL;
    g_autoptr(EVP_PKEY) key = test_key("rsa4096");
    g_assert_true(piv_write_import(&writer, key, KEY_TYPE_RSA4096, PIV_PIN_ALWAYS, PIV_TOUCH_CACHED, &error));
    g_assert_cmpuint(writer.size, ==, PIV_IMPORT_MAX);
    writer = (PivWriter){.data = room, .room = sizeof room - 1};
    g_assert_false(
        piv_write_import(&writer, key, KEY_TYPE_RSA4096, PIV_PIN_ALWAYS, PIV_TOUCH_CACHED, &error));
    g_clear_error(&error);
    g_autofree char *pem = TEST_RUN("openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt",
                                    "rsa_keygen_bits:2048", "-pkeyopt", "rsa_keygen_pubexp:3");
    g_autoptr(BIO) in = BIO_new_mem_buf(pem, -1);
    g_autoptr(EVP_PKEY) odd = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
    g_assert_nonnull(odd);
    writer = (PivWriter){.data = room, .room = sizeof room};
    g_assert_false(piv_write_import(&writer, odd, KEY_TYPE_RSA2048, 0, 0, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED);
}

static void a_certificate_may_not_grow_without_end(void)
{
    static const GZlibCompressorFormat formats[] = {G_ZLIB_COMPRESSOR_FORMAT_GZIP,
                                                    G_ZLIB_COMPRESSOR_FORMAT_ZLIB};
    /* 1 MB of zeros. */
    g_autofree char *zeros = g_malloc0(1 << 20);
    for (guint i = 0; i < G_N_ELEMENTS(formats); i++) {
        g_autoptr(GZlibCompressor) compressor = g_zlib_compressor_new(formats[i], 9);
        guint8 packed[4000] = {0x01, 0x00}, room[4096];
        gsize head = formats[i] == G_ZLIB_COMPRESSOR_FORMAT_ZLIB ? 4 : 0, read, written;
        g_converter_convert(G_CONVERTER(compressor), zeros, 1 << 20, packed + head, sizeof packed - head,
                            G_CONVERTER_INPUT_AT_END, &read, &written, NULL);
        PivWriter writer = {.data = room, .room = sizeof room};
        piv_write_tlv(&writer, 0x70, packed, head + written);
        piv_write_byte_tlv(&writer, 0x71, 1);
        g_assert_false(writer.overflow);
        g_assert_null(piv_certificate_parse((PivBytes){room, writer.size}));
    }
}

/* An object's content with |packed| in it, and |form| in the byte that says how. */
static X509 *parse_object(const guint8 *packed, gsize size, guint8 form)
{
    guint8 room[PIV_OBJECT_MAX];
    PivWriter writer = {.data = room, .room = sizeof room};
    piv_write_tlv(&writer, 0x70, packed, size);
    piv_write_byte_tlv(&writer, 0x71, form);
    g_assert_false(writer.overflow);
    return piv_certificate_parse((PivBytes){room, writer.size});
}

static void assert_is_read(X509 *certificate, const guint8 *packed, gsize size, guint8 form)
{
    g_autoptr(X509) read = parse_object(packed, size, form);
    g_assert_true(read && X509_cmp(read, certificate) == 0);
}

/* gzip is the standard's, with the bit that early programs wrote, too; the other one is Net iD's. */
static void certificates_are_read_however_they_were_compressed(void)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509) certificate = test_ca("Compressed", key);
    guint8 gzip[2048], zlib[2048] = {0x01, 0x00}, longer[2048];
    unsigned char *der = NULL;
    gsize size = (gsize)i2d_X509(certificate, &der), read, gzip_size, zlib_size;
    g_autoptr(GZlibCompressor) to_gzip = g_zlib_compressor_new(G_ZLIB_COMPRESSOR_FORMAT_GZIP, 9);
    g_autoptr(GZlibCompressor) to_zlib = g_zlib_compressor_new(G_ZLIB_COMPRESSOR_FORMAT_ZLIB, 9);
    g_converter_convert(G_CONVERTER(to_gzip), der, size, gzip, sizeof gzip, G_CONVERTER_INPUT_AT_END, &read,
                        &gzip_size, NULL);
    g_converter_convert(G_CONVERTER(to_zlib), der, size, zlib + 4, sizeof zlib - 4, G_CONVERTER_INPUT_AT_END,
                        &read, &zlib_size, NULL);
    zlib[2] = (guint8)size;
    zlib[3] = (guint8)(size >> 8);
    assert_is_read(certificate, der, size, 0);
    assert_is_read(certificate, gzip, gzip_size, 0x01);
    assert_is_read(certificate, gzip, gzip_size, 0x80);
    assert_is_read(certificate, zlib, 4 + zlib_size, 0x01);

    memcpy(longer, zlib, sizeof longer);
    longer[2]++;
    g_assert_null(parse_object(longer, 4 + zlib_size, 0x01));
    for (gsize cut = 0; cut < 4 + zlib_size; cut++)
        g_assert_null(parse_object(zlib, cut, 0x01));
    OPENSSL_free(der);
}

static void where_the_management_key_lies_is_kept_with_all_else(void)
{
    guint8 room[64];
    PivWriter writer = {.data = room, .room = sizeof room};
    PivBytes content =
        BYTES(0x99, 1, 7, 0x80, 13, 0x81, 1, 0x01, 0x82, 2, 9, 9, 0x83, 4, 1, 2, 3, 4, 0xfe, 0);
    PivBytes inner, value;
    g_assert_false(piv_administration_says_protected(content));
    piv_administration_write(&writer, content, true, true);
    PivBytes changed = {room, writer.size};
    g_assert_true(piv_administration_says_protected(changed));
    g_assert_true(piv_tlv_find(changed, 0x80, &inner));
    g_assert_true(piv_tlv_find(inner, 0x81, &value) && value.data[0] == 0x03);
    g_assert_true(piv_tlv_find(inner, 0x83, &value) && value.size == 4);
    g_assert_true(piv_administration_has_salt(changed));
    g_assert_true(piv_tlv_find(changed, 0x99, &value) && value.size == 1 && value.data[0] == 7);
    g_assert_true(piv_tlv_find(changed, 0xfe, &value) && value.size == 0);
    guint8 other[64];
    PivWriter back = {.data = other, .room = sizeof other};
    piv_administration_write(&back, changed, false, false);
    PivBytes open = {other, back.size};
    g_assert_false(piv_administration_says_protected(open) || piv_administration_has_salt(open));
    g_assert_true(piv_tlv_find(open, 0x80, &inner) && piv_tlv_find(inner, 0x81, &value));
    g_assert_cmpint(value.data[0], ==, 0x01);
    g_assert_true(piv_tlv_find(inner, 0x83, &value) && value.size == 4);
}

static void what_others_keep_beside_the_management_key_stays(void)
{
    static const PivBytes none = {NULL, 0};
    const PivBytes content = BYTES(0x01, 2, 'u', 'x', 0x88, 7, 0x81, 1, 1, 0x89, 2, 3, 4, 0xfe, 0);
    static const guint8 replaced[] = {0x88, 10, 0x89, 2,    5, 6,   0xc9, 1,    7,
                                      0x81, 1,  1,    0x01, 2, 'u', 'x',  0xfe, 0};
    static const guint8 removed[] = {0x88, 3, 0x81, 1, 1, 0x01, 2, 'u', 'x', 0xfe, 0};
    guint8 room[64];
    PivWriter writer = {.data = room, .room = sizeof room};
    piv_protected_write(&writer, content, BYTES(5, 6), BYTES(7));
    g_assert_cmpmem(room, writer.size, replaced, sizeof replaced);
    writer.size = 0;
    piv_protected_write(&writer, content, none, none);
    g_assert_cmpmem(room, writer.size, removed, sizeof removed);
    writer.size = 0;
    piv_protected_write(&writer, BYTES(0x88, 4, 0x89, 2, 3, 4), none, none);
    g_assert_cmpuint(writer.size, ==, 0);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/piv-bytes/" #name, name)
    TEST(slots_have_two_names_and_an_object);
    TEST(each_slot_but_the_attestation_is_offered_once);
    TEST(firmware_decides_what_keys_there_are);
    TEST(lengths_are_read_and_written_in_all_forms);
    TEST(a_writer_never_leaves_its_room);
    TEST(broken_tlvs_are_none);
    TEST(metadata_is_read_or_refused);
    TEST(a_digest_fits_the_field);
    TEST(the_tombstone_is_known);
    TEST(keys_that_a_card_does_not_take_are_refused);
    TEST(a_certificate_may_not_grow_without_end);
    TEST(certificates_are_read_however_they_were_compressed);
    TEST(where_the_management_key_lies_is_kept_with_all_else);
    TEST(what_others_keep_beside_the_management_key_stays);
    return g_test_run();
}
