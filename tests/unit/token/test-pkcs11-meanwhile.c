/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What other programs do to a PKCS#11 token meanwhile, against SoftHSM2 itself: tokens and objects come and
 * go, sessions are lost, and signing goes on. */

#include "tests/unit/token/softhsm-fixture.h"
#include <string.h>

/* Objects that other programs made: no id, an id of their own, private keys without public ones. */
static void test_objects_of_other_programs_are_named(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Foreign");
    g_autofree char *directory = test_directory();
    g_autofree char *pem = test_key_pem(test_key("rsa2048"), NULL);
    g_autofree char *file = test_write(directory, "key.pem", pem);
    g_autofree char *imported = TEST_RUN("softhsm2-util", "--import", file, "--token", "Foreign", "--label",
                                         "long id", "--id", "0102030405060708090a0b0c", "--pin", PIN);
    g_autofree char *made =
        test_run((const char *const[]){"pkcs11-tool", "--module", softhsm_module(), "--token-label",
                                       "Foreign", "--login", "--pin", PIN, "--keypairgen", "--key-type",
                                       "EC:secp384r1", "--label", "no id here", NULL},
                 NULL, 0);
    fixture_reload(soft.fixture);
    refresh(token);
    Slot *slot = token_find_slot(token, "0102030405060708090a0b0c");
    g_assert_nonnull(slot);
    g_assert_cmpstr(slot_label(slot), ==, "long id");
    assert_signs(slot, test_key("rsa2048"));
    slot = token_find_slot(token, "label=no id here");
    g_assert_nonnull(slot);
    assert_signs(slot, NULL);
    clear(slot);
    g_assert_null(token_find_slot(token, "label=no id here"));
}

/* Signatures without pause, from as many jobs as the token has threads. */
typedef struct Stream {
    Slot *slot;
    bool stop;
    bool ended;
    guint made;
    Signed now;
} Stream;

static void stream_next(Stream *stream);

static void on_streamed(const GError *error, void *data)
{
    Stream *stream = data;
    g_assert_no_error(error);
    g_assert_true(verifies(slot_public_key(stream->slot), &stream->now));
    stream->made++;
    if (stream->stop)
        stream->ended = true;
    else
        stream_next(stream);
}

static void stream_next(Stream *stream)
{
    g_autoptr(GError) error = NULL;
    g_assert_true(slot_use_key(stream->slot, sign_message, &stream->now, NULL, WORKER_NO_DEADLINE, NULL,
                               on_streamed, stream, &error));
    g_assert_no_error(error);
}

typedef struct Mark {
    const Stream *stream;
    guint made;
} Mark;

static bool has_grown(void *data)
{
    const Mark *mark = data;
    return mark->stream->made > mark->made;
}

static void on_exited(GObject *process, GAsyncResult *result, void *data)
{
    g_autoptr(GError) error = NULL;
    g_subprocess_wait_check_finish(G_SUBPROCESS(process), result, &error);
    ending_done(error, data);
}

static void test_no_request_fails_because_of_a_reload(void)
{
    static const KeyType types[] = {KEY_TYPE_RSA2048, KEY_TYPE_P256, KEY_TYPE_ED25519, KEY_TYPE_P384};
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Stress");
    Stream streams[G_N_ELEMENTS(types)] = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autofree char *name = generate(token, "", types[i]);
        streams[i].slot = token_find_slot(token, name);
    }
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++)
        stream_next(&streams[i]);
    guint before = soft.fixture->tokens->len;
    for (int round = 0; round < 20; round++) {
        g_auto(Ending) exited = {0};
        g_autoptr(GError) error = NULL;
        g_autoptr(GSubprocess) other =
            round % 2 == 0 ? g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error, "softhsm2-util",
                                              "--init-token", "--free", "--label", "Other process",
                                              "--so-pin", SO_PIN, "--pin", PIN, NULL)
                           : g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error, "softhsm2-util",
                                              "--delete-token", "--token", "Other process", NULL);
        g_assert_no_error(error);
        g_subprocess_wait_check_async(other, NULL, on_exited, &exited);
        ending_ok(&exited);
        fixture_reload(soft.fixture);
        g_assert_cmpuint(soft.fixture->tokens->len, ==, round % 2 == 0 ? before + 1 : before);
        /* Signatures go on between two reloads. */
        for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
            Mark mark = {&streams[i], streams[i].made};
            test_wait_for(has_grown, &mark, 60);
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        streams[i].stop = true;
        test_wait(&streams[i].ended, 60);
        g_test_message("%s: %u signatures over 20 reloads", key_type_to_string(types[i]), streams[i].made);
    }
}

/* Slots are filled and emptied while another slot signs without pause. */
static void test_signing_goes_on_while_slots_change(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Changing");
    g_autofree char *name = generate(token, "", KEY_TYPE_RSA2048);
    Stream stream = {.slot = token_find_slot(token, name)};
    stream_next(&stream);
    for (int round = 0; round < 12; round++) {
        g_autofree char *other = generate(token, "", KEY_TYPE_P256);
        assert_signs(token_find_slot(token, other), NULL);
        if (round % 3 == 2) {
            clear(token_find_slot(token, other));
        }
    }
    stream.stop = true;
    test_wait(&stream.ended, 60);
}

/* Pulls all sessions away, as a token does that is unplugged and put back. */
static void close_all_sessions(void)
{
    g_autoptr(GArray) slots = NULL;
    CK_FUNCTION_LIST *functions = softhsm_functions(&slots);
    for (guint i = 0; i < slots->len; i++)
        g_assert_cmpuint(functions->C_CloseAllSessions(g_array_index(slots, CK_SLOT_ID, i)), ==, CKR_OK);
}

static void test_lost_sessions_are_opened_again(void)
{
    g_auto(SoftToken) soft = {0};
    Token *token = soft_token_ready(&soft, "Lost");
    g_autofree char *name = generate(token, "", KEY_TYPE_P256);
    Slot *slot = token_find_slot(token, name);
    assert_signs(slot, NULL);
    close_all_sessions();
    assert_signs(slot, NULL);
    close_all_sessions();
    g_autofree char *other = generate(token, "", KEY_TYPE_ED25519);
    assert_signs(token_find_slot(token, other), NULL);
    close_all_sessions();
    refresh(token);
    g_assert_cmpint(token_pin_state(token), ==, PIN_STATE_SET);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!softhsm_test_prepare())
        return 0;
    g_test_add_func("/pkcs11/objects-of-other-programs-are-named", test_objects_of_other_programs_are_named);
    g_test_add_func("/pkcs11/no-request-fails-because-of-a-reload",
                    test_no_request_fails_because_of_a_reload);
    g_test_add_func("/pkcs11/signing-goes-on-while-slots-change", test_signing_goes_on_while_slots_change);
    g_test_add_func("/pkcs11/lost-sessions-are-opened-again", test_lost_sessions_are_opened_again);
    return g_test_run();
}
