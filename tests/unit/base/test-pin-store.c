/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/pin-store.h"
#include "tests/support/support.h"
#include <string.h>

/* A state directory with the store over it, as one start of the daemon has it. */
typedef struct Place {
    char *state;
    char *credentials; /* or NULL: no sealing key */
    Sealing *sealing;
    PinStore *store;
} Place;

static void place_close(Place *place)
{
    g_clear_pointer(&place->store, pin_store_unref);
    g_clear_pointer(&place->sealing, sealing_unref);
}

static void restart(Place *place)
{
    g_autoptr(GError) error = NULL;
    place_close(place);
    place->sealing = sealing_new(place->state, place->credentials, &error);
    g_assert_no_error(error);
    place->store = pin_store_new(place->sealing, &error);
    g_assert_no_error(error);
}

static Place new_place(bool sealing_key)
{
    Place place = {.state = test_directory(), .credentials = sealing_key ? test_directory() : NULL};
    if (sealing_key)
        g_free(test_write(place.credentials, "iothsm.key", "0123456789abcdef0123456789abcdef"));
    restart(&place);
    return place;
}

static void place_clear(Place *place)
{
    place_close(place);
    g_free(place->state);
    g_free(place->credentials);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static void a_kept_pin_comes_back_after_a_restart_until_it_is_forgotten(void)
{
    g_auto(Place) place = new_place(true);
    g_autoptr(Secret) pin = secret_new("31415926", 8);
    g_autoptr(GError) error = NULL;
    g_assert_true(pin_store_save(place.store, "A", pin, &error));
    restart(&place);
    g_autoptr(Secret) back = pin_store_load(place.store, "A", &error);
    g_assert_no_error(error);
    g_assert_cmpmem(secret_data(back), secret_size(back), "31415926", 8);
    g_assert_true(pin_store_forget(place.store, "A", &error));
    g_assert_null(pin_store_load(place.store, "A", &error));
    g_assert_no_error(error);
}

static void a_foreign_key_means_pin_missing_not_failure(void)
{
    g_auto(Place) place = new_place(true);
    g_autoptr(Secret) pin = secret_new("123456", 6);
    g_autoptr(GError) error = NULL;
    g_assert_true(pin_store_save(place.store, "A", pin, NULL));
    g_free(test_write(place.credentials, "iothsm.key", "ffffffffffffffffffffffffffffffff"));
    restart(&place);
    g_assert_null(pin_store_load(place.store, "A", &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED);
    g_assert_nonnull(strstr(error->message, "iothsmctl pin set"));
}

static void without_a_sealing_key_refusals_are_remembered_in_memory_alone(void)
{
    g_auto(Place) place = new_place(false);
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) pin = secret_new("123456", 6);
    g_assert_false(pin_store_save(place.store, "A", pin, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED);
    g_assert_true(pin_store_note_refused(place.store, "A", pin, NULL));
    g_assert_true(pin_store_was_refused(place.store, "A", pin));
    g_autofree char *pins = g_build_filename(place.state, "pins", NULL);
    g_assert_false(g_file_test(pins, G_FILE_TEST_EXISTS));
}

static void a_refused_pin_is_remembered_over_restarts_for_that_token_alone(void)
{
    g_auto(Place) place = new_place(true);
    g_autoptr(Secret) wrong = secret_new("123456", 6);
    g_autoptr(Secret) other = secret_new("654321", 6);
    g_assert_true(pin_store_note_refused(place.store, "A", wrong, NULL));
    restart(&place);
    g_assert_true(pin_store_was_refused(place.store, "A", wrong));
    g_assert_false(pin_store_was_refused(place.store, "A", other));
    g_assert_false(pin_store_was_refused(place.store, "B", wrong));
    g_autofree char *path = g_build_filename(place.state, "pins", "refused", NULL);
    g_autofree char *content = NULL;
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_null(strstr(content, "123456"));
    g_assert_true(pin_store_note_refused(place.store, "A", other, NULL));
    g_assert_true(pin_store_note_accepted(place.store, "A", other, NULL));
    g_assert_false(pin_store_was_refused(place.store, "A", other));
    g_assert_true(pin_store_was_refused(place.store, "A", wrong));
    g_assert_true(pin_store_clear_refused(place.store, "A", NULL));
    g_assert_false(pin_store_was_refused(place.store, "A", wrong));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)secret_memory_init();
    g_test_add_func("/pin-store/round-trip", a_kept_pin_comes_back_after_a_restart_until_it_is_forgotten);
    g_test_add_func("/pin-store/foreign-key", a_foreign_key_means_pin_missing_not_failure);
    g_test_add_func("/pin-store/no-key", without_a_sealing_key_refusals_are_remembered_in_memory_alone);
    g_test_add_func("/pin-store/refused", a_refused_pin_is_remembered_over_restarts_for_that_token_alone);
    return g_test_run();
}
