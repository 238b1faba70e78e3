/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* YubiKeys that come and go below the whole daemon. */

#include "tests/hotplug/stage.h"
#include <string.h>
#include <unistd.h>
#include <winscard.h>

static void test_two(void)
{
    g_autoptr(Stage) stage = stage_new(2, true);
    stage_key(stage, 0, "1001", true);
    stage_key(stage, 1, "1002", true);
    pcsc_wait_card(stage->pcsc, 0, true);
    pcsc_wait_card(stage->pcsc, 1, true);
    stage_start(stage, NULL);
    /* Both were there before READY. */
    g_autofree char *tokens = stage_tokens(stage);
    g_assert_cmpstr(tokens, ==, "1001 1002");
    stage_wait_state(stage, "1001", "ready");
    stage_wait_state(stage, "1002", "ready");
}

static void assert_pin(Stage *stage, const char *serial, const char *state)
{
    g_autofree char *path = stage_token_path(serial);
    fixture_wait_string(stage->fixture, path, TOKEN_INTERFACE, "PinState", state, 30);
}

static void test_replug(void)
{
    g_autoptr(Stage) stage = stage_new(2, true);
    stage_start(stage, NULL);
    VirtualKey *key = stage_key(stage, 0, "1001", true);
    stage_assert_next(stage, "+1001");
    stage_wait_state(stage, "1001", "ready");
    stage_set_pin(stage, "1001");
    assert_pin(stage, "1001", "set");
    for (guint i = 0; i < 3; i++) {
        virtual_key_tell(key, "unplug");
        stage_assert_next(stage, "-1001");
        virtual_key_tell(key, "plug");
        stage_assert_next(stage, "+1001");
        assert_pin(stage, "1001", "set");
    }
    g_autofree char *tries = virtual_key_ask(key, "tries");
    g_assert_cmpstr(tries, ==, "pin=3/3 puk=3/3");
}

/* Waits until the slot is there; transfer full. */
static char *key_type(Stage *stage, const char *serial)
{
    g_autofree char *token = stage_token_path(serial);
    g_autofree char *slot = g_strconcat(token, "/", NULL);
    for (gint64 end = g_get_monotonic_time() + 30 * G_TIME_SPAN_SECOND; g_get_monotonic_time() < end;) {
        g_auto(GStrv) slots = fixture_objects(stage->fixture, SLOT_INTERFACE);
        for (char **each = slots; *each; each++)
            if (g_str_has_prefix(*each, slot))
                return fixture_get_string(stage->fixture, *each, SLOT_INTERFACE, "KeyType");
        g_assert_cmpint(sd_event_run(fixture_event(stage->fixture), 20 * 1000), >=, 0);
    }
    g_error("token %s has no slot", serial);
}

/* The reader that a key is in says nothing of which key it is. */
static void test_swap(void)
{
    static const char *const serials[] = {"1001", "1002"};
    static const char *const types[] = {"p256", "p384"};
    g_autoptr(Stage) stage = stage_new(2, true);
    stage_start(stage, NULL);
    for (guint i = 0; i < 2; i++) {
        g_autofree char *report = g_strconcat("+", serials[i], NULL);
        stage_key(stage, i, serials[i], true);
        stage_assert_next(stage, report);
        stage_wait_state(stage, serials[i], "ready");
        stage_set_pin(stage, serials[i]);
        g_autofree char *path = stage_token_path(serials[i]);
        sd_bus_message_unref(fixture_call(stage->fixture, path, TOKEN_INTERFACE, "GenerateKey", NULL,
                                          "ssa{sv}", "9c", types[i], 0));
    }
    for (guint i = 0; i < 2; i++)
        virtual_key_stop(g_ptr_array_index(stage->keys, i), false);
    stage_assert_all(stage, (const char *[]){"-1001", "-1002", NULL});
    for (guint i = 0; i < 2; i++) {
        g_autofree char *directory = stage_directory(stage, serials[i]);
        stage_key_in(stage, 1 - i, directory, true);
    }
    stage_assert_all(stage, (const char *[]){"+1001", "+1002", NULL});
    for (guint i = 0; i < 2; i++) {
        g_autofree char *type = key_type(stage, serials[i]);
        g_assert_cmpstr(type, ==, types[i]);
        assert_pin(stage, serials[i], "set");
    }
}

/* The virtual reader takes most of a second for each plug that it has seen, dead or alive. */
static guint quick_replugs(void)
{
    return g_strcmp0(g_getenv("IOTHSM_CHECK_LONG"), "yes") == 0 ? 50 : 8;
}

/* Whether or not PC/SC is given the time to notice, each token that comes goes, and the last one stays and
 * works. */
static void test_rapid(void)
{
    g_autoptr(Stage) stage = stage_new(2, true);
    stage_start(stage, NULL);
    VirtualKey *key = stage_key(stage, 0, "1001", true);
    stage_assert_next(stage, "+1001");
    stage_set_pin(stage, "1001");
    for (guint i = 0; i < quick_replugs(); i++) {
        virtual_key_tell(key, "unplug");
        if (g_test_rand_bit())
            pcsc_wait_card(stage->pcsc, 0, false);
        virtual_key_tell(key, "plug");
        if (g_test_rand_bit())
            pcsc_wait_card(stage->pcsc, 0, true);
    }
    /* What is said of another key comes after all that is said of this one's past. */
    pcsc_wait_card(stage->pcsc, 0, true);
    stage_key(stage, 1, "1002", true);
    bool present = true;
    for (bool over = false; !over;) {
        g_autofree char *tokens = NULL;
        if (stage->reports->len == 0) {
            g_assert_cmpint(sd_event_run(fixture_event(stage->fixture), 100 * 1000), >=, 0);
            continue;
        }
        g_autofree char *next = g_ptr_array_steal_index(stage->reports, 0);
        if (strcmp(next, "+1002") != 0) {
            g_assert_cmpstr(next, ==, present ? "-1001" : "+1001");
            present = !present;
        }
        over = stage->reports->len == 0 && present && (tokens = stage_tokens(stage)) &&
               strcmp(tokens, "1001 1002") == 0;
    }
    stage_wait_state(stage, "1001", "ready");
    assert_pin(stage, "1001", "set");
    g_autofree char *tries = virtual_key_ask(key, "tries");
    g_assert_cmpstr(tries, ==, "pin=3/3 puk=3/3");
}

static void test_hub(void)
{
    static const char *const serials[] = {"1001", "1002", "1003", "1004", "1005", "1006", "1007", "1008"};
    g_autoptr(Stage) stage = stage_new(G_N_ELEMENTS(serials), true);
    g_autoptr(GPtrArray) there = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) gone = g_ptr_array_new_with_free_func(g_free);
    stage_start(stage, NULL);
    for (guint i = 0; i < G_N_ELEMENTS(serials); i++) {
        stage_key(stage, i, serials[i], true);
        g_ptr_array_add(there, g_strconcat("+", serials[i], NULL));
        g_ptr_array_add(gone, g_strconcat("-", serials[i], NULL));
    }
    g_ptr_array_add(there, NULL);
    g_ptr_array_add(gone, NULL);
    stage_assert_all(stage, (const char *const *)there->pdata);
    for (guint i = 0; i < G_N_ELEMENTS(serials); i++)
        stage_wait_state(stage, serials[i], "ready");
    /* The hub's own plug is pulled. */
    for (guint i = 0; i < G_N_ELEMENTS(serials); i++)
        virtual_key_tell(g_ptr_array_index(stage->keys, i), "unplug");
    stage_assert_all(stage, (const char *const *)gone->pdata);
}

static void test_pcscd_restarts(void)
{
    g_autoptr(Stage) stage = stage_new(2, true);
    stage_key(stage, 0, "1001", true);
    pcsc_wait_card(stage->pcsc, 0, true);
    stage_start(stage, NULL);
    stage_assert_next(stage, "+1001");
    stage_set_pin(stage, "1001");
    for (guint i = 0; i < 3; i++) {
        pcsc_stop(stage->pcsc);
        stage_assert_next(stage, "-1001");
        pcsc_start_again(stage->pcsc);
        stage_assert_next(stage, "+1001");
        assert_pin(stage, "1001", "set");
        stage_wait_state(stage, "1001", "ready");
    }
}

static void test_pcscd_starts_later(void)
{
    g_autoptr(Stage) stage = stage_new(2, false);
    stage_start(stage, NULL);
    g_autofree char *tokens = stage_tokens(stage);
    g_assert_cmpstr(tokens, ==, "");
    stage_key(stage, 0, "1001", true);
    pcsc_start_again(stage->pcsc);
    stage_assert_next(stage, "+1001");
}

static void test_held(void)
{
    g_autoptr(Stage) stage = stage_new(2, true);
    SCARDCONTEXT context;
    SCARDHANDLE card;
    DWORD protocol;
    stage_key(stage, 0, "1001", true);
    pcsc_wait_card(stage->pcsc, 0, true);
    g_assert_cmpint(SCardEstablishContext(SCARD_SCOPE_SYSTEM, NULL, NULL, &context), ==, SCARD_S_SUCCESS);
    g_assert_cmpint(SCardConnect(context, pcsc_reader_name(0), SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T1,
                                 &card, &protocol),
                    ==, SCARD_S_SUCCESS);
    stage_start(stage, NULL);
    g_autofree char *tokens = stage_tokens(stage);
    g_assert_cmpstr(tokens, ==, "");
    g_autofree char *troubles = stage_troubles(stage);
    g_assert_nonnull(strstr(troubles, "held by another program"));
    g_ptr_array_set_size(stage->reports, 0);
    SCardDisconnect(card, SCARD_LEAVE_CARD);
    stage_assert_next(stage, "+1001");
    g_autofree char *after = stage_troubles(stage);
    g_assert_cmpstr(after, ==, "");
    SCardReleaseContext(context);
}

static void test_same_serial(void)
{
    g_autoptr(Stage) stage = stage_new(2, true);
    g_autofree char *twin = stage_directory(stage, "twin");
    stage_start(stage, NULL);
    VirtualKey *first = stage_key(stage, 0, "1001", true);
    stage_assert_next(stage, "+1001");
    VirtualKey *second =
        virtual_key_start(twin, pcsc_port(stage->pcsc, 1), (const char *[]){"--serial=1001", NULL});
    g_ptr_array_add(stage->keys, second);
    stage_assert_next(stage, "trouble: YubiKey 1001 is in reader");
    virtual_key_tell(first, "unplug");
    stage_assert_next(stage, "-1001");
    stage_assert_next(stage, "+1001");
    g_autofree char *troubles = stage_troubles(stage);
    g_assert_cmpstr(troubles, ==, "");
}

/* Everything here that is not an error is driven by events. */
static void test_without_timers(void)
{
    const char *options = g_getenv("ASAN_OPTIONS");
    g_autofree char *sanitizer =
        g_strconcat(options ? options : "", options ? ":" : "", "verify_asan_link_order=0", NULL);
    const char *const environment[] = {"LD_PRELOAD", g_getenv("NO_TIMERS"), "ASAN_OPTIONS", sanitizer, NULL};
    g_autoptr(Stage) stage = stage_new(2, false);
    stage_start(stage, environment);
    VirtualKey *key = stage_key(stage, 0, "1001", false);
    pcsc_start_again(stage->pcsc);
    virtual_key_tell(key, "plug");
    stage_assert_next(stage, "+1001");
    stage_wait_state(stage, "1001", "ready");
    stage_set_pin(stage, "1001");
    virtual_key_tell(key, "unplug");
    stage_assert_next(stage, "-1001");
    virtual_key_tell(key, "plug");
    stage_assert_next(stage, "+1001");
    assert_pin(stage, "1001", "set");
    pcsc_stop(stage->pcsc);
    stage_assert_next(stage, "-1001");
    pcsc_start_again(stage->pcsc);
    stage_assert_next(stage, "+1001");
    assert_pin(stage, "1001", "set");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
    g_test_add_func("/tokens/two keys at once are told apart by their serial numbers", test_two);
    g_test_add_func("/tokens/a key that comes back has its PIN again, and no try is lost", test_replug);
    g_test_add_func("/tokens/keys that change places stay who they are", test_swap);
    g_test_add_func("/tokens/quick replugs end with a token that works", test_rapid);
    g_test_add_func("/tokens/a hub of eight", test_hub);
    g_test_add_func("/tokens/pcscd restarts", test_pcscd_restarts);
    g_test_add_func("/tokens/pcscd starts later", test_pcscd_starts_later);
    g_test_add_func("/tokens/a card that another program holds is spoken of and used when it is free",
                    test_held);
    g_test_add_func("/tokens/a serial number in two readers is one token", test_same_serial);
    g_test_add_func("/tokens/no timer decides that a token is there or gone", test_without_timers);
    return g_test_run();
}
