/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The unsigned envelope, read without believing it (protocol.md 2.2, 2.6; section 9, vector 8). */

#include "daemon/json.h"
#include "daemon/link/message/wire.h"

#define OWN "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d"

static JsonObject *object(const char *text)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    g_autoptr(GError) error = NULL;
    JsonObject *parsed = json_object_parse(json, strlen(json), &error);
    g_assert_no_error(error);
    return parsed;
}

static void uuid_null_absent_and_own_are_for_us(void)
{
    static const struct {
        const char *text;
        bool ours;
    } cases[] = {{"{}", true},           {"{'uuid':null}", true},     {"{'uuid':'" OWN "'}", true},
                 {"{'uuid':''}", false}, {"{'uuid':'other'}", false}, {"{'uuid':7}", false},
                 {"{'uuid':[]}", false}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(JsonObject) envelope = object(cases[i].text);
        g_assert_true(wire_is_for(envelope, OWN) == cases[i].ours);
    }
}

static void unknown_types_are_other(void)
{
    g_autoptr(JsonObject) solicit = object("{'type':'solicit signature'}");
    g_autoptr(JsonObject) request = object("{'type':'signature request'}");
    g_assert_cmpint(wire_type(solicit), ==, WIRE_SOLICIT);
    g_assert_cmpint(wire_type(request), ==, WIRE_REQUEST);
    static const char *const others[] = {"{}", "{'type':null}", "{'type':1}", "{'type':'services offerred'}",
                                         "{'type':'Signature Request'}"};
    for (gsize i = 0; i < G_N_ELEMENTS(others); i++) {
        g_autoptr(JsonObject) other = object(others[i]);
        g_assert_cmpint(wire_type(other), ==, WIRE_OTHER);
    }
}

static void only_our_caindex_or_none_matches(void)
{
    static const struct {
        const char *text;
        bool matches;
    } cases[] = {{"{}", true},
                 {"{'caindex':3}", true},
                 {"{'caindex':-1}", false},
                 {"{'caindex':99}", false},
                 {"{'caindex':'3'}", false},
                 {"{'caindex':3.5}", false},
                 {"{'caindex':{}}", false}};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(JsonObject) envelope = object(cases[i].text);
        g_assert_true(wire_caindex_is(envelope, 3) == cases[i].matches);
    }
}

static gint64 seconds_left(const char *text, gint64 age_ms)
{
    g_autoptr(JsonObject) envelope = object(text);
    const TransportMessage message = {
        .envelope = envelope, .age_ms = age_ms, .received = 1000 * G_USEC_PER_SEC};
    return wire_deadline(&message, 5) / G_USEC_PER_SEC - 1000;
}

static void ttl_counts_from_the_publication(void)
{
    g_assert_cmpint(seconds_left("{'ttl':60}", 0), ==, 60);
    g_assert_cmpint(seconds_left("{'ttl':60}", 20000), ==, 40);
    g_assert_cmpint(seconds_left("{'ttl':1}", 3000), ==, -2);
    g_assert_cmpint(seconds_left("{'ttl':2.0}", 0), ==, 2);
}

static void what_is_no_ttl_means_the_default(void)
{
    static const char *const cases[] = {"{}",           "{'ttl':0}",   "{'ttl':-1}",  "{'ttl':'60'}",
                                        "{'ttl':null}", "{'ttl':[1]}", "{'ttl':true}"};
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_cmpint(seconds_left(cases[i], 0), ==, 5);
    g_assert_cmpint(seconds_left("{'ttl':99999999999999}", 0), ==, 24 * 3600);
}

static void assert_text(JsonObject *built, const char *expected)
{
    g_autoptr(JsonObject) owned = built;
    g_autofree char *text = json_object_to_text(owned);
    g_autofree char *wanted = g_strdelimit(g_strdup(expected), "'", '"');
    g_assert_cmpstr(text, ==, wanted);
}

static void members_come_in_the_platforms_order(void)
{
    assert_text(wire_bootstrap_content("4b", "ca"), "{'serial':'4b','thumbprint':'ca'}");
    assert_text(wire_offer_content("u", 0, "s"), "{'uuid':'u','caindex':0,'siguuid':'s'}");
    assert_text(wire_offer("p", "s"), "{'type':'services offerred','uuid':'p','siguuid':'s'}");
    assert_text(wire_answer_content(true, "s", "m"), "{'success':true,'siguuid':'s','message':'m'}");
    assert_text(wire_answer("s", "p"), "{'type':'signature response','siguuid':'s','uuid':'p'}");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/wire/" #name, name)
    TEST(uuid_null_absent_and_own_are_for_us);
    TEST(unknown_types_are_other);
    TEST(only_our_caindex_or_none_matches);
    TEST(ttl_counts_from_the_publication);
    TEST(what_is_no_ttl_means_the_default);
    TEST(members_come_in_the_platforms_order);
    return g_test_run();
}
