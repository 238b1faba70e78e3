/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a bootstrap's answer offers, and what of it Transport= takes (protocol.md 1.7, W). */

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/bootstrap.h"
#include "tests/support/support.h"
#include <string.h>

#define NOW (1000 * G_USEC_PER_SEC)
#define WEBSOCKET "'websocket':{'url':'wss://p.example/link','token':'t','expires':60}"
#define PUBNUB "'publishKey':'pub-c-1','subscribeKey':'sub-c-2'"

static BootstrapKeys *parse(const char *text, TransportChoice choice, GError **error)
{
    g_autofree char *json = g_strdelimit(g_strdup_printf("{%s}", text), "'", '"');
    g_autoptr(GError) wrong = NULL;
    g_autoptr(JsonObject) inner = json_object_parse(json, strlen(json), &wrong);
    g_assert_no_error(wrong);
    return bootstrap_keys_parse(inner, choice, NOW, error);
}

static void the_choice_decides_what_is_taken(void)
{
    static const struct {
        const char *text;
        TransportChoice choice;
        bool websocket;
        bool pubnub;
        const char *words; /* of the error */
    } cases[] = {
        {"'channel_id':'c'," WEBSOCKET "," PUBNUB, TRANSPORT_CHOICE_AUTO, true, true, NULL},
        {"'channel_id':'c'," WEBSOCKET "," PUBNUB, TRANSPORT_CHOICE_WEBSOCKET, true, false, NULL},
        {"'channel_id':'c'," WEBSOCKET "," PUBNUB, TRANSPORT_CHOICE_PUBNUB, false, true, NULL},
        {"'channel_id':'c'," WEBSOCKET, TRANSPORT_CHOICE_AUTO, true, false, NULL},
        {"'channel_id':'c'," PUBNUB, TRANSPORT_CHOICE_AUTO, false, true, NULL},
        {"'channel_id':'c'", TRANSPORT_CHOICE_AUTO, false, false, "neither a WebSocket nor PubNub"},
        {"'channel_id':'c','publishKey':'p'", TRANSPORT_CHOICE_AUTO, false, false, "neither"},
        {"'channel_id':'c'," PUBNUB, TRANSPORT_CHOICE_WEBSOCKET, false, false, "Transport=websocket"},
        {"'channel_id':'c'," WEBSOCKET, TRANSPORT_CHOICE_PUBNUB, false, false, "Transport=pubnub"},
        {"'channel_id':'c','websocket':{}," PUBNUB, TRANSPORT_CHOICE_AUTO, false, false, "no usable url"},
        {WEBSOCKET "," PUBNUB, TRANSPORT_CHOICE_AUTO, false, false, "no usable channel_id"},
        {"'channel_id':''," PUBNUB, TRANSPORT_CHOICE_AUTO, false, false, "no usable channel_id"},
        {"'channel_id':'c','publishKey':7,'subscribeKey':'s'", TRANSPORT_CHOICE_AUTO, false, false,
         "neither"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(BootstrapKeys) keys = parse(cases[i].text, cases[i].choice, &error);
        g_test_message("%s", cases[i].text);
        if (cases[i].words) {
            g_assert_null(keys);
            g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
            g_assert_nonnull(strstr(error->message, cases[i].words));
            continue;
        }
        g_assert_no_error(error);
        g_assert_cmpstr(keys->channel, ==, "c");
        g_assert_cmpstr(keys->url, ==, cases[i].websocket ? "wss://p.example/link" : NULL);
        g_assert_cmpstr(keys->token, ==, cases[i].websocket ? "t" : NULL);
        g_assert_cmpint(keys->expires, ==, cases[i].websocket ? NOW + 60 * G_USEC_PER_SEC : 0);
        g_assert_cmpstr(keys->publish_key, ==, cases[i].pubnub ? "pub-c-1" : NULL);
        g_assert_cmpstr(keys->subscribe_key, ==, cases[i].pubnub ? "sub-c-2" : NULL);
    }
}

static void texts_have_a_limit(void)
{
    g_autofree char *longest = g_strnfill(4096, 'x');
    g_autofree char *fits = g_strdup_printf("'channel_id':'%s'," PUBNUB, longest);
    g_autofree char *large = g_strdup_printf("'channel_id':'%sx'," PUBNUB, longest);
    g_autoptr(BootstrapKeys) keys = parse(fits, TRANSPORT_CHOICE_AUTO, NULL);
    g_assert_nonnull(keys);
    g_autoptr(GError) error = NULL;
    g_assert_null(parse(large, TRANSPORT_CHOICE_AUTO, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bootstrap/the-choice-decides-what-is-taken", the_choice_decides_what_is_taken);
    g_test_add_func("/bootstrap/texts-have-a-limit", texts_have_a_limit);
    return g_test_run();
}
