/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/unit/link/request-scene.h"

static char *for_json(const char *pem)
{
    g_auto(GStrv) lines = g_strsplit(pem, "\n", -1);
    return g_strjoinv("\\n", lines);
}

void open_scene_with(Scene *scene, const char *tokens, const Config *changes)
{
    scene->platform = scripted_platform_new();
    scene->agent = agent_new(scene->platform, tokens);
    if (changes->queue_length)
        scene->agent->config.queue_length = changes->queue_length;
    if (changes->default_ttl)
        scene->agent->config.default_ttl = changes->default_ttl;
    if (changes->inflated_size)
        scene->agent->config.inflated_size = changes->inflated_size;
    const char *serials = strstr(tokens, "F2") ? "F1 F2" : "F1";
    scene->authority = agent_provision(scene->agent, scene->platform, serials, "p256", "One");
    agent_wait_link(scene->authority, AUTHORITY_CONNECTED);
    scene->channel = scripted_platform_channel(authority_thumbprint(scene->authority));
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=srv.example.test", key);
    scene->csr = for_json(pem);
}

void open_scene(Scene *scene)
{
    open_scene_with(scene, "fake:serial=F1", &(Config){0});
}

void scene_clear(Scene *scene)
{
    g_clear_pointer(&scene->agent, agent_free);
    g_clear_pointer(&scene->platform, scripted_platform_free);
    g_clear_pointer(&scene->channel, g_free);
    g_clear_pointer(&scene->csr, g_free);
}

void send_content(Scene *scene, const char *siguuid, const char *signtype, const char *content,
                  const char *more)
{
    g_autofree char *envelope =
        g_strdup_printf("'siguuid':'%s','signtype':'%s'%s%s", siguuid, signtype, *more ? "," : "", more);
    scripted_platform_send(scene->platform, &(ScriptedMessage){.type = "signature request",
                                                               .channel = scene->channel,
                                                               .content = content,
                                                               .envelope = envelope});
}

char *csr_content(const Scene *scene, const char *siguuid)
{
    return g_strdup_printf("{'siguuid':'%s','request':{'csr':'%s'}}", siguuid, scene->csr);
}

void send_csr(Scene *scene, const char *siguuid)
{
    g_autofree char *content = csr_content(scene, siguuid);
    send_content(scene, siguuid, "csr", content, "");
}

void send_csrs(Scene *scene, guint count)
{
    for (guint i = 0; i < count; i++) {
        g_autofree char *siguuid = g_strdup_printf("r-%u", i);
        send_csr(scene, siguuid);
    }
}

char *answer(Scene *scene, const char *siguuid, bool success)
{
    g_autoptr(JsonObject) inner = scripted_platform_answer(scene->platform, siguuid);
    const char *message = json_object_get_string_member(inner, "message");
    if (json_object_get_boolean_member(inner, "success") != success)
        g_error("%s: %s", siguuid, message);
    g_assert_cmpstr(json_object_get_string_member(inner, "siguuid"), ==, siguuid);
    g_assert_null(success ? NULL : strchr(message, '\n'));
    return g_strdup(message);
}

void assert_refused(Scene *scene, const char *siguuid, const char *message)
{
    g_autofree char *text = answer(scene, siguuid, false);
    g_assert_cmpstr(text, ==, message);
}

guint count_answers(const Scene *scene)
{
    return scripted_platform_count(scene->platform, "signature response");
}

typedef struct Answers {
    Scene *scene;
    guint wanted;
} Answers;

static bool has_answers(void *userdata)
{
    const Answers *answers = userdata;
    return count_answers(answers->scene) >= answers->wanted;
}

void wait_answers(Scene *scene, guint wanted)
{
    test_wait_for(has_answers, &(Answers){scene, wanted}, 30);
}

void send_csr_again(Scene *scene, const char *siguuid)
{
    guint answers = count_answers(scene);
    send_csr(scene, siguuid);
    wait_answers(scene, answers + 1);
}

void assert_csr_signed(Scene *scene, const char *siguuid)
{
    send_csr(scene, siguuid);
    g_autofree char *text = answer(scene, siguuid, true);
}

void assert_answered(Scene *scene, guint count)
{
    for (guint i = 0; i < count; i++) {
        g_autofree char *siguuid = g_strdup_printf("r-%u", i);
        g_autofree char *text = answer(scene, siguuid, true);
    }
}

void hold(Scene *scene, const char *serial, bool hold)
{
    fake_source_hold(scene->agent->source, serial, hold);
}
