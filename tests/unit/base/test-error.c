/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/error.h"
#include <openssl/err.h>

static void every_code_has_a_name_of_its_own_that_leads_back(void)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);
    for (int code = 0; code < IOTHSM_N_ERRORS; code++) {
        g_autoptr(GError) error = g_error_new_literal(IOTHSM_ERROR, code, "x");
        const char *name = error_bus_name(error);
        IothsmError back = IOTHSM_N_ERRORS;
        g_assert_true(g_str_has_prefix(name, "org.pkiaas.IoTHSM1.Error."));
        g_assert_true(g_hash_table_add(seen, (gpointer)name));
        g_assert_true(error_from_bus_name(name, &back));
        g_assert_cmpint(back, ==, code);
        g_assert_cmpint(error_exit_status((IothsmError)code), >=, 1);
    }
}

static void the_missing_things_exit_with_3_and_wrong_use_with_2(void)
{
    g_assert_cmpint(error_exit_status(IOTHSM_ERROR_NO_SUCH_TOKEN), ==, 3);
    g_assert_cmpint(error_exit_status(IOTHSM_ERROR_NO_SUCH_SLOT), ==, 3);
    g_assert_cmpint(error_exit_status(IOTHSM_ERROR_NO_SUCH_AUTHORITY), ==, 3);
    g_assert_cmpint(error_exit_status(IOTHSM_ERROR_INVALID), ==, 2);
    g_assert_cmpint(error_exit_status(IOTHSM_ERROR_TOKEN_BUSY), ==, 1);
}

static void a_foreign_error_is_failed_and_a_foreign_name_is_refused(void)
{
    g_autoptr(GError) error = g_error_new_literal(G_FILE_ERROR, G_FILE_ERROR_NOENT, "x");
    IothsmError code = IOTHSM_N_ERRORS;
    g_assert_cmpstr(error_bus_name(error), ==, "org.pkiaas.IoTHSM1.Error.Failed");
    g_assert_false(error_from_bus_name("org.freedesktop.DBus.Error.Failed", &code));
    g_assert_cmpint(code, ==, IOTHSM_N_ERRORS);
}

static void the_newest_openssl_entry_is_told_and_the_queue_is_left_empty(void)
{
    g_autoptr(GError) error = NULL;
    ERR_raise_data(ERR_LIB_USER, 1, "the token said 6982");
    error_set_openssl(&error, IOTHSM_ERROR_FAILED, "Slot %s can't sign", "9c");
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
    g_assert_cmpstr(error->message, ==, "Slot 9c can't sign: the token said 6982");
    g_assert_cmpuint(ERR_peek_error(), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/error/names", every_code_has_a_name_of_its_own_that_leads_back);
    g_test_add_func("/error/exit-status", the_missing_things_exit_with_3_and_wrong_use_with_2);
    g_test_add_func("/error/foreign", a_foreign_error_is_failed_and_a_foreign_name_is_refused);
    g_test_add_func("/error/openssl", the_newest_openssl_entry_is_told_and_the_queue_is_left_empty);
    return g_test_run();
}
