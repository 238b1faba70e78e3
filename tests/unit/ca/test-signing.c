/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The intent: what two signatures of the same request have in common, and that it survives a restart as text.
 */

#include "daemon/ca/name.h"
#include "daemon/ca/signing.h"
#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <string.h>

static Signing *prepare(const TestAuthority *ca, const char *signtype, const char *json, gint64 now,
                        const char *intent, GError **error)
{
    const SigningRules rules = {0};
    g_autoptr(JsonObject) request = json_object_parse(json, strlen(json), NULL);
    g_assert_nonnull(request);
    return signing_new(signtype, request, ca->certificate, &rules, now, intent, error);
}

/* With RSA the whole answer is the same: PKCS#1 v1.5 has no randomness. */
static void assert_repeats(const char *signtype, const char *json, const char *intent, const char *summary)
{
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    g_autoptr(GError) error = NULL;
    g_autoptr(Signing) first = prepare(ca, signtype, json, NOW, NULL, &error);
    g_assert_no_error(error);
    if (intent)
        g_assert_cmpstr(signing_intent(first), ==, intent);
    g_assert_cmpstr(signing_summary(first), ==, summary);
    g_assert_null(signing_text(first));

    g_autoptr(Signing) later = prepare(ca, signtype, json, NOW + 1000, signing_intent(first), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(signing_intent(later), ==, signing_intent(first));
    g_assert_true(signing_sign(first, ca->key, &error));
    g_assert_true(signing_sign(later, ca->key, &error));
    g_assert_cmpstr(signing_text(first), ==, signing_text(later));
    g_assert_true(signing_is_delivered(first) == g_str_equal(signtype, "crl"));
}

static void test_a_certificate_repeats(void)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=srv.example.test", key);
    g_autofree char *json = csr_request(pem, "{\"days\":3}");
    assert_repeats("csr", json, NULL, "certificate for CN=srv.example.test");
    g_autofree char *nameless = csr_request(pem, "{\"subject\":null}");
    assert_repeats("csr", nameless, NULL, "certificate without a subject");
}

static void test_a_crl_repeats(void)
{
    g_autofree char *json = crl_request("R\t271120000000Z\t261119000000Z\t01\tunknown\t/CN=x\n", "1");
    assert_repeats("crl", json, "{\"thisUpdate\":1795218638,\"nextUpdate\":1795305038}", "CRL with 1 entry");
}

static void test_a_cms_message_repeats(void)
{
    g_autofree char *json = cms_request("hello", NULL);
    assert_repeats("cms", json, "{\"signingTime\":1795218638}", "CMS message of 5 bytes");
}

static void test_the_intent_of_a_certificate_is_its_serial_and_dates(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=x", key);
    g_autofree char *json = csr_request(pem, "{\"days\":3}");
    g_autoptr(Signing) signing = prepare(ca, "csr", json, NOW, NULL, NULL);
    g_assert_true(signing_sign(signing, ca->key, NULL));
    g_autoptr(X509) certificate = read_certificate(signing_text(signing));
    g_autofree char *serial = certificate_serial(certificate);
    g_autofree char *expected =
        g_strdup_printf("{\"serial\":\"%s\",\"notBefore\":1795218638,\"notAfter\":1795477838}", serial);
    g_assert_cmpstr(signing_intent(signing), ==, expected);
}

static void test_a_damaged_intent_is_refused(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "{}",
        "{\"serial\":\"\",\"notBefore\":1,\"notAfter\":2}",
        "{\"serial\":\"xy\",\"notBefore\":1,\"notAfter\":2}",
        "{\"serial\":\"-01\",\"notBefore\":1,\"notAfter\":2}",
        "{\"serial\":\"00\",\"notBefore\":1,\"notAfter\":2}",
        "{\"serial\":\"01\",\"notAfter\":2}",
        "{\"serial\":\"01\",\"notBefore\":\"1\",\"notAfter\":2}",
        "{\"serial\":5,\"notBefore\":1,\"notAfter\":2}",
        "{\"serial\":\"01\",\"notBefore\":1,\"notAfter\":999999999999999}",
    };
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=x", key);
    g_autofree char *json = csr_request(pem, "{}");
    g_autofree char *crl = crl_request("", "1");
    g_autofree char *cms = cms_request("x", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(prepare(ca, "csr", json, NOW, bad[i], &error));
        g_assert_nonnull(error);
        g_assert_null(prepare(ca, "crl", crl, NOW, bad[i], NULL));
        g_assert_null(prepare(ca, "cms", cms, NOW, bad[i], NULL));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/signing/a-certificate-repeats", test_a_certificate_repeats);
    g_test_add_func("/signing/a-crl-repeats", test_a_crl_repeats);
    g_test_add_func("/signing/a-cms-message-repeats", test_a_cms_message_repeats);
    g_test_add_func("/signing/the-intent-of-a-certificate-is-its-serial-and-dates",
                    test_the_intent_of_a_certificate_is_its_serial_and_dates);
    g_test_add_func("/signing/a-damaged-intent-is-refused", test_a_damaged_intent_is_refused);
    return g_test_run();
}
