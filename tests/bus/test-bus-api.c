/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon with fake tokens on a private bus: the interface is what the XML says, provisioning works
 * through it, objects come and go, and only what changed is announced. */

#include "daemon/openssl-cleanup.h"
#include "tests/bus/fixture.h"
#include "tests/bus/interface-text.h"
#include <json-glib/json-glib.h>
#include <signal.h>
#include <string.h>

#define TOKEN_PATH IOTHSM_PATH "/tokens/F1"
#define FAKE_ONE "--fake=fake:serial=F1,label=One,pin=123456"
#define CONFIGURATION "[Tokens]\nSoftHsm=no\n"

typedef struct Recorder {
    GPtrArray *lines; /* "changed PATH Name,Name", "added PATH", "removed PATH", "event ID" */
} Recorder;

typedef struct Test {
    Fixture *fixture;
    Recorder recorder;
} Test;

/* --- signals ----------------------------------------------------------------------------------------- */

static char *changed_names(sd_bus_message *signal)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    const char *interface, *name;
    g_assert_cmpint(sd_bus_message_read(signal, "s", &interface), >, 0);
    g_assert_cmpint(sd_bus_message_enter_container(signal, 'a', "{sv}"), >=, 0);
    while (sd_bus_message_enter_container(signal, 'e', "sv") > 0) {
        g_assert_cmpint(sd_bus_message_read(signal, "s", &name), >, 0);
        g_ptr_array_add(names, (char *)name);
        g_assert_cmpint(sd_bus_message_skip(signal, "v"), >, 0);
        g_assert_cmpint(sd_bus_message_exit_container(signal), >, 0);
    }
    g_ptr_array_add(names, NULL);
    return g_strjoinv(",", (char **)names->pdata);
}

static int on_signal(sd_bus_message *signal, void *userdata, sd_bus_error *error)
{
    Recorder *recorder = userdata;
    const char *text = "";
    if (sd_bus_message_is_signal(signal, "org.freedesktop.DBus.Properties", "PropertiesChanged")) {
        g_autofree char *names = changed_names(signal);
        g_ptr_array_add(recorder->lines,
                        g_strdup_printf("changed %s %s", sd_bus_message_get_path(signal), names));
    } else if (sd_bus_message_is_signal(signal, NULL, "InterfacesAdded")) {
        sd_bus_message_read(signal, "o", &text);
        g_ptr_array_add(recorder->lines, g_strdup_printf("added %s", text));
    } else if (sd_bus_message_is_signal(signal, NULL, "InterfacesRemoved")) {
        sd_bus_message_read(signal, "o", &text);
        g_ptr_array_add(recorder->lines, g_strdup_printf("removed %s", text));
    } else if (sd_bus_message_is_signal(signal, MANAGER_INTERFACE, "Event")) {
        sd_bus_message_read(signal, "s", &text);
        g_ptr_array_add(recorder->lines, g_strdup_printf("event %s", text));
    }
    return 0;
}

static guint count_lines(const Test *test, const char *pattern)
{
    guint count = 0;
    for (guint i = 0; i < test->recorder.lines->len; i++)
        count += g_pattern_match_simple(pattern, test->recorder.lines->pdata[i]);
    return count;
}

static void assert_line(const Test *test, const char *pattern)
{
    if (count_lines(test, pattern) == 1)
        return;
    g_ptr_array_add(test->recorder.lines, NULL);
    g_autofree char *all = g_strjoinv("\n  ", (char **)test->recorder.lines->pdata);
    g_error("\"%s\" is not there once:\n  %s", pattern, all);
}

/* --- set up ------------------------------------------------------------------------------------------ */

static void start(Test *test, const char *const *arguments)
{
    test->fixture = fixture_new();
    test->recorder.lines = g_ptr_array_new_with_free_func(g_free);
    g_assert_cmpint(sd_bus_match_signal(fixture_client(test->fixture), NULL, IOTHSM_NAME, NULL, NULL, NULL,
                                        on_signal, &test->recorder),
                    >=, 0);
    fixture_start_daemon(test->fixture, NULL, CONFIGURATION, arguments, NULL);
}

static void set_up(Test *test, gconstpointer data)
{
    start(test, (const char *const[]){FAKE_ONE, NULL});
}

static void set_up_slow(Test *test, gconstpointer data)
{
    start(test, (const char *const[]){"--fake=fake:serial=F1,pin=123456,delay-ms=1000", NULL});
}

static void tear_down(Test *test, gconstpointer data)
{
    fixture_free(test->fixture);
    g_ptr_array_unref(test->recorder.lines);
}

static void set_pin(Test *test)
{
    int pin = fixture_secret("123456");
    sd_bus_message_unref(
        fixture_call(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "SetPin", NULL, "hb", pin, 0));
    close(pin);
}

static char *read_text(sd_bus_message *reply)
{
    const char *text;
    char type;
    g_assert_cmpint(sd_bus_message_peek_type(reply, &type, NULL), >, 0);
    g_assert_cmpint(sd_bus_message_read_basic(reply, type, &text), >, 0);
    char *copy = g_strdup(text);
    sd_bus_message_unref(reply);
    return copy;
}

static char *generate(Test *test, const char *slot, const char *type)
{
    return read_text(fixture_call(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey", NULL, "ssa{sv}",
                                  slot, type, 1, "label", "s", "A key"));
}

static char *template_pem(const char *name)
{
    g_autoptr(X509) certificate = test_ca(name, test_key("p256"));
    return test_certificate_pem(certificate);
}

/* A slot with a self-signed CA certificate. */
static char *provision(Test *test)
{
    set_pin(test);
    g_autofree char *pem = template_pem("Test CA");
    char *slot = generate(test, "", "p256");
    g_autofree char *certificate = read_text(fixture_call(test->fixture, slot, SLOT_INTERFACE, "SelfSign",
                                                          NULL, "sa{sv}", pem, 1, "hash", "s", "sha384"));
    g_assert_true(g_str_has_prefix(certificate, "-----BEGIN CERTIFICATE-----"));
    return slot;
}

/* --- the contract ------------------------------------------------------------------------------------ */

static void assert_interface(Test *test, const char *path, const char *interface)
{
    g_autofree char *file = g_strdup_printf("%s/%s.xml", g_getenv("IOTHSM_INTERFACES"), interface);
    g_autofree char *xml = NULL;
    g_autoptr(GError) error = NULL;
    g_file_get_contents(file, &xml, NULL, &error);
    g_assert_no_error(error);
    g_autofree char *live = read_text(
        fixture_call(test->fixture, path, "org.freedesktop.DBus.Introspectable", "Introspect", NULL, ""));
    g_autofree char *promised = interface_text(xml, interface);
    g_autofree char *kept = interface_text(live, interface);
    g_assert_cmpstr(promised, !=, "");
    g_assert_cmpstr(kept, ==, promised);
}

static void introspection_equals_the_xml(Test *test, gconstpointer data)
{
    g_autofree char *slot = provision(test);
    g_autofree char *authority = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "Authority");
    assert_interface(test, IOTHSM_PATH, MANAGER_INTERFACE);
    assert_interface(test, TOKEN_PATH, TOKEN_INTERFACE);
    assert_interface(test, slot, SLOT_INTERFACE);
    assert_interface(test, authority, AUTHORITY_INTERFACE);
}

static void data_files_are_valid_xml(void)
{
    const char *source = g_getenv("IOTHSM_SOURCE");
    const char *const files[] = {
        "dbus/org.pkiaas.IoTHSM1.Manager.xml", "dbus/org.pkiaas.IoTHSM1.Token.xml",
        "dbus/org.pkiaas.IoTHSM1.Slot.xml",    "dbus/org.pkiaas.IoTHSM1.Authority.xml",
        "dbus/org.pkiaas.IoTHSM.conf",         "polkit/org.pkiaas.iothsm.policy",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *path = g_build_filename(source, files[i], NULL);
        g_free(TEST_RUN("xmllint", "--noout", "--nonet", path));
    }
}

static void the_policy_follows_polkits_document_type(void)
{
    static const char dtd[] = "/usr/share/polkit-1/policyconfig-1.dtd";
    if (!g_file_test(dtd, G_FILE_TEST_EXISTS)) {
        g_test_skip("polkit's document type is not installed");
        return;
    }
    g_autofree char *path =
        g_build_filename(g_getenv("IOTHSM_SOURCE"), "polkit", "org.pkiaas.iothsm.policy", NULL);
    g_free(TEST_RUN("xmllint", "--noout", "--nonet", "--dtdvalid", dtd, path));
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    g_auto(GStrv) actions = g_strsplit(text, "<action id=", -1);
    g_assert_cmpuint(g_strv_length(actions), ==, 7);
    for (guint i = 1; actions[i] != NULL; i++)
        g_assert_nonnull(
            strstr(actions[i], "<annotate key=\"org.freedesktop.policykit.owner\">unix-user:iothsm<"));
}

/* --- what people do ---------------------------------------------------------------------------------- */

static void a_slot_becomes_an_authority_and_is_cleared(Test *test, gconstpointer data)
{
    g_autofree char *slot = provision(test);
    g_autofree char *state = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "State");
    g_autofree char *subject = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "Subject");
    g_autofree char *type = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "KeyType");
    g_autofree char *authority = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "Authority");
    g_autofree char *thumbprint = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "Thumbprint");
    g_assert_cmpstr(state, ==, "provisioned");
    g_assert_cmpstr(type, ==, "p256");
    g_assert_nonnull(strstr(subject, "Test CA"));
    g_assert_true(g_str_has_prefix(authority, IOTHSM_PATH "/authorities/"));
    g_auto(GStrv) authorities = fixture_objects(test->fixture, AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(authorities), ==, 1);
    g_assert_cmpstr(authorities[0], ==, authority);
    g_autofree char *same = fixture_get_string(test->fixture, authority, AUTHORITY_INTERFACE, "Thumbprint");
    g_assert_cmpstr(same, ==, thumbprint);

    sd_bus_message_unref(fixture_call(test->fixture, slot, SLOT_INTERFACE, "Clear", NULL, ""));
    g_auto(GStrv) slots_left = fixture_objects(test->fixture, SLOT_INTERFACE);
    g_auto(GStrv) authorities_left = fixture_objects(test->fixture, AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(slots_left), ==, 0);
    g_assert_cmpuint(g_strv_length(authorities_left), ==, 0);
    g_free(fixture_refused(test->fixture, SD_BUS_ERROR_UNKNOWN_OBJECT, slot, SLOT_INTERFACE, "Clear", ""));

    g_autofree char *added = g_strconcat("added ", slot, NULL);
    g_autofree char *removed = g_strconcat("removed ", slot, NULL);
    g_autofree char *authority_removed = g_strconcat("removed ", authority, NULL);
    assert_line(test, added);
    assert_line(test, removed);
    assert_line(test, authority_removed);
}

static void a_request_is_signed_elsewhere_and_comes_back(Test *test, gconstpointer data)
{
    set_pin(test);
    g_autofree char *slot = generate(test, "", "p256");
    g_autofree char *pem = template_pem("Intermediate");
    g_autofree char *request =
        read_text(fixture_call(test->fixture, slot, SLOT_INTERFACE, "CreateCsr", NULL, "sa{sv}", pem, 0));
    g_assert_true(g_str_has_prefix(request, "-----BEGIN CERTIFICATE REQUEST-----"));
    g_autofree char *other = template_pem("Somebody else");
    g_free(fixture_refused(test->fixture, "org.pkiaas.IoTHSM1.Error.KeyMismatch", slot, SLOT_INTERFACE,
                           "ImportCertificate", "s", other));
    g_autofree char *certificate =
        read_text(fixture_call(test->fixture, slot, SLOT_INTERFACE, "SelfSign", NULL, "sa{sv}", pem, 0));
    sd_bus_message_unref(
        fixture_call(test->fixture, slot, SLOT_INTERFACE, "ImportCertificate", NULL, "s", certificate));
}

static void a_key_is_imported(Test *test, gconstpointer data)
{
    set_pin(test);
    g_autofree char *pem = test_key_pem(test_key("p384"), "open sesame");
    int key = fixture_secret(pem);
    int passphrase = fixture_secret("open sesame\n");
    int wrong = fixture_secret("open barley");
    g_free(fixture_refused(test->fixture, "org.pkiaas.IoTHSM1.Error.PassphraseWrong", TOKEN_PATH,
                           TOKEN_INTERFACE, "ImportKey", "sha{sv}", "", key, 1, "passphrase", "h", wrong));
    g_autofree char *slot =
        read_text(fixture_call(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "ImportKey", NULL, "sha{sv}", "",
                               key, 1, "passphrase", "h", passphrase));
    g_autofree char *type = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "KeyType");
    g_assert_cmpstr(type, ==, "p384");
    close(key);
    close(passphrase);
    close(wrong);
}

/* "KeyType" for "keyType". Transfer full. */
static char *property_of(const char *member)
{
    char *name = g_strdup(member);
    name[0] = g_ascii_toupper(name[0]);
    return name;
}

/* |described| has a member for each property of the object, and besides only |more|: arrays of other objects.
 */
static void assert_same_names(Test *test, JsonObject *described, const char *path, const char *interface,
                              const char *const *more)
{
    const char *name;
    guint count = 0;
    sd_bus_message *all =
        fixture_call(test->fixture, path, "org.freedesktop.DBus.Properties", "GetAll", NULL, "s", interface);
    g_assert_cmpint(sd_bus_message_enter_container(all, 'a', "{sv}"), >, 0);
    g_autoptr(GList) members = json_object_get_members(described);
    while (sd_bus_message_enter_container(all, 'e', "sv") > 0) {
        g_assert_cmpint(sd_bus_message_read(all, "s", &name), >, 0);
        bool found = false;
        for (GList *at = members; at != NULL; at = at->next) {
            g_autofree char *property = property_of(at->data);
            found = found || g_str_equal(property, name);
        }
        if (!found)
            g_error("Describe has no member for the property %s of %s", name, path);
        count++;
        g_assert_cmpint(sd_bus_message_skip(all, "v"), >, 0);
        g_assert_cmpint(sd_bus_message_exit_container(all), >, 0);
    }
    sd_bus_message_unref(all);
    if (json_object_get_size(described) != count + g_strv_length((char **)more))
        g_error("Describe has other members than the properties of %s", path);
}

static void describe_has_a_member_for_each_property(Test *test, gconstpointer data)
{
    g_autofree char *slot_path = provision(test);
    g_auto(GStrv) authorities = fixture_objects(test->fixture, AUTHORITY_INTERFACE);
    g_autofree char *json =
        read_text(fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Describe", NULL, ""));
    g_autoptr(JsonNode) document = json_from_string(json, NULL);
    JsonObject *manager = json_node_get_object(document);
    JsonObject *token = json_array_get_object_element(json_object_get_array_member(manager, "tokens"), 0);
    JsonObject *slot = json_array_get_object_element(json_object_get_array_member(token, "slots"), 0);
    JsonObject *authority =
        json_array_get_object_element(json_object_get_array_member(manager, "authorities"), 0);
    assert_same_names(test, manager, IOTHSM_PATH, MANAGER_INTERFACE,
                      (const char *const[]){"tokens", "authorities", NULL});
    assert_same_names(test, token, TOKEN_PATH, TOKEN_INTERFACE, (const char *const[]){"slots", NULL});
    assert_same_names(test, slot, slot_path, SLOT_INTERFACE, (const char *const[]){NULL});
    assert_same_names(test, authority, authorities[0], AUTHORITY_INTERFACE, (const char *const[]){NULL});
}

static void describe_says_what_the_properties_say(Test *test, gconstpointer data)
{
    g_autofree char *slot = provision(test);
    g_autofree char *thumbprint = fixture_get_string(test->fixture, slot, SLOT_INTERFACE, "Thumbprint");
    g_autofree char *json =
        read_text(fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Describe", NULL, ""));
    g_autofree char *member = g_strdup_printf("\"thumbprint\":\"%s\"", thumbprint);
    g_assert_nonnull(strstr(json, "\"serial\":\"F1\""));
    g_assert_nonnull(strstr(json, "\"pinState\":\"set\""));
    g_assert_nonnull(strstr(json, member));
    g_autofree char *pem = template_pem("What it would make");
    g_autofree char *described = read_text(
        fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "DescribeTemplate", NULL, "s", pem));
    g_assert_nonnull(strstr(described, "What it would make"));
    g_autofree char *anchors =
        read_text(fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "ListTrustAnchors", NULL, ""));
    g_assert_cmpstr(anchors, ==, "[]");
}

static void a_trust_anchor_is_added_and_listed(Test *test, gconstpointer data)
{
    g_autofree char *pem = template_pem("Platform anchor");
    sd_bus_message_unref(fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "AddTrustAnchor", NULL,
                                      "ss", "platform", pem));
    g_autofree char *anchors =
        read_text(fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "ListTrustAnchors", NULL, ""));
    g_assert_nonnull(strstr(anchors, "Platform anchor"));
}

/* --- what is announced ------------------------------------------------------------------------------- */

static void only_what_changed_is_announced(Test *test, gconstpointer data)
{
    g_autofree char *before = fixture_get_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "PinState");
    g_assert_cmpstr(before, ==, "missing");
    g_ptr_array_set_size(test->recorder.lines, 0);
    set_pin(test);
    g_autofree char *state = fixture_get_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "PinState");
    g_assert_cmpstr(state, ==, "set");
    g_assert_cmpuint(count_lines(test, "changed " TOKEN_PATH " *PinState*"), ==, 1);
    g_assert_cmpuint(count_lines(test, "changed " TOKEN_PATH " *Serial*"), ==, 0);
    g_assert_cmpuint(count_lines(test, "changed " TOKEN_PATH " *KeyTypes*"), ==, 0);

    sd_bus_message_unref(fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Reload", NULL, ""));
    g_ptr_array_set_size(test->recorder.lines, 0);
    sd_bus_message_unref(fixture_call(test->fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Reload", NULL, ""));
    g_assert_cmpuint(count_lines(test, "changed " TOKEN_PATH " *KeyTypes*"), ==, 0);
    g_assert_cmpuint(count_lines(test, "added *"), ==, 0);
    g_assert_cmpuint(count_lines(test, "removed *"), ==, 0);
}

static bool token_is_gone(void *test)
{
    return count_lines(test, "removed " TOKEN_PATH) > 0;
}

static bool token_is_back(void *test)
{
    return count_lines(test, "added " TOKEN_PATH) > 0;
}

typedef struct Answer {
    bool there;
    char *error;
} Answer;

static int on_answer(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
    Answer *answer = userdata;
    const sd_bus_error *error = sd_bus_message_get_error(reply);
    answer->there = true;
    answer->error = g_strdup(error == NULL ? NULL : error->name);
    return 0;
}

static bool token_is_busy(void *test)
{
    g_autofree char *operation =
        fixture_get_string(((Test *)test)->fixture, TOKEN_PATH, TOKEN_INTERFACE, "Operation");
    return operation[0] != '\0';
}

static void begin_generate(Test *test, const char *slot, Answer *answer)
{
    g_assert_cmpint(sd_bus_call_method_async(fixture_client(test->fixture), NULL, IOTHSM_NAME, TOKEN_PATH,
                                             TOKEN_INTERFACE, "GenerateKey", on_answer, answer, "ssa{sv}",
                                             slot, "p256", 0),
                    >=, 0);
}

static void a_token_that_is_pulled_out_ends_its_calls_and_comes_back(Test *test, gconstpointer data)
{
    Answer answer = {0};
    set_pin(test);
    begin_generate(test, "", &answer);
    fixture_wait(test->fixture, token_is_busy, test, 20);
    kill(fixture_daemon_pid(test->fixture), SIGUSR1);
    fixture_wait(test->fixture, token_is_gone, test, 20);
    fixture_wait_flag(test->fixture, &answer.there, 20);
    g_assert_cmpstr(answer.error, ==, "org.pkiaas.IoTHSM1.Error.TokenGone");
    g_free(answer.error);
    g_auto(GStrv) tokens = fixture_objects(test->fixture, TOKEN_INTERFACE);
    g_assert_cmpuint(g_strv_length(tokens), ==, 0);
    assert_line(test, "event token-removed");
    g_ptr_array_set_size(test->recorder.lines, 0);
    kill(fixture_daemon_pid(test->fixture), SIGUSR2);
    fixture_wait(test->fixture, token_is_back, test, 20);
    fixture_wait_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "State", "ready", 20);
}

static void describe_from(Test *test, sd_bus *client)
{
    sd_bus_message *call = NULL;
    g_assert_cmpint(sd_bus_message_new_method_call(client, &call, IOTHSM_NAME, IOTHSM_PATH, MANAGER_INTERFACE,
                                                   "Describe"),
                    >=, 0);
    sd_bus_message_unref(fixture_send(test->fixture, client, call, NULL));
}

/* The second key waits behind the first; its caller leaves; it is never made. Two answers to that caller mean
 * that its call was authorised: the daemon's question to the bus went out before the first of them. */
static void a_caller_that_leaves_has_its_call_cancelled(Test *test, gconstpointer data)
{
    Answer first = {0};
    sd_bus *leaver = fixture_connect(test->fixture);
    set_pin(test);
    begin_generate(test, "01", &first);
    fixture_wait(test->fixture, token_is_busy, test, 20);
    g_assert_cmpint(sd_bus_call_method_async(leaver, NULL, IOTHSM_NAME, TOKEN_PATH, TOKEN_INTERFACE,
                                             "GenerateKey", NULL, NULL, "ssa{sv}", "02", "p256", 0),
                    >=, 0);
    describe_from(test, leaver);
    describe_from(test, leaver);
    g_assert_false(first.there);
    sd_bus_flush_close_unref(leaver);
    fixture_wait_flag(test->fixture, &first.there, 20);
    g_assert_null(first.error);
    g_autofree char *third = generate(test, "03", "p256"); /* what was queued before it is over by now */
    g_auto(GStrv) slots = fixture_objects(test->fixture, SLOT_INTERFACE);
    g_assert_cmpuint(g_strv_length(slots), ==, 2);
    g_assert_cmpstr(slots[0], ==, TOKEN_PATH "/slots/_301");
    g_assert_cmpstr(slots[1], ==, third);
}

static void state_survives_a_crash_of_the_daemon(Test *test, gconstpointer data)
{
    set_pin(test);
    fixture_kill_daemon(test->fixture);
    fixture_start_daemon(test->fixture, NULL, CONFIGURATION, (const char *const[]){FAKE_ONE, NULL}, NULL);
    g_autofree char *state = fixture_get_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "PinState");
    g_assert_cmpstr(state, ==, "missing");
}

/* Drain answers when what runs is over; it outlives the daemon and the token's unplugging. */
static void a_drained_token_stays_so_until_it_is_taken_back(Test *test, gconstpointer data)
{
    Answer answer = {0};
    set_pin(test);
    begin_generate(test, "", &answer);
    fixture_wait(test->fixture, token_is_busy, test, 20);
    sd_bus_message_unref(fixture_call(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "Drain", NULL, "b", 1));
    g_assert_true(answer.there);
    g_assert_null(answer.error);
    g_autofree char *drained = fixture_get_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "State");
    g_autofree char *message = fixture_get_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "Message");
    g_assert_cmpstr(drained, ==, "draining");
    g_assert_nonnull(strstr(message, "drain --undo"));
    /* What people do goes on. */
    g_autofree char *slot = generate(test, "", "p256");
    fixture_kill_daemon(test->fixture);
    g_ptr_array_set_size(test->recorder.lines, 0);
    fixture_start_daemon(test->fixture, NULL, CONFIGURATION, (const char *const[]){FAKE_ONE, NULL}, NULL);
    fixture_wait_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "State", "draining", 20);
    kill(fixture_daemon_pid(test->fixture), SIGUSR1);
    fixture_wait(test->fixture, token_is_gone, test, 20);
    g_ptr_array_set_size(test->recorder.lines, 0);
    kill(fixture_daemon_pid(test->fixture), SIGUSR2);
    fixture_wait(test->fixture, token_is_back, test, 20);
    fixture_wait_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "State", "draining", 20);
    sd_bus_message_unref(fixture_call(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "Drain", NULL, "b", 0));
    fixture_wait_string(test->fixture, TOKEN_PATH, TOKEN_INTERFACE, "State", "ready", 20);
}

/* With a failure, so that systemd starts it again. */
static void the_daemon_ends_with_the_bus(Test *test, gconstpointer data)
{
    g_assert_cmpint(fixture_end_bus(test->fixture), ==, 1);
}

static void a_second_daemon_says_that_the_name_is_taken(Test *test, gconstpointer data)
{
    g_autofree char *state = g_strdup_printf("--state-directory=%s/second", fixture_directory(test->fixture));
    g_autofree char *config = g_strdup_printf("--config=%s/iothsmd.conf", fixture_directory(test->fixture));
    g_autofree char *output =
        test_run((const char *const[]){g_getenv("IOTHSMD_FAKE"), config, state, NULL}, NULL, 1);
    g_assert_nonnull(strstr(output, "is taken"));
}

#define ADD(set, test) g_test_add("/bus-api/" #test, Test, NULL, set, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bus-api/data_files_are_valid_xml", data_files_are_valid_xml);
    g_test_add_func("/bus-api/the_policy_follows_polkits_document_type",
                    the_policy_follows_polkits_document_type);
    ADD(set_up, introspection_equals_the_xml);
    ADD(set_up, a_slot_becomes_an_authority_and_is_cleared);
    ADD(set_up, a_request_is_signed_elsewhere_and_comes_back);
    ADD(set_up, a_key_is_imported);
    ADD(set_up, describe_says_what_the_properties_say);
    ADD(set_up, describe_has_a_member_for_each_property);
    ADD(set_up, a_trust_anchor_is_added_and_listed);
    ADD(set_up, only_what_changed_is_announced);
    ADD(set_up_slow, a_token_that_is_pulled_out_ends_its_calls_and_comes_back);
    ADD(set_up_slow, a_caller_that_leaves_has_its_call_cancelled);
    ADD(set_up_slow, a_drained_token_stays_so_until_it_is_taken_back);
    ADD(set_up, state_survives_a_crash_of_the_daemon);
    ADD(set_up, a_second_daemon_says_that_the_name_is_taken);
    ADD(set_up, the_daemon_ends_with_the_bus);
    return g_test_run();
}
