/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/error.h"
#include "daemon/pin-store.h"
#include "tests/support/support.h"
#include <glib/gstdio.h>
#include <string.h>

static const char key[] = "0123456789abcdef0123456789abcdef";

typedef struct Place {
    char *state;
    char *credentials;
} Place;

static Place new_place(void)
{
    Place place = {test_directory(), test_directory()};
    g_free(test_write(place.credentials, "iothsm.key", key));
    return place;
}

static void place_clear(Place *place)
{
    g_free(place->state);
    g_free(place->credentials);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static PinStore *open_store(const Place *place)
{
    g_autoptr(GError) error = NULL;
    PinStore *store = pin_store_new(place->state, place->credentials, &error);
    g_assert_no_error(error);
    return store;
}

static char *only_file(const Place *place, const char *prefix)
{
    g_autofree char *directory = g_build_filename(place->state, "pins", NULL);
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    for (const char *name; dir && (name = g_dir_read_name(dir));)
        if (g_str_has_prefix(name, prefix))
            return g_build_filename(directory, name, NULL);
    return NULL;
}

static void a_sealed_pin_opens_after_a_restart_and_is_not_readable(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(Secret) pin = secret_new("31415926", 8);
    g_autoptr(GError) error = NULL;
    {
        g_autoptr(PinStore) store = open_store(&place);
        g_assert_true(pin_store_can_persist(store));
        g_assert_true(pin_store_save(store, "../12 34", pin, &error));
    }
    g_autofree char *path = only_file(&place, "token-");
    g_autofree char *content = NULL;
    gsize size = 0;
    g_assert_nonnull(path);
    g_assert_true(g_file_get_contents(path, &content, &size, NULL));
    g_assert_null(memmem(content, size, "31415926", 8));

    g_autoptr(PinStore) again = open_store(&place);
    g_autoptr(Secret) back = pin_store_load(again, "../12 34", &error);
    g_assert_no_error(error);
    g_assert_cmpmem(secret_data(back), secret_size(back), "31415926", 8);
    g_assert_true(pin_store_forget(again, "../12 34", &error));
    g_assert_null(pin_store_load(again, "../12 34", &error));
    g_assert_no_error(error);
    g_assert_true(pin_store_forget(again, "../12 34", &error));
}

static void expect_set_aside(const Place *place, const char *serial)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(PinStore) store = open_store(place);
    g_assert_null(pin_store_load(store, serial, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_PIN_REQUIRED);
    g_assert_nonnull(strstr(error->message, "iothsmctl pin set"));
    g_clear_error(&error);
    g_assert_null(pin_store_load(store, serial, &error)); /* set aside: now there is none */
    g_assert_no_error(error);
}

static void a_file_of_another_token_does_not_open(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(Secret) pin = secret_new("123456", 6);
    {
        g_autoptr(PinStore) store = open_store(&place);
        g_assert_true(pin_store_save(store, "A", pin, NULL));
    }
    g_autofree char *path = only_file(&place, "token-A");
    g_autofree char *moved = g_build_filename(place.state, "pins", "token-B.sealed", NULL);
    g_assert_cmpint(g_rename(path, moved), ==, 0);
    expect_set_aside(&place, "B");
}

static void every_flipped_bit_is_noticed(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(Secret) pin = secret_new("123456", 6);
    g_autofree char *content = NULL;
    gsize size = 0;
    {
        g_autoptr(PinStore) store = open_store(&place);
        g_assert_true(pin_store_save(store, "A", pin, NULL));
    }
    g_autofree char *path = only_file(&place, "token-A");
    g_assert_true(g_file_get_contents(path, &content, &size, NULL));
    for (gsize i = 0; i < size; i += 5) {
        content[i] ^= 1;
        g_assert_true(g_file_set_contents(path, content, (gssize)size, NULL));
        expect_set_aside(&place, "A");
        content[i] ^= 1;
    }
    g_assert_true(g_file_set_contents(path, content, (gssize)size - 30, NULL));
    expect_set_aside(&place, "A");
}

static void a_foreign_key_means_pin_missing_not_failure(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(Secret) pin = secret_new("123456", 6);
    {
        g_autoptr(PinStore) store = open_store(&place);
        g_assert_true(pin_store_save(store, "A", pin, NULL));
    }
    g_free(test_write(place.credentials, "iothsm.key", "ffffffffffffffffffffffffffffffff"));
    expect_set_aside(&place, "A");
}

static void without_a_key_nothing_is_written(void)
{
    g_autofree char *state = test_directory();
    g_autoptr(GError) error = NULL;
    g_autoptr(PinStore) store = pin_store_new(state, NULL, &error);
    g_autoptr(Secret) pin = secret_new("123456", 6);
    g_assert_false(pin_store_can_persist(store));
    g_assert_false(pin_store_save(store, "A", pin, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED);
    g_assert_true(pin_store_note_refused(store, "A", pin, NULL));
    g_assert_true(pin_store_was_refused(store, "A", pin));
    g_autofree char *pins = g_build_filename(state, "pins", NULL);
    g_assert_false(g_file_test(pins, G_FILE_TEST_EXISTS));
}

static void a_short_key_is_refused_in_words(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(GError) error = NULL;
    g_free(test_write(place.credentials, "iothsm.key", "short"));
    g_assert_null(pin_store_new(place.state, place.credentials, &error));
    g_assert_nonnull(strstr(error->message, "iothsm.key"));
}

static void a_refused_pin_is_remembered_over_restarts_for_that_token_alone(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(Secret) wrong = secret_new("123456", 6);
    g_autoptr(Secret) other = secret_new("654321", 6);
    {
        g_autoptr(PinStore) store = open_store(&place);
        g_assert_true(pin_store_note_refused(store, "A", wrong, NULL));
    }
    g_autoptr(PinStore) store = open_store(&place);
    g_assert_true(pin_store_was_refused(store, "A", wrong));
    g_assert_false(pin_store_was_refused(store, "A", other));
    g_assert_false(pin_store_was_refused(store, "B", wrong));
    g_autofree char *path = only_file(&place, "refused");
    g_autofree char *content = NULL;
    g_assert_true(g_file_get_contents(path, &content, NULL, NULL));
    g_assert_null(strstr(content, "123456"));
    g_assert_true(pin_store_note_refused(store, "A", other, NULL));
    g_assert_true(pin_store_note_accepted(store, "A", other, NULL));
    g_assert_false(pin_store_was_refused(store, "A", other));
    g_assert_true(pin_store_was_refused(store, "A", wrong));
    g_assert_true(pin_store_clear_refused(store, "A", NULL));
    g_assert_false(pin_store_was_refused(store, "A", wrong));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)secret_memory_init();
    g_test_add_func("/pin-store/round-trip", a_sealed_pin_opens_after_a_restart_and_is_not_readable);
    g_test_add_func("/pin-store/moved", a_file_of_another_token_does_not_open);
    g_test_add_func("/pin-store/damaged", every_flipped_bit_is_noticed);
    g_test_add_func("/pin-store/foreign-key", a_foreign_key_means_pin_missing_not_failure);
    g_test_add_func("/pin-store/no-key", without_a_key_nothing_is_written);
    g_test_add_func("/pin-store/short-key", a_short_key_is_refused_in_words);
    g_test_add_func("/pin-store/refused", a_refused_pin_is_remembered_over_restarts_for_that_token_alone);
    return g_test_run();
}
