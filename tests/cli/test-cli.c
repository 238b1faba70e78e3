/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What scripts and people rely on: exit status, JSON, names, tables, secrets. */

#include "daemon/openssl-cleanup.h"
#include "tests/cli/daemon.h"
#include "tests/cli/run.h"
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static void assert_error(Run *run, int status, const char *name)
{
    assert_run(run, status);
    g_autoptr(JsonNode) answer = run_json(run);
    g_autofree char *said = json_text(answer, "error.name");
    g_autofree char *message = json_text(answer, "error.message");
    g_assert_true(g_str_has_suffix(said, name));
    g_assert_cmpuint(strlen(message), >, 10);
}

static void test_no_service(void)
{
    g_autoptr(Fixture) fixture = fixture_new();
    g_autoptr(Run) text = run_iothsmctl("list", NULL);
    assert_run(text, 5);
    g_assert_cmpstr(text->out, ==, "");
    g_assert_nonnull(strstr(text->err, "systemctl start iothsmd"));
    g_autoptr(Run) json = run_iothsmctl("status --json=short", NULL);
    assert_error(json, 5, ".ServiceUnknown");
    g_assert_cmpstr(json->err, ==, "");
    g_autoptr(Run) completion = run_iothsmctl("complete tokens", NULL);
    assert_run(completion, 0);
    g_assert_cmpstr(completion->out, ==, "");
    g_assert_cmpstr(completion->err, ==, "");
}

static void test_no_bus(void)
{
    g_autoptr(Fixture) fixture = fixture_new();
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", TRUE);
    g_autoptr(Run) json = run_iothsmctl("list --json=short", NULL);
    assert_error(json, 5, ".ServiceUnknown");
}

static void test_wrong_use(void)
{
    static const char *const lines[] = {
        "nonsense",
        "pin",
        "pin nonsense",
        "pin set",
        "list x",
        "show",
        "generate F1",
        "clear F1/01 F1/02",
        "drain",
        "--nonsense",
        "list --nonsense",
        "--json=nonsense",
        "trust add /dev/null",
        "provision --type=p256 --import-key=x",
        "provision --self-signed --csr=x",
        "generate F1 --type",
        NULL,
    };
    for (guint i = 0; lines[i] != NULL; i++) {
        g_autoptr(Run) text = run_iothsmctl(lines[i], NULL);
        g_test_message("%s: %s", lines[i], text->err);
        assert_run(text, 2);
        g_assert_cmpstr(text->out, ==, "");
        g_assert_true(g_str_has_prefix(text->err, "iothsmctl: "));
        /* One line. */
        g_assert_true(strchr(text->err, '\n') == text->err + strlen(text->err) - 1);
    }
    g_autoptr(Run) json = run_iothsmctl("--json=short nonsense", NULL);
    assert_error(json, 2, ".InvalidArgs");
    g_assert_cmpstr(json->err, !=, "");
}

static void test_help_needs_no_service(void)
{
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", TRUE);
    g_autoptr(Run) help = run_iothsmctl("--help", NULL);
    assert_run(help, 0);
    g_assert_nonnull(strstr(help->out, "provision"));
    g_assert_null(strstr(help->out, "complete"));
    g_autoptr(Run) verb = run_iothsmctl("pin unblock --help", NULL);
    assert_run(verb, 0);
    g_assert_nonnull(strstr(verb->out, "--puk-file"));
    g_autoptr(Run) version = run_iothsmctl("--version", NULL);
    assert_run(version, 0);
    g_assert_true(g_str_has_prefix(version->out, "iothsmctl "));
}

static void test_nothing_is_fine(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON();
    g_autoptr(Run) text = run_iothsmctl("list", NULL);
    assert_run(text, 0);
    g_autoptr(Run) json = run_iothsmctl("list --json=short", NULL);
    assert_run(json, 0);
    g_assert_cmpstr(json->out, ==, "[]\n");
    g_autoptr(Run) status = run_iothsmctl("", NULL);
    assert_run(status, 0);
    g_assert_nonnull(strstr(status->out, "softhsm create"));
    g_autoptr(Run) trust = run_iothsmctl("trust show", NULL);
    assert_run(trust, 0);
    g_autoptr(Run) provision = run_iothsmctl("provision --self-signed", NULL);
    assert_run(provision, 3);
}

static void assert_same(JsonNode *one, JsonNode *other)
{
    if (!json_node_equal(one, other)) {
        g_autofree char *first = json_to_string(one, TRUE);
        g_autofree char *second = json_to_string(other, TRUE);
        g_error("these differ: %s\n%s", first, second);
    }
}

static void test_json_is_describe(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,label=One", "serial=F2,pin=123456");
    g_autoptr(Run) made = run_iothsmctl("generate F1 --type=p256", NULL);
    assert_run(made, 0);
    sd_bus_message *reply = fixture_call(fixture, IOTHSM_PATH, MANAGER_INTERFACE, "Describe", NULL, "");
    const char *text;
    g_assert_cmpint(sd_bus_message_read(reply, "s", &text), >, 0);
    g_autoptr(JsonNode) described = json_from_string(text, NULL);
    sd_bus_message_unref(reply);
    JsonNode *tokens = json_object_get_member(json_node_get_object(described), "tokens");
    JsonNode *token = json_array_get_element(json_node_get_array(tokens), 0);
    JsonNode *slots = json_object_get_member(json_node_get_object(token), "slots");

    g_autoptr(Run) status = run_iothsmctl("--json=pretty", NULL);
    g_autoptr(JsonNode) status_json = run_json(status);
    assert_same(status_json, described);
    g_autoptr(Run) list = run_iothsmctl("list -j", NULL);
    g_autoptr(JsonNode) list_json = run_json(list);
    assert_same(list_json, tokens);
    g_autoptr(Run) show = run_iothsmctl("show One --json=short", NULL);
    g_autoptr(JsonNode) show_json = run_json(show);
    assert_same(show_json, token);
    const char *name =
        json_object_get_string_member(json_array_get_object_element(json_node_get_array(slots), 0), "name");
    g_autofree char *place = g_strdup_printf("F1/%s", name);
    g_autoptr(Run) slot = run_iothsmctl("show $1 --json=short", place, NULL);
    g_autoptr(JsonNode) slot_json = run_json(slot);
    assert_same(slot_json, json_array_get_element(json_node_get_array(slots), 0));
}

static void test_names(void)
{
    g_autoptr(Fixture) fixture =
        START_DAEMON("serial=F1,label=Same", "serial=F2,label=Same", "serial=1F,label=F2");
    g_autoptr(Run) ambiguous = run_iothsmctl("show Same", NULL);
    assert_run(ambiguous, 2);
    g_assert_nonnull(strstr(ambiguous->err, "F1, F2"));
    g_autoptr(Run) by_serial = run_iothsmctl("show F2 --json=short", NULL);
    g_autoptr(JsonNode) shown = run_json(by_serial);
    g_autofree char *serial = json_text(shown, "serial");
    g_assert_cmpstr(serial, ==, "F2");
    /* sd_bus_path_encode escapes a digit at the beginning. */
    g_autoptr(Run) by_object = run_iothsmctl("show _31F --json=short", NULL);
    g_autoptr(JsonNode) other = run_json(by_object);
    g_autofree char *other_serial = json_text(other, "serial");
    g_assert_cmpstr(other_serial, ==, "1F");

    g_autoptr(Run) no_token = run_iothsmctl("show nobody --json=short", NULL);
    assert_error(no_token, 3, ".NoSuchToken");
    g_autoptr(Run) no_slot = run_iothsmctl("cert F1/7f --json=short", NULL);
    assert_error(no_slot, 3, ".NoSuchSlot");
    g_autoptr(Run) token_for_slot = run_iothsmctl("cert F1", NULL);
    assert_run(token_for_slot, 2);
}

static void test_escapes(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,label=a\033[31m\007b\xe2\x80\xae"
                                              "c");
    static const char *const lines[] = {"", "list", "show F1", "complete tokens", NULL};
    for (guint i = 0; lines[i] != NULL; i++) {
        g_autoptr(Run) run = run_iothsmctl(lines[i], NULL);
        assert_run(run, 0);
        g_assert_nonnull(strstr(run->out, "F1"));
        g_assert_null(strchr(run->out, '\033'));
        g_assert_null(strchr(run->out, '\007'));
        g_assert_null(strstr(run->out, "\xe2\x80\xae"));
    }
}

static void test_width(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON(
        "serial=F1,label=A label that is much longer than any table on a narrow terminal can show",
        "serial=F2,label=Two");
    static const char *const plain[] = {"NO_COLOR", "1", NULL};
    g_autofree char *screen = terminal_finish(terminal_new(60, plain, "list", NULL), 0);
    g_auto(GStrv) lines = g_strsplit(screen, "\r\n", -1);
    g_assert_cmpuint(g_strv_length(lines), >=, 3);
    for (guint i = 0; lines[i] != NULL; i++)
        if (g_utf8_strlen(lines[i], -1) > 60)
            g_error("wider than 60 columns: %s", screen);
    g_assert_nonnull(strstr(lines[0], "TOKEN"));
    g_assert_null(strchr(screen, '\033'));
    g_autofree char *coloured = terminal_finish(terminal_new(60, NULL, "list", NULL), 0);
    g_assert_nonnull(strstr(coloured, "\033["));
    g_autofree char *bare = terminal_finish(terminal_new(60, plain, "list --no-legend", NULL), 0);
    g_assert_null(strstr(bare, "TOKEN"));
    /* Nothing is cut where no terminal is. */
    g_autoptr(Run) whole = run_iothsmctl("list", NULL);
    g_assert_nonnull(strstr(whole->out, "a narrow terminal can show"));
}

static void test_pager(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    static const char *const pager[] = {"PAGER", "sed s/^/paged:/", NULL};
    /* The terminal of the fixture is tall: nothing is paged there. */
    g_autofree char *unpaged = terminal_finish(terminal_new(80, pager, "--help", NULL), 0);
    g_assert_null(strstr(unpaged, "paged:"));
    g_autofree char *paged = terminal_finish(terminal_new_of(80, 10, pager, "--help", NULL), 0);
    g_assert_nonnull(strstr(paged, "paged:"));
    g_autofree char *refused = terminal_finish(terminal_new_of(80, 10, pager, "--help --no-pager", NULL), 0);
    g_assert_null(strstr(refused, "paged:"));
}

static void test_not_authorised(void)
{
    if (!fixture_has_other_user())
        return;
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    g_autoptr(Run) reading = run_iothsmctl_as(OTHER_UID, "", "list --json=short", NULL);
    assert_run(reading, 0);
    g_autoptr(Run) changing = run_iothsmctl_as(OTHER_UID, "", "generate F1 --type=p256", NULL);
    assert_run(changing, 4);
    g_assert_cmpstr(changing->out, ==, "");
    g_autoptr(Run) json = run_iothsmctl_as(OTHER_UID, "", "reload -j", NULL);
    assert_error(json, 4, ".AccessDenied");
}

static void test_pins(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,pin=123456");
    g_autofree char *right = write_secret(fixture, "123456\n");
    g_autofree char *wrong = write_secret(fixture, "999999");
    g_autofree char *fresh = write_secret(fixture, "424242");
    g_autofree char *puk = write_secret(fixture, "00000000");
    g_autofree char *empty = write_secret(fixture, "");

    g_autoptr(Run) no_terminal = run_iothsmctl("pin set F1", NULL);
    assert_run(no_terminal, 2);
    g_assert_nonnull(strstr(no_terminal->err, "--pin-file"));
    g_autoptr(Run) nothing = run_iothsmctl("pin set F1 --pin-file=$1", empty, NULL);
    assert_run(nothing, 1);
    g_autoptr(Run) both = run_iothsmctl("pin set F1 --pin-file=$1 --pin-fd=0", right, NULL);
    assert_run(both, 2);
    g_autoptr(Run) refused = run_iothsmctl("pin set F1 -j --pin-file=$1", wrong, NULL);
    assert_error(refused, 1, ".PinWrong");
    g_autoptr(Run) through_fd = run_iothsmctl_as(-1, "123456\n", "pin set F1 --pin-fd=0", NULL);
    assert_run(through_fd, 0);
    /* This daemon has no sealing key. */
    g_autoptr(Run) unkept = run_iothsmctl("pin set F1 -j --persist --pin-file=$1", right, NULL);
    assert_error(unkept, 2, ".Invalid");
    g_autoptr(Run) forgotten = run_iothsmctl("pin forget F1", NULL);
    assert_run(forgotten, 0);
    g_autoptr(Run) missing = run_iothsmctl("", NULL);
    g_assert_nonnull(strstr(missing->out, "iothsmctl pin set F1"));
    g_autoptr(Run) through_stdin = run_iothsmctl_as(-1, "123456", "pin set F1 --pin-file=-", NULL);
    assert_run(through_stdin, 0);
    g_autoptr(Run) changed =
        run_iothsmctl("pin change F1 --pin-file=$1 --new-pin-file=$2", right, fresh, NULL);
    assert_run(changed, 0);
    g_autoptr(Run) old = run_iothsmctl("pin change F1 --pin-file=$1 --new-pin-file=$2", right, fresh, NULL);
    assert_run(old, 1);
    g_autoptr(Run) unblocked =
        run_iothsmctl("pin unblock F1 --puk-file=$1 --new-pin-file=$2", puk, right, NULL);
    assert_run(unblocked, 0);
}

static char *pin_state(const char *token)
{
    g_autoptr(Run) shown = run_iothsmctl("show $1 -j", token, NULL);
    assert_run(shown, 0);
    g_autoptr(JsonNode) description = run_json(shown);
    return json_text(description, "pinState");
}

static void test_kept_pin(void)
{
    static const char *const tokens[] = {"serial=F1,pin=123456", NULL};
    g_autoptr(Fixture) fixture = start_daemon(tokens);
    restart_daemon_with_key(fixture, tokens);
    g_autoptr(Run) forgotten = run_iothsmctl_as(-1, "123456", "pin set F1 --memory-only --pin-file=-", NULL);
    assert_run(forgotten, 0);
    restart_daemon_with_key(fixture, tokens);
    g_autofree char *missing = pin_state("F1");
    g_assert_cmpstr(missing, ==, "missing");
    g_autoptr(Run) kept = run_iothsmctl_as(-1, "123456", "pin set F1 --pin-file=-", NULL);
    assert_run(kept, 0);
    g_assert_nonnull(strstr(kept->out, "sealed"));
    restart_daemon_with_key(fixture, tokens);
    g_autofree char *set = pin_state("F1");
    g_assert_cmpstr(set, ==, "set");
}

static void test_pin_on_terminal(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,pin=123456");
    Terminal *terminal = terminal_new(80, NULL, "pin set F1", NULL);
    terminal_expect(terminal, "PIN of token F1");
    terminal_type(terminal, "123456\n");
    g_autofree char *screen = terminal_finish(terminal, 0);
    g_assert_null(strstr(screen, "123456"));

    terminal = terminal_new(80, NULL, "pin change F1", NULL);
    terminal_expect(terminal, "PIN of token F1: ");
    terminal_type(terminal, "123456\n");
    terminal_expect(terminal, "New PIN of token F1: ");
    terminal_type(terminal, "111111\n");
    terminal_expect(terminal, "(again): ");
    terminal_type(terminal, "222222\n");
    g_autofree char *mistyped = terminal_finish(terminal, 1);
    g_assert_nonnull(strstr(mistyped, "not the same"));
    /* Ctrl-C in the middle gives the terminal back and changes nothing. */
    terminal = terminal_new(80, NULL, "pin set F1", NULL);
    terminal_expect(terminal, "PIN of token F1");
    terminal_type(terminal, "\003");
    terminal_finish_by_signal(terminal, SIGINT);
    g_autofree char *refused =
        terminal_finish(terminal_new(80, NULL, "--no-ask-password pin set F1", NULL), 2);
    g_assert_nonnull(strstr(refused, "--pin-file"));
}

static void test_keys(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    g_autofree char *plain_pem = test_key_pem(test_key("p256"), NULL);
    g_autofree char *plain = test_write(fixture_directory(fixture), "plain.pem", plain_pem);
    g_autofree char *locked_pem = test_key_pem(test_key("rsa2048"), "correct horse");
    g_autofree char *locked = test_write(fixture_directory(fixture), "locked.pem", locked_pem);
    g_autofree char *passphrase = write_secret(fixture, "correct horse");
    g_autofree char *wrong = write_secret(fixture, "wrong horse");

    g_autoptr(Run) imported = run_iothsmctl("import-key F1 $1 -j", plain, NULL);
    assert_run(imported, 0);
    g_autoptr(JsonNode) place = run_json(imported);
    g_autofree char *slot = json_text(place, "slot");
    g_autofree char *name = g_strdup_printf("F1/%s", slot);
    g_autoptr(Run) shown = run_iothsmctl("show $1 -j", name, NULL);
    g_autoptr(JsonNode) description = run_json(shown);
    g_autofree char *type = json_text(description, "keyType");
    g_assert_cmpstr(type, ==, "p256");
    g_autoptr(Run) asked = run_iothsmctl("import-key F1 $1", locked, NULL);
    assert_run(asked, 2);
    g_assert_nonnull(strstr(asked->err, "--passphrase-file"));
    g_autoptr(Run) refused = run_iothsmctl("import-key F1 $1 -j --passphrase-file=$2", locked, wrong, NULL);
    assert_error(refused, 1, ".PassphraseWrong");
    g_autoptr(Run) opened = run_iothsmctl("import-key F1 $1 --passphrase-file=$2", locked, passphrase, NULL);
    assert_run(opened, 0);

    g_autoptr(Run) occupied = run_iothsmctl("generate $1 --type=p256 -j", name, NULL);
    assert_error(occupied, 1, ".SlotOccupied");
    g_autoptr(Run) unconfirmed = run_iothsmctl("clear $1", name, NULL);
    assert_run(unconfirmed, 2);
    g_autoptr(Run) cleared = run_iothsmctl("clear $1 --yes", name, NULL);
    assert_run(cleared, 0);
    g_autoptr(Run) gone = run_iothsmctl("show $1", name, NULL);
    assert_run(gone, 3);
}

/* The token is busy for longer than what is not worth a line. */
static void test_progress(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,delay-ms=1000");
    Terminal *terminal = terminal_new(80, NULL, "generate F1 --type=p256", NULL);
    terminal_expect(terminal, "generating p256");
    terminal_expect(terminal, "Generated the key");
    g_autofree char *screen = terminal_finish(terminal, 0);
    g_autofree char *silent =
        terminal_finish(terminal_new(80, NULL, "generate F1 --type=p256 --quiet", NULL), 0);
    g_assert_cmpstr(silent, ==, "");
    g_autoptr(Run) piped = run_iothsmctl("generate F1 --type=p256", NULL);
    assert_run(piped, 0);
    g_assert_cmpstr(piped->err, ==, "");
}

static void test_completion_names(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,label=One", "serial=F2");
    g_autoptr(Run) made = run_iothsmctl("generate F1 --type=p256 -q", NULL);
    assert_run(made, 0);
    g_assert_cmpstr(made->out, ==, "");
    g_autoptr(Run) tokens = run_iothsmctl("complete tokens", NULL);
    g_assert_cmpstr(tokens->out, ==, "F1\tOne\nF2\tF2\n");
    g_autoptr(Run) slots = run_iothsmctl("complete slots", NULL);
    g_assert_true(g_str_has_prefix(slots->out, "F1/"));
    g_assert_null(strstr(slots->out, "F2/"));
    g_autoptr(Run) places = run_iothsmctl("complete free", NULL);
    g_assert_nonnull(strstr(places->out, "F2/"));
}

static void test_monitor(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1");
    Terminal *terminal = terminal_new(400, NULL, "monitor --json=short", NULL);
    terminal_expect(terminal, "Ctrl-C ends");
    g_assert_cmpint(kill(fixture_daemon_pid(fixture), SIGUSR1), ==, 0);
    terminal_expect(terminal, "\"event\":\"token-removed\",\"fields\":{\"token\":\"F1\"");
    g_assert_cmpint(kill(fixture_daemon_pid(fixture), SIGUSR2), ==, 0);
    terminal_expect(terminal, "\"event\":\"token-added\"");
    fixture_stop_daemon(fixture);
    terminal_expect(terminal, "\"event\":\"service-stopped\"");
    terminal_type(terminal, "\003");
    g_autofree char *screen = terminal_finish(terminal, 0);
    g_auto(GStrv) lines = g_strsplit(screen, "\r\n", -1);
    for (guint i = 1; lines[i] != NULL; i++) {
        if (lines[i][0] != '{')
            continue;
        g_autoptr(JsonNode) node = json_from_string(lines[i], NULL);
        g_assert_nonnull(node);
    }
}

static void test_metrics(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,label=\"Big\\ Box\",pin=123456", "serial=F2");
    g_autoptr(Run) printed = run_iothsmctl("metrics", NULL);
    assert_run(printed, 0);
    const char *const argv[] = {"python3",
                                g_getenv("OPENMETRICS"),
                                "iothsm_token_pin_tries_left,token=F1",
                                "iothsm_token_pin_ready,token=F1",
                                "iothsm_token_state,state=ready,token=F2",
                                "iothsm_link_state,state=unconfigured",
                                "iothsm_phase_seconds_count,phase=token",
                                "iothsm_journal_requests",
                                NULL};
    g_autofree char *values = test_run(argv, printed->out, 0);
    g_assert_cmpstr(values, ==, "3.0\n0.0\n1.0\n1.0\n0.0\n0.0\n");

    g_autofree char *file = g_build_filename(fixture_directory(fixture), "iothsm.prom", NULL);
    g_autoptr(Run) written = run_iothsmctl("metrics --output=$1", file, NULL);
    assert_run(written, 0);
    g_assert_cmpstr(written->out, ==, "");
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents(file, &text, NULL, NULL));
    g_autofree char *same = test_run(argv, text, 0);
    g_assert_cmpstr(same, ==, values);
    GStatBuf status;
    g_assert_cmpint(g_stat(file, &status), ==, 0);
    g_assert_cmpint(status.st_mode & 0777, ==, 0644);
    g_autoptr(Run) nowhere = run_iothsmctl("metrics --output=/nonexistent/iothsm.prom", NULL);
    assert_run(nowhere, 1);
    g_autoptr(Run) json = run_iothsmctl("metrics -j", NULL);
    g_autoptr(JsonNode) document = run_json(json);
    g_autofree char *member = json_text(document, "metrics");
    g_assert_true(g_str_has_suffix(member, "# EOF\n"));
}

static void test_drain(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON("serial=F1,label=Box", "serial=F2");
    g_autoptr(Run) drained = run_iothsmctl("drain Box", NULL);
    assert_run(drained, 0);
    g_assert_nonnull(strstr(drained->out, "F1 (Box) is drained"));
    g_autoptr(Run) status = run_iothsmctl("status", NULL);
    g_assert_nonnull(strstr(status->out, "draining"));
    g_assert_nonnull(strstr(status->out, "iothsmctl drain --undo F1"));
    g_autoptr(Run) again = run_iothsmctl("drain F1 -j", NULL);
    assert_run(again, 0);
    g_autoptr(Run) undone = run_iothsmctl("drain --undo F1", NULL);
    assert_run(undone, 0);
    g_autoptr(Run) shown = run_iothsmctl("show F1 -j", NULL);
    g_autoptr(JsonNode) token = run_json(shown);
    g_autofree char *state = json_text(token, "state");
    g_assert_cmpstr(state, ==, "ready");
    g_autoptr(Run) nobody = run_iothsmctl("drain F9 -j", NULL);
    assert_error(nobody, 3, ".NoSuchToken");
}

/* In the service's place: the certificate that it knows by its fingerprint is not here. */
static int on_call(sd_bus_message *message, void *userdata, sd_bus_error *error)
{
    bool *answered = userdata;
    if (!sd_bus_message_is_method_call(message, MANAGER_INTERFACE, "ListTrustAnchors"))
        return 0;
    *answered = true;
    return sd_bus_reply_method_return(message, "s",
                                      "[{\"purpose\":\"platform\",\"subject\":\"CN=Known\",\"fingerprint\":"
                                      "\"32\",\"notAfter\":0,\"known\":true},"
                                      "{\"purpose\":\"yubico\",\"subject\":\"CN=Other\",\"fingerprint\":"
                                      "\"33\",\"notAfter\":0,\"known\":false}]");
}

static gpointer answer_one_call(gpointer connection)
{
    sd_bus *bus = connection;
    bool answered = false;
    g_assert_cmpint(sd_bus_add_filter(bus, NULL, on_call, &answered), >=, 0);
    while (!answered) {
        int r = sd_bus_process(bus, NULL);
        g_assert_cmpint(r, >=, 0);
        if (r == 0)
            g_assert_cmpint(sd_bus_wait(bus, UINT64_MAX), >=, 0);
    }
    sd_bus_flush_close_unref(bus);
    return NULL;
}

static void test_known_anchor(void)
{
    g_autoptr(Fixture) fixture = fixture_new();
    sd_bus *bus = NULL;
    g_assert_cmpint(sd_bus_open_system(&bus), >=, 0);
    g_assert_cmpint(sd_bus_request_name(bus, IOTHSM_NAME, 0), >=, 0);
    GThread *service = g_thread_new("service", answer_one_call, bus);
    g_autoptr(Run) shown = run_iothsmctl("trust show", NULL);
    g_thread_join(service);
    assert_run(shown, 0);
    g_auto(GStrv) lines = g_strsplit(shown->out, "\n", -1);
    g_assert_nonnull(strstr(lines[1], "CN=Known"));
    g_assert_nonnull(strstr(lines[1], "PKIaaS.io"));
    g_assert_nonnull(strstr(lines[2], "CN=Other"));
    g_assert_null(strstr(lines[2], "PKIaaS.io"));
}

static void test_trust(void)
{
    g_autoptr(Fixture) fixture = START_DAEMON();
    g_autofree char *file = write_template(fixture);
    g_autoptr(Run) added = run_iothsmctl("trust add --for=platform $1", file, NULL);
    assert_run(added, 0);
    g_assert_nonnull(strstr(added->out, "iothsmctl trust show"));
    g_autoptr(Run) shown = run_iothsmctl("trust show -j", NULL);
    assert_run(shown, 0);
    g_autoptr(JsonNode) anchors = run_json(shown);
    g_assert_cmpuint(json_array_get_length(json_node_get_array(anchors)), ==, 1);
    g_autoptr(Run) text = run_iothsmctl("trust show", NULL);
    g_assert_nonnull(strstr(text->out, "Provisioned CA"));
    g_autoptr(Run) refused = run_iothsmctl("trust add --for=nobody $1 -j", file, NULL);
    assert_error(refused, 2, ".Invalid");
    g_autofree char *nonsense = test_write(fixture_directory(fixture), "nonsense.pem", "nonsense\n");
    g_autoptr(Run) bad = run_iothsmctl("trust add --for=platform $1 -j", nonsense, NULL);
    assert_error(bad, 1, ".BadCertificate");
    g_autoptr(Run) reload = run_iothsmctl("reload", NULL);
    assert_run(reload, 0);
    g_autoptr(Run) link = run_iothsmctl("link -j", NULL);
    assert_run(link, 0);
    g_autoptr(JsonNode) state = run_json(link);
    g_autofree char *url = json_text(state, "platformUrl");
    g_assert_cmpstr(url, ==, "http://127.0.0.1:9");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cli/without-service-it-is-5-and-completion-is-silent", test_no_service);
    g_test_add_func("/cli/without-bus-it-is-5", test_no_bus);
    g_test_add_func("/cli/wrong-use-is-one-line-and-2", test_wrong_use);
    g_test_add_func("/cli/help-and-version-need-no-service", test_help_needs_no_service);
    g_test_add_func("/cli/an-empty-list-is-0", test_nothing_is_fine);
    g_test_add_func("/cli/json-is-what-describe-says", test_json_is_describe);
    g_test_add_func("/cli/names-mean-one-thing-or-are-refused", test_names);
    g_test_add_func("/cli/no-escape-sequence-gets-through", test_escapes);
    g_test_add_func("/cli/tables-are-as-wide-as-the-terminal", test_width);
    g_test_add_func("/cli/long-output-goes-through-the-pager", test_pager);
    g_test_add_func("/cli/everybody-reads-and-not-authorised-is-4", test_not_authorised);
    g_test_add_func("/cli/pins-come-by-file-and-descriptor", test_pins);
    g_test_add_func("/cli/pins-outlive-the-service-where-it-has-a-key", test_kept_pin);
    g_test_add_func("/cli/pins-are-typed-without-echo", test_pin_on_terminal);
    g_test_add_func("/cli/keys-are-imported-and-cleared", test_keys);
    g_test_add_func("/cli/long-work-is-seen-on-a-terminal-alone", test_progress);
    g_test_add_func("/cli/completion-has-live-names", test_completion_names);
    g_test_add_func("/cli/monitor-follows-tokens-and-the-service", test_monitor);
    g_test_add_func("/cli/metrics-are-openmetrics", test_metrics);
    g_test_add_func("/cli/a-token-is-drained-and-works-again", test_drain);
    g_test_add_func("/cli/trust-reload-link", test_trust);
    g_test_add_func("/cli/known-anchor", test_known_anchor);
    return g_test_run();
}
