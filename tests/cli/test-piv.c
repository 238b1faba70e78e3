/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The verbs for what only a YubiKey has: attestation, touch, management keys, the factory PIN. */

#include "tests/cli/daemon.h"
#include "tests/cli/run.h"
#include <signal.h>
#include <string.h>

#define OWN_KEY "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7"
#define OTHER_KEY "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7"

static void touch(Fixture *fixture)
{
    g_assert_cmpint(kill(fixture_daemon_pid(fixture), SIGWINCH), ==, 0);
}

static char *member(const char *place, const char *name)
{
    g_autoptr(Run) shown = run_iothsmctl("show $1 -j", place, NULL);
    assert_run(shown, 0);
    g_autoptr(JsonNode) description = run_json(shown);
    return json_text(description, name);
}

static void assert_member(const char *place, const char *name, const char *value)
{
    g_autofree char *now = member(place, name);
    g_assert_cmpstr(now, ==, value);
}

static void assert_says(const Run *run, const char *text)
{
    if (!strstr(run->out, text) && !strstr(run->err, text))
        g_error("\"%s\" is not in: %s%s", text, run->out, run->err);
}

/* --- attestation ------------------------------------------------------------------------------------- */

static void test_attestation(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *root = g_build_filename(directory, "root.pem", NULL);
    g_autofree char *token = g_strdup_printf("serial=1001,piv=1,attestation-root=%s", root);
    g_autofree char *chain = g_build_filename(directory, "chain.pem", NULL);
    g_autoptr(Fixture) fixture = START_DAEMON(token);
    g_autoptr(Run) made = run_iothsmctl("generate 1001/01 --type=p256 --touch-policy=cached", NULL);
    assert_run(made, 0);

    g_autoptr(Run) attested = run_iothsmctl("attest 1001/01 --output=$1", chain, NULL);
    assert_run(attested, 0);
    /* The key's certificate comes first, then its issuer's: openssl takes the second as an intermediate. */
    g_autofree char *judged = TEST_RUN("openssl", "verify", "-CAfile", root, "-untrusted", chain, chain);
    g_autoptr(Run) printed = run_iothsmctl("attest 1001/01 -j", NULL);
    g_autoptr(JsonNode) document = run_json(printed);
    g_autofree char *pem = json_text(document, "attestation");
    g_assert_cmpstr(strstr(pem + 1, "-----BEGIN"), !=, NULL);

    g_autoptr(Run) before = run_iothsmctl("show 1001/01", NULL);
    assert_says(before, "generated on the token");
    assert_says(before, "Firmware: 5.7.1");
    assert_says(before, "Touch policy: cached");
    assert_says(before, "not verified: no Yubico root was given");
    g_autofree char *reason = member("1001/01", "attestation.reason");
    g_assert_nonnull(strstr(reason, "iothsmctl trust add --for=yubico"));

    g_autoptr(Run) trusted = run_iothsmctl("trust add --for=yubico $1", root, NULL);
    assert_run(trusted, 0);
    g_autoptr(Run) after = run_iothsmctl("show 1001/01", NULL);
    assert_says(after, "verified: made by a YubiKey with firmware 5.7.1, serial number 1001");
    assert_member("1001/01", "attestation.touchPolicy", "cached");
    assert_member("1001/01", "attestation.reason", "");
}

static void test_slots_have_two_names(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=1001,piv=1");
    g_autoptr(Run) made = run_iothsmctl("generate 1001/82 --type=p256", NULL);
    assert_run(made, 0);
    assert_member("1001/01", "otherName", "82");
    assert_member("1001/82", "name", "01");
    g_autoptr(Run) occupied = run_iothsmctl("provision --token=1001 --slot=82 --type=p256 --yes", NULL);
    assert_says(occupied, "Slot 01 of token 1001 already holds a key");
    g_autoptr(Run) cleared = run_iothsmctl("clear 1001/82 --yes", NULL);
    assert_run(cleared, 0);
    g_autoptr(Run) gone = run_iothsmctl("show 1001/82", NULL);
    assert_says(gone, "has nothing in a slot \"82\"");
}

static void test_imported_keys(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=1001,piv=1");
    g_autofree char *pem = test_key_pem(test_key("p256"), NULL);
    g_autofree char *file = test_write(fixture_directory(fixture), "key.pem", pem);
    g_autoptr(Run) imported = run_iothsmctl("import-key 1001/01 $1", file, NULL);
    assert_run(imported, 0);
    g_autoptr(Run) shown = run_iothsmctl("show 1001/01", NULL);
    assert_says(shown, "imported into the token");
    g_assert_null(strstr(shown->out, "Attestation"));
    g_autoptr(Run) refused = run_iothsmctl("attest 1001/01", NULL);
    assert_run(refused, 1);
    assert_says(refused, "was imported");
    g_autoptr(Run) empty = run_iothsmctl("attest 1001/02", NULL);
    assert_run(empty, 3);
}

static void test_policies_elsewhere(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    g_autoptr(Run) refused = run_iothsmctl("generate F1 --type=p256 --touch-policy=cached", NULL);
    assert_run(refused, 1);
    assert_says(refused, "has no touch policies");
    g_autoptr(Run) nonsense = run_iothsmctl("generate F1 --type=p256 --touch-policy=sometimes", NULL);
    assert_run(nonsense, 2);
}

/* --- touch ------------------------------------------------------------------------------------------- */

static Fixture *with_touch_key(const char *policy)
{
    Fixture *fixture = START_DAEMON("serial=F1,piv=1");
    g_autoptr(Run) made = run_iothsmctl("generate F1/01 --type=p256 --touch-policy=$1", policy, NULL);
    assert_run(made, 0);
    return fixture;
}

static void test_touch_on_a_terminal(void)
{
    g_autoptr(Fixture) fixture = with_touch_key("always");
    g_autofree char *template_file = write_template(fixture);
    Terminal *terminal = terminal_new(80, NULL, "self-sign F1/01 $1", template_file, NULL);
    terminal_expect(terminal, "Touch the YubiKey now");
    touch(fixture);
    terminal_expect(terminal, "-----END CERTIFICATE-----");
    g_free(terminal_finish(terminal, 0));
}

/* Who reads a log sees it, too, and once. */
static void test_touch_without_a_terminal(void)
{
    g_autoptr(Fixture) fixture = with_touch_key("always");
    g_autofree char *template_file = write_template(fixture);
    g_autofree char *errors = g_build_filename(fixture_directory(fixture), "errors", NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(GSubprocess) call = g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE, &error, "sh", "-c",
                                                   "exec \"$0\" csr F1/01 \"$1\" 2>\"$2\"",
                                                   g_getenv("IOTHSMCTL"), template_file, errors, NULL);
    g_assert_no_error(error);
    fixture_wait_string(fixture, IOTHSM_PATH "/tokens/F1", TOKEN_INTERFACE, "State", "touch-needed", 60);
    touch(fixture);
    g_assert_true(g_subprocess_wait_check(call, NULL, &error));
    g_autofree char *said = NULL;
    g_assert_true(g_file_get_contents(errors, &said, NULL, NULL));
    g_assert_cmpstr(said, ==, "Touch the YubiKey now\n");
}

static void test_touch_behind_another(void)
{
    g_autoptr(Fixture) fixture = with_touch_key("always");
    g_autofree char *template_file = write_template(fixture);
    Terminal *first = terminal_new(80, NULL, "csr F1/01 $1", template_file, NULL);
    terminal_expect(first, "Touch the YubiKey now");
    assert_member("F1", "state", "touch-needed");
    g_autofree char *message = member("F1", "message");
    g_assert_nonnull(strstr(message, "slot 01"));
    g_autoptr(Run) status = run_iothsmctl("status", NULL);
    assert_says(status, "Touch token F1 now");

    Terminal *second = terminal_new(80, NULL, "generate F1/02 --type=p256", NULL);
    terminal_expect(second, "Touch the YubiKey now");
    touch(fixture);
    terminal_expect(first, "-----END CERTIFICATE REQUEST-----");
    g_free(terminal_finish(first, 0));
    terminal_expect(second, "Generated the key");
    g_free(terminal_finish(second, 0));
}

static void test_touch_is_an_event(void)
{
    g_autoptr(Fixture) fixture = with_touch_key("cached");
    g_autofree char *template_file = write_template(fixture);
    Terminal *monitor = terminal_new(120, NULL, "monitor", NULL);
    terminal_expect(monitor, "Ctrl-C ends");
    Terminal *call = terminal_new(80, NULL, "csr F1/01 $1", template_file, NULL);
    terminal_expect(monitor, "touch-needed");
    terminal_expect(monitor, "slot=01");
    touch(fixture);
    g_free(terminal_finish(call, 0));
    /* One touch was enough for the next ones. */
    g_autoptr(Run) again = run_iothsmctl("csr F1/01 $1", template_file, NULL);
    assert_run(again, 0);
    g_assert_cmpstr(again->err, ==, "");
    terminal_type(monitor, "\x03");
    g_free(terminal_finish(monitor, 0));
}

/* --- provisioning ------------------------------------------------------------------------------------ */

static void test_provision_says_what_always_means(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,piv=1");
    g_autofree char *template_file = write_template(fixture);
    g_autofree char *request = g_build_filename(fixture_directory(fixture), "request.pem", NULL);
    Terminal *scripted = terminal_new(
        100, NULL, "provision --slot=01 --type=p256 --touch-policy=always --template=$1 --csr=$2 -y",
        template_file, request, NULL);
    terminal_expect(scripted, "channel certificate every few minutes");
    terminal_expect(scripted, "Take \"cached\" instead?");
    terminal_type(scripted, "n\n");
    terminal_expect(scripted, "Touch the YubiKey now");
    touch(fixture);
    g_free(terminal_finish(scripted, 0));
    assert_member("F1/01", "touchPolicy", "always");

    Terminal *guided = terminal_new(100, NULL, "provision --slot=02 --type=p256 --template=$1 --csr=$2 -y",
                                    template_file, request, NULL);
    terminal_expect(guided, "Must somebody touch the token");
    terminal_type(guided, "3\n");
    terminal_expect(guided, "Take \"cached\" instead?");
    terminal_type(guided, "\n");
    g_free(terminal_finish(guided, 0)); /* the touch of a moment ago does for a cached key */
    assert_member("F1/02", "touchPolicy", "cached");
    /* Without a terminal it is said, and not asked. */
    g_autoptr(Run) kept =
        run_iothsmctl("provision --slot=02 --template=$1 --csr=$2", template_file, request, NULL);
    assert_run(kept, 0);
    assert_says(kept, "15 seconds");
}

/* --- the factory PIN --------------------------------------------------------------------------------- */

static void test_factory_pin(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,piv=1,pin=123456", "serial=F2,piv=1,pin=654321");
    g_autofree char *fresh = write_secret(fixture, "424242");
    g_autofree char *factory = write_secret(fixture, "123456");
    assert_member("F1", "pinState", "factory");
    g_autoptr(Run) both = run_iothsmctl("pin set F1 --factory --pin-file=$1", fresh, NULL);
    assert_run(both, 2);
    g_autoptr(Run) used = run_iothsmctl("pin set F1 --factory", NULL);
    assert_run(used, 0);
    assert_says(used, "pin change");
    assert_member("F1", "pinState", "set");
    g_autoptr(Run) refused = run_iothsmctl("pin set F2 --factory", NULL);
    assert_run(refused, 1);
    assert_says(refused, "was not tried");
    g_autoptr(Run) untouched = run_iothsmctl("show F2", NULL);
    assert_says(untouched, "PIN tries left: 3");
    g_autoptr(Run) changed =
        run_iothsmctl("pin change F1 --pin-file=$1 --new-pin-file=$2", factory, fresh, NULL);
    assert_run(changed, 0);
    g_autoptr(Run) late = run_iothsmctl("pin set F1 --factory", NULL);
    assert_run(late, 1);
}

/* It is changed on the way, so that nobody has to begin again. */
static void test_factory_pin_while_provisioning(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,piv=1,pin=123456");
    g_autofree char *template_file = write_template(fixture);
    g_autofree char *chosen = write_secret(fixture, "424242");
    g_autofree char *next = write_secret(fixture, "434343");
    Terminal *terminal = terminal_new(
        100, NULL, "provision --slot=01 --type=p256 --touch-policy=never --self-signed --template=$1",
        template_file, NULL);
    terminal_expect(terminal, "Go on? (Y/n)");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "still has its factory PIN");
    terminal_expect(terminal, "The PIN [1]");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "New PIN (6 to 8 characters)");
    terminal_type(terminal, "424242\n");
    terminal_expect(terminal, "(again)");
    terminal_type(terminal, "424242\n");
    terminal_expect(terminal, "-----BEGIN CERTIFICATE-----");
    g_autofree char *screen = terminal_finish(terminal, 0);
    g_assert_null(strstr(screen, "424242"));
    assert_member("F1", "pinState", "set");
    g_autoptr(Run) changed =
        run_iothsmctl("pin change F1 --pin-file=$1 --new-pin-file=$2", chosen, next, NULL);
    assert_run(changed, 0);
}

/* --- management keys --------------------------------------------------------------------------------- */

static void test_management_key(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,piv=1,pin=123456,management-key=" OWN_KEY);
    g_autofree char *own = write_secret(fixture, OWN_KEY "\n");
    g_autofree char *other = write_secret(fixture, OTHER_KEY);
    g_autofree char *pin = write_secret(fixture, "123456");
    g_autoptr(Run) logged_in = run_iothsmctl("pin set F1 --pin-file=$1", pin, NULL);
    assert_run(logged_in, 0);
    assert_member("F1", "managementKeyState", "missing");
    g_autoptr(Run) early = run_iothsmctl("generate F1 --type=p256", NULL);
    assert_run(early, 1);
    assert_says(early, "iothsmctl management-key set");

    g_autoptr(Run) wrong = run_iothsmctl("management-key set F1 --key-file=$1", other, NULL);
    assert_run(wrong, 1);
    g_autoptr(Run) unkept = run_iothsmctl("management-key set F1 --persist --key-file=$1", own, NULL);
    assert_run(unkept, 2);
    g_autoptr(Run) set = run_iothsmctl_as(-1, OWN_KEY "\n", "management-key set F1 --key-fd=0", NULL);
    assert_run(set, 0);
    assert_member("F1", "managementKeyState", "set");
    g_autoptr(Run) made = run_iothsmctl("generate F1 --type=p256", NULL);
    assert_run(made, 0);

    g_autoptr(Run) size =
        run_iothsmctl("management-key change F1 --algorithm=aes256 --new-key-file=$1", other, NULL);
    assert_run(size, 2);
    assert_says(size, "64 hexadecimal digits");
    g_autoptr(Run) changed = run_iothsmctl("management-key change F1 --new-key-file=$1", other, NULL);
    assert_run(changed, 0);
    g_autoptr(Run) protected = run_iothsmctl("management-key protect F1", NULL);
    assert_run(protected, 0);
    assert_member("F1", "managementKeyState", "protected");
    g_autoptr(Run) forgotten = run_iothsmctl("management-key forget F1", NULL);
    assert_run(forgotten, 0);
    assert_says(forgotten, "has forgotten the management key of token F1");
}

static void test_management_key_typed_and_kept(void)
{
    const char *const tokens[] = {"serial=F1,piv=1,management-key=" OWN_KEY, NULL};
    g_autoptr(Fixture) fixture = start_daemon(tokens);
    restart_daemon_with_key(fixture, tokens);
    Terminal *terminal = terminal_new(80, NULL, "management-key set F1", NULL);
    terminal_expect(terminal, "Management key of token F1 (hexadecimal): ");
    terminal_type(terminal, OWN_KEY "\n");
    terminal_expect(terminal, "keeps it sealed");
    g_autofree char *screen = terminal_finish(terminal, 0);
    g_assert_null(strstr(screen, OWN_KEY));
    restart_daemon_with_key(fixture, tokens);
    assert_member("F1", "managementKeyState", "set");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/piv/attestation-is-printed-and-judged-by-the-roots-that-were-given", test_attestation);
    g_test_add_func("/piv/slots-have-two-names", test_slots_have_two_names);
    g_test_add_func("/piv/imported-keys-are-shown-as-such", test_imported_keys);
    g_test_add_func("/piv/policies-are-refused-where-there-are-none", test_policies_elsewhere);
    g_test_add_func("/piv/a-touch-is-asked-for-on-the-terminal", test_touch_on_a_terminal);
    g_test_add_func("/piv/a-touch-is-asked-for-without-a-terminal", test_touch_without_a_terminal);
    g_test_add_func("/piv/who-waits-behind-a-touch-is-told", test_touch_behind_another);
    g_test_add_func("/piv/a-wait-for-a-touch-is-an-event", test_touch_is_an_event);
    g_test_add_func("/piv/provision-says-what-always-means", test_provision_says_what_always_means);
    g_test_add_func("/piv/the-factory-pin-is-used-where-the-token-has-it", test_factory_pin);
    g_test_add_func("/piv/the-factory-pin-is-changed-while-provisioning",
                    test_factory_pin_while_provisioning);
    g_test_add_func("/piv/a-management-key-is-given-changed-and-protected", test_management_key);
    g_test_add_func("/piv/a-management-key-is-typed-without-echo-and-kept",
                    test_management_key_typed_and_kept);
    return g_test_run();
}
