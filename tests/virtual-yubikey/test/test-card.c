/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The virtual YubiKey, APDU by APDU, from the reader's side: framing, applications, PIN and PUK, management
 * key, objects, and what the control socket does to it. Status words are those of a YubiKey. */

#include "tests/virtual-yubikey/test/desk.h"
#include <string.h>

static void a_name_cut_short_selects_its_application(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_reset(desk->reader);
    EXPECT(desk, "00FD000000", 0x6D00); /* nothing is selected */
    EXPECT(desk, "00A4040005A000000308", 0x9000);
    g_autofree char *properties = reader_hex(desk->reader);
    g_assert_cmpstr(properties, ==, "61114f0600001000010079074f05a000000308");
    EXPECT(desk, "00A404000BA000000308000010000100", 0x9000);
    EXPECT(desk, "00A4040009A0000003080000100000", 0x9000);
    EXPECT(desk, "00A4040006D27600012401", 0x6A82);
    EXPECT(desk, "00A40000023F00", 0x6A86);
    EXPECT(desk, "00FD000000", 0x9000); /* a SELECT that fails leaves what was selected */
}

static void version_and_serial_number_come_the_way_of_the_firmware(void)
{
    g_autoptr(Desk) old = desk_new(FIRMWARE_4);
    EXPECT(old, "00FD000000", 0x9000);
    g_autofree char *version = reader_hex(old->reader);
    g_assert_cmpstr(version, ==, "040307");
    EXPECT(old, "00F8000000", 0x6D00);
    EXPECT(old, "00A4040008A000000527200101", 0x9000);
    EXPECT(old, "0001100000", 0x9000);
    g_autofree char *serial = reader_hex(old->reader);
    g_assert_cmpstr(serial, ==, "00bc614e");
    g_autoptr(Desk) new = desk_new(FIRMWARE_57);
    EXPECT(new, "00F8000000", 0x9000);
    g_autofree char *new_serial = reader_hex(new->reader);
    g_assert_cmpstr(new_serial, ==, "00bc614e");
    EXPECT(new, "00A4040008A000000527471117", 0x9000);
    EXPECT(new, "001D000000", 0x9000);
}

static void an_instruction_that_the_firmware_lacks_is_unknown(void)
{
    g_autoptr(Desk) old = desk_new(FIRMWARE_4);
    EXPECT(old, "00F7008000", 0x6D00);
    EXPECT(old, "00F6FF9A00", 0x6D00);
    EXPECT(old, "0012000000", 0x6D00);
    EXPECT(old, "80FD000000", 0x6E00);
    g_autoptr(Desk) middle = desk_new(FIRMWARE_5);
    EXPECT(middle, "00F7008000", 0x9000);
    EXPECT(middle, "00F6FF9A00", 0x6D00);
    g_autoptr(Desk) new = desk_new(FIRMWARE_57);
    EXPECT(new, "00F6FF9A00", 0x6982);
}

static void every_form_of_an_apdu_is_understood(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    EXPECT(desk, "00FD0000", 0x9000);        /* case 1 */
    EXPECT(desk, "00FD000000", 0x9000);      /* 2, short */
    EXPECT(desk, "00FD0000000000", 0x9000);  /* 2, extended */
    EXPECT(desk, VERIFY_RIGHT, 0x9000);      /* 3 */
    EXPECT(desk, VERIFY_RIGHT "00", 0x9000); /* 4, its Le is superfluous */
    EXPECT(desk, "00200080 000008 313233343536FFFF", 0x9000);
    EXPECT(desk, "00200080 000008 313233343536FFFF 0000", 0x9000);
    EXPECT(desk, "0020008009313233", 0x6700);
    EXPECT(desk, "00200080 000000 31", 0x6700);
    EXPECT(desk, "00FD00", 0x6700);
}

static void wrong_pins_count_down_and_the_right_one_gives_them_back(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    EXPECT(desk, VERIFY_EMPTY, 0x63C3);
    EXPECT(desk, VERIFY_WRONG, 0x63C2);
    EXPECT(desk, VERIFY_EMPTY, 0x63C2);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    EXPECT(desk, VERIFY_EMPTY, 0x9000);
    EXPECT(desk, VERIFY_WRONG, 0x63C2); /* and it forgets that the PIN was right */
    EXPECT(desk, VERIFY_EMPTY, 0x63C2);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    EXPECT(desk, "0020FF80", 0x9000);
    EXPECT(desk, VERIFY_EMPTY, 0x63C3);
    EXPECT(desk, "002000800431323334", 0x6700);
    EXPECT(desk, "0020008100", 0x6A88);
    g_autofree char *tries = virtual_key_ask(desk->key, "tries");
    g_assert_cmpstr(tries, ==, "pin=3/3 puk=3/3");
}

static void block_pin(Desk *desk)
{
    EXPECT(desk, VERIFY_WRONG, 0x63C2);
    EXPECT(desk, VERIFY_WRONG, 0x63C1);
    EXPECT(desk, VERIFY_WRONG, 0x63C0);
    EXPECT(desk, VERIFY_RIGHT, 0x6983);
    EXPECT(desk, VERIFY_EMPTY, 0x6983);
}

#define UNBLOCK "002C008010 3132333435363738 363636363636FFFF"
#define UNBLOCK_WRONG "002C008010 3132333435363737 363636363636FFFF"

static void the_puk_unblocks_a_pin(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    block_pin(desk);
    EXPECT(desk, "0024008010 313233343536FFFF 363636363636FFFF", 0x6983);
    EXPECT(desk, UNBLOCK_WRONG, 0x63C2);
    EXPECT(desk, UNBLOCK, 0x9000);
    EXPECT(desk, VERIFY_RIGHT, 0x63C2);
    EXPECT(desk, "0020008008 363636363636FFFF", 0x9000);
}

static void pin_and_puk_change(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    EXPECT(desk, "0024008010 313233343536FFFF 3636363636FFFFFF", 0x6A80); /* five digits */
    EXPECT(desk, "0024008010 313233343536FFFF 36363636FF36FFFF", 0x6A80);
    EXPECT(desk, "0024008010 363636363636FFFF 363636363636FFFF", 0x63C2);
    EXPECT(desk, "0024008010 313233343536FFFF 363636363636FFFF", 0x9000);
    EXPECT(desk, "0020008008 363636363636FFFF", 0x9000);
    EXPECT(desk, "0024008110 3132333435363738 3838383838383838", 0x9000);
    EXPECT(desk, UNBLOCK, 0x63C2);
    EXPECT(desk, "002C008010 3838383838383838 313233343536FFFF", 0x9000);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
}

static void only_a_key_with_both_blocked_can_be_reset(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EVP_PKEY_free(reader_generate(desk->reader, 0x9a, P256, ""));
    EXPECT(desk, "00DB3FFF09 5C035FC105 530101 01", 0x6A80);
    EXPECT(desk, "00DB3FFF08 5C035FC105 530101", 0x9000);
    EXPECT(desk, "00FB000000", 0x6985);
    block_pin(desk);
    EXPECT(desk, "00FB000000", 0x6985);
    EXPECT(desk, UNBLOCK_WRONG, 0x63C2);
    EXPECT(desk, UNBLOCK_WRONG, 0x63C1);
    EXPECT(desk, UNBLOCK_WRONG, 0x63C0);
    EXPECT(desk, UNBLOCK, 0x6983);
    EXPECT(desk, "00FB000000", 0x9000);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    EXPECT(desk, "00F7009A00", 0x6A88);
    EXPECT(desk, "00CB3FFF055C035FC105", 0x6A82);
    EXPECT(desk, "00CB3FFF055C035FFF01", 0x6100); /* the attestation's stays */
    g_assert_cmphex(reader_command(desk->reader, 0xf7, 0, 0xf9, NULL, 0), ==, 0x9000);
}

static void tries_are_set_with_management_key_and_pin(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    EXPECT(desk, "00FA050700", 0x6982);
    reader_manage(desk->reader, TRIPLE_DES);
    EXPECT(desk, "00FA050700", 0x6982);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    EXPECT(desk, "00FA000700", 0x6A86);
    EXPECT(desk, "00FA050700", 0x9000);
    g_autofree char *tries = virtual_key_ask(desk->key, "tries");
    g_assert_cmpstr(tries, ==, "pin=5/5 puk=7/7");
    EXPECT(desk, VERIFY_WRONG, 0x63C4);
}

static void the_management_key_is_proved_both_ways(void)
{
    static const guint8 other[32] = "another key than the factory's..";
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    EXPECT(desk, "0047009A05AC03800111", 0x6982);
    EXPECT(desk, "0087039B0C7C0A82080102030405060708", 0x6982); /* nothing was begun */
    g_assert_cmphex(reader_authenticate(desk->reader, TRIPLE_DES, other), ==, 0x6982);
    g_assert_cmphex(reader_authenticate(desk->reader, AES_192, other), ==, 0x6A86);
    reader_manage(desk->reader, TRIPLE_DES);
    EVP_PKEY_free(reader_generate(desk->reader, 0x9a, P256, ""));
    EXPECT(desk, "0087039B047C028100", 0x9000); /* the host's proof alone; begun, it counts as not proved */
    g_assert_cmpuint(desk->reader->data->len, ==, 12);
    EXPECT(desk, "0047009A05AC03800111", 0x6982);
    EXPECT(desk, "0087039B0C7C0A82080102030405060708", 0x6982);
}

static void set_management_key(Desk *desk, guint8 algorithm, const guint8 *key, guint8 length, guint16 status)
{
    guint8 data[3 + 32] = {algorithm, 0x9b, length};
    memcpy(data + 3, key, length);
    g_assert_cmphex(reader_command(desk->reader, 0xff, 0xff, 0xff, data, 3u + length), ==, status);
}

static void management_keys_are_of_the_firmwares_kinds(void)
{
    static const guint8 key[32] = "0123456789abcdefghijklmnopqrstuv", weak[24] = {0};
    static const struct {
        guint8 algorithm, length;
    } kinds[] = {{0x08, 16}, {0x0a, 24}, {0x0c, 32}, {0x03, 24}};
    g_autoptr(Desk) desk = desk_new(FIRMWARE_57);
    reader_manage(desk->reader, AES_192);
    for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
        set_management_key(desk, kinds[i].algorithm, key, kinds[i].length, 0x9000);
        reader_reset(desk->reader);
        reader_select(desk->reader);
        g_assert_cmphex(reader_authenticate(desk->reader, kinds[i].algorithm, key), ==, 0x9000);
    }
    set_management_key(desk, 0x0a, key, 16, 0x6700);
    set_management_key(desk, 0x03, weak, 24, 0x6A80);
    g_autoptr(Desk) old = desk_new(FIRMWARE_4);
    reader_manage(old->reader, TRIPLE_DES);
    set_management_key(old, 0x08, key, 16, 0x6A80);
    set_management_key(old, 0x03, key, 24, 0x9000);
}

static void metadata_tells_of_pin_puk_and_management_key(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_57);
    EXPECT(desk, VERIFY_WRONG, 0x63C2);
    EXPECT(desk, "00F7008000", 0x9000);
    g_autofree char *pin = reader_hex(desk->reader);
    g_assert_cmpstr(pin, ==, "0101ff05010106020302");
    EXPECT(desk, "0024008110 3132333435363738 3838383838383838", 0x9000);
    EXPECT(desk, "00F7008100", 0x9000);
    g_autofree char *puk = reader_hex(desk->reader);
    g_assert_cmpstr(puk, ==, "0101ff05010006020303");
    EXPECT(desk, "00F7009B00", 0x9000);
    g_autofree char *management = reader_hex(desk->reader);
    g_assert_cmpstr(management, ==, "01010a02020001050101");
    EXPECT(desk, "00F7009A00", 0x6A88);
}

static void long_objects_go_in_and_out_in_blocks(void)
{
    g_autofree guint8 *command = g_malloc0(9 + 3000);
    const guint8 header[] = {0x5c, 3, 0x5f, 0xc1, 0x0a, 0x53, 0x82, 3000 >> 8, 3000 & 0xff};
    const guint8 ask[] = {0x5c, 3, 0x5f, 0xc1, 0x0a};
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    memcpy(command, header, sizeof header);
    for (guint i = 0; i < 3000; i++)
        command[9 + i] = (guint8)(i * 7);
    g_assert_cmphex(reader_command(desk->reader, 0xdb, 0x3f, 0xff, command, 9 + 3000), ==, 0x6982);
    reader_manage(desk->reader, TRIPLE_DES);
    g_assert_cmphex(reader_command(desk->reader, 0xdb, 0x3f, 0xff, command, 9 + 3000), ==, 0x9000);
    g_assert_cmphex(reader_command(desk->reader, 0xcb, 0x3f, 0xff, ask, sizeof ask), ==, 0x9000);
    g_assert_cmpmem(desk->reader->data->data, desk->reader->data->len, command + 5, 4 + 3000);
    EXPECT(desk, "00CB3FFF 000005 5C035FC10A 0000", 0x9000); /* extended: in one piece */
    g_assert_cmpuint(desk->reader->data->len, ==, 3004);
    EXPECT(desk, "00CB3FFF055C035FC10A", 0x6100);
    EXPECT(desk, "00FD000000", 0x9000); /* another command ends it */
    EXPECT(desk, "00C0000000", 0x6D00);
    g_autofree guint8 *endless = g_malloc0(4000);
    g_assert_cmphex(reader_command(desk->reader, 0xdb, 0x3f, 0xff, endless, 4000), ==, 0x6700);
}

static void objects_are_kept_protected_and_deleted(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    EXPECT(desk, "00CB3FFF055C035FC109", 0x6982);
    EXPECT(desk, "00CB3FFF055C035FFF00", 0x6A82);
    EXPECT(desk, "00CB3FFF035C017E", 0x9000);
    g_autofree char *discovery = reader_hex(desk->reader);
    g_assert_cmpstr(discovery, ==, "7e124f0ba0000003080000100001005f2f024000");
    EXPECT(desk, "00CB3FFF045C027F61", 0x6A82);
    EXPECT(desk, "00CB0000055C035FC109", 0x6A86);
    EXPECT(desk, "00CB3FFF025305", 0x6A80);
    reader_manage(desk->reader, TRIPLE_DES);
    EXPECT(desk, "00DB3FFF0A 5C035FC109 5303 880100", 0x9000);
    EXPECT(desk, "00CB3FFF055C035FC109", 0x6982);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    EXPECT(desk, "00CB3FFF055C035FC109", 0x9000);
    g_autofree char *kept = reader_hex(desk->reader);
    g_assert_cmpstr(kept, ==, "5303880100");
    EXPECT(desk, "00DB3FFF07 5C035FC109 5300", 0x9000);
    EXPECT(desk, "00CB3FFF055C035FC109", 0x6A82);
}

static void losing_power_or_another_application_forgets_what_was_proved(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    reader_manage(desk->reader, TRIPLE_DES);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    reader_select(desk->reader); /* the same application: nothing happens */
    EXPECT(desk, VERIFY_EMPTY, 0x9000);
    EXPECT(desk, "00A4040008A000000527471117", 0x9000);
    reader_select(desk->reader);
    EXPECT(desk, VERIFY_EMPTY, 0x63C3);
    EXPECT(desk, "0047009A05AC03800111", 0x6982);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    reader_reset(desk->reader);
    reader_select(desk->reader);
    EXPECT(desk, VERIFY_EMPTY, 0x63C3);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    virtual_key_tell(desk->key, "unplug");
    desk_plug(desk);
    EXPECT(desk, VERIFY_EMPTY, 0x63C3);
}

static void faults_come_when_they_are_ordered(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    virtual_key_tell(desk->key, "fail 2 6f00");
    EXPECT(desk, "00FD000000", 0x6F00);
    EXPECT(desk, VERIFY_WRONG, 0x6F00); /* takes no try */
    EXPECT(desk, VERIFY_EMPTY, 0x63C3);
    virtual_key_tell(desk->key, "fail 1 6985 20");
    EXPECT(desk, "00FD000000", 0x9000);
    EXPECT(desk, VERIFY_RIGHT, 0x6985);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    virtual_key_tell(desk->key, "fail 9 6f00");
    virtual_key_tell(desk->key, "clear");
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    virtual_key_refuses(desk->key, "fail many 6f00");
    virtual_key_refuses(desk->key, "cut 0");
    virtual_key_refuses(desk->key, "wait for it");
    virtual_key_refuses(desk->key, "nonsense");
}

static void the_key_is_pulled_out_at_the_apdu_that_was_ordered(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    virtual_key_tell(desk->key, "cut 2 before");
    EXPECT(desk, VERIFY_WRONG, 0x63C2);
    g_assert_cmphex(reader_try(desk->reader, VERIFY_WRONG), ==, 0);
    virtual_key_tell(desk->key, "wait gone");
    desk_plug(desk);
    EXPECT(desk, VERIFY_EMPTY, 0x63C2); /* the second was not done */
    virtual_key_tell(desk->key, "cut 1 after");
    g_assert_cmphex(reader_try(desk->reader, VERIFY_WRONG), ==, 0);
    desk_plug(desk);
    EXPECT(desk, VERIFY_EMPTY, 0x63C1); /* the third was */
}

static void apdus_are_counted_by_instruction(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_5);
    virtual_key_tell(desk->key, "count reset");
    EXPECT(desk, VERIFY_EMPTY, 0x63C3);
    EXPECT(desk, VERIFY_RIGHT, 0x9000);
    EXPECT(desk, "00FD000000", 0x9000);
    g_assert_cmpuint(virtual_key_count(desk->key, "20"), ==, 2);
    g_assert_cmpuint(virtual_key_count(desk->key, "fd"), ==, 1);
    g_assert_cmpuint(virtual_key_count(desk->key, "total"), ==, 3);
    g_autofree char *state = virtual_key_ask(desk->key, "state");
    g_assert_cmpstr(state, ==,
                    "plugged=1 connected=1 powered=1 blinking=0 serial=" DESK_SERIAL " firmware=" FIRMWARE_5);
}

/* What is answered to noise is a status word, and the card is there afterwards. */
static void noise_gets_a_status_word(void)
{
    g_autoptr(Desk) desk = desk_new(FIRMWARE_57);
    g_autoptr(GRand) dice = g_rand_new_with_seed(20240601);
    guint8 apdu[300];
    static const guint8 instructions[] = {0x20, 0x24, 0x2c, 0x47, 0x87, 0xa4, 0xc0, 0xcb,
                                          0xdb, 0xf6, 0xf7, 0xf9, 0xfe, 0xff, 0x01, 0x1d};
    for (guint i = 0; i < 1000; i++) {
        gsize length = (gsize)g_rand_int_range(dice, 2, sizeof apdu);
        for (gsize k = 0; k < length; k++)
            apdu[k] = (guint8)g_rand_int_range(dice, 0, 256);
        apdu[0] = i % 5 ? 0 : 0x10;
        apdu[1] = instructions[i % G_N_ELEMENTS(instructions)];
        if (i % 3 && length > 5)
            apdu[4] = (guint8)(length - 5);
        if (i % 2 && length > 8) {
            apdu[5] = 0x7c;
            apdu[6] = (guint8)(length - 7);
        }
        g_assert_cmphex(reader_transmit(desk->reader, apdu, length), >=, 0x6100);
    }
    reader_reset(desk->reader);
    reader_select(desk->reader);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/card/" #name, name)
    TEST(a_name_cut_short_selects_its_application);
    TEST(version_and_serial_number_come_the_way_of_the_firmware);
    TEST(an_instruction_that_the_firmware_lacks_is_unknown);
    TEST(every_form_of_an_apdu_is_understood);
    TEST(wrong_pins_count_down_and_the_right_one_gives_them_back);
    TEST(the_puk_unblocks_a_pin);
    TEST(pin_and_puk_change);
    TEST(only_a_key_with_both_blocked_can_be_reset);
    TEST(tries_are_set_with_management_key_and_pin);
    TEST(the_management_key_is_proved_both_ways);
    TEST(management_keys_are_of_the_firmwares_kinds);
    TEST(metadata_tells_of_pin_puk_and_management_key);
    TEST(long_objects_go_in_and_out_in_blocks);
    TEST(objects_are_kept_protected_and_deleted);
    TEST(losing_power_or_another_application_forgets_what_was_proved);
    TEST(faults_come_when_they_are_ordered);
    TEST(the_key_is_pulled_out_at_the_apdu_that_was_ordered);
    TEST(apdus_are_counted_by_instruction);
    TEST(noise_gets_a_status_word);
    return g_test_run();
}
