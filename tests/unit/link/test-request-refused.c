/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests that are refused, and in which words, and what is met with silence (protocol.md 2, 4, 7; section
 * 9, vector 8). */

#include "daemon/json.h"
#include "tests/unit/link/request-scene.h"

static void another_request_under_the_same_siguuid_is_refused(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    assert_csr_signed(&scene, "r-1");
    guint answers = count_answers(&scene);
    g_autofree char *other =
        g_strdup_printf("{'siguuid':'r-1','request':{'csr':'%s','options':{'days':1}}}", scene.csr);
    send_content(&scene, "r-1", "csr", other, "");
    wait_answers(&scene, answers + 1);
    assert_refused(&scene, "r-1", "The siguuid was used for another request");
    g_assert_cmpuint(authority_signatures(scene.authority), ==, 1);
}

/* signtype stands outside of what is signed. */
static void the_same_content_under_another_signtype_is_another_request(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    send_csr(&scene, "r-1");
    g_autofree char *text = answer(&scene, "r-1", true);
    send_csr_again(&scene, "r-1");
    g_autofree char *again = answer(&scene, "r-1", true);
    g_assert_cmpstr(again, ==, text);
    guint answers = count_answers(&scene);
    g_autofree char *same = csr_content(&scene, "r-1");
    send_content(&scene, "r-1", "cms", same, "");
    wait_answers(&scene, answers + 1);
    assert_refused(&scene, "r-1", "The siguuid was used for another request");
    g_assert_cmpuint(authority_signatures(scene.authority), ==, 1);
}

static void a_request_for_another_authority_is_refused(void)
{
    static const struct {
        const char *ca;
        const char *envelope;
        const char *message;
    } cases[] = {
        {"", "'caindex':-1", "Failed to find CA on HSM"},
        {"", "'caindex':99", "Failed to find CA on HSM"},
        {"", "'caindex':'0'", "Failed to find CA on HSM"},
        {",'ca':{'serial':'01','thumbprint':'02'}", "", "The request is for another certificate authority"},
        {",'ca':{}", "", "The request is for another certificate authority"},
        {",'ca':'mine'", "", "request.ca is not an object"},
    };
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *siguuid = g_strdup_printf("r-%u", i);
        g_autofree char *content =
            g_strdup_printf("{'siguuid':'%s','request':{'csr':'%s'%s}}", siguuid, scene.csr, cases[i].ca);
        send_content(&scene, siguuid, "csr", content, cases[i].envelope);
        assert_refused(&scene, siguuid, cases[i].message);
    }
    /* The right one, with both. */
    g_autofree char *right =
        g_strdup_printf("{'siguuid':'right','request':{'csr':'%s','ca':{'serial':'%s',"
                        "'thumbprint':'%s'}}}",
                        scene.csr, authority_serial(scene.authority), authority_thumbprint(scene.authority));
    send_content(&scene, "right", "csr", right, "'caindex':0");
    g_autofree char *text = answer(&scene, "right", true);
    g_assert_cmpuint(authority_denied(scene.authority), ==, G_N_ELEMENTS(cases));
}

static void malformed_requests_are_refused_in_one_line(void)
{
    static const struct {
        const char *signtype;
        const char *content; /* %s: siguuid */
    } cases[] = {
        {"csr", "{'siguuid':'%s'}"},
        {"csr", "{'siguuid':'%s','request':null}"},
        {"csr", "{'siguuid':'%s','request':[]}"},
        {"csr", "{'siguuid':'%s','request':{}}"},
        {"csr", "{'siguuid':'%s','request':{'csr':'nonsense'}}"},
        {"crl", "{'siguuid':'%s','request':{'database':'x','days':1}}"},
        {"crl", "{'siguuid':'%s','request':{'database':''}}"},
        {"cms", "{'siguuid':'%s','request':{}}"},
        {"sesame", "{'siguuid':'%s','request':{}}"},
        {"", "{'siguuid':'%s','request':{}}"},
        {"csr", "[]"},
        {"csr", "null"},
        {"csr", "{'siguuid':'%s','siguuid':'other'}"},
        {"csr", "not JSON"},
    };
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *siguuid = g_strdup_printf("r-%u", i);
        g_auto(GStrv) parts = g_strsplit(cases[i].content, "%s", 2);
        g_autofree char *content = g_strjoinv(siguuid, parts);
        send_content(&scene, siguuid, cases[i].signtype, content, "");
        g_autofree char *text = answer(&scene, siguuid, false);
        g_assert_cmpstr(text, !=, "");
    }
    g_assert_cmpuint(authority_signatures(scene.authority), ==, 0);
}

static void bombs_and_depths_are_refused(void)
{
    g_auto(Scene) scene = {0};
    open_scene_with(&scene, "fake:serial=F1", &(Config){.inflated_size = 1024 * 1024});
    g_autofree char *zeros = g_malloc0(8 * 1024 * 1024);
    g_autoptr(GBytes) large = g_bytes_new(zeros, 8 * 1024 * 1024);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) bomb = envelope_deflate(large, &error);
    g_autoptr(GString) deep = g_string_new("{\"siguuid\":\"deep\",\"request\":");
    for (guint i = 0; i < 10000; i++)
        g_string_append_c(deep, '[');
    g_autoptr(GBytes) deep_bytes = g_bytes_new(deep->str, deep->len);
    g_autoptr(GBytes) deflated = envelope_deflate(deep_bytes, &error);
    const struct {
        const char *siguuid;
        GBytes *plaintext;
    } cases[] = {{"bomb", bomb}, {"deep", deflated}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *envelope = g_strdup_printf("'siguuid':'%s','signtype':'csr'", cases[i].siguuid);
        scripted_platform_send(scene.platform, &(ScriptedMessage){.type = "signature request",
                                                                  .channel = scene.channel,
                                                                  .envelope = envelope,
                                                                  .plaintext = cases[i].plaintext});
        g_autofree char *text = answer(&scene, cases[i].siguuid, false);
    }
    assert_csr_signed(&scene, "r-1");
}

/* Made for a channel key that is gone, or damaged: the platform may have its answer already
 * (protocol.md 2.7). */
static void what_cannot_be_opened_is_met_with_silence(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    const char text[] = "{\"siguuid\":\"raw\",\"request\":{}}"; /* not deflated */
    g_autoptr(GBytes) plain = g_bytes_new_static(text, strlen(text));
    scripted_platform_send(scene.platform, &(ScriptedMessage){.type = "signature request",
                                                              .channel = scene.channel,
                                                              .envelope = "'siguuid':'raw','signtype':'csr'",
                                                              .plaintext = plain});
    agent_wait_denied(scene.agent, 1);
    assert_csr_signed(&scene, "r-1");
    g_assert_cmpuint(count_answers(&scene), ==, 1);
}

/* What deserves silence gets it: the only answer is the one to the last message. */
static void strangers_and_echoes_are_met_with_silence(void)
{
    g_auto(Scene) scene = {0};
    open_scene(&scene);
    g_autofree char *content = csr_content(&scene, "r-0");
    g_autofree char *solicit =
        g_strdup_printf("{'serial':'%s','thumbprint':'%s','siguuid':'s'}", authority_serial(scene.authority),
                        authority_thumbprint(scene.authority));
    const char *own = identity_uuid(scene.agent->identity);
    const ScriptedMessage silent[] = {
        {.type = "signature request",
         .content = content,
         .signed_by = "outsider",
         .envelope = "'signtype':'csr'"},
        {.type = "solicit signature", .content = solicit, .signed_by = "outsider"},
        {.type = "signature request", .content = content, .publisher = own, .envelope = "'signtype':'csr'"},
        {.type = "signature request", .content = content, .envelope = "'signtype':'csr','uuid':'another'"},
        {.type = "signature request", .content = content, .envelope = "'signtype':'csr','uuid':12"},
        {.type = "services offerred", .content = solicit},
        {.type = "tea is ready", .content = solicit},
        {.type = "solicit signature", .content = "{'serial':'01','thumbprint':'02','siguuid':'s'}"},
        {.type = "solicit signature", .content = "{'siguuid':'s'}"},
        {.type = "solicit signature", .content = "certainly not JSON"},
        {.type = "signature request",
         .content = "{'request':{}}",
         .envelope = "'siguuid':'x','signtype':'csr'"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(silent); i++) {
        ScriptedMessage message = silent[i];
        message.channel = scene.channel;
        scripted_platform_send(scene.platform, &message);
    }
    websocket_server_say(scene.platform->link,
                         "{'op':'message','channel':'%s','id':'no-smime','publisher':'p','age':0,"
                         "'message':{'type':'signature request'}}",
                         scene.channel);
    websocket_server_say(scene.platform->link,
                         "{'op':'message','channel':'%s','id':'number-smime','publisher':'p','age':0,"
                         "'message':{'type':'signature request','smime':7}}",
                         scene.channel);
    assert_csr_signed(&scene, "r-1");
    g_assert_cmpuint(count_answers(&scene), ==, 1);
    g_assert_cmpuint(scripted_platform_count(scene.platform, "services offerred"), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
#define TEST(name) g_test_add_func("/request/" #name, name)
    TEST(another_request_under_the_same_siguuid_is_refused);
    TEST(the_same_content_under_another_signtype_is_another_request);
    TEST(a_request_for_another_authority_is_refused);
    TEST(malformed_requests_are_refused_in_one_line);
    TEST(bombs_and_depths_are_refused);
    TEST(what_cannot_be_opened_is_met_with_silence);
    TEST(strangers_and_echoes_are_met_with_silence);
    return g_test_run();
}
