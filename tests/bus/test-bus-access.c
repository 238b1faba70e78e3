/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who may do what, and what happens to calls that are wrong: every method asks for its own action before it
 * reads a secret or changes anything, and every mistake has its name. */

#include "daemon/openssl-cleanup.h"
#include "tests/bus/fixture.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define TOKEN_PATH IOTHSM_PATH "/tokens/F1"
#define SLOT_PATH TOKEN_PATH "/slots/_301"
#define ERROR_NAME(name) "org.pkiaas.IoTHSM1.Error." name

static void set_up(Fixture **fixture, gconstpointer data)
{
    *fixture = fixture_new();
    fixture_start_daemon(*fixture, NULL, "[Tokens]\nSoftHsm=no\n",
                         (const char *const[]){"--fake=fake:serial=F1,label=One,pin=123456,slots=2", NULL},
                         NULL);
}

static void tear_down(Fixture **fixture, gconstpointer data)
{
    fixture_free(*fixture);
}

static void set_pin(Fixture *fixture)
{
    int pin = fixture_secret("123456");
    sd_bus_message_unref(fixture_call(fixture, TOKEN_PATH, TOKEN_INTERFACE, "SetPin", NULL, "hb", pin, 0));
    close(pin);
}

/* A CA in slot 01. */
static void provision(Fixture *fixture)
{
    g_autoptr(X509) certificate = test_ca("Test CA", test_key("p256"));
    g_autofree char *pem = test_certificate_pem(certificate);
    set_pin(fixture);
    sd_bus_message_unref(
        fixture_call(fixture, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey", NULL, "ssa{sv}", "01", "p256", 0));
    sd_bus_message_unref(
        fixture_call(fixture, SLOT_PATH, SLOT_INTERFACE, "SelfSign", NULL, "sa{sv}", pem, 0));
}

static char *describe(Fixture *fixture)
{
    const char *text;
    sd_bus_message *reply = fixture_call(fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Describe", NULL, "");
    g_assert_cmpint(sd_bus_message_read(reply, "s", &text), >, 0);
    char *copy = g_strdup(text);
    sd_bus_message_unref(reply);
    return copy;
}

/* --- authorisation ----------------------------------------------------------------------------------- */

/* "|" is a pipe that never delivers: a method that read it before asking would be late. */
static const struct {
    const char *path, *interface, *member;
    const char *arguments[5];
    const char *action, *details;
} methods[] = {
    {IOTHSM_PATH, MANAGER_INTERFACE, "Reload", {NULL}, "reload", ""},
    {IOTHSM_PATH,
     MANAGER_INTERFACE,
     "CreateSoftHsmToken",
     {"New", "|", "|", NULL},
     "manage-tokens",
     "token=New;"},
    {IOTHSM_PATH,
     MANAGER_INTERFACE,
     "BrowseGoogleKms",
     {"projects/p", "{credentials=|}", NULL},
     "manage-tokens",
     "token=projects/p;"},
    {IOTHSM_PATH,
     MANAGER_INTERFACE,
     "AddGoogleKms",
     {"ring", "{credentials=|}", NULL},
     "manage-tokens",
     "token=ring;"},
    {IOTHSM_PATH, MANAGER_INTERFACE, "RemoveToken", {"@" TOKEN_PATH, NULL}, "destroy", "token=F1;"},
    {IOTHSM_PATH, MANAGER_INTERFACE, "AddTrustAnchor", {"platform", "pem", NULL}, "configure", ""},
    {TOKEN_PATH, TOKEN_INTERFACE, "SetPin", {"|", "#0", NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "ForgetPin", {NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "ChangePin", {"|", "|", NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "UnblockPin", {"|", "|", NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "UseFactoryPin", {"#0", NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "SetManagementKey", {"|", "{}", NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "ChangeManagementKey", {"{}", NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "ForgetManagementKey", {NULL}, "manage-secrets", "token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "Drain", {"#1", NULL}, "configure", "token=F1;"},
    {TOKEN_PATH,
     TOKEN_INTERFACE,
     "GenerateKey",
     {"02", "p256", "{}", NULL},
     "provision",
     "slot=02;token=F1;"},
    {TOKEN_PATH, TOKEN_INTERFACE, "ImportKey", {"02", "|", "{}", NULL}, "provision", "slot=02;token=F1;"},
    {SLOT_PATH, SLOT_INTERFACE, "SelfSign", {"pem", "{}", NULL}, "provision", "token=F1;slot=01;"},
    {SLOT_PATH, SLOT_INTERFACE, "CreateCsr", {"pem", "{}", NULL}, "provision", "token=F1;slot=01;"},
    {SLOT_PATH, SLOT_INTERFACE, "ImportCertificate", {"pem", NULL}, "provision", "token=F1;slot=01;"},
    {SLOT_PATH, SLOT_INTERFACE, "Clear", {NULL}, "destroy", "token=F1;slot=01;"},
};

static char *call_as_other(Fixture *fixture, gsize method)
{
    return fixture_call_as(fixture, OTHER_UID, false, IOTHSM_NAME, methods[method].path,
                           methods[method].interface, methods[method].member, methods[method].arguments);
}

static void every_change_needs_its_action(Fixture **fixture, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    provision(*fixture);
    Polkit *polkit = fixture_polkit(*fixture, POLKIT_NO);
    g_autofree char *before = describe(*fixture);
    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_autofree char *action = g_strconcat("org.pkiaas.iothsm.", methods[i].action, NULL);
        g_autofree char *answer = call_as_other(*fixture, i);
        if (!g_str_has_prefix(answer, SD_BUS_ERROR_ACCESS_DENIED))
            g_error("%s: %s", methods[i].member, answer);
        g_assert_cmpuint(polkit->questions, ==, i + 1);
        g_assert_cmpstr(polkit->action, ==, action);
        g_assert_cmpstr(polkit->details, ==, methods[i].details);
    }
    g_autofree char *after = describe(*fixture);
    g_assert_cmpstr(after, ==, before);
}

static void others_read_but_do_not_change_without_polkit(Fixture **fixture, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    provision(*fixture);
    g_autofree char *described = fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, IOTHSM_PATH,
                                                 MANAGER_INTERFACE, "Describe", NULL);
    g_assert_cmpstr(described, ==, "ok");
    g_autofree char *read = fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, TOKEN_PATH,
                                            "org.freedesktop.DBus.Properties", "GetAll",
                                            (const char *const[]){TOKEN_INTERFACE, NULL});
    g_assert_cmpstr(read, ==, "ok");
    /* Where a key comes from is for everybody to see; this token can't say. */
    g_autofree char *attested =
        fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, SLOT_PATH, SLOT_INTERFACE, "Attest", NULL);
    g_assert_true(g_str_has_prefix(attested, ERROR_NAME("Unsupported")));
    for (gsize i = 0; i < G_N_ELEMENTS(methods); i++) {
        g_autofree char *answer = call_as_other(*fixture, i);
        g_assert_true(g_str_has_prefix(answer, SD_BUS_ERROR_ACCESS_DENIED));
    }
}

static void others_may_what_polkit_allows(Fixture **fixture, gconstpointer data)
{
    if (!fixture_has_other_user())
        return;
    fixture_polkit(*fixture, POLKIT_YES);
    g_autofree char *pin =
        fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, TOKEN_PATH, TOKEN_INTERFACE, "SetPin",
                        (const char *const[]){"%123456", "#0", NULL});
    g_assert_cmpstr(pin, ==, "ok");
    g_autofree char *key =
        fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey",
                        (const char *const[]){"", "p256", "{}", NULL});
    g_assert_cmpstr(key, ==, "ok");
    fixture_polkit(*fixture, POLKIT_CHALLENGE);
    g_autofree char *quiet =
        fixture_call_as(*fixture, OTHER_UID, false, IOTHSM_NAME, SLOT_PATH, SLOT_INTERFACE, "Clear", NULL);
    g_assert_true(g_str_has_prefix(quiet, SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED));
    g_autofree char *dialog =
        fixture_call_as(*fixture, OTHER_UID, true, IOTHSM_NAME, SLOT_PATH, SLOT_INTERFACE, "Clear", NULL);
    g_assert_cmpstr(dialog, ==, "ok");
}

/* --- mistakes ---------------------------------------------------------------------------------------- */

static void says(const char *words, char *text)
{
    if (strstr(text, words) == NULL)
        g_error("\"%s\" does not say \"%s\"", text, words);
    g_free(text);
}

static void wrong_arguments_are_named(Fixture **fixture, gconstpointer data)
{
    Fixture *f = *fixture;
    const char *invalid = ERROR_NAME("Invalid");
    provision(f);
    says("\"colour\"", fixture_refused(f, invalid, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey", "ssa{sv}", "",
                                       "p256", 1, "colour", "s", "red"));
    says("label", fixture_refused(f, invalid, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey", "ssa{sv}", "",
                                  "p256", 1, "label", "i", 5));
    says("touch-policy", fixture_refused(f, invalid, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey", "ssa{sv}",
                                         "", "p256", 1, "touch-policy", "s", "sometimes"));
    says("rsa2048", fixture_refused(f, invalid, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey", "ssa{sv}", "",
                                    "rsa-2048", 0));
    says("sha256", fixture_refused(f, invalid, SLOT_PATH, SLOT_INTERFACE, "SelfSign", "sa{sv}", "pem", 1,
                                   "hash", "s", "md5"));
    says("days", fixture_refused(f, invalid, SLOT_PATH, SLOT_INTERFACE, "SelfSign", "sa{sv}", "pem", 1,
                                 "days", "i", -1));
    says("replace", fixture_refused(f, invalid, SLOT_PATH, SLOT_INTERFACE, "SelfSign", "sa{sv}", "pem", 1,
                                    "replace", "s", "yes"));
    says("PEM", fixture_refused(f, invalid, SLOT_PATH, SLOT_INTERFACE, "ImportCertificate", "s", ""));
    says("platform", fixture_refused(f, invalid, IOTHSM_PATH, MANAGER_INTERFACE, "AddTrustAnchor", "ss",
                                     "everything", "pem"));
    says("credentials", fixture_refused(f, invalid, IOTHSM_PATH, MANAGER_INTERFACE, "BrowseGoogleKms",
                                        "sa{sv}", "", 1, "token", "s", "ya29.x"));
    says("credentials", fixture_refused(f, invalid, IOTHSM_PATH, MANAGER_INTERFACE, "AddGoogleKms", "sa{sv}",
                                        "ring", 1, "credentials", "s", "{}"));
    says("", fixture_refused(f, ERROR_NAME("BadCertificate"), SLOT_PATH, SLOT_INTERFACE, "ImportCertificate",
                             "s", "pem"));
    says("", fixture_refused(f, ERROR_NAME("BadCertificate"), IOTHSM_PATH, MANAGER_INTERFACE,
                             "DescribeTemplate", "s", "pem"));
    says("", fixture_refused(f, ERROR_NAME("NoSuchToken"), IOTHSM_PATH, MANAGER_INTERFACE, "RemoveToken", "o",
                             IOTHSM_PATH "/tokens/F9"));
    says("SoftHSM2", fixture_refused(f, ERROR_NAME("Unsupported"), IOTHSM_PATH, MANAGER_INTERFACE,
                                     "RemoveToken", "o", TOKEN_PATH));
    says("", fixture_refused(f, ERROR_NAME("SlotOccupied"), TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey",
                             "ssa{sv}", "01", "p256", 0));
    says("", fixture_refused(f, SD_BUS_ERROR_INVALID_ARGS, TOKEN_PATH, TOKEN_INTERFACE, "GenerateKey", "s",
                             "01"));
    says("", fixture_refused(f, SD_BUS_ERROR_UNKNOWN_OBJECT, IOTHSM_PATH "/tokens/F9", TOKEN_INTERFACE,
                             "ForgetPin", ""));
    says("", fixture_refused(f, SD_BUS_ERROR_UNKNOWN_METHOD, TOKEN_PATH, TOKEN_INTERFACE, "Explode", ""));
}

static void long_texts_are_refused(Fixture **fixture, gconstpointer data)
{
    g_autofree char *pem = g_strnfill(1024 * 1024 + 1, 'A');
    g_autofree char *name = g_strnfill(256, 'n');
    says("1 MiB", fixture_refused(*fixture, ERROR_NAME("Invalid"), IOTHSM_PATH, MANAGER_INTERFACE,
                                  "DescribeTemplate", "s", pem));
    says("longer", fixture_refused(*fixture, ERROR_NAME("Invalid"), TOKEN_PATH, TOKEN_INTERFACE,
                                   "GenerateKey", "ssa{sv}", name, "p256", 0));
    says("longer", fixture_refused(*fixture, ERROR_NAME("Invalid"), TOKEN_PATH, TOKEN_INTERFACE,
                                   "GenerateKey", "ssa{sv}", "", "p256", 1, "label", "s", name));
    says("longer", fixture_refused(*fixture, ERROR_NAME("Invalid"), IOTHSM_PATH, MANAGER_INTERFACE,
                                   "AddGoogleKms", "sa{sv}", name, 0));
    g_autofree char *label = g_strnfill(33, 'l');
    int pin = fixture_secret("1234");
    says("32", fixture_refused(*fixture, ERROR_NAME("Invalid"), IOTHSM_PATH, MANAGER_INTERFACE,
                               "CreateSoftHsmToken", "shh", label, pin, pin));
    says("", fixture_refused(*fixture, ERROR_NAME("Unsupported"), IOTHSM_PATH, MANAGER_INTERFACE,
                             "CreateSoftHsmToken", "shh", "New", pin, pin));
    close(pin);
}

static void refuse_descriptor(Fixture *fixture, int fd)
{
    g_assert_cmpint(fd, >=, 0);
    g_free(
        fixture_refused(fixture, ERROR_NAME("Invalid"), TOKEN_PATH, TOKEN_INTERFACE, "SetPin", "hb", fd, 0));
    close(fd);
}

static void descriptors_that_hold_no_secret_are_refused(Fixture **fixture, gconstpointer data)
{
    int ends[2];
    g_autofree char *large = g_strnfill(64 * 1024 + 1, '1');
    refuse_descriptor(*fixture, open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    refuse_descriptor(*fixture, open("/dev/zero", O_RDONLY | O_CLOEXEC));
    refuse_descriptor(*fixture, fixture_secret(""));
    refuse_descriptor(*fixture, fixture_secret(large));
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    close(ends[1]);
    refuse_descriptor(*fixture, ends[0]);
    int pin = fixture_secret("123456");
    says("sealing key", fixture_refused(*fixture, ERROR_NAME("Invalid"), TOKEN_PATH, TOKEN_INTERFACE,
                                        "SetPin", "hb", pin, 1));
    close(pin);
    g_autofree char *state = fixture_get_string(*fixture, TOKEN_PATH, TOKEN_INTERFACE, "PinState");
    g_assert_cmpstr(state, ==, "missing");
}

static void a_wrong_pin_is_tried_once(Fixture **fixture, gconstpointer data)
{
    int pin = fixture_secret("000000");
    gint64 retries = fixture_get_number(*fixture, TOKEN_PATH, TOKEN_INTERFACE, "PinRetries");
    for (guint i = 0; i < 2; i++) {
        g_free(fixture_refused(*fixture, ERROR_NAME("PinWrong"), TOKEN_PATH, TOKEN_INTERFACE, "SetPin", "hb",
                               pin, 0));
        g_assert_cmpint(fixture_get_number(*fixture, TOKEN_PATH, TOKEN_INTERFACE, "PinRetries"), ==,
                        retries - 1);
    }
    close(pin);
    g_autofree char *state = fixture_get_string(*fixture, TOKEN_PATH, TOKEN_INTERFACE, "PinState");
    g_assert_cmpstr(state, ==, "wrong");
}

static int count_answer(sd_bus_message *reply, void *userdata, sd_bus_error *ret_error)
{
    guint *limited = userdata;
    *limited += sd_bus_message_is_method_error(reply, SD_BUS_ERROR_LIMITS_EXCEEDED) > 0;
    return 0;
}

static bool is_limited(void *limited)
{
    return *(guint *)limited > 0;
}

/* 64 calls wait for a pipe; the next one of that caller is refused, other callers are served. */
static void one_caller_can_not_keep_the_daemon_busy(Fixture **fixture, gconstpointer data)
{
    sd_bus *greedy = fixture_connect(*fixture);
    guint limited = 0;
    int ends[2];
    g_assert_cmpint(pipe2(ends, O_CLOEXEC), ==, 0);
    for (guint i = 0; i < 65; i++)
        g_assert_cmpint(sd_bus_call_method_async(greedy, NULL, IOTHSM_NAME, TOKEN_PATH, TOKEN_INTERFACE,
                                                 "SetPin", count_answer, &limited, "hb", ends[0], 0),
                        >=, 0);
    fixture_wait(*fixture, is_limited, &limited, 20);
    g_assert_cmpuint(limited, ==, 1);
    set_pin(*fixture);
    sd_bus_flush_close_unref(greedy);
    close(ends[0]);
    close(ends[1]);
}

/* Each of three callers asks 64 times for what everybody may ask and a busy token has to answer. */
static void what_everybody_may_ask_takes_no_place_from_the_rest(Fixture **unused, gconstpointer data)
{
    g_autoptr(Fixture) fixture = fixture_new();
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_key_pem(key, NULL);
    g_autofree char *file = test_write(fixture_directory(fixture), "key.pem", pem);
    g_autofree char *token = g_strconcat("--fake=fake:serial=F1,piv=1,delay-ms=4000,key=", file, NULL);
    fixture_start_daemon(fixture, NULL, "[Tokens]\nSoftHsm=no\n", (const char *const[]){token, NULL}, NULL);
    sd_bus *greedy[3];
    guint limited = 0;
    for (guint i = 0; i < G_N_ELEMENTS(greedy); i++) {
        greedy[i] = fixture_connect(fixture);
        for (guint k = 0; k < 64; k++)
            g_assert_cmpint(sd_bus_call_method_async(greedy[i], NULL, IOTHSM_NAME, SLOT_PATH, SLOT_INTERFACE,
                                                     "Attest", count_answer, &limited, ""),
                            >=, 0);
    }
    fixture_wait(fixture, is_limited, &limited, 20);
    g_free(describe(fixture));
    sd_bus_message_unref(fixture_call(fixture, TOKEN_PATH, TOKEN_INTERFACE, "Drain", NULL, "b", 0));
    for (guint i = 0; i < G_N_ELEMENTS(greedy); i++)
        sd_bus_flush_close_unref(greedy[i]);
}

#define ADD(test) g_test_add("/bus-access/" #test, Fixture *, NULL, set_up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD(every_change_needs_its_action);
    ADD(others_read_but_do_not_change_without_polkit);
    ADD(others_may_what_polkit_allows);
    ADD(wrong_arguments_are_named);
    ADD(long_texts_are_refused);
    ADD(descriptors_that_hold_no_secret_are_refused);
    ADD(a_wrong_pin_is_tried_once);
    ADD(one_caller_can_not_keep_the_daemon_busy);
    g_test_add("/bus-access/what_everybody_may_ask_takes_no_place_from_the_rest", Fixture *, NULL, NULL,
               what_everybody_may_ask_takes_no_place_from_the_rest, NULL);
    return g_test_run();
}
