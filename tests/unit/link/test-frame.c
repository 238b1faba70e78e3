/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Frames as bytes: what is required is missed, what is unknown is not. */

#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/link/transport/frame.h"

static Frame *parse(const char *text, GError **error)
{
    g_autofree char *json = g_strdelimit(g_strdup(text), "'", '"');
    return frame_parse(json, strlen(json), 1234, error);
}

static Frame *must_parse(const char *text)
{
    g_autoptr(GError) error = NULL;
    Frame *frame = parse(text, &error);
    g_assert_no_error(error);
    return frame;
}

static void each_operation_is_read(void)
{
    g_autoptr(Frame) welcome =
        must_parse("{'op':'welcome','platform':'p','channels':[{'id':'a','ok':true,'missed':true},"
                   "{'id':'b','ok':false,'reason':'bad-token'}]}");
    const FrameChannel *row = g_ptr_array_index(welcome->channels, 0);
    g_assert_true(row->ok && row->missed);
    row = g_ptr_array_index(welcome->channels, 1);
    g_assert_false(row->ok);
    g_assert_true(frame_reason_wants_bootstrap(row->reason));

    g_autoptr(Frame) message = must_parse("{'op':'message','channel':'c','id':'9','publisher':'p','age':1500,"
                                          "'message':{'type':'x'}}");
    g_assert_cmpint(message->message->age_ms, ==, 1500);
    g_assert_cmpint(message->message->received, ==, 1234);
    g_assert_cmpstr(json_object_get_string_member(message->message->envelope, "type"), ==, "x");

    g_autoptr(Frame) published = must_parse("{'op':'published','seq':7}");
    g_assert_cmpuint(published->seq, ==, 7);
    g_autoptr(Frame) error = must_parse("{'op':'error','channel':'c','code':'bad-token','reason':'expired'}");
    g_assert_cmpint(error->code, ==, FRAME_ERROR_BAD_TOKEN);
    g_assert_cmpuint(error->seq, ==, 0);
    g_autoptr(Frame) unknown = must_parse("{'op':'hello again','channels':3}");
    g_assert_cmpint(unknown->operation, ==, FRAME_UNKNOWN);
    g_autoptr(Frame) strange = must_parse("{'op':'error','code':'out-of-coffee'}");
    g_assert_cmpint(strange->code, ==, FRAME_ERROR_UNKNOWN);
}

static void ages_are_kept_in_range(void)
{
    g_autoptr(Frame) negative =
        must_parse("{'op':'message','channel':'c','id':'9','publisher':'p','age':-5,'message':{}}");
    g_assert_cmpint(negative->message->age_ms, ==, 0);
    g_autoptr(Frame) huge = must_parse(
        "{'op':'message','channel':'c','id':'9','publisher':'p','age':99999999999999,'message':{}}");
    g_assert_cmpint(huge->message->age_ms, >, 0);
    g_assert_cmpint(huge->message->age_ms, <, G_MAXINT64 / 1000000);
}

static void what_lacks_something_is_refused_by_name(void)
{
    static const struct {
        const char *text;
        const char *words;
    } cases[] = {
        {"{'channel':'c'}", "op is missing"},
        {"{'op':3}", "op is not a string"},
        {"{'op':'welcome'}", "channels is missing"},
        {"{'op':'welcome','channels':{}}", "channels"},
        {"{'op':'welcome','channels':['c']}", "not an object"},
        {"{'op':'welcome','channels':[{'ok':true}]}", "id is missing"},
        {"{'op':'welcome','channels':[{'id':'c'}]}", "ok is missing"},
        {"{'op':'welcome','channels':[{'id':'c','ok':'yes'}]}", "ok is not"},
        {"{'op':'message','id':'1','publisher':'p','age':0,'message':{}}", "channel is missing"},
        {"{'op':'message','channel':'c','publisher':'p','age':0,'message':{}}", "id is missing"},
        {"{'op':'message','channel':'c','id':'1','age':0,'message':{}}", "publisher is missing"},
        {"{'op':'message','channel':'c','id':'1','publisher':'p','message':{}}", "age is missing"},
        {"{'op':'message','channel':'c','id':'1','publisher':'p','age':'0','message':{}}",
         "age is not a number"},
        {"{'op':'message','channel':'c','id':'1','publisher':'p','age':0}", "message is missing"},
        {"{'op':'message','channel':'c','id':'1','publisher':'p','age':0,'message':'{}'}", "message is not"},
        {"{'op':'published'}", "seq is missing"},
        {"{'op':'published','seq':0}", "seq is below 1"},
        {"{'op':'published','seq':'1'}", "seq is not a number"},
        {"{'op':'error','seq':1}", "code is missing"},
        {"[]", ""},
        {"", ""},
        {"{'op':'published','seq':1", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(parse(cases[i].text, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
        if (!strstr(error->message, cases[i].words))
            g_error("%s: %s", cases[i].text, error->message);
    }
}

static void depth_is_limited(void)
{
    g_autoptr(GString) deep = g_string_new("{\"op\":\"message\",\"x\":");
    for (guint i = 0; i < 10000; i++)
        g_string_append_c(deep, '[');
    for (guint i = 0; i < 10000; i++)
        g_string_append_c(deep, ']');
    g_string_append_c(deep, '}');
    g_autoptr(GError) error = NULL;
    g_assert_null(frame_parse(deep->str, deep->len, 0, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
}

static void our_frames_are_json_whatever_the_names_are(void)
{
    g_autoptr(GBytes) envelope = g_bytes_new_static("{\"type\":\"signature response\"}", 29);
    g_autoptr(GBytes) frame = frame_publish("a\"b\\c\n", 3, envelope);
    gsize size;
    const char *text = g_bytes_get_data(frame, &size);
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonObject) object = json_object_parse(text, size, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(json_object_get_string_member(object, "channel"), ==, "a\"b\\c\n");
    g_assert_cmpint(json_object_get_int_member(object, "seq"), ==, 3);
    g_assert_cmpstr(json_object_get_string_member(json_object_get_object_member(object, "message"), "type"),
                    ==, "signature response");

    const FrameSubscription channels[] = {{"c1", "t1", NULL}, {"c2", "t2", "5"}};
    g_autofree char *hello = frame_hello("u", "iothsm/1", channels, 2);
    g_assert_cmpstr(hello, ==,
                    "{\"op\":\"hello\",\"uuid\":\"u\",\"agent\":\"iothsm/"
                    "1\",\"channels\":[{\"id\":\"c1\",\"token\":\"t1\"},"
                    "{\"id\":\"c2\",\"token\":\"t2\",\"since\":\"5\"}]}");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/frame/" #name, name)
    TEST(each_operation_is_read);
    TEST(ages_are_kept_in_range);
    TEST(what_lacks_something_is_refused_by_name);
    TEST(depth_is_limited);
    TEST(our_frames_are_json_whatever_the_names_are);
    return g_test_run();
}
