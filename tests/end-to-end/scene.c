/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Two children (the daemon is the fixture's), and lines that are run. */

#include "tests/end-to-end/scene.h"
#include "daemon/openssl-cleanup.h"
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define SECONDS 30

struct Scene {
    Fixture *fixture;
    GSubprocess *platform;
    char *directory; /* the platform's */
    char *log;       /* where its stderr goes */
    char *serve;     /* its further arguments */
    char *url;
    char *configuration;
    GPtrArray *environment; /* pairs and the NULL behind them */
    pid_t daemon;           /* the one that scene_start started */
    char *so_pin_file;
    char *pin_file;
};

Fixture *scene_fixture(Scene *scene)
{
    return scene->fixture;
}

const char *scene_platform_directory(const Scene *scene)
{
    return scene->directory;
}

const char *scene_pin_file(const Scene *scene)
{
    return scene->pin_file;
}

char *scene_path(const Scene *scene, const char *name)
{
    return g_build_filename(fixture_directory(scene->fixture), name, NULL);
}

char *scene_write(const Scene *scene, const char *name, const char *text)
{
    return test_write(fixture_directory(scene->fixture), name, text);
}

/* --- the platform ------------------------------------------------------------------------------------ */

static void die_with_parent(gpointer userdata)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void start_platform(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) words = g_strsplit(scene->serve, " ", -1);
    g_ptr_array_add(argv, g_strdup(g_getenv("IOTHSM_PLATFORM")));
    g_assert_nonnull(argv->pdata[0]);
    g_ptr_array_add(argv, g_strdup("serve"));
    g_ptr_array_add(argv, g_strdup_printf("--directory=%s", scene->directory));
    if (scene->url != NULL)
        g_ptr_array_add(argv, g_strdup_printf("--port=%s", strrchr(scene->url, ':') + 1));
    for (char **word = words; *word != NULL; word++)
        if (**word != '\0')
            g_ptr_array_add(argv, g_strdup(*word));
    g_ptr_array_add(argv, NULL);
    g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE);
    g_subprocess_launcher_set_stderr_file_path(launcher, scene->log);
    g_subprocess_launcher_set_child_setup(launcher, die_with_parent, NULL, NULL);
    scene->platform = g_subprocess_launcher_spawnv(launcher, (const char *const *)argv->pdata, &error);
    g_assert_no_error(error);
    g_free(scene->url);
    scene->url = test_read_line(scene->platform, "url ", SECONDS);
}

void scene_stop_platform(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_subprocess_send_signal(scene->platform, SIGTERM);
    g_subprocess_wait(scene->platform, NULL, &error);
    g_assert_no_error(error);
    if (!g_subprocess_get_successful(scene->platform)) {
        g_autofree char *text = NULL;
        g_file_get_contents(scene->log, &text, NULL, NULL);
        g_error("the stand-in ended badly; it said:\n%s", text != NULL ? text : "nothing");
    }
    g_clear_object(&scene->platform);
}

void scene_restart_platform(Scene *scene)
{
    start_platform(scene);
}

/* The verb is the first word of |line|, and the folder goes behind it. Transfer full. */
static GStrv platform_words(const Scene *scene, const char *line, const char **ret_rest)
{
    const char *blank = strchrnul(line, ' ');
    g_autofree char *verb = g_strndup(line, (gsize)(blank - line));
    g_autofree char *option = g_strdup_printf("--directory=%s", scene->directory);
    *ret_rest = blank;
    return g_strdupv((char *[]){(char *)g_getenv("IOTHSM_PLATFORM"), verb, option, NULL});
}

static Run *run_platform(Scene *scene, const char *line, va_list texts)
{
    const char *rest;
    g_auto(GStrv) words = platform_words(scene, line, &rest);
    return run_program((const char *const *)words, rest, texts);
}

GSubprocess *scene_begin_platform(Scene *scene, const char *line, ...)
{
    const char *rest;
    g_auto(GStrv) words = platform_words(scene, line, &rest);
    va_list texts;
    va_start(texts, line);
    GSubprocess *child = begin_program((const char *const *)words, rest, texts);
    va_end(texts);
    return child;
}

Run *scene_run_platform(Scene *scene, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    Run *run = run_platform(scene, line, texts);
    va_end(texts);
    return run;
}

/* Shows what daemon and platform said before the test fails. */
static void assert_status(Scene *scene, Run *run, int status, const char *line)
{
    if (run->status == status)
        return;
    g_autofree char *log = fixture_log(scene->fixture);
    g_autoptr(Run) platform = scene_run_platform(scene, "status --json", NULL);
    g_error(
        "%s ended with %d instead of %d; stdout: %s; stderr: %s; the platform has %s; the daemon said:\n%s",
        line, run->status, status, run->out, run->err, platform->out, log);
}

char *scene_platform(Scene *scene, int status, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(Run) run = run_platform(scene, line, texts);
    va_end(texts);
    assert_status(scene, run, status, line);
    return g_steal_pointer(&run->out);
}

char *scene_end(Scene *scene, GSubprocess *child, int status)
{
    g_autoptr(GSubprocess) owned = child;
    g_autoptr(GError) error = NULL;
    char *out = NULL;
    g_subprocess_communicate_utf8(owned, NULL, NULL, &out, NULL, &error);
    g_assert_no_error(error);
    Run run = {g_subprocess_get_exit_status(owned), out, (char *)""};
    assert_status(scene, &run, status, "the client in the background");
    return out;
}

static JsonNode *platform_status(Scene *scene)
{
    g_autoptr(Run) run = scene_run_platform(scene, "status --json", NULL);
    assert_run(run, 0);
    return run_json(run);
}

gint64 scene_counter(Scene *scene, const char *name)
{
    g_autoptr(JsonNode) status = platform_status(scene);
    JsonObject *counters = json_object_get_object_member(json_node_get_object(status), "counters");
    return json_object_get_int_member_with_default(counters, name, 0);
}

void scene_assert_no_complaints(Scene *scene)
{
    g_autoptr(JsonNode) status = platform_status(scene);
    JsonArray *complaints = json_object_get_array_member(json_node_get_object(status), "complaints");
    if (json_array_get_length(complaints) > 0)
        g_error("the platform complains: %s", json_array_get_string_element(complaints, 0));
}

/* --- the daemon -------------------------------------------------------------------------------------- */

Scene *scene_new(const char *serve)
{
    Scene *scene = g_new0(Scene, 1);
    scene->fixture = fixture_new();
    scene->directory = scene_path(scene, "platform");
    scene->log = scene_path(scene, "platform.log");
    scene->serve = g_strdup(serve);
    scene->environment = g_ptr_array_new_with_free_func(g_free);
    scene->so_pin_file = scene_write(scene, "so-pin", "314159");
    scene->pin_file = scene_write(scene, "pin", SCENE_PIN);
    fixture_keep_log(scene->fixture);
    start_platform(scene);
    return scene;
}

void scene_free(Scene *scene)
{
    if (scene == NULL)
        return;
    fixture_free(scene->fixture);
    if (scene->platform != NULL)
        scene_stop_platform(scene);
    g_free(scene->directory);
    g_free(scene->log);
    g_free(scene->serve);
    g_free(scene->url);
    g_free(scene->configuration);
    g_ptr_array_unref(scene->environment);
    g_free(scene->so_pin_file);
    g_free(scene->pin_file);
    g_free(scene);
}

static char *sealing_key_file(const Scene *scene)
{
    g_autofree char *directory = scene_path(scene, "credentials");
    g_assert_cmpint(g_mkdir_with_parents(directory, 0700), ==, 0);
    return g_build_filename(directory, "iothsm.key", NULL);
}

void scene_give_sealing_key(Scene *scene)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *file = sealing_key_file(scene);
    g_file_set_contents(file, "0123456789abcdef0123456789abcdef", 32, &error);
    g_assert_no_error(error);
}

void scene_take_sealing_key(Scene *scene)
{
    g_autofree char *file = sealing_key_file(scene);
    g_assert_cmpint(g_unlink(file), ==, 0);
}

void scene_start_again(Scene *scene)
{
    fixture_start_daemon(scene->fixture, g_getenv("IOTHSMD"), scene->configuration, NULL,
                         (const char *const *)scene->environment->pdata);
    scene->daemon = fixture_daemon_pid(scene->fixture);
}

char *scene_configuration(const Scene *scene, const char *limits)
{
    g_autofree char *tls = g_str_has_prefix(scene->url, "https:")
                               ? g_strdup_printf("TlsCa=%s/tls-ca.pem\n", scene->directory)
                               : NULL;
    return g_strdup_printf("[Platform]\nUrl=%s\nPubNubOrigin=%s\nVerificationCa=%s/verification-ca.pem\n%s%s",
                           scene->url, scene->url, scene->directory, tls != NULL ? tls : "",
                           limits != NULL ? limits : "");
}

void scene_start(Scene *scene, const char *limits, const char *const *environment)
{
    scene->configuration = scene_configuration(scene, limits);
    g_autofree char *sealing_key = sealing_key_file(scene);
    if (g_file_test(sealing_key, G_FILE_TEST_EXISTS)) {
        g_ptr_array_add(scene->environment, g_strdup("CREDENTIALS_DIRECTORY"));
        g_ptr_array_add(scene->environment, g_path_get_dirname(sealing_key));
    }
    for (; environment != NULL && *environment != NULL; environment++)
        g_ptr_array_add(scene->environment, g_strdup(*environment));
    g_ptr_array_add(scene->environment, NULL);
    g_assert_nonnull(g_getenv("IOTHSMD"));
    scene_start_again(scene);
}

Scene *scene_begin(void)
{
    Scene *scene = scene_new("");
    scene_start(scene, NULL, NULL);
    scene_token(scene, "Home");
    return scene;
}

typedef struct Words {
    Scene *scene;
    const char *text;
} Words;

static bool has_said(void *userdata)
{
    const Words *words = userdata;
    g_autofree char *log = fixture_log(words->scene->fixture);
    return strstr(log, words->text) != NULL;
}

void scene_wait_log(Scene *scene, const char *text)
{
    Words words = {scene, text};
    fixture_wait(scene->fixture, has_said, &words, SECONDS);
}

/* --- the operator ------------------------------------------------------------------------------------ */

char *scene_control(const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(Run) run = run_program((const char *const[]){g_getenv("IOTHSMCTL"), NULL}, line, texts);
    va_end(texts);
    if (run->status != 0)
        g_error("iothsmctl %s ended with %d: %s%s", line, run->status, run->out, run->err);
    return g_steal_pointer(&run->out);
}

static JsonNode *member_of(JsonNode *node, const char *name)
{
    if (JSON_NODE_HOLDS_ARRAY(node)) {
        guint64 index = g_ascii_strtoull(name, NULL, 10);
        g_assert_cmpuint(index, <, json_array_get_length(json_node_get_array(node)));
        return json_array_get_element(json_node_get_array(node), (guint)index);
    }
    g_assert_true(JSON_NODE_HOLDS_OBJECT(node));
    JsonNode *member = json_object_get_member(json_node_get_object(node), name);
    g_assert_nonnull(member);
    return member;
}

char *scene_control_member(const char *member, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(Run) run =
        run_program((const char *const[]){g_getenv("IOTHSMCTL"), "--json=short", NULL}, line, texts);
    va_end(texts);
    assert_run(run, 0);
    g_autoptr(JsonNode) document = run_json(run);
    g_auto(GStrv) names = g_strsplit(member, ".", -1);
    JsonNode *node = document;
    for (char **name = names; *name != NULL; name++)
        node = member_of(node, *name);
    GValue value = G_VALUE_INIT;
    json_node_get_value(node, &value);
    char *text = G_VALUE_HOLDS_STRING(&value) ? g_value_dup_string(&value) : g_strdup_value_contents(&value);
    g_value_unset(&value);
    return text;
}

void scene_token(Scene *scene, const char *label)
{
    g_autofree char *made = scene_control("softhsm create $1 --so-pin-file=$2 --pin-file=$3", label,
                                          scene->so_pin_file, scene->pin_file, NULL);
    g_autofree char *set = scene_control("pin set $1 --pin-file=$2", label, scene->pin_file, NULL);
}

static char *thumbprint_of(const char *certificate_file)
{
    g_autofree char *text =
        TEST_RUN("openssl", "x509", "-in", certificate_file, "-noout", "-fingerprint", "-sha1");
    g_auto(GStrv) pairs = g_strsplit(strchr(text, '=') + 1, ":", -1);
    g_autofree char *joined = g_strjoinv("", pairs);
    char *lower = g_ascii_strdown(joined, -1);
    return g_strchomp(lower);
}

static void wait_for_authority(Scene *scene, const char *thumbprint)
{
    char *path = NULL;
    g_assert_cmpint(sd_bus_path_encode(IOTHSM_PATH "/authorities", thumbprint, &path), >=, 0);
    fixture_wait_string(scene->fixture, path, AUTHORITY_INTERFACE, "LinkState", "connected", SECONDS);
    free(path);
}

void scene_register(Scene *scene, const char *name, const char *certificate_file)
{
    g_autofree char *answer =
        scene_platform(scene, 0, "import-certificate --ca=$1 $2", name, certificate_file, NULL);
    g_autofree char *reloaded = scene_control("reload", NULL);
    g_autofree char *there = scene_platform(scene, 0, "wait --ca=$1", name, NULL);
    g_autofree char *thumbprint = thumbprint_of(certificate_file);
    wait_for_authority(scene, thumbprint);
}

char *scene_root(Scene *scene, const char *name, const char *place, const char *type)
{
    g_autofree char *template_name = g_strdup_printf("%s-template.pem", name);
    g_autofree char *template_file = scene_path(scene, template_name);
    g_autofree char *certificate_name = g_strdup_printf("%s.pem", name);
    g_autofree char *certificate_file = scene_path(scene, certificate_name);
    g_autofree char *created =
        scene_platform(scene, 0, "create-ca --name=$1 --out=$2", name, template_file, NULL);
    g_autofree char *generated = scene_control("generate $1 --type=$2", place, type, NULL);
    g_autofree char *signed_by_itself =
        scene_control("self-sign $1 $2 --output=$3", place, template_file, certificate_file, NULL);
    scene_register(scene, name, certificate_file);
    return g_steal_pointer(&certificate_file);
}

void scene_wait_connected(Scene *scene, const char *name)
{
    g_autofree char *there = scene_platform(scene, 0, "wait --ca=$1", name, NULL);
    fixture_wait_string(scene->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "LinkState", "connected", SECONDS);
}

/* --- requests ---------------------------------------------------------------------------------------- */

gint64 scene_signatures(Scene *scene)
{
    return fixture_get_number(scene->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Signatures");
}

char *scene_sign(Scene *scene, const char *ca)
{
    g_autofree char *file = scene_path(scene, "signed.pem");
    g_autofree char *pem = scene_platform(
        scene, 0, "sign-csr --ca=$1 --name=www.example.test --dns=www.example.test --out=$2", ca, file, NULL);
    g_autofree char *text = TEST_RUN("openssl", "x509", "-in", file, "-noout", "-serial");
    g_assert_true(g_str_has_prefix(text, "serial="));
    return g_strchomp(g_strdup(text + strlen("serial=")));
}

static Run *send_raw(Scene *scene, const char *line, va_list texts)
{
    g_autofree char *whole = g_strdup_printf("send-raw %s", line);
    return run_platform(scene, whole, texts);
}

void scene_assert_refused(Scene *scene, const char *message, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(Run) run = send_raw(scene, line, texts);
    va_end(texts);
    assert_status(scene, run, 0, line);
    g_autoptr(JsonNode) answer = run_json(run);
    JsonObject *object = json_node_get_object(answer);
    g_assert_false(json_object_get_boolean_member(object, "success"));
    g_assert_cmpstr(json_object_get_string_member(object, "message"), ==, message);
}

void scene_assert_silence(Scene *scene, const char *line, ...)
{
    va_list texts;
    va_start(texts, line);
    g_autoptr(Run) run = send_raw(scene, line, texts);
    va_end(texts);
    assert_status(scene, run, 3, line);
}

void scene_assert_works(Scene *scene, const char *ca)
{
    g_assert_cmpint(fixture_daemon_pid(scene->fixture), ==, scene->daemon);
    g_autofree char *serial = scene_sign(scene, ca);
    g_assert_cmpuint(strlen(serial), >, 30);
}
