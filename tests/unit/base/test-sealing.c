/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/sealing.h"
#include "tests/support/support.h"
#include <fcntl.h>
#include <glib/gstdio.h>
#include <openssl/rand.h>
#include <string.h>
#include <sys/stat.h>

static const char credential[] = "0123456789abcdef0123456789abcdef";

static const SealingKind pins = {"pins", "PIN", IOTHSM_ERROR_PIN_REQUIRED,
                                 "give it again with iothsmctl pin set"};
static const SealingKind accounts = {"accounts", "account key", IOTHSM_ERROR_BAD_KEY, "import it again"};

/* A state directory and what opens its secrets, as one start of the daemon has it. */
typedef struct Place {
    char *state;
    char *credentials;
    Sealing *sealing;
} Place;

static void restart(Place *place)
{
    g_autoptr(GError) error = NULL;
    g_clear_pointer(&place->sealing, sealing_unref);
    place->sealing = sealing_new(place->state, place->credentials, &error);
    g_assert_no_error(error);
}

static Place new_place(void)
{
    Place place = {test_directory(), test_directory(), NULL};
    g_free(test_write(place.credentials, "iothsm.key", credential));
    restart(&place);
    return place;
}

static void place_clear(Place *place)
{
    sealing_unref(place->sealing);
    g_free(place->state);
    g_free(place->credentials);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

static void keep(const Place *place, const SealingKind *kind, const char *owner, const char *text)
{
    g_autoptr(Secret) secret = secret_new(text, strlen(text));
    g_autoptr(GError) error = NULL;
    sealing_write(place->sealing, kind, owner, secret, &error);
    g_assert_no_error(error);
}

static char *path_of(const Place *place, const char *directory, const char *name)
{
    return g_build_filename(place->state, directory, name, NULL);
}

static void expect_kept(const Place *place, const SealingKind *kind, const char *owner, const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Secret) back = sealing_read(place->sealing, kind, owner, &error);
    g_assert_no_error(error);
    g_assert_nonnull(back);
    g_assert_cmpmem(secret_data(back), secret_size(back), text, strlen(text));
}

static void expect_none(const Place *place, const SealingKind *kind, const char *owner)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(sealing_read(place->sealing, kind, owner, &error));
    g_assert_no_error(error);
}

/* Said once with the kind's code and remedy; the file is set aside, so that then there is none. */
static void expect_lost(const Place *place, const SealingKind *kind, const char *owner)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(sealing_read(place->sealing, kind, owner, &error));
    g_assert_error(error, IOTHSM_ERROR, (gint)kind->lost);
    g_assert_nonnull(strstr(error->message, kind->remedy));
    g_assert_nonnull(strstr(error->message, owner));
    expect_none(place, kind, owner);
}

static void a_sealed_secret_opens_after_a_restart_and_is_not_readable(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(GError) error = NULL;
    keep(&place, &pins, "../12 34", "31415926");
    g_autofree char *path = path_of(&place, "pins", "..%2F12%2034.sealed");
    g_autofree char *content = NULL;
    gsize size = 0;
    struct stat status;
    g_assert_true(g_file_get_contents(path, &content, &size, NULL));
    g_assert_null(memmem(content, size, "31415926", 8));
    g_assert_cmpint(stat(path, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0600);

    restart(&place);
    expect_kept(&place, &pins, "../12 34", "31415926");
    for (int i = 0; i < 2; i++) { /* forgetting what is not there is success */
        g_assert_true(sealing_forget(place.sealing, &pins, "../12 34", &error));
        expect_none(&place, &pins, "../12 34");
    }
}

static void the_same_secret_is_never_sealed_to_the_same_bytes(void)
{
    g_auto(Place) place = new_place();
    g_autofree char *path = path_of(&place, "pins", "A.sealed");
    g_autofree char *first = NULL;
    g_autofree char *second = NULL;
    gsize first_size = 0;
    gsize second_size = 0;
    keep(&place, &pins, "A", "123456");
    g_assert_true(g_file_get_contents(path, &first, &first_size, NULL));
    keep(&place, &pins, "A", "123456");
    g_assert_true(g_file_get_contents(path, &second, &second_size, NULL));
    g_assert_cmpuint(first_size, ==, second_size);
    g_assert_cmpint(memcmp(first, second, first_size), !=, 0);
}

static void the_largest_secret_comes_back_and_one_byte_more_is_refused(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(GError) error = NULL;
    char *bytes = NULL;
    g_autoptr(Secret) largest = secret_new_blank(SECRET_SIZE_MAX, &bytes);
    g_assert_cmpint(RAND_bytes((unsigned char *)bytes, SECRET_SIZE_MAX), ==, 1);
    g_assert_true(sealing_write(place.sealing, &accounts, "big", largest, &error));
    g_autoptr(Secret) back = sealing_read(place.sealing, &accounts, "big", &error);
    g_assert_no_error(error);
    g_assert_cmpmem(secret_data(back), secret_size(back), bytes, SECRET_SIZE_MAX);

    g_autoptr(Secret) larger = secret_new_blank(SECRET_SIZE_MAX + 1, &bytes);
    g_assert_false(sealing_write(place.sealing, &accounts, "big", larger, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
}

static void move(const Place *place, const char *from, const char *to)
{
    g_autofree char *source = g_build_filename(place->state, from, NULL);
    g_autofree char *target = g_build_filename(place->state, to, NULL);
    g_assert_cmpint(g_rename(source, target), ==, 0);
}

static void a_file_moved_to_another_owner_or_kind_does_not_open(void)
{
    g_auto(Place) place = new_place();
    keep(&place, &pins, "A", "123456");
    move(&place, "pins/A.sealed", "pins/B.sealed");
    expect_lost(&place, &pins, "B");
    keep(&place, &pins, "A", "123456");
    keep(&place, &accounts, "A", "{}");
    move(&place, "pins/A.sealed", "accounts/A.sealed");
    expect_lost(&place, &accounts, "A");
}

static void every_flipped_bit_and_every_cut_is_noticed(void)
{
    g_auto(Place) place = new_place();
    g_autofree char *path = path_of(&place, "pins", "A.sealed");
    g_autofree char *content = NULL;
    gsize size = 0;
    keep(&place, &pins, "A", "123456");
    g_assert_true(g_file_get_contents(path, &content, &size, NULL));
    for (gsize i = 0; i < size; i += 3) {
        content[i] ^= 1;
        g_assert_true(g_file_set_contents(path, content, (gssize)size, NULL));
        expect_lost(&place, &pins, "A");
        content[i] ^= 1;
    }
    for (gsize i = 0; i < size; i += 7) {
        g_assert_true(g_file_set_contents(path, content, (gssize)i, NULL));
        expect_lost(&place, &pins, "A");
    }
    g_autofree char *large = g_malloc0(2 * SECRET_SIZE_MAX);
    g_assert_true(g_file_set_contents(path, large, (gssize)(2 * SECRET_SIZE_MAX), NULL));
    expect_lost(&place, &pins, "A");
}

static void another_machines_key_opens_nothing(void)
{
    g_auto(Place) place = new_place();
    keep(&place, &accounts, "A", "{}");
    g_free(test_write(place.credentials, "iothsm.key", "ffffffffffffffffffffffffffffffff"));
    restart(&place);
    expect_lost(&place, &accounts, "A");
}

static void without_a_key_nothing_is_written(void)
{
    g_autofree char *state = test_directory();
    g_autoptr(GError) error = NULL;
    g_autoptr(Sealing) sealing = sealing_new(state, NULL, &error);
    g_autoptr(Secret) secret = secret_new("123456", 6);
    g_assert_no_error(error);
    g_assert_false(sealing_available(sealing));
    g_assert_null(sealing_derive(sealing, "anything"));
    g_assert_false(sealing_write(sealing, &pins, "A", secret, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_UNSUPPORTED);
    g_assert_nonnull(strstr(error->message, "iothsm.key"));
    g_autofree char *directory = g_build_filename(state, "pins", NULL);
    g_assert_false(g_file_test(directory, G_FILE_TEST_EXISTS));
}

static void a_short_or_long_key_is_refused_in_words(void)
{
    g_auto(Place) place = new_place();
    const gsize sizes[] = {0, 15, 4097};
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++) {
        g_autofree char *key = g_strnfill(sizes[i], 'k');
        g_autoptr(GError) error = NULL;
        g_free(test_write(place.credentials, "iothsm.key", key));
        g_assert_null(sealing_new(place.state, place.credentials, &error));
        g_assert_nonnull(strstr(error->message, "iothsm.key"));
    }
    for (gsize size = 16; size <= 4096; size += 4080) {
        g_autofree char *key = g_strnfill(size, 'k');
        g_free(test_write(place.credentials, "iothsm.key", key));
        restart(&place);
        g_assert_true(sealing_available(place.sealing));
    }
}

static void derived_keys_stay_the_same_and_differ_by_purpose(void)
{
    g_auto(Place) place = new_place();
    g_autoptr(Secret) one = sealing_derive(place.sealing, "one");
    g_autoptr(Secret) other = sealing_derive(place.sealing, "other");
    restart(&place);
    g_autoptr(Secret) again = sealing_derive(place.sealing, "one");
    g_assert_cmpuint(secret_size(one), ==, 32);
    g_assert_cmpmem(secret_data(one), 32, secret_data(again), 32);
    g_assert_cmpint(memcmp(secret_data(one), secret_data(other), 32), !=, 0);
    g_assert_null(memmem(credential, sizeof credential, secret_data(one), 16));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    (void)secret_memory_init();
    g_test_add_func("/sealing/round-trip", a_sealed_secret_opens_after_a_restart_and_is_not_readable);
    g_test_add_func("/sealing/fresh", the_same_secret_is_never_sealed_to_the_same_bytes);
    g_test_add_func("/sealing/largest", the_largest_secret_comes_back_and_one_byte_more_is_refused);
    g_test_add_func("/sealing/moved", a_file_moved_to_another_owner_or_kind_does_not_open);
    g_test_add_func("/sealing/damaged", every_flipped_bit_and_every_cut_is_noticed);
    g_test_add_func("/sealing/foreign-key", another_machines_key_opens_nothing);
    g_test_add_func("/sealing/no-key", without_a_key_nothing_is_written);
    g_test_add_func("/sealing/key-size", a_short_or_long_key_is_refused_in_words);
    g_test_add_func("/sealing/derived", derived_keys_stay_the_same_and_differ_by_purpose);
    return g_test_run();
}
