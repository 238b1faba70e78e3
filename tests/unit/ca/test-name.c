/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Serial numbers, thumbprints and one-line subjects (protocol.md 5; vector 1). */

#include "daemon/ca/name.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <string.h>

static X509 *with_serial(const char *serial)
{
    g_autoptr(EVP_PKEY) key = test_key("rsa2048");
    const TestCertificate what = {.subject = "CN=x", .serial = serial};
    return test_certificate(&what, key, NULL, NULL);
}

static void test_serials(void)
{
    static const struct {
        const char *number, *serial, *original;
    } cases[] = {
        {"1234", "1234", "signature algorithm sha256withrsaencryption"},
        {"00", "00", "signature algorithm sha256withrsaencryption"},
        {"7fffffffffffffff", "7fffffffffffffff", "signature algorithm sha256withrsaencryption"},
        {"8000000000000000", "8000000000000000", "8000000000000000"},
        {"ffffffffffffffff", "ffffffffffffffff", "ffffffffffffffff"},
        {"4b3864568fa95fbe116e2507dbc8b997d1ea2ca0", "4b3864568fa95fbe116e2507dbc8b997d1ea2ca0",
         "4b3864568fa95fbe116e2507dbc8b997d1ea2ca0"},
        {"f03864568fa95fbe116e2507dbc8b997d1ea2ca0", "f03864568fa95fbe116e2507dbc8b997d1ea2ca0",
         "f03864568fa95fbe116e2507dbc8b997d1ea2ca0"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(X509) certificate = with_serial(cases[i].number);
        g_autofree char *serial = certificate_serial(certificate);
        g_autofree char *original = certificate_serial_original(certificate);
        g_assert_cmpstr(serial, ==, cases[i].serial);
        g_assert_cmpstr(original, ==, cases[i].original);
    }
}

/* The original takes the line after "Serial Number:", or what stands behind it on the next one. */
static char *scrape(X509 *certificate)
{
    g_autofree char *text = openssl_text(certificate);
    const char *line = strchr(strstr(text, "Serial Number:"), '\n') + 1;
    g_autofree char *next = g_strndup(line, strcspn(line, "\n"));
    g_autoptr(GString) lower = g_string_new(g_strstrip(next));
    g_string_replace(lower, ":", "", 0);
    return g_ascii_strdown(lower->str, -1);
}

static void test_original_serial_is_what_the_command_prints(void)
{
    static const char *const numbers[] = {"01", "7fffffffffffffff", "8000000000000000", "ffffffffffffffff",
                                          "4b3864568fa95fbe116e2507dbc8b997d1ea2ca0"};
    for (gsize i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_autoptr(X509) certificate = with_serial(numbers[i]);
        g_autofree char *scraped = scrape(certificate);
        g_autofree char *original = certificate_serial_original(certificate);
        g_assert_cmpstr(original, ==, scraped);
    }
}

static void test_fingerprints_are_those_of_the_command(void)
{
    g_autoptr(X509) certificate = with_serial(NULL);
    g_autofree char *pem = test_certificate_pem(certificate);
    g_autofree char *thumbprint = certificate_thumbprint(certificate);
    g_autofree char *fingerprint = certificate_fingerprint(certificate);
    for (int i = 0; i < 2; i++) {
        g_autofree char *output = test_run(
            (const char *const[]){"openssl", "x509", "-noout", "-fingerprint", i ? "-sha256" : "-sha1", NULL},
            pem, 0);
        g_autoptr(GString) plain = g_string_new(strchr(output, '=') + 1);
        g_string_replace(plain, ":", "", 0);
        g_autofree char *lower = g_ascii_strdown(g_strstrip(plain->str), -1);
        g_assert_cmpstr(i ? fingerprint : thumbprint, ==, lower);
    }
}

static X509 *with_common_name(int type, const char *bytes, int size)
{
    X509 *certificate = X509_new();
    X509_NAME *name = X509_NAME_new();
    X509_NAME_add_entry_by_NID(name, NID_organizationName, V_ASN1_UTF8STRING, (const unsigned char *)"A, B",
                               -1, -1, 0);
    X509_NAME_add_entry_by_NID(name, NID_commonName, type, (const unsigned char *)bytes, size, -1, 0);
    X509_set_subject_name(certificate, name);
    X509_NAME_free(name);
    return certificate;
}

static void test_subjects_are_printable_whatever_they_hold(void)
{
    static const struct {
        int type;
        const char *bytes;
        int size;
        const char *text;
    } cases[] = {
        {V_ASN1_UTF8STRING, "Grüße", 7, "O=A\\, B,CN=Grüße"},
        {V_ASN1_UTF8STRING, "a\nb\x1b[2J", 7, "O=A\\, B,CN=a\\0Ab\\1B[2J"},
        {V_ASN1_UTF8STRING,
         "a\xc2\x9b"
         "b",
         4, "O=A\\, B,CN=a\\C2\\9Bb"},
        {V_ASN1_UTF8STRING,
         "a\xe2\x80\xae"
         "b",
         5, "O=A\\, B,CN=a\\E2\\80\\AEb"},
        {V_ASN1_UTF8STRING, "a\0b", 3, "O=A\\, B,CN=a\\00b"},
        {V_ASN1_T61STRING, "\xe9", 1, "O=A\\, B,CN=é"},
        {V_ASN1_BMPSTRING, "\x20\xac", 2, "O=A\\, B,CN=€"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(X509) certificate = with_common_name(cases[i].type, cases[i].bytes, cases[i].size);
        g_autofree char *text = certificate_subject(certificate);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void test_dates_and_purpose(void)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    const TestCertificate what = {
        .subject = "CN=x", .not_before = NOW, .not_after = G_GINT64_CONSTANT(253402300799)};
    g_autoptr(X509) leaf = test_certificate(&what, key, NULL, NULL);
    g_autoptr(X509) ca = test_ca("CA", key);
    g_assert_cmpint(certificate_not_before(leaf), ==, NOW);
    g_assert_cmpint(certificate_not_after(leaf), ==, G_GINT64_CONSTANT(253402300799));
    g_assert_false(certificate_is_ca(leaf));
    g_assert_true(certificate_is_ca(ca));
}

static void test_pem_must_be_exactly_one_certificate(void)
{
    g_autoptr(X509) certificate = with_serial(NULL);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = certificate_to_pem(certificate);
    g_autofree char *twice = g_strconcat(pem, pem, NULL);
    g_autofree char *key_pem = test_key_pem(key, NULL);
    g_autofree char *cut = g_strndup(pem, strlen(pem) / 2);
    const char *const bad[] = {
        "", "hello", twice, key_pem, cut, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
    g_autoptr(GError) good_error = NULL;
    g_autoptr(X509) again = certificate_from_pem(pem, &good_error);
    g_assert_no_error(good_error);
    g_assert_cmpint(X509_cmp(again, certificate), ==, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(certificate_from_pem(bad[i], &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/name/serials-of-every-length", test_serials);
    g_test_add_func("/name/original-serial-is-what-the-command-prints",
                    test_original_serial_is_what_the_command_prints);
    g_test_add_func("/name/fingerprints-are-those-of-the-command",
                    test_fingerprints_are_those_of_the_command);
    g_test_add_func("/name/subjects-are-printable-whatever-they-hold",
                    test_subjects_are_printable_whatever_they_hold);
    g_test_add_func("/name/dates-and-purpose", test_dates_and_purpose);
    g_test_add_func("/name/pem-must-be-exactly-one-certificate", test_pem_must_be_exactly_one_certificate);
    return g_test_run();
}
