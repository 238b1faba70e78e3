/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of YubiKeys, and that the rules which are installed start the service for the same ones. */

#include "udev/yubikey-models.h"
#include <string.h>

static void test_product(void)
{
    guint vendor = 7, product = 7;
    g_assert_true(yubikey_parse_product("1050/407/543", &vendor, &product));
    g_assert_cmphex(vendor, ==, 0x1050);
    g_assert_cmphex(product, ==, 0x407);
    g_assert_true(yubikey_parse_product("1d6b/2/601", &vendor, &product));
    g_assert_cmphex(vendor, ==, 0x1d6b);
    g_assert_cmphex(product, ==, 2);
}

static void test_bad_product(void)
{
    static const char *const texts[] = {
        NULL,         "",          "1050",         "1050/",         "1050/407",
        "/407/543",   "1050//543", "105g/407/543", "10500/407/543", "1050/40700/543",
        "1050/-1/543"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        guint vendor = 7, product = 7;
        g_assert_false(yubikey_parse_product(texts[i], &vendor, &product));
        g_assert_cmpuint(vendor, ==, 7);
        g_assert_cmpuint(product, ==, 7);
    }
}

static void test_model(void)
{
    bool ccid = false;
    g_assert_cmpstr(yubikey_model(0x0407, &ccid), ==, "YubiKey OTP+FIDO+CCID");
    g_assert_true(ccid);
    g_assert_cmpstr(yubikey_model(0x0402, &ccid), ==, "YubiKey FIDO");
    g_assert_false(ccid);
    g_assert_null(yubikey_model(0x0200, &ccid));
}

/* Each name says of itself whether there is CCID; so must the table, and the rule. */
static void test_rules(void)
{
    g_autofree char *path = g_build_filename(g_getenv("IOTHSM_SOURCE"), "udev", "70-iothsm.rules", NULL);
    g_autofree char *rules = NULL;
    guint with_ccid = 0;
    g_assert_true(g_file_get_contents(path, &rules, NULL, NULL));
    for (guint product = 0; product <= G_MAXUINT16; product++) {
        bool ccid = false;
        const char *model = yubikey_model(product, &ccid);
        g_autofree char *pattern = g_strdup_printf("1050/%x/*", product);
        g_assert_cmpint(strstr(rules, pattern) != NULL, ==, model && ccid);
        if (model)
            g_assert_cmpint(g_str_has_suffix(model, "CCID"), ==, ccid);
        with_ccid += model && ccid;
    }
    g_assert_cmpuint(with_ccid, ==, 8);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/yubikey-models/the kernel's PRODUCT is read", test_product);
    g_test_add_func("/yubikey-models/anything else is not taken for one", test_bad_product);
    g_test_add_func("/yubikey-models/a product has a name and CCID or not", test_model);
    g_test_add_func("/yubikey-models/the rules start the service for exactly those with CCID", test_rules);
    return g_test_run();
}
