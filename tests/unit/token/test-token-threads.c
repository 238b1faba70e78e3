/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the threads of one token share, and what they must not. */

#include "daemon/token/fake.h"
#include "tests/unit/token/fixture.h"

static Source *fake(const char *specs)
{
    g_autoptr(GError) error = NULL;
    Source *source = fake_source_new(specs, &error);
    g_assert_no_error(error);
    return source;
}

static void the_same_wrong_pin_twice_at_once_is_one_try(void)
{
    g_autoptr(Fixture) fixture =
        fixture_new(fake("fake:serial=F1,pin=123456,retries=8,threads=4,delay-ms=200"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autoptr(Secret) wrong = secret_of("000000");
    g_autoptr(Secret) next = secret_of("654321");
    Ending endings[4] = {0};
    token_set_pin(token, wrong, false, NULL, ending_done, &endings[0]);
    token_set_pin(token, wrong, false, NULL, ending_done, &endings[1]);
    token_change_pin(token, wrong, next, NULL, ending_done, &endings[2]);
    token_change_pin(token, wrong, next, NULL, ending_done, &endings[3]);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        ending_fails(&endings[i], IOTHSM_ERROR_PIN_WRONG);
        ending_clear(&endings[i]);
    }
    g_assert_cmpuint(fake_source_pins_presented(fixture->source, "F1"), ==, 1);
    g_assert_cmpint(token_pin_retries(token), ==, 7);
}

static void the_same_wrong_puk_twice_at_once_is_one_try(void)
{
    g_autoptr(Fixture) fixture =
        fixture_new(fake("fake:serial=F1,pin=123456,so-pin=11111111,threads=2,delay-ms=200"), false);
    Token *token = fixture_token(fixture, "F1");
    g_autoptr(Secret) wrong = secret_of("00000000");
    g_autoptr(Secret) next = secret_of("654321");
    Ending endings[2] = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++)
        token_unblock_pin(token, wrong, next, NULL, ending_done, &endings[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(endings); i++) {
        ending_fails(&endings[i], IOTHSM_ERROR_PIN_WRONG);
        ending_clear(&endings[i]);
    }
    g_assert_cmpuint(fake_source_pins_presented(fixture->source, "F1"), ==, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    secret_memory_init();
#define ADD(function) g_test_add_func("/token-threads/" #function, function)
    ADD(the_same_wrong_pin_twice_at_once_is_one_try);
    ADD(the_same_wrong_puk_twice_at_once_is_one_try);
    return g_test_run();
}
