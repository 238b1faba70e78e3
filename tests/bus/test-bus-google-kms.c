/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Key rings of Google Cloud KMS over the bus: what is asked, what is answered, and who may forget one. */

#include "tests/bus/fixture.h"
#include "tests/google-kms/test/google-cloud.h"
#include <string.h>
#include <unistd.h>

#define RING "projects/home-pki/locations/europe-west3/keyRings/authorities"
#define SERIAL "home-pki:europe-west3:authorities"
#define ERROR_NAME(name) "org.pkiaas.IoTHSM1.Error." name

typedef struct Stage {
    Fixture *fixture;
    GoogleCloud *cloud;
    char *configuration;
} Stage;

/* Without a sealing key. */
static void set_up(Stage *stage, gconstpointer data)
{
    g_autofree char *directory = test_directory();
    stage->cloud = google_cloud_start(
        directory, (const char *const[]){"--key=root=EC_SIGN_P256_SHA256", "--page-size=2", NULL});
    const char *url = google_cloud_url(stage->cloud);
    stage->configuration =
        g_strdup_printf("[Platform]\nUrl=http://127.0.0.1:9\n[Tokens]\nSoftHsm=no\n[GoogleKms]\nKmsUrl=%s\n"
                        "ResourceManagerUrl=%s\nMetadataUrl=%s\n",
                        url, url, url);
    stage->fixture = fixture_new();
    fixture_start_daemon(stage->fixture, NULL, stage->configuration, NULL, NULL);
}

static void tear_down(Stage *stage, gconstpointer data)
{
    fixture_free(stage->fixture);
    google_cloud_free(stage->cloud);
    g_free(stage->configuration);
}

static char *read_answer(sd_bus_message *reply, const char *type)
{
    const char *text = NULL;
    g_assert_cmpint(sd_bus_message_read(reply, type, &text), >, 0);
    char *copy = g_strdup(text);
    sd_bus_message_unref(reply);
    return copy;
}

static char *browse(Stage *stage, const char *parent, int credentials)
{
    sd_bus_message *reply = fixture_call(stage->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "BrowseGoogleKms",
                                         NULL, "sa{sv}", parent, 1, "credentials", "h", credentials);
    return read_answer(reply, "s");
}

static int open_credentials(Stage *stage, const char *account)
{
    g_autofree char *path = google_cloud_credentials(stage->cloud, account);
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    return fixture_secret(text);
}

/* With the machine's account, which needs no sealing key. Transfer full. */
static char *add(Stage *stage)
{
    sd_bus_message *reply =
        fixture_call(stage->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "AddGoogleKms", NULL, "sa{sv}", RING, 0);
    return read_answer(reply, "o");
}

static guint count_children(const char *answer, const char *parent)
{
    g_autoptr(JsonNode) node = json_from_string(answer, NULL);
    JsonObject *object = json_node_get_object(node);
    g_assert_cmpstr(json_object_get_string_member(object, "parent"), ==, parent);
    return json_array_get_length(json_object_get_array_member(object, "children"));
}

static void every_level_is_listed_to_its_end(Stage *stage, gconstpointer data)
{
    static const struct {
        const char *parent;
        guint children;
    } levels[] = {
        {"", 4}, {"projects/home-pki", 5}, {"projects/home-pki/locations/europe-west3", 4}, {RING, 1}};
    int credentials = open_credentials(stage, "signer");
    for (gsize i = 0; i < G_N_ELEMENTS(levels); i++) {
        g_autofree char *answer = browse(stage, levels[i].parent, credentials);
        g_assert_cmpuint(count_children(answer, levels[i].parent), ==, levels[i].children);
    }
    close(credentials);
}

static void what_google_refuses_is_said_in_its_words(Stage *stage, gconstpointer data)
{
    int credentials = open_credentials(stage, "stranger");
    g_autofree char *text =
        fixture_refused(stage->fixture, ERROR_NAME("CloudRefused"), IOTHSM_PATH, MANAGER_INTERFACE,
                        "BrowseGoogleKms", "sa{sv}", RING, 1, "credentials", "h", credentials);
    g_assert_nonnull(strstr(text, "cloudkms.cryptoKeys.list"));
    close(credentials);
}

static void credentials_are_not_kept_without_a_sealing_key(Stage *stage, gconstpointer data)
{
    int credentials = open_credentials(stage, "signer");
    g_autofree char *text =
        fixture_refused(stage->fixture, ERROR_NAME("Unsupported"), IOTHSM_PATH, MANAGER_INTERFACE,
                        "AddGoogleKms", "sa{sv}", RING, 1, "credentials", "h", credentials);
    close(credentials);
    g_auto(GStrv) tokens = fixture_objects(stage->fixture, TOKEN_INTERFACE);
    g_assert_cmpuint(g_strv_length(tokens), ==, 0);
}

static void a_key_ring_is_a_token(Stage *stage, gconstpointer data)
{
    g_autofree char *path = add(stage);
    g_autofree char *serial = fixture_get_string(stage->fixture, path, TOKEN_INTERFACE, "Serial");
    g_autofree char *kind = fixture_get_string(stage->fixture, path, TOKEN_INTERFACE, "Kind");
    g_autofree char *pin_state = fixture_get_string(stage->fixture, path, TOKEN_INTERFACE, "PinState");
    g_assert_cmpstr(serial, ==, SERIAL);
    g_assert_cmpstr(kind, ==, "google-kms");
    g_assert_cmpstr(pin_state, ==, "not-needed");
    g_auto(GStrv) slots = fixture_objects(stage->fixture, SLOT_INTERFACE);
    g_assert_cmpuint(g_strv_length(slots), ==, 1);
    g_autofree char *name = fixture_get_string(stage->fixture, slots[0], SLOT_INTERFACE, "Name");
    g_autofree char *key_type = fixture_get_string(stage->fixture, slots[0], SLOT_INTERFACE, "KeyType");
    g_assert_cmpstr(name, ==, "root:1");
    g_assert_cmpstr(key_type, ==, "p256");
}

/* Nothing is destroyed by it. */
static void forgetting_a_key_ring_needs_no_right_to_destroy(Stage *stage, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    g_autofree char *path = add(stage);
    g_autofree char *argument = g_strconcat("@", path, NULL);
    const char *const arguments[] = {argument, NULL};
    Polkit *polkit = fixture_polkit(stage->fixture, POLKIT_NO);
    g_autofree char *denied = fixture_call_as(stage->fixture, OTHER_UID, false, IOTHSM_NAME, IOTHSM_PATH,
                                              MANAGER_INTERFACE, "RemoveToken", arguments);
    g_assert_true(g_str_has_prefix(denied, SD_BUS_ERROR_ACCESS_DENIED));
    g_assert_cmpstr(polkit->action, ==, "org.pkiaas.iothsm.manage-tokens");
    g_assert_cmpstr(polkit->details, ==, "token=" SERIAL ";");
    polkit->mode = POLKIT_YES;
    g_autofree char *done = fixture_call_as(stage->fixture, OTHER_UID, false, IOTHSM_NAME, IOTHSM_PATH,
                                            MANAGER_INTERFACE, "RemoveToken", arguments);
    g_assert_cmpstr(done, ==, "ok");
    g_auto(GStrv) tokens = fixture_objects(stage->fixture, TOKEN_INTERFACE);
    g_assert_cmpuint(g_strv_length(tokens), ==, 0);
}

/* A caller that leaves does not keep the daemon waiting for Google. */
static void a_caller_that_leaves_is_not_waited_for(Stage *stage, gconstpointer data)
{
    google_cloud_tell(stage->cloud,
                      "{'do': 'fault', 'kind': 'slow', 'at': 'projects', 'milliseconds': 600000}");
    GSubprocess *caller =
        fixture_begin_call_as(stage->fixture, -1, IOTHSM_NAME, IOTHSM_PATH, MANAGER_INTERFACE,
                              "BrowseGoogleKms", (const char *const[]){"", "{}", NULL});
    while (google_cloud_count(stage->cloud, "projects") == 0)
        g_thread_yield();
    fixture_leave(stage->fixture, caller);
    int credentials = open_credentials(stage, "signer");
    g_autofree char *answer = browse(stage, "", credentials);
    g_assert_cmpuint(count_children(answer, ""), ==, 4);
    close(credentials);
}

/* Its key ring is given up for the moment after ten seconds; the service is ready before that. */
static void a_google_that_hangs_does_not_keep_the_service_from_being_ready(Stage *stage, gconstpointer data)
{
    g_autofree char *path = add(stage);
    fixture_stop_daemon(stage->fixture);
    google_cloud_tell(stage->cloud,
                      "{'do': 'fault', 'kind': 'slow', 'at': 'any', 'count': 0, 'milliseconds': 600000}");
    fixture_start_daemon(stage->fixture, NULL, stage->configuration, NULL, NULL);
    g_autofree char *state = fixture_get_string(stage->fixture, path, TOKEN_INTERFACE, "State");
    g_assert_cmpstr(state, ==, "starting");
    google_cloud_tell(stage->cloud, "{'do': 'clear-faults'}");
    fixture_wait_string(stage->fixture, path, TOKEN_INTERFACE, "State", "ready", 60);
}

#define ADD(test) g_test_add("/bus-google-kms/" #test, Stage, NULL, set_up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(every_level_is_listed_to_its_end);
    ADD(what_google_refuses_is_said_in_its_words);
    ADD(credentials_are_not_kept_without_a_sealing_key);
    ADD(a_key_ring_is_a_token);
    ADD(forgetting_a_key_ring_needs_no_right_to_destroy);
    ADD(a_caller_that_leaves_is_not_waited_for);
    ADD(a_google_that_hangs_does_not_keep_the_service_from_being_ready);
    return g_test_run();
}
