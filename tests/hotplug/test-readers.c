/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The watch over PC/SC's readers, with a pcscd of the test's own: cards come and go, pcscd comes and goes,
 * and other programs take the card for themselves. */

#include "daemon/token/yubikey/readers.h"
#include "tests/support/support.h"
#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/virtual-yubikey/test/virtual-key.h"
#include <dlfcn.h>
#include <glib/gstdio.h>
#include <string.h>
#include <winscard.h>

#define SECONDS 30

typedef struct Room {
    Pcsc *pcsc;
    Readers *readers;
    GPtrArray *seen; /* "+0" "-0" "free 0" "works" "trouble" */
    char *trouble;   /* the last one */
} Room;

/* The number that the fixture has for it. */
static guint number_of(const char *reader)
{
    guint number = 0;
    while (strcmp(pcsc_reader_name(number), reader) != 0)
        g_assert_cmpuint(++number, <, PCSC_READERS_MAX);
    return number;
}

static void note(Room *room, const char *what, const char *reader)
{
    g_ptr_array_add(room->seen, g_strdup_printf("%s%u", what, number_of(reader)));
}

static void on_card_there(const char *reader, void *userdata)
{
    note(userdata, "+", reader);
}

static void on_card_gone(const char *reader, void *userdata)
{
    note(userdata, "-", reader);
}

static void on_card_free(const char *reader, void *userdata)
{
    note(userdata, "free ", reader);
}

static void on_looked(const char *trouble, void *userdata)
{
    Room *room = userdata;
    g_free(room->trouble);
    room->trouble = g_strdup(trouble);
    g_ptr_array_add(room->seen, g_strdup(trouble ? "trouble" : "works"));
}

static void watch(Room *room)
{
    const ReadersEvents events = {on_card_there, on_card_gone, on_card_free, on_looked, room};
    room->readers = readers_new("Yubico", &events);
}

static Room *room_new(Pcsc *pcsc)
{
    Room *room = g_new0(Room, 1);
    room->pcsc = pcsc;
    room->seen = g_ptr_array_new_with_free_func(g_free);
    return room;
}

static void room_free(Room *room)
{
    readers_free(room->readers);
    pcsc_free(room->pcsc);
    g_ptr_array_unref(room->seen);
    g_free(room->trouble);
    g_free(room);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Room, room_free)

typedef struct Count {
    const Room *room;
    guint wanted;
} Count;

static bool is_reached(void *userdata)
{
    const Count *count = userdata;
    return count->room->seen->len >= count->wanted;
}

/* Waits for the next report, which must be |report|. */
static void assert_next(Room *room, const char *report)
{
    Count count = {room, 1};
    test_wait_for(is_reached, &count, SECONDS);
    g_autofree char *next = g_ptr_array_steal_index(room->seen, 0);
    g_assert_cmpstr(next, ==, report);
}

static VirtualKey *key_in(const Room *room, guint reader)
{
    g_autofree char *directory = test_directory();
    return virtual_key_start(directory, pcsc_port(room->pcsc, reader), NULL);
}

static void test_present(void)
{
    g_autoptr(Room) room = room_new(pcsc_start());
    g_autoptr(VirtualKey) key = key_in(room, 0);
    pcsc_wait_card(room->pcsc, 0, true);
    watch(room);
    assert_next(room, "+0");
    assert_next(room, "works");
}

static void test_come_and_go(void)
{
    g_autoptr(Room) room = room_new(pcsc_start());
    watch(room);
    assert_next(room, "works");
    g_autoptr(VirtualKey) first = key_in(room, 0);
    assert_next(room, "+0");
    g_autoptr(VirtualKey) second = key_in(room, 1);
    assert_next(room, "+1");
    virtual_key_tell(first, "unplug");
    assert_next(room, "-0");
    virtual_key_tell(first, "plug");
    assert_next(room, "+0");
    virtual_key_stop(second, true);
    assert_next(room, "-1");
}

/* Pulled and put back before anybody looks: PC/SC counts. */
static void test_quick_replug(void)
{
    g_autoptr(Room) room = room_new(pcsc_start());
    g_autoptr(VirtualKey) key = key_in(room, 0);
    pcsc_wait_card(room->pcsc, 0, true);
    watch(room);
    assert_next(room, "+0");
    assert_next(room, "works");
    for (guint i = 0; i < 5; i++) {
        virtual_key_tell(key, "unplug");
        pcsc_wait_card(room->pcsc, 0, false);
        virtual_key_tell(key, "plug");
        pcsc_wait_card(room->pcsc, 0, true);
        assert_next(room, "-0");
        assert_next(room, "+0");
    }
    g_assert_cmpuint(room->seen->len, ==, 0);
}

static void test_restart(void)
{
    g_autoptr(Room) room = room_new(pcsc_start());
    g_autoptr(VirtualKey) key = key_in(room, 0);
    watch(room);
    assert_next(room, "works");
    assert_next(room, "+0");
    for (guint i = 0; i < 3; i++) {
        pcsc_stop(room->pcsc);
        assert_next(room, "-0");
        assert_next(room, "trouble");
        g_assert_nonnull(strstr(room->trouble, "pcscd"));
        pcsc_start_again(room->pcsc);
        /* The card may be quicker than the first look. */
        Count count = {room, 2};
        test_wait_for(is_reached, &count, SECONDS);
        bool works_first = strcmp(g_ptr_array_index(room->seen, 0), "works") == 0;
        assert_next(room, works_first ? "works" : "+0");
        assert_next(room, works_first ? "+0" : "works");
    }
}

static void test_late_start(void)
{
    g_autoptr(Room) room = room_new(pcsc_new_stopped(2));
    watch(room);
    assert_next(room, "trouble");
    g_assert_nonnull(strstr(room->trouble, "systemctl enable --now pcscd.socket"));
    pcsc_start_again(room->pcsc);
    assert_next(room, "works");
}

/* The very folder of the socket is made later. */
static void test_late_folder(void)
{
    g_autoptr(Room) room = room_new(pcsc_new_stopped(2));
    g_autofree char *folder = g_path_get_dirname(g_getenv("PCSCLITE_CSOCK_NAME"));
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    watch(room);
    assert_next(room, "trouble");
    g_assert_cmpint(g_mkdir(folder, 0755), ==, 0);
    assert_next(room, "trouble");
    pcsc_start_again(room->pcsc);
    assert_next(room, "works");
}

static void test_look_again(void)
{
    g_autoptr(Room) room = room_new(pcsc_new_stopped(2));
    watch(room);
    assert_next(room, "trouble");
    readers_look_again(room->readers);
    assert_next(room, "trouble");
}

static void test_held(void)
{
    g_autoptr(Room) room = room_new(pcsc_start());
    g_autoptr(VirtualKey) key = key_in(room, 0);
    pcsc_wait_card(room->pcsc, 0, true);
    SCARDCONTEXT context;
    SCARDHANDLE card;
    DWORD protocol;
    g_assert_cmpint(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context), ==, SCARD_S_SUCCESS);
    g_assert_cmpint(SCardConnect(context, pcsc_reader_name(0), SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T1,
                                 &card, &protocol),
                    ==, SCARD_S_SUCCESS);
    watch(room);
    assert_next(room, "+0");
    assert_next(room, "works");
    SCardDisconnect(card, SCARD_LEAVE_CARD);
    assert_next(room, "free 0");
    SCardReleaseContext(context);
}

static void test_hub(void)
{
    g_autoptr(Room) room = room_new(pcsc_start_readers(PCSC_READERS_MAX));
    g_autoptr(GPtrArray) keys = g_ptr_array_new_with_free_func((GDestroyNotify)virtual_key_free);
    watch(room);
    assert_next(room, "works");
    for (guint i = 0; i < PCSC_READERS_MAX; i++)
        g_ptr_array_add(keys, key_in(room, i));
    Count count = {room, PCSC_READERS_MAX};
    test_wait_for(is_reached, &count, SECONDS);
    for (guint i = 0; i < PCSC_READERS_MAX; i++) {
        g_autofree char *report = g_strdup_printf("+%u", i);
        g_assert_true(g_ptr_array_find_with_equal_func(room->seen, report, g_str_equal, NULL));
    }
    g_assert_cmpuint(room->seen->len, ==, PCSC_READERS_MAX);
}

/* --- where the thread is ------------------------------------------------------------------------------ */

/* What it calls of PC/SC comes by here first: once it is at call number |stop_at|, |reached| is told. */
static struct {
    gint calls, stop_at;
    GAsyncQueue *reached;
} thread_is;

static void at_call(void)
{
    if (g_atomic_int_add(&thread_is.calls, 1) + 1 == g_atomic_int_get(&thread_is.stop_at))
        g_async_queue_push(thread_is.reached, &thread_is);
}

#define REAL(function) ((__typeof__(&function))dlsym(RTLD_NEXT, #function))

LONG SCardEstablishContext(DWORD scope, LPCVOID reserved1, LPCVOID reserved2, LPSCARDCONTEXT context)
{
    at_call();
    return REAL(SCardEstablishContext)(scope, reserved1, reserved2, context);
}

LONG SCardListReaders(SCARDCONTEXT context, LPCSTR groups, LPSTR readers, LPDWORD size)
{
    at_call();
    return REAL(SCardListReaders)(context, groups, readers, size);
}

LONG SCardGetStatusChange(SCARDCONTEXT context, DWORD timeout, SCARD_READERSTATE *states, DWORD n_states)
{
    at_call();
    return REAL(SCardGetStatusChange)(context, timeout, states, n_states);
}

/* At each of the first |calls|, and before them. */
static void stop_at_each(Room *room, gint calls)
{
    for (gint i = 0; i < 60; i++) {
        g_atomic_int_set(&thread_is.calls, 0);
        g_atomic_int_set(&thread_is.stop_at, i % (calls + 1));
        watch(room);
        if (i % (calls + 1) > 0)
            g_async_queue_pop(thread_is.reached);
        g_clear_pointer(&room->readers, readers_free);
    }
    g_atomic_int_set(&thread_is.stop_at, 0);
}

/* Wherever the thread is, it comes back: a cancellation that comes too early for PC/SC is said again. */
static void test_stop(void)
{
    g_autoptr(Room) room = room_new(pcsc_start());
    thread_is.reached = g_async_queue_new();
    stop_at_each(room, 5); /* a context, then twice the list and what changed */
    pcsc_stop(room->pcsc);
    stop_at_each(room, 1);
    while (g_main_context_iteration(NULL, FALSE))
        ;
    g_assert_cmpuint(room->seen->len, ==, 0);
    g_clear_pointer(&thread_is.reached, g_async_queue_unref);
}

static void test_not_usb(void)
{
    g_autoptr(Room) room = room_new(pcsc_start());
    guint bus = 7, number = 7;
    g_assert_false(readers_usb_address(pcsc_reader_name(0), &bus, &number));
    g_assert_false(readers_usb_address("no such reader", &bus, &number));
    g_assert_cmpuint(bus, ==, 7);
    g_assert_cmpuint(number, ==, 7);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
    g_test_add_func("/readers/a card that is there is reported before the look is over", test_present);
    g_test_add_func("/readers/cards come and go", test_come_and_go);
    g_test_add_func("/readers/a replug that nobody saw is a replug", test_quick_replug);
    g_test_add_func("/readers/a restart of pcscd takes the cards away and brings them back", test_restart);
    g_test_add_func("/readers/pcscd may start later", test_late_start);
    g_test_add_func("/readers/the folder of its socket may come later", test_late_folder);
    g_test_add_func("/readers/PC-SC is tried again when it is asked for", test_look_again);
    g_test_add_func("/readers/a card that another program let go of is free", test_held);
    g_test_add_func("/readers/as many readers as pcscd can have", test_hub);
    g_test_add_func("/readers/the watch ends at any moment", test_stop);
    g_test_add_func("/readers/a reader that is not on USB has no address there", test_not_usb);
    return g_test_run();
}
