/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* PubNub's addresses and answers (protocol.md appendix A; section 9, vector 13): what is sent is to the
 * letter, and what others publish on a channel never spoils what the platform says on it. */

#include "daemon/error.h"
#include "daemon/link/transport/pubnub-wire.h"
#include "tests/support/support.h"
#include <string.h>

#define UUID "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d"

static const PubnubAddress address = {"https://ps.example", {"pub-c-1", "sub-c-2"}, UUID};

static void assert_url(char *url, const char *path, const char *rest)
{
    g_autofree char *owned = url;
    g_autofree char *expected =
        g_strdup_printf("https://ps.example%s?uuid=" UUID "&pnsdk=IoTHSM-C%%2F", path);
    g_assert_true(g_str_has_prefix(owned, expected));
    g_assert_true(g_str_has_suffix(owned, rest));
}

static void addresses_are_to_the_letter(void)
{
    const char *const channels[] = {"3f0c-1", "a b,c/d~", NULL};
    const PubnubCursor cursor = {"17637000000000001", 12};
    assert_url(pubnub_time_url(&address), "/time/0", "");
    assert_url(pubnub_subscribe_url(&address, channels, &cursor),
               "/v2/subscribe/sub-c-2/3f0c-1,a%20b%2Cc%2Fd%7E/0",
               "&tt=17637000000000001&tr=12&heartbeat=300");
    assert_url(pubnub_subscribe_url(&address, channels, &PUBNUB_CURSOR_NOW),
               "/v2/subscribe/sub-c-2/3f0c-1,a%20b%2Cc%2Fd%7E/0", "&tt=0&heartbeat=300");
    assert_url(pubnub_publish_url(&address, "a/b"), "/publish/pub-c-1/sub-c-2/0/a%2Fb/0", "");
    assert_url(pubnub_leave_url(&address, channels),
               "/v2/presence/sub-key/sub-c-2/channel/3f0c-1,a%20b%2Cc%2Fd%7E/leave", "");
}

static PubnubBatch *read_batch(const char *text, GError **error)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    const PubnubReader reader = {UUID, 5 * G_USEC_PER_SEC, 17637000050000000};
    return pubnub_read_batch(json, strlen(json), &reader, error);
}

static PubnubBatch *good_batch(const char *text)
{
    g_autoptr(GError) error = NULL;
    PubnubBatch *batch = read_batch(text, &error);
    g_assert_no_error(error);
    return batch;
}

static void a_message_has_channel_publisher_age_and_envelope(void)
{
    g_autoptr(PubnubBatch) batch =
        good_batch("{'t':{'t':'17637000000000000','r':12},'m':[{'a':'1','f':0,'i':'platform','s':3,"
                   "'p':{'t':'17637000020000000','r':12},'k':'sub-c-2','c':'c1','b':'c1',"
                   "'d':{'type':'solicit signature','uuid':null,'smime':'x, } ] \\\"'}}]}");
    g_assert_cmpstr(batch->cursor.timetoken, ==, "17637000000000000");
    g_assert_cmpint(batch->cursor.region, ==, 12);
    g_assert_cmpuint(batch->messages->len, ==, 1);
    const TransportMessage *message = g_ptr_array_index(batch->messages, 0);
    g_assert_cmpstr(message->channel, ==, "c1");
    g_assert_cmpstr(message->publisher, ==, "platform");
    g_assert_cmpint(message->age_ms, ==, 3000);
    g_assert_cmpint(message->received, ==, 5 * G_USEC_PER_SEC);
    g_assert_false(message->resumable);
    g_assert_cmpstr(json_object_get_string_member(message->envelope, "type"), ==, "solicit signature");
}

static void empty_answers_move_the_cursor(void)
{
    g_autoptr(PubnubBatch) batch = good_batch(" { 'm' : [ ] , 'x':[{}], 't' : {'t':'2','r':0} } \n");
    g_assert_cmpuint(batch->messages->len, ==, 0);
    g_assert_cmpuint(batch->size, ==, 0);
    g_assert_cmpstr(batch->cursor.timetoken, ==, "2");
    g_autoptr(PubnubBatch) without_region = good_batch("{'t':{'t':'2'},'m':[]}");
    g_assert_cmpint(without_region->cursor.region, ==, 0);
}

static void own_messages_presence_and_other_events_are_left_out(void)
{
    g_autoptr(PubnubBatch) batch = good_batch(
        "{'t':{'t':'1','r':1},'m':[{'c':'c1','i':'" UUID "','d':{}},{'c':'c1','i':'x','e':1,'d':{}},"
        "{'c':'c1','i':'x','d':'a text'},{'c':'c1','i':'x','d':[1]},{'c':'c1','i':'x','e':'0','d':{}},"
        "{'c':'c1','i':'x','e':0,'d':{}},{'c':'c1','i':'y','e':null,'d':{}},{'c':'c1','d':{}}]}");
    g_assert_cmpuint(batch->messages->len, ==, 3);
    g_assert_cmpuint(batch->size, ==, 8);
    g_assert_cmpuint(batch->senseless, ==, 0);
    g_assert_cmpstr(((TransportMessage *)g_ptr_array_index(batch->messages, 2))->publisher, ==, "");
}

/* Anybody who has the keys can publish what our JSON gate refuses. */
static void a_senseless_message_does_not_spoil_the_others(void)
{
    g_autoptr(GString) text = g_string_new("{'t':{'t':'1','r':1},'m':[{'c':'c1','i':'x','d':{'n':1}},");
    for (guint i = 0; i < 5000; i++)
        g_string_append(text, "[");
    for (guint i = 0; i < 5000; i++)
        g_string_append(text, "]");
    g_string_append(
        text, ",{'c':'c1','i':'x','d':{'n':123456789012345678901234567890}},{'c':'c1','d':{'a':1,'a':2}},"
              "{'c':7},nonsense,{'c':'c1','i':'x','d':{'n':2}}]}");
    g_autoptr(PubnubBatch) batch = good_batch(text->str);
    g_assert_cmpuint(batch->messages->len, ==, 2);
    g_assert_cmpuint(batch->senseless, ==, 5);
    g_assert_cmpint(json_object_get_int_member(
                        ((TransportMessage *)g_ptr_array_index(batch->messages, 1))->envelope, "n"),
                    ==, 2);
}

static void what_is_no_answer_is_an_error(void)
{
    static const char *const texts[] = {
        "",
        "{}",
        "[]",
        "null",
        "<html>Please log in</html>",
        "{'t':{'t':'1','r':1}}",
        "{'m':[]}",
        "{'t':{'t':'','r':1},'m':[]}",
        "{'t':{'t':1,'r':1},'m':[]}",
        "{'t':{'t':'12a','r':1},'m':[]}",
        "{'t':{'t':'1234567890123456789','r':1},'m':[]}",
        "{'t':'1','m':[]}",
        "{'t':{'t':'1','r':1},'m':{}}",
        "{'t':{'t':'1','r':1},'m':[]",
        "{'t':{'t':'1','r':1},'m':[}",
        "{'t':{'t':'1','r':1},'m':[{'c':'c1'}",
        "{'t':{'t':'1','r':1},'m':[]}x",
        "{'t':{'t':'1','r':1},'m':['unterminated]}",
        "{'message':'Forbidden','error':true,'service':'Access Manager','status':403}",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(PubnubBatch) batch = read_batch(texts[i], &error);
        if (batch)
            g_error("taken for an answer: %s", texts[i]);
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    }
}

/* Wherever it is cut. */
static void a_truncated_answer_is_an_error(void)
{
    const char *whole =
        "{\"t\":{\"t\":\"17\",\"r\":1},\"m\":[{\"c\":\"c1\",\"i\":\"x\",\"d\":{\"s\":\"a\\\"b\"}}]}";
    const PubnubReader reader = {UUID, 0, 0};
    for (gsize size = 0; size < strlen(whole); size++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *part = g_memdup2(whole, size);
        g_assert_null(pubnub_read_batch(part, size, &reader, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    }
}

static void the_answer_to_a_publish_decides(void)
{
    static const struct {
        guint status;
        const char *text;
        PubnubVerdict verdict;
        const char *reason;
    } cases[] = {
        {200, "[1,\"Sent\",\"17637000000000003\"]", PUBNUB_SENT, ""},
        {200, "[0,\"Message Too Large\",\"17\"]", PUBNUB_TOO_LARGE, "Message Too Large"},
        {400, "[0,\"Message Too Large\",\"17\"]", PUBNUB_TOO_LARGE, "Message Too Large"},
        {413, "", PUBNUB_TOO_LARGE, "413 Request Entity Too Large"},
        {414, "Request URI Too Large", PUBNUB_TOO_LARGE, "414 Request-URI Too Long"},
        {400, "[0,\"Invalid JSON\",\"17\"]", PUBNUB_REFUSED, "Invalid JSON"},
        {400, "[0,\"Invalid Key\",\"17\"]", PUBNUB_LATER, "Invalid Key"},
        {403, "{\"message\":\"Forbidden\",\"error\":true,\"status\":403}", PUBNUB_LATER,
         "403 Forbidden: Forbidden"},
        {429, "", PUBNUB_LATER, "429 Too Many Requests"},
        {500, "[1,\"Sent\",\"17\"]", PUBNUB_LATER, "Sent"},
        {503, "<html>", PUBNUB_LATER, "503 Service Unavailable"},
        {200, "{\"message\":\"Forbidden\"}", PUBNUB_LATER, "Forbidden"},
        {200, "<html>Please log in</html>", PUBNUB_LATER, "200 OK"},
        {200, "", PUBNUB_LATER, "200 OK"},
        {200, "[]", PUBNUB_LATER, "200 OK"},
        {200, "[\"1\",\"Sent\"]", PUBNUB_LATER, "Sent"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *reason = NULL;
        PubnubVerdict verdict =
            pubnub_read_verdict(cases[i].status, cases[i].text, strlen(cases[i].text), &reason);
        if (verdict != cases[i].verdict || !strstr(reason, cases[i].reason))
            g_error("%u %s: %d %s", cases[i].status, cases[i].text, (int)verdict, reason);
    }
}

static void the_time_is_one_number(void)
{
    gint64 timetoken = 0;
    g_autoptr(GError) error = NULL;
    g_assert_true(pubnub_read_time("[17637000000000000]", 19, &timetoken, &error));
    g_assert_cmpint(timetoken, ==, 17637000000000000);
    static const char *const texts[] = {"",    "[]",   "[1,2]", "[\"1\"]", "{}",
                                        "[0]", "[-1]", "[1.5]", "17",      "[1],\"b\":[2"};
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_clear_error(&error);
        if (pubnub_read_time(texts[i], strlen(texts[i]), &timetoken, &error))
            g_error("taken for a time: %s", texts[i]);
        g_assert_nonnull(error);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(function) g_test_add_func("/pubnub-wire/" #function, function)
    TEST(addresses_are_to_the_letter);
    TEST(a_message_has_channel_publisher_age_and_envelope);
    TEST(empty_answers_move_the_cursor);
    TEST(own_messages_presence_and_other_events_are_left_out);
    TEST(a_senseless_message_does_not_spoil_the_others);
    TEST(what_is_no_answer_is_an_error);
    TEST(a_truncated_answer_is_an_error);
    TEST(the_answer_to_a_publish_decides);
    TEST(the_time_is_one_number);
    return g_test_run();
}
