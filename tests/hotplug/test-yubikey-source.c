/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The source of YubiKeys by itself: PC/SC, the cards and udev are played here, so that everything can happen
 * in any order. */

#include "daemon/error.h"
#include "daemon/token/yubikey/readers.h"
#include "daemon/token/yubikey/yubikey-source.h"
#include "daemon/token/yubikey/yubikey.h"
#include "tests/support/support.h"
#include <string.h>

#define SECONDS 30
#define FIRST "Yubico YubiKey 00 00"
#define SECOND "Yubico YubiKey 01 00"
#define PORT "/devices/usb1/1-1"

/* What the threads see. */
typedef struct Card {
    const char *serial; /* NULL: it fails with |code| */
    IothsmError code;
    guint bus, number;
} Card;

static struct {
    GMutex lock;
    GCond changed;
    GHashTable *cards; /* reader → Card */
    guint held_back;   /* openings wait while it is set */
    guint waiting;
    guint opened;
    gint alive; /* backends, atomic */
} cards;

static struct Readers {
    ReadersEvents events;
    guint looks;
} readers;

typedef struct Room {
    Source *source;
    GPtrArray *seen; /* "+1", "-1", "trouble PLACE: SENTENCE", "PLACE is fine" */
    bool settled;
} Room;

/* --- what stands in for PC/SC ------------------------------------------------------------------------ */

Readers *readers_new(const char *prefix, const ReadersEvents *events)
{
    g_assert_cmpstr(prefix, ==, "Yubico");
    readers = (struct Readers){*events, 0};
    return &readers;
}

void readers_look_again(Readers *self)
{
    self->looks++;
}

void readers_free(Readers *self)
{
}

static Card *card_in(const char *reader)
{
    Card *card = g_hash_table_lookup(cards.cards, reader);
    g_assert_nonnull(card);
    return card;
}

bool readers_usb_address(const char *reader, guint *ret_bus, guint *ret_number)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&cards.lock);
    const Card *card = card_in(reader);
    *ret_bus = card->bus;
    *ret_number = card->number;
    return card->bus > 0;
}

static void scripted_free(Backend *backend)
{
    g_atomic_int_add(&cards.alive, -1);
    g_free(backend);
}

static const BackendClass scripted_class = {.kind = "scripted", .threads = 1, .free = scripted_free};

Backend *yubikey_new(const char *reader, char **ret_serial, GError **error)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&cards.lock);
    Card card = *card_in(reader);
    cards.waiting++;
    g_cond_broadcast(&cards.changed);
    while (cards.held_back > 0)
        g_cond_wait(&cards.changed, &cards.lock);
    cards.waiting--;
    cards.opened++;
    if (!card.serial) {
        g_set_error(error, IOTHSM_ERROR, (int)card.code, "%s can't be opened", reader);
        return NULL;
    }
    *ret_serial = g_strdup(card.serial);
    Backend *backend = g_new0(Backend, 1);
    backend->class = &scripted_class;
    g_atomic_int_inc(&cards.alive);
    return backend;
}

static void set_card(const char *reader, Card card)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&cards.lock);
    g_hash_table_insert(cards.cards, g_strdup(reader), g_memdup2(&card, sizeof card));
}

static void hold_back(bool hold)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&cards.lock);
    cards.held_back = hold;
    g_cond_broadcast(&cards.changed);
}

static void wait_until_opening(guint count)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&cards.lock);
    while (cards.waiting < count)
        g_cond_wait(&cards.changed, &cards.lock);
}

/* --- what stands in for the manager ------------------------------------------------------------------ */

static void on_appeared(Source *source, Backend *backend, const char *serial, void *userdata)
{
    g_ptr_array_add(((Room *)userdata)->seen, g_strconcat("+", serial, NULL));
    backend->class->free(backend);
}

static void on_gone(Source *source, const char *serial, void *userdata)
{
    g_ptr_array_add(((Room *)userdata)->seen, g_strconcat("-", serial, NULL));
}

static void on_trouble(Source *source, const char *place, const char *sentence, void *userdata)
{
    g_ptr_array_add(((Room *)userdata)->seen, *sentence ? g_strdup_printf("trouble %s: %s", place, sentence)
                                                        : g_strdup_printf("%s is fine", place));
}

static void on_settled(const GError *error, void *userdata)
{
    g_assert_no_error(error);
    *(bool *)userdata = true;
}

static Room *room_new(void)
{
    Room *room = g_new0(Room, 1);
    const SourceEvents events = {on_appeared, on_gone, on_trouble, room};
    room->seen = g_ptr_array_new_with_free_func(g_free);
    cards.cards = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    cards.opened = 0;
    set_card(FIRST, (Card){"1", 0, 0, 0});
    set_card(SECOND, (Card){"2", 0, 0, 0});
    room->source = yubikey_source_new();
    room->source->class->start(room->source, &events, on_settled, &room->settled);
    g_assert_false(room->settled);
    return room;
}

static void room_free(Room *room)
{
    room->source->class->free(room->source);
    g_assert_cmpint(g_atomic_int_get(&cards.alive), ==, 0);
    g_ptr_array_unref(room->seen);
    g_hash_table_unref(cards.cards);
    g_free(room);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Room, room_free)

/* Starts with PC/SC that works. */
static Room *room_new_working(void)
{
    Room *room = room_new();
    readers.events.looked(NULL, readers.events.userdata);
    test_wait(&room->settled, SECONDS);
    return room;
}

static void put(const char *reader)
{
    readers.events.card_there(reader, readers.events.userdata);
}

static void pull(const char *reader)
{
    readers.events.card_gone(reader, readers.events.userdata);
}

static void set_free(const char *reader)
{
    readers.events.card_free(reader, readers.events.userdata);
}

static bool has_seen(void *room)
{
    return ((Room *)room)->seen->len > 0;
}

/* Waits for the next report, which must start with |report|. */
static void assert_next(Room *room, const char *report)
{
    test_wait_for(has_seen, room, SECONDS);
    g_autofree char *next = g_ptr_array_steal_index(room->seen, 0);
    if (!g_str_has_prefix(next, report))
        g_error("\"%s\" instead of \"%s\"", next, report);
}

static void reload(Room *room)
{
    bool done = false;
    room->source->class->reload(room->source, on_settled, &done);
    g_assert_false(done);
    test_wait(&done, SECONDS);
}

/* Nothing is under way any more, and nothing was said. */
static void assert_quiet(Room *room)
{
    reload(room);
    if (room->seen->len > 0)
        g_error("\"%s\" was not expected", (char *)g_ptr_array_index(room->seen, 0));
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void test_come_and_go(void)
{
    g_autoptr(Room) room = room_new_working();
    put(FIRST);
    assert_next(room, "+1");
    put(SECOND);
    assert_next(room, "+2");
    pull(FIRST);
    assert_next(room, "-1");
    pull(SECOND);
    assert_next(room, "-2");
    assert_quiet(room);
}

static void test_settled(void)
{
    g_autoptr(Room) room = room_new();
    hold_back(true);
    put(FIRST);
    readers.events.looked(NULL, readers.events.userdata);
    wait_until_opening(1);
    g_assert_false(room->settled);
    hold_back(false);
    assert_next(room, "+1");
    test_wait(&room->settled, SECONDS);
}

static void test_settled_without_pcsc(void)
{
    g_autoptr(Room) room = room_new();
    readers.events.looked("it is not there", readers.events.userdata);
    test_wait(&room->settled, SECONDS);
    g_assert_cmpuint(room->seen->len, ==, 0);
}

static void test_pulled_while_opening(void)
{
    g_autoptr(Room) room = room_new_working();
    hold_back(true);
    put(FIRST);
    wait_until_opening(1);
    pull(FIRST);
    hold_back(false);
    assert_quiet(room);
    g_assert_cmpuint(cards.opened, ==, 1);
}

/* What a thread found in a reader is about the card that was in it then. */
static void test_other_card_while_opening(void)
{
    g_autoptr(Room) room = room_new_working();
    hold_back(true);
    put(FIRST);
    wait_until_opening(1);
    pull(FIRST);
    set_card(FIRST, (Card){"3", 0, 0, 0});
    put(FIRST);
    wait_until_opening(2);
    hold_back(false);
    assert_next(room, "+3");
    assert_quiet(room);
}

static void test_replug_fifty_times(void)
{
    g_autoptr(Room) room = room_new_working();
    for (guint i = 0; i < 50; i++) {
        put(FIRST);
        pull(FIRST);
    }
    put(FIRST);
    assert_next(room, "+1");
    assert_quiet(room);
}

static void test_held(void)
{
    g_autoptr(Room) room = room_new_working();
    set_card(FIRST, (Card){NULL, IOTHSM_ERROR_TOKEN_HELD, 0, 0});
    put(FIRST);
    assert_next(room, "trouble " FIRST ": " FIRST " can't be opened");
    set_free(FIRST); /* of one program, but not of the other */
    assert_next(room, "trouble ");
    set_card(FIRST, (Card){"1", 0, 0, 0});
    set_free(FIRST);
    assert_next(room, FIRST " is fine");
    assert_next(room, "+1");
    set_free(FIRST);
    assert_quiet(room);
}

/* PC/SC may say so before the thread is back with what it found. */
static void test_free_while_opening(void)
{
    g_autoptr(Room) room = room_new_working();
    set_card(FIRST, (Card){NULL, IOTHSM_ERROR_TOKEN_HELD, 0, 0});
    hold_back(true);
    put(FIRST);
    wait_until_opening(1);
    set_card(FIRST, (Card){"1", 0, 0, 0});
    set_free(FIRST);
    hold_back(false);
    assert_next(room, "trouble ");
    assert_next(room, FIRST " is fine");
    assert_next(room, "+1");
}

static void test_trouble_goes_with_the_card(void)
{
    g_autoptr(Room) room = room_new_working();
    set_card(FIRST, (Card){NULL, IOTHSM_ERROR_UNSUPPORTED, 0, 0});
    put(FIRST);
    assert_next(room, "trouble ");
    pull(FIRST);
    assert_next(room, FIRST " is fine");
    assert_quiet(room);
}

static void test_reload_tries_again(void)
{
    g_autoptr(Room) room = room_new_working();
    set_card(FIRST, (Card){NULL, IOTHSM_ERROR_FAILED, 0, 0});
    put(FIRST);
    assert_next(room, "trouble ");
    set_card(FIRST, (Card){"1", 0, 0, 0});
    reload(room);
    assert_next(room, FIRST " is fine");
    assert_next(room, "+1");
}

static void test_same_serial(void)
{
    g_autoptr(Room) room = room_new_working();
    set_card(SECOND, (Card){"1", 0, 0, 0});
    put(FIRST);
    assert_next(room, "+1");
    put(SECOND);
    assert_next(room,
                "trouble " SECOND ": YubiKey 1 is in reader \"" FIRST "\" and in reader \"" SECOND "\", too");
    pull(FIRST);
    assert_next(room, "-1");
    assert_next(room, SECOND " is fine");
    assert_next(room, "+1");
    pull(SECOND);
    assert_next(room, "-1");
    assert_quiet(room);
}

static void test_udev_is_first(void)
{
    g_autoptr(Room) room = room_new_working();
    yubikey_source_usb_plugged(room->source, PORT, "YubiKey", true, 1, 7);
    set_card(FIRST, (Card){"1", 0, 1, 7});
    put(FIRST);
    assert_next(room, "+1");
    yubikey_source_usb_unplugged(room->source, PORT);
    assert_next(room, "-1");
    pull(FIRST);
    assert_quiet(room);
    /* The same port again, with a new address. */
    yubikey_source_usb_plugged(room->source, PORT, "YubiKey", true, 1, 8);
    set_card(FIRST, (Card){"1", 0, 1, 8});
    put(FIRST);
    assert_next(room, "+1");
}

static void test_udev_is_first_while_opening(void)
{
    g_autoptr(Room) room = room_new_working();
    yubikey_source_usb_plugged(room->source, PORT, "YubiKey", true, 1, 7);
    set_card(FIRST, (Card){"1", 0, 1, 7});
    hold_back(true);
    put(FIRST);
    wait_until_opening(1);
    yubikey_source_usb_unplugged(room->source, PORT);
    hold_back(false);
    assert_quiet(room);
}

static void test_udev_means_another(void)
{
    g_autoptr(Room) room = room_new_working();
    yubikey_source_usb_plugged(room->source, PORT, "YubiKey", true, 1, 7);
    set_card(FIRST, (Card){"1", 0, 1, 9});
    put(FIRST);
    assert_next(room, "+1");
    put(SECOND); /* not on USB, as far as anybody knows */
    assert_next(room, "+2");
    yubikey_source_usb_unplugged(room->source, PORT);
    yubikey_source_usb_unplugged(room->source, "/devices/unheard-of");
    assert_quiet(room);
}

static void test_no_pcsc(void)
{
    g_autoptr(Room) room = room_new_working();
    readers.events.looked("the service is not there", readers.events.userdata);
    yubikey_source_usb_plugged(room->source, PORT, "YubiKey", true, 1, 7);
    assert_next(room, "trouble pcscd: A YubiKey is plugged in, but the service is not there");
    g_assert_cmpuint(readers.looks, ==, 1);
    yubikey_source_usb_plugged(room->source, PORT "/1-1.2", "YubiKey", true, 1, 8);
    yubikey_source_usb_unplugged(room->source, PORT "/1-1.2");
    g_assert_cmpuint(room->seen->len, ==, 0);
    readers.events.looked(NULL, readers.events.userdata);
    assert_next(room, "pcscd is fine");
}

static void test_no_ccid(void)
{
    g_autoptr(Room) room = room_new_working();
    yubikey_source_usb_plugged(room->source, PORT, "YubiKey OTP", false, 1, 7);
    assert_next(room, "trouble USB port 1-1: The YubiKey OTP in USB port 1-1 can't be used");
    yubikey_source_usb_unplugged(room->source, PORT);
    assert_next(room, "USB port 1-1 is fine");
    assert_quiet(room);
}

/* Plugged in, and PC/SC works, but has no reader for it: that is said after a while. */
static void test_no_reader(void)
{
    g_autoptr(Room) room = room_new_working();
    yubikey_source_usb_plugged(room->source, PORT, "YubiKey", true, 1, 7);
    g_assert_cmpuint(room->seen->len, ==, 0);
    assert_next(room, "trouble smart card readers: A YubiKey is plugged in that the smart card service");
    put(FIRST);
    assert_next(room, "smart card readers is fine");
    assert_next(room, "+1");
}

static void test_ends_while_opening(void)
{
    g_autoptr(Room) room = room_new_working();
    hold_back(true);
    put(FIRST);
    put(SECOND);
    wait_until_opening(2);
    hold_back(false);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/yubikey-source/a card is a token while it is there", test_come_and_go);
    g_test_add_func("/yubikey-source/READY waits for the cards that are there", test_settled);
    g_test_add_func("/yubikey-source/a card that is pulled while it is opened is no token",
                    test_pulled_while_opening);
    g_test_add_func("/yubikey-source/another card in the same reader is another",
                    test_other_card_while_opening);
    g_test_add_func("/yubikey-source/fifty replugs end with one token", test_replug_fifty_times);
    g_test_add_func("/yubikey-source/a card that somebody holds is spoken of until it is free", test_held);
    g_test_add_func("/yubikey-source/a card that becomes free while it is opened is opened again",
                    test_free_while_opening);
    g_test_add_func("/yubikey-source/what is said of a card ends with it", test_trouble_goes_with_the_card);
    g_test_add_func("/yubikey-source/a reload tries again", test_reload_tries_again);
    g_test_add_func("/yubikey-source/a serial number in two readers is one token", test_same_serial);
    g_test_add_func("/yubikey-source/udev may be the first to say that it is gone", test_udev_is_first);
    g_test_add_func("/yubikey-source/also while it is opened", test_udev_is_first_while_opening);
    g_test_add_func("/yubikey-source/what udev says of another device is not about it",
                    test_udev_means_another);
    g_test_add_func("/yubikey-source/a key without PC-SC is spoken of", test_no_pcsc);
    g_test_add_func("/yubikey-source/a key without CCID is spoken of", test_no_ccid);
    g_test_add_func("/yubikey-source/a key without a reader is spoken of", test_no_reader);
    g_test_add_func("/yubikey-source/without keys a missing PC-SC is not spoken of",
                    test_settled_without_pcsc);
    g_test_add_func("/yubikey-source/it ends while cards are opened", test_ends_while_opening);
    return g_test_run();
}
