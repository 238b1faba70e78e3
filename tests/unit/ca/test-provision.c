/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Provisioning of slots on a token, as a person does it (protocol.md 6; vector 12). */

#include "daemon/ca/name.h"
#include "daemon/ca/provision.h"
#include "daemon/ca/template.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake/fake.h"
#include "tests/unit/ca/signing-fixture.h"
#include "tests/unit/token/fixture.h"
#include <string.h>

#define DAY G_GINT64_CONSTANT(86400)

typedef struct Bench {
    Fixture *tokens;
    Token *token;
    char *template;
} Bench;

static void bench_clear(Bench *bench)
{
    g_clear_pointer(&bench->tokens, fixture_free);
    g_free(bench->template);
    wait_for_token_threads();
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Bench, bench_clear)

static gint64 now(void)
{
    return g_get_real_time() / G_USEC_PER_SEC;
}

static char *template_valid_until(gint64 not_after)
{
    static const char *const extensions[] = {"basicConstraints", "critical,CA:TRUE,pathlen:0", "keyUsage",
                                             "critical,keyCertSign,cRLSign", NULL};
    g_autoptr(EVP_PKEY) key = test_key("rsa2048");
    const TestCertificate what = {
        .subject = "C=US, CN=Template CA", .not_after = not_after, .extensions = extensions};
    g_autoptr(X509) certificate = test_certificate(&what, key, NULL, NULL);
    return test_certificate_pem(certificate);
}

static Bench bench_new(void)
{
    g_autoptr(GError) error = NULL;
    Source *source = fake_source_new("fake:serial=F1", &error);
    g_assert_no_error(error);
    Bench bench = {.tokens = fixture_new(source, false), .template = template_valid_until(now() + 100 * DAY)};
    bench.token = fixture_token(bench.tokens, "F1");
    return bench;
}

static Slot *new_slot(Bench *bench, KeyType type)
{
    g_autofree char *name = generate(bench->token, "", type);
    return slot_ref(token_find_slot(bench->token, name));
}

static char *self_sign(Slot *slot, const char *template, const ProvisionOptions *options)
{
    g_auto(Ending) ending = {0};
    provision_self_sign(slot, template, options, NULL, ending_text, &ending);
    g_assert_false(ending.done);
    ending_ok(&ending);
    return g_steal_pointer(&ending.text);
}

static void self_sign_fails(Slot *slot, const char *template, const ProvisionOptions *options,
                            IothsmError code)
{
    g_auto(Ending) ending = {0};
    provision_self_sign(slot, template, options, NULL, ending_text, &ending);
    g_assert_false(ending.done);
    ending_fails(&ending, code);
}

static void import_fails(Slot *slot, const char *pem, IothsmError code)
{
    g_auto(Ending) ending = {0};
    provision_import_certificate(slot, pem, NULL, ending_done, &ending);
    g_assert_false(ending.done);
    ending_fails(&ending, code);
}

static void test_self_sign_puts_a_ca_into_the_slot(void)
{
    static const KeyType types[] = {KEY_TYPE_RSA2048, KEY_TYPE_P256, KEY_TYPE_P384, KEY_TYPE_ED25519};
    g_auto(Bench) bench = bench_new();
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autoptr(Slot) slot = new_slot(&bench, types[i]);
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
        g_autofree char *pem = self_sign(slot, bench.template, NULL);
        g_autoptr(X509) certificate = read_certificate(pem);
        g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_PROVISIONED);
        g_assert_cmpint(X509_cmp(certificate, slot_certificate(slot)), ==, 0);
        g_assert_true(certificate_is_ca(certificate));
        g_assert_cmpint(certificate_not_after(certificate), <=, now() + 100 * DAY);
        g_assert_cmpint(certificate_not_after(certificate), >, now() + 99 * DAY);
        g_autofree char *directory = test_directory();
        g_autofree char *path = test_write(directory, "ca.pem", pem);
        g_autofree char *output = TEST_RUN("openssl", "verify", "-no-CApath", "-no-CAstore", "-check_ss_sig",
                                           "-CAfile", path, path);
        assert_contains(output, ": OK");
    }
}

static void test_options(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P256);
    const ProvisionOptions weak = {.hash = "sha1"};
    const ProvisionOptions strong = {.hash = "sha384", .days = 10};
    self_sign_fails(slot, bench.template, &weak, IOTHSM_ERROR_INVALID);
    g_autofree char *pem = self_sign(slot, bench.template, &strong);
    g_autoptr(X509) certificate = read_certificate(pem);
    g_assert_cmpint(X509_get_signature_nid(certificate), ==, NID_ecdsa_with_SHA384);
    g_assert_cmpint(certificate_not_after(certificate), <=, now() + 10 * DAY);
}

static void test_a_certificate_in_use_is_not_replaced_unasked(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P256);
    const ProvisionOptions replace = {.replace = true};
    g_autofree char *first = self_sign(slot, bench.template, NULL);
    self_sign_fails(slot, bench.template, NULL, IOTHSM_ERROR_SLOT_OCCUPIED);
    g_autoptr(X509) kept = read_certificate(first);
    g_assert_cmpint(X509_cmp(kept, slot_certificate(slot)), ==, 0);
    g_autofree char *second = self_sign(slot, bench.template, &replace);
    g_assert_cmpstr(first, !=, second);
    g_autoptr(X509) replaced = read_certificate(second);
    g_assert_cmpint(X509_cmp(replaced, slot_certificate(slot)), ==, 0);
}

static void test_bad_templates(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P256);
    g_autofree char *expired = template_valid_until(now() - 3600);
    self_sign_fails(slot, "nonsense", NULL, IOTHSM_ERROR_BAD_CERTIFICATE);
    self_sign_fails(slot, expired, NULL, IOTHSM_ERROR_TEMPLATE_EXPIRED);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
}

static void test_a_request_goes_out_and_a_certificate_comes_back(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P384);
    g_autoptr(TestAuthority) root = test_authority_new("rsa2048");
    g_auto(Ending) requested = {0};
    provision_create_csr(slot, bench.template, NULL, NULL, ending_text, &requested);
    ending_ok(&requested);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);

    g_autofree char *json = csr_request(requested.text, NULL);
    g_autofree char *answer = sign(root, "csr", json);
    g_auto(Ending) imported = {0};
    provision_import_certificate(slot, answer, NULL, ending_done, &imported);
    g_assert_false(imported.done);
    ending_ok(&imported);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_PROVISIONED);
    g_autoptr(X509) certificate = read_certificate(answer);
    g_assert_cmpint(X509_cmp(certificate, slot_certificate(slot)), ==, 0);
}

static void test_the_certificate_of_another_key(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P256);
    g_autoptr(EVP_PKEY) other = test_key("p256");
    g_autoptr(X509) certificate = test_ca("Other", other);
    g_autofree char *pem = test_certificate_pem(certificate);
    import_fails(slot, pem, IOTHSM_ERROR_KEY_MISMATCH);
    import_fails(slot, "nonsense", IOTHSM_ERROR_BAD_CERTIFICATE);
    import_fails(slot, bench.template, IOTHSM_ERROR_KEY_MISMATCH);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
}

static void test_a_token_that_fails(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P256);
    fake_source_fail_next(bench.tokens->source, "F1", 1, IOTHSM_ERROR_TOUCH_TIMEOUT);
    g_auto(Ending) ending = {0};
    provision_self_sign(slot, bench.template, NULL, NULL, ending_text, &ending);
    test_wait(&ending.done, 60);
    g_assert_nonnull(ending.error);
    g_assert_null(ending.text);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
}

static bool is_held(void *source)
{
    return fake_source_held(source, "F1") > 0;
}

/* The person gave up while the token still worked on it: nothing is written, and nothing is touched after it
 * is gone. */
static void test_a_cancelled_act(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P256);
    g_autoptr(GCancellable) cancellable = g_cancellable_new();
    g_auto(Ending) ending = {0};
    fake_source_hold(bench.tokens->source, "F1", true);
    provision_self_sign(slot, bench.template, NULL, cancellable, ending_text, &ending);
    test_poll_for(is_held, bench.tokens->source, 60);
    g_cancellable_cancel(cancellable);
    ending_fails(&ending, IOTHSM_ERROR_CANCELLED);
    fake_source_hold(bench.tokens->source, "F1", false);
    g_auto(Ending) refreshed = {0};
    token_refresh(bench.token, ending_done, &refreshed);
    ending_ok(&refreshed);
    g_assert_cmpint(slot_state(slot), ==, SLOT_STATE_KEY_ONLY);
}

static void test_a_token_that_is_pulled_out(void)
{
    g_auto(Bench) bench = bench_new();
    g_autoptr(Slot) slot = new_slot(&bench, KEY_TYPE_P256);
    g_auto(Ending) ending = {0};
    fake_source_hold(bench.tokens->source, "F1", true);
    provision_self_sign(slot, bench.template, NULL, NULL, ending_text, &ending);
    test_poll_for(is_held, bench.tokens->source, 60);
    fake_source_unplug(bench.tokens->source, "F1");
    ending_fails(&ending, IOTHSM_ERROR_TOKEN_GONE);
    self_sign_fails(slot, bench.template, NULL, IOTHSM_ERROR_TOKEN_GONE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/provision/self-sign-puts-a-ca-into-the-slot", test_self_sign_puts_a_ca_into_the_slot);
    g_test_add_func("/provision/options", test_options);
    g_test_add_func("/provision/a-certificate-in-use-is-not-replaced-unasked",
                    test_a_certificate_in_use_is_not_replaced_unasked);
    g_test_add_func("/provision/bad-templates-are-refused", test_bad_templates);
    g_test_add_func("/provision/a-request-goes-out-and-a-certificate-comes-back",
                    test_a_request_goes_out_and_a_certificate_comes_back);
    g_test_add_func("/provision/the-certificate-of-another-key-is-refused",
                    test_the_certificate_of_another_key);
    g_test_add_func("/provision/a-token-that-fails", test_a_token_that_fails);
    g_test_add_func("/provision/a-cancelled-act-writes-nothing", test_a_cancelled_act);
    g_test_add_func("/provision/a-token-that-is-pulled-out", test_a_token_that_is_pulled_out);
    return g_test_run();
}
