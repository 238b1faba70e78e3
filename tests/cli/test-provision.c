/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* From a token to a CA, by options alone and by answering questions on a terminal. What comes out is judged
 * by the openssl command. */

#include "daemon/openssl-cleanup.h"
#include "tests/cli/daemon.h"
#include "tests/cli/run.h"
#include <string.h>

static char *slot_state(const char *place)
{
    g_autoptr(Run) run = run_iothsmctl("show $1 -j", place, NULL);
    assert_run(run, 0);
    g_autoptr(JsonNode) slot = run_json(run);
    return json_text(slot, "state");
}

static void assert_state(const char *place, const char *state)
{
    g_autofree char *now = slot_state(place);
    g_assert_cmpstr(now, ==, state);
}

static char *place_of(JsonNode *node)
{
    g_autofree char *token = json_text(node, "token");
    g_autofree char *slot = json_text(node, "slot");
    return g_strdup_printf("%s/%s", token, slot);
}

static void test_self_signed(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    g_autofree char *template_file = write_template(fixture);
    g_autoptr(Run) run = run_iothsmctl(
        "provision --type=p384 --template=$1 --self-signed --hash=sha384 -q -j", template_file, NULL);
    assert_run(run, 0);
    g_assert_cmpstr(run->err, ==, "");
    g_autoptr(JsonNode) made = run_json(run);
    g_autofree char *place = place_of(made);
    g_autofree char *pem = json_text(made, "certificate");
    g_autofree char *file = test_write(fixture_directory(fixture), "ca.pem", pem);
    g_autofree char *judged = TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", file, file);
    g_autofree char *text = TEST_RUN("openssl", "x509", "-in", file, "-noout", "-subject", "-text");
    g_assert_nonnull(strstr(text, "Provisioned CA"));
    g_assert_nonnull(strstr(text, "ecdsa-with-SHA384"));
    assert_state(place, "provisioned");
    g_autoptr(Run) printed = run_iothsmctl("cert $1", place, NULL);
    assert_run(printed, 0);
    g_assert_cmpstr(printed->out, ==, pem);
    /* The daemon sees an authority now, and says what is missing. */
    g_autoptr(Run) status = run_iothsmctl("", NULL);
    g_assert_nonnull(strstr(status->out, "Provisioned CA"));
    /* What is in use is not replaced by accident. */
    g_autoptr(Run) again = run_iothsmctl("self-sign $1 $2", place, template_file, NULL);
    assert_run(again, 1);
    g_autoptr(Run) replaced =
        run_iothsmctl("self-sign $1 $2 --replace --days=30", place, template_file, NULL);
    assert_run(replaced, 0);
    g_autoptr(Run) soon = run_iothsmctl("status", NULL);
    g_assert_nonnull(strstr(soon->out, "expires on"));
}

static void test_intermediate(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    const char *directory = fixture_directory(fixture);
    g_autofree char *template_file = write_template(fixture);
    g_autofree char *request = g_build_filename(directory, "request.pem", NULL);
    g_autofree char *signed_file = g_build_filename(directory, "signed.pem", NULL);
    g_autoptr(X509) root = test_ca("Root", test_key("rsa2048"));
    g_autofree char *root_pem = test_certificate_pem(root);
    g_autofree char *root_file = test_write(directory, "root.pem", root_pem);
    g_autofree char *key_pem = test_key_pem(test_key("rsa2048"), NULL);
    g_autofree char *key_file = test_write(directory, "root.key", key_pem);

    g_autoptr(Run) asked =
        run_iothsmctl("provision --type=p256 --template=$1 --csr=$2 -j", template_file, request, NULL);
    assert_run(asked, 0);
    g_autoptr(JsonNode) made = run_json(asked);
    g_autofree char *place = place_of(made);
    assert_state(place, "key-only");
    g_autofree char *judged = TEST_RUN("openssl", "req", "-in", request, "-noout", "-verify");
    g_autofree char *issued =
        TEST_RUN("openssl", "x509", "-req", "-in", request, "-CA", root_file, "-CAkey", key_file,
                 "-copy_extensions", "copy", "-days", "30", "-out", signed_file);
    /* Another key's certificate is refused; the right one goes on where the request left off. */
    g_autoptr(Run) wrong = run_iothsmctl("import-cert $1 $2 -j", place, root_file, NULL);
    assert_run(wrong, 1);
    g_assert_nonnull(strstr(wrong->out, "KeyMismatch"));
    g_autoptr(Run) right = run_iothsmctl("provision --certificate=$1 -j", signed_file, NULL);
    assert_run(right, 0);
    assert_state(place, "provisioned");
}

static void test_template_shown(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    g_autofree char *template_file = write_template(fixture);
    g_autoptr(Run) text = run_iothsmctl("template $1", template_file, NULL);
    assert_run(text, 0);
    g_assert_nonnull(strstr(text->out, "Provisioned CA"));
    g_assert_nonnull(strstr(text->out, "Makes a CA: yes"));
    g_autoptr(Run) missing = run_iothsmctl("template /nonexistent/file", NULL);
    assert_run(missing, 1);
    g_autofree char *nonsense = test_write(fixture_directory(fixture), "nonsense.pem", "nonsense\n");
    g_autoptr(Run) refused = run_iothsmctl("template $1 -j", nonsense, NULL);
    assert_run(refused, 1);
}

static void test_no_key_for_nothing(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    const char *directory = fixture_directory(fixture);
    const TestCertificate expired = {.subject = "CN=Old", .not_before = 1500000000, .not_after = 1600000000};
    g_autoptr(X509) old = test_certificate(&expired, test_key("p256"), NULL, NULL);
    g_autofree char *old_pem = test_certificate_pem(old);
    g_autofree char *old_file = test_write(directory, "old.pem", old_pem);
    g_autofree char *endless_pem = test_request_pem("CN=Endless", test_key("p256"));
    g_autofree char *endless = test_write(directory, "endless.pem", endless_pem);
    g_autoptr(Run) late =
        run_iothsmctl("provision --type=p256 --template=$1 --self-signed -j", old_file, NULL);
    assert_run(late, 1);
    g_assert_nonnull(strstr(late->out, "TemplateExpired"));
    g_autoptr(Run) open = run_iothsmctl("provision --type=p256 --template=$1 --self-signed", endless, NULL);
    assert_run(open, 2);
    g_assert_nonnull(strstr(open->err, "--days"));
    g_autoptr(Run) incomplete = run_iothsmctl("provision --type=p256 --self-signed", NULL);
    assert_run(incomplete, 2);
    g_autoptr(Run) slots = run_iothsmctl("complete slots", NULL);
    g_assert_cmpstr(slots->out, ==, "");
}

static void test_several_tokens(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1", "serial=F2");
    g_autofree char *template_file = write_template(fixture);
    g_autoptr(Run) open =
        run_iothsmctl("provision --type=p256 --self-signed --template=$1", template_file, NULL);
    assert_run(open, 2);
    g_assert_nonnull(strstr(open->err, "--token"));
    g_autoptr(Run) chosen =
        run_iothsmctl("provision --token=F2 --type=p256 --self-signed --template=$1 -j", template_file, NULL);
    assert_run(chosen, 0);
    g_autoptr(JsonNode) made = run_json(chosen);
    g_autofree char *token = json_text(made, "token");
    g_assert_cmpstr(token, ==, "F2");
}

static void test_guided(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,pin=123456", "serial=F2,label=Two");
    g_autofree char *template_file = write_template(fixture); /* template.pem in that folder */
    const char *const environment[] = {"HOME", fixture_directory(fixture), NULL};
    Terminal *terminal = terminal_new(100, environment, "provision", NULL);
    terminal_expect(terminal, "Which token");
    terminal_type(terminal, "1\n");
    terminal_expect(terminal, "Which slot?");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "The key");
    terminal_type(terminal, "1\n");
    terminal_expect(terminal, "What kind of key?");
    terminal_type(terminal, "nonsense\n");
    terminal_expect(terminal, "Please answer with a number");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "The certificate");
    terminal_type(terminal, "1\n");
    /* A mistyped name is asked for again. */
    terminal_expect(terminal, "provisioning certificate");
    terminal_type(terminal, "/nonexistent/file\n");
    terminal_expect(terminal, "Opening /nonexistent/file failed");
    terminal_expect(terminal, "provisioning certificate");
    terminal_type(terminal, "/etc/passwd\n");
    terminal_expect(terminal, "holds no certificate");
    terminal_expect(terminal, "provisioning certificate");
    terminal_type(terminal, "~/template.pem\n");
    terminal_expect(terminal, "A new p384 key");
    terminal_expect(terminal, "Provisioned CA");
    terminal_expect(terminal, "Go on? (Y/n)");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "PIN of token F1");
    terminal_type(terminal, "123456\n");
    terminal_expect(terminal, "-----BEGIN CERTIFICATE-----");
    terminal_expect(terminal, "iothsmctl reload");
    g_autofree char *screen = terminal_finish(terminal, 0);
    g_assert_null(strstr(screen, "123456"));
    g_autoptr(Run) slots = run_iothsmctl("complete slots", NULL);
    g_assert_nonnull(strstr(slots->out, "Provisioned CA"));
}

/* The template is pasted, and the slot of an earlier, unfinished provisioning is what an empty answer means.
 */
static void test_resumed(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    g_autoptr(Run) begun = run_iothsmctl("generate F1 --type=p256 -j", NULL);
    assert_run(begun, 0);
    g_autoptr(JsonNode) made = run_json(begun);
    g_autofree char *place = place_of(made);
    g_autoptr(X509) ca = test_ca("Pasted CA", test_key("p256"));
    g_autofree char *pem = test_certificate_pem(ca);
    Terminal *terminal = terminal_new(100, NULL, "provision", NULL);
    terminal_expect(terminal, "go on with the p256 key");
    terminal_expect(terminal, "Which slot?");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "The certificate");
    terminal_type(terminal, "\n");
    terminal_expect(terminal, "paste it here");
    terminal_type(terminal, pem);
    terminal_expect(terminal, "Go on?");
    terminal_type(terminal, "n\n");
    g_autofree char *given_up = terminal_finish(terminal, 1);
    g_assert_nonnull(strstr(given_up, "nothing was changed"));
    assert_state(place, "key-only");

    terminal = terminal_new(100, NULL, "provision --self-signed --yes", NULL);
    terminal_expect(terminal, "Which slot?");
    terminal_type(terminal, "1\n");
    terminal_expect(terminal, "paste it here");
    terminal_type(terminal, pem);
    g_autofree char *screen = terminal_finish(terminal, 0);
    g_assert_nonnull(strstr(screen, "Pasted CA"));
    assert_state(place, "provisioned");
}

static void test_softhsm(void)
{
    g_autoptr(Fixture) fixture = start_daemon_with_softhsm();
    g_autofree char *template_file = write_template(fixture);
    g_autofree char *pin = write_secret(fixture, "123456\n");
    g_autofree char *so_pin = write_secret(fixture, "87654321\n");
    g_autoptr(Run) created =
        run_iothsmctl("softhsm create $1 --pin-file=$2 --so-pin-file=$3 -j", "My token", pin, so_pin, NULL);
    if (strstr(created->out, "Error.Unsupported") != NULL) {
        g_test_skip("SoftHSM2 is not installed");
        return;
    }
    assert_run(created, 0);
    g_autoptr(JsonNode) made = run_json(created);
    g_autofree char *serial = json_text(made, "token");
    g_autoptr(Run) pin_set = run_iothsmctl("pin set $1 --pin-file=$2", serial, pin, NULL);
    assert_run(pin_set, 0);
    g_autoptr(Run) provisioned = run_iothsmctl(
        "provision --token=$1 --type=p256 --template=$2 --self-signed -j", "My token", template_file, NULL);
    assert_run(provisioned, 0);
    g_autoptr(Run) unconfirmed = run_iothsmctl("softhsm delete $1", serial, NULL);
    assert_run(unconfirmed, 2);
    Terminal *terminal = terminal_new(80, NULL, "softhsm delete $1", "My token", NULL);
    terminal_expect(terminal, "for ever? (y/N)");
    terminal_type(terminal, "\n");
    g_autofree char *kept = terminal_finish(terminal, 1);
    g_assert_nonnull(strstr(kept, "Nothing was changed"));
    g_autoptr(Run) deleted = run_iothsmctl("softhsm delete $1 --yes", serial, NULL);
    assert_run(deleted, 0);
    g_autoptr(Run) gone = run_iothsmctl("show $1", serial, NULL);
    assert_run(gone, 3);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/provision/self-signed-by-options-alone", test_self_signed);
    g_test_add_func("/provision/intermediate-by-request-and-import", test_intermediate);
    g_test_add_func("/provision/template-is-shown-without-making-anything", test_template_shown);
    g_test_add_func("/provision/no-key-is-made-for-a-useless-template", test_no_key_for_nothing);
    g_test_add_func("/provision/several-tokens-must-be-told-apart", test_several_tokens);
    g_test_add_func("/provision/guided-on-a-terminal", test_guided);
    g_test_add_func("/provision/resumed-with-the-key-that-is-there", test_resumed);
    g_test_add_func("/provision/softhsm-token-from-creation-to-deletion", test_softhsm);
    return g_test_run();
}
