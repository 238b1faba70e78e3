/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests of signtype `crl` (protocol.md 3.4; vector 10), judged by `openssl crl` and, where they must be
 * equal, compared with what `openssl ca -gencrl` makes from the same index. */

#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <openssl/pem.h>
#include <string.h>
#include <sys/resource.h>

#define LINE(status, revoked, serial) status "\t271120000000Z\t" revoked "\t" serial "\tunknown\t/C=US/CN=x\n"
#define REVOKED(revoked, serial) LINE("R", revoked, serial)
#define SERIAL_A "6BC234D0E3452FE7ACB170F7530E078201D46994"
#define SERIAL_B "7CD345E0F4563FE7ACB170F7530E078201D46995"

static X509_CRL *read_crl(const char *pem)
{
    g_autoptr(BIO) bio = BIO_new_mem_buf(pem, -1);
    X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);
    g_assert_nonnull(crl);
    return crl;
}

static char *make(const TestAuthority *ca, const char *database, const SigningRules *rules)
{
    g_autofree char *request = crl_request(database, "30");
    g_autofree char *pem = sign_with(ca, "crl", request, rules);
    g_assert_true(g_str_has_prefix(pem, "-----BEGIN X509 CRL-----\n"));
    g_autofree char *verified = test_run(
        (const char *const[]){"openssl", "crl", "-noout", "-CAfile", ca->certificate_path, NULL}, pem, 0);
    assert_contains(verified, "verify OK");
    return g_steal_pointer(&pem);
}

static char *text_of(const char *pem)
{
    return test_run((const char *const[]){"openssl", "crl", "-noout", "-text", NULL}, pem, 0);
}

static void assert_database_refused(const char *database, const char *message)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *request = crl_request(database, "30");
    assert_refused(ca, "crl", request, message);
}

static void test_an_empty_list(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    g_autofree char *pem = make(ca, "", NULL);
    g_autofree char *text = text_of(pem);
    assert_contains(text, "Version 1 (0x0)");
    assert_contains(text, "No Revoked Certificates.");
    assert_contains(text, "sha256WithRSAEncryption");
    assert_contains(text, "Last Update: Nov 20 23:50:38 2026 GMT");
    assert_contains(text, "Next Update: Dec 20 23:50:38 2026 GMT");
}

static void test_version_follows_the_reasons(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p384");
    g_autofree char *without = make(ca, REVOKED("261119000000Z", SERIAL_A), NULL);
    g_autofree char *with = make(ca, REVOKED("261119000000Z,unspecified", SERIAL_A), NULL);
    g_autoptr(X509_CRL) first = read_crl(without);
    g_autoptr(X509_CRL) second = read_crl(with);
    g_assert_cmpint(X509_CRL_get_version(first), ==, X509_CRL_VERSION_1);
    g_assert_cmpint(X509_CRL_get_version(second), ==, X509_CRL_VERSION_2);
    g_assert_cmpint(X509_CRL_get_ext_count(second), ==, 0);
    g_assert_cmpint(X509_CRL_get_signature_nid(first), ==, NID_ecdsa_with_SHA256);
    g_autofree char *text = text_of(with);
    assert_contains(text, "Unspecified");
}

static void test_only_revoked_ones_in_order(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("ed25519");
    g_autofree char *pem = make(ca,
                                LINE("V", "", "01") REVOKED("261119000000Z", "ff00") LINE("E", "", "02")
                                    REVOKED("261118000000Z", "8000") REVOKED("251118000000Z", "03"),
                                NULL);
    g_autoptr(X509_CRL) crl = read_crl(pem);
    STACK_OF(X509_REVOKED) *list = X509_CRL_get_REVOKED(crl);
    static const guint64 expected[] = {0x03, 0x8000, 0xff00};
    g_assert_cmpint(sk_X509_REVOKED_num(list), ==, G_N_ELEMENTS(expected));
    for (int i = 0; i < (int)G_N_ELEMENTS(expected); i++) {
        uint64_t number = 0;
        g_assert_cmpint(
            ASN1_INTEGER_get_uint64(&number, X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(list, i))),
            ==, 1);
        g_assert_cmpuint(number, ==, expected[i]);
    }
}

/* An index, a key and the settings of the original, and `openssl ca -gencrl` on them. */
static char *gencrl(const TestAuthority *ca, const char *database)
{
    g_autofree char *index = test_write(ca->directory, "index.txt", database);
    g_autofree char *config = g_strdup_printf(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=%s\ndefault_md=sha256\nunique_subject=no\n", index);
    g_autofree char *config_path = test_write(ca->directory, "ca.cnf", config);
    return TEST_RUN("openssl", "ca", "-config", config_path, "-gencrl", "-crldays", "30", "-keyfile",
                    ca->key_path, "-cert", ca->certificate_path);
}

/* Everything of the text but the two dates and the signature. */
static char *comparable(const char *pem)
{
    g_autofree char *text = text_of(pem);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GString) kept = g_string_new(NULL);
    for (guint i = 0; lines[i] && !strstr(lines[i], "Signature Value"); i++)
        if (!strstr(lines[i], "Last Update") && !strstr(lines[i], "Next Update"))
            g_string_append_printf(kept, "%s\n", lines[i]);
    return g_string_free(g_steal_pointer(&kept), FALSE);
}

static void test_equal_to_openssl_ca(void)
{
    static const char *const databases[] = {
        "",
        REVOKED("261119000000Z", SERIAL_B) LINE("V", "", "01") REVOKED("491119000000Z", SERIAL_A),
        REVOKED("261119000000Z,keyCompromise", SERIAL_B) REVOKED("261118000000Z", SERIAL_A)
            REVOKED("261119000000Z,unspecified", "0A") REVOKED("261119000000Z,CACompromise", "0b")
                REVOKED("261119000000Z,affiliationChanged", "0C") REVOKED("261119000000Z,superseded", "0D")
                    REVOKED("261119000000Z,cessationOfOperation", "0E")
                        REVOKED("261119000000Z,certificateHold", "FF")
                            REVOKED("501119000000Z,removeFromCRL", "0F"),
        REVOKED("261119000000Z,holdInstruction,holdInstructionReject", "10")
            REVOKED("261119000000Z,holdInstruction,1.2.3.4", "11")
                REVOKED("261119000000Z,keyTime,20260101000000Z", "12")
                    REVOKED("261119000000Z,CAkeyTime,20260101000000Z", "0013")
                        REVOKED("261119000000Z,KEYCOMPROMISE", "14"),
        "# a comment\n" REVOKED("261119000000Z", "15"),
    };
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    for (gsize i = 0; i < G_N_ELEMENTS(databases); i++) {
        g_autofree char *ours = make(ca, databases[i], NULL);
        g_autofree char *theirs = gencrl(ca, databases[i]);
        g_autofree char *our_text = comparable(ours);
        g_autofree char *their_text = comparable(theirs);
        g_assert_cmpstr(our_text, ==, their_text);
    }
}

static void test_refused_by_openssl_ca_too(void)
{
    static const struct {
        const char *database, *message;
    } cases[] = {
        {REVOKED("261119000000Z", "123"), "Invalid database: line 1: bad serial number length (3)"},
        {REVOKED("261119000000Z", ""), "Invalid database: line 1: bad serial number length (0)"},
        {REVOKED("261119000000Z", "0G"), "Invalid database: line 1: bad character in the serial number"},
        {REVOKED("261119000000Z,undefined", "01"), "Invalid database: line 1: invalid reason code undefined"},
        {REVOKED("261119000000Z,keyTime,yesterday", "01"),
         "Invalid database: line 1: invalid keyTime yesterday"},
        {REVOKED("261119000000Z,holdInstruction,x y", "01"),
         "Invalid database: line 1: invalid holdInstruction x y"},
        {REVOKED("261319000000Z", "01"), "Invalid database: line 1: invalid revocation date 261319000000Z"},
        {REVOKED("", "01"), "Invalid database: line 1: invalid revocation date "},
        {LINE("V", "261119000000Z", "01"),
         "Invalid database: line 1: not revoked, but with a revocation date"},
        {REVOKED("261119000000Z", "01") "R\t271120000000Z\t261119000000Z\t02\tunknown\n",
         "Invalid database: line 2: not six fields with tabs between"},
        {REVOKED("261119000000Z", "01") "\n", "Invalid database: line 2: not six fields with tabs between"},
        {REVOKED("261119000000Z", "AB") LINE("V", "", "02") LINE("V", "", "00AB"),
         "Invalid database: line 3: the serial number of line 1 again"},
    };
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *config_path = g_build_filename(ca->directory, "ca.cnf", NULL);
    g_autofree char *first = gencrl(ca, "");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        assert_database_refused(cases[i].database, cases[i].message);
        g_autofree char *index = test_write(ca->directory, "index.txt", cases[i].database);
        g_autofree char *output = test_run(
            (const char *const[]){"openssl", "ca", "-config", config_path, "-gencrl", "-crldays", "30",
                                  "-keyfile", ca->key_path, "-cert", ca->certificate_path, NULL},
            NULL, 1);
    }
}

static void test_refused_by_us_alone(void)
{
    static const struct {
        const char *database, *message;
    } cases[] = {
        {LINE("X", "", "01"), "Invalid database: line 1: the status is not V, R or E"},
        {LINE("", "", "01"), "Invalid database: line 1: the status is not V, R or E"},
        {REVOKED("261119000000Z", "-01"), "Invalid database: line 1: bad serial number length (3)"},
        {REVOKED("261119000000+0100", "01"),
         "Invalid database: line 1: invalid revocation date 261119000000+0100"},
        {REVOKED("00261119000000Z", "01"),
         "Invalid database: line 1: invalid revocation date 00261119000000Z"},
        {"R\tnever\t261119000000Z\t01\tunknown\t/CN=x\n", "Invalid database: line 1: invalid expiry date"},
        {"R\t271120000000Z\t261119000000Z\t01\tunknown\t/CN=x\ty\n",
         "Invalid database: line 1: not six fields with tabs between"},
        {"R", "Invalid database: line 1: not six fields with tabs between"},
        {LINE("V", "", "ab") REVOKED("261119000000Z", "AB"),
         "Invalid database: line 2: the serial number of line 1 again"},
        {REVOKED("261119000000Z,keyCompromise,x", "01"), "Invalid database: line 1: invalid keyCompromise x"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_database_refused(cases[i].database, cases[i].message);
    g_autofree char *serial = g_strnfill(130, '1');
    g_autofree char *line = g_strdup_printf("R\t271120000000Z\t261119000000Z\t%s\tunknown\t/CN=x\n", serial);
    assert_database_refused(line, "Invalid database: line 1: bad serial number length (130)");
    g_autofree char *subject = g_strnfill(70000, 'x');
    g_autofree char *wide = g_strdup_printf("V\t271120000000Z\t\t01\tunknown\t/CN=%s\n", subject);
    assert_database_refused(wide, "Invalid database: line 1: longer than 65536 bytes");
}

static void test_forms_of_lines(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    static const char *const databases[] = {
        "R\t271120000000Z\t261119000000Z\t01\tunknown\t/CN=x\r\n",   /* CRLF */
        "R\t271120000000Z\t261119000000Z\t01\tunknown\t/CN=x",       /* no end of line */
        "R\t20271120000000Z\t20261119000000Z\t01\tunknown\t/CN=x\n", /* four digits */
        "R\t271120000000Z\t261119000000Z\t0001\tunknown\t\n",        /* leading zeros, no subject */
        "R\t271120000000Z\t261119000000Z\t01\tunknown\t/CN=a\\\tb\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(databases); i++) {
        g_autofree char *pem = make(ca, databases[i], NULL);
        g_autoptr(X509_CRL) crl = read_crl(pem);
        const X509_REVOKED *entry = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), 0);
        const ASN1_TIME *date = X509_REVOKED_get0_revocationDate(entry);
        g_assert_cmpint(ASN1_INTEGER_get(X509_REVOKED_get0_serialNumber(entry)), ==, 1);
        g_assert_cmpint(ASN1_STRING_type(date), ==, V_ASN1_UTCTIME);
        g_assert_cmpmem(ASN1_STRING_get0_data(date), ASN1_STRING_length(date), "261119000000Z", 13);
    }
    g_autofree char *late = make(ca, "R\t20601120000000Z\t20551119000000Z\t01\tunknown\t/CN=x\n", NULL);
    g_autoptr(X509_CRL) crl = read_crl(late);
    const X509_REVOKED *entry = sk_X509_REVOKED_value(X509_CRL_get_REVOKED(crl), 0);
    g_assert_cmpint(ASN1_STRING_type(X509_REVOKED_get0_revocationDate(entry)), ==, V_ASN1_GENERALIZEDTIME);
}

static void test_days(void)
{
    static const struct {
        const char *days, *message;
    } bad[] = {
        {NULL, "Invalid days: missing"},
        {"null", "Invalid days: missing"},
        {"0", "Invalid days: not a positive integer"},
        {"-1", "Invalid days: not a positive integer"},
        {"1.5", "Invalid days: not a positive integer"},
        {"\"1.5\"", "Invalid days: not a positive integer"},
        {"true", "Invalid days: not a positive integer"},
    };
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *request = crl_request("", bad[i].days);
        assert_refused(ca, "crl", request, bad[i].message);
    }
    assert_refused(ca, "crl", "{\"days\":1}", "Invalid database: missing");
    assert_refused(ca, "crl", "{\"days\":1,\"database\":[]}", "Invalid database: not a text");

    g_autofree char *text_request = crl_request("", "\"30\"");
    g_autofree char *text_pem = sign(ca, "crl", text_request);
    g_autofree char *text = text_of(text_pem);
    assert_contains(text, "Next Update: Dec 20 23:50:38 2026 GMT");

    g_autofree char *long_request = crl_request("", "9000");
    g_autofree char *long_pem = sign(ca, "crl", long_request);
    g_autoptr(X509_CRL) crl = read_crl(long_pem);
    g_assert_cmpint(ASN1_STRING_type(X509_CRL_get0_nextUpdate(crl)), ==, V_ASN1_GENERALIZEDTIME);
}

static void test_rfc5280_form(void)
{
    const SigningRules rules = {.crl_rfc5280 = true};
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *pem = make(ca, REVOKED("261119000000Z", SERIAL_A), &rules);
    g_autofree char *text = text_of(pem);
    assert_contains(text, "Version 2 (0x1)");
    assert_contains(text, "X509v3 Authority Key Identifier");
    g_autoptr(X509_CRL) crl = read_crl(pem);
    g_autoptr(ASN1_INTEGER) number = X509_CRL_get_ext_d2i(crl, NID_crl_number, NULL, NULL);
    int64_t value = 0;
    g_assert_cmpint(ASN1_INTEGER_get_int64(&value, number), ==, 1);
    g_assert_cmpint(value, ==, NOW);
}

static void test_a_revoked_certificate_is_refused_by_openssl(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(X509) leaf = issue(ca, "{}");
    g_autoptr(BIGNUM) number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(leaf), NULL);
    char *hex = BN_bn2hex(number);
    g_autofree char *database =
        g_strdup_printf("R\t271120000000Z\t261119000000Z,keyCompromise\t%s\tunknown\t/CN=x\n", hex);
    OPENSSL_free(hex);
    g_autofree char *pem = make(ca, database, NULL);
    g_autofree char *crl_path = test_write(ca->directory, "ca.crl", pem);
    g_autofree char *leaf_pem = test_certificate_pem(leaf);
    g_autofree char *leaf_path = test_write(ca->directory, "leaf.pem", leaf_pem);
    g_autofree char *output =
        test_run((const char *const[]){"openssl", "verify", "-no_check_time", "-crl_check", "-CRLfile",
                                       crl_path, "-CAfile", ca->certificate_path, leaf_path, NULL},
                 NULL, 2);
    assert_contains(output, "certificate revoked");
}

/* Serial numbers in no order, every third with a reason. */
static char *large_database(guint count)
{
    GString *text = g_string_sized_new((gsize)count * 90);
    guint32 state = 1;
    for (guint i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u; /* visits each 32-bit number once */
        g_string_append_printf(
            text, "R\t271120000000Z\t261119000000Z%s\t6BC234D0E3452FE7ACB170F7%08X\tunknown\t/CN=%u\n",
            i % 3 ? "" : ",superseded", state, i);
    }
    return g_string_free(text, FALSE);
}

static void test_large_lists_are_quick(void)
{
    guint count = g_test_slow() ? 1000000 : 100000;
    const SigningRules rules = {0};
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(JsonObject) request = json_object_new();
    g_autofree char *database = large_database(count);
    json_object_set_string_member(request, "database", database);
    json_object_set_int_member(request, "days", 30);

    gint64 started = g_get_monotonic_time();
    g_autoptr(GError) error = NULL;
    g_autoptr(Signing) signing = signing_new("crl", request, ca->certificate, &rules, NOW, NULL, &error);
    g_assert_no_error(error);
    gint64 prepared = g_get_monotonic_time();
    g_assert_true(signing_sign(signing, ca->key, &error));
    gint64 ended = g_get_monotonic_time();
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    g_test_message(
        "%u entries: read and built in %.2f s, signed, verified and written in %.2f s, %" G_GSIZE_FORMAT
        " bytes of PEM, %ld MiB at most",
        count, (double)(prepared - started) / 1e6, (double)(ended - prepared) / 1e6,
        strlen(signing_text(signing)), usage.ru_maxrss / 1024);
    g_autofree char *summary = g_strdup_printf("CRL with %u entries", count);
    g_assert_cmpstr(signing_summary(signing), ==, summary);
    g_assert_cmpint(ended - started, <, 60 * G_USEC_PER_SEC);

    g_autoptr(X509_CRL) crl = read_crl(signing_text(signing));
    g_assert_cmpint(sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl)), ==, (int)count);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/crl/an-empty-list", test_an_empty_list);
    g_test_add_func("/crl/version-follows-the-reasons", test_version_follows_the_reasons);
    g_test_add_func("/crl/only-revoked-ones-in-order", test_only_revoked_ones_in_order);
    g_test_add_func("/crl/equal-to-openssl-ca", test_equal_to_openssl_ca);
    g_test_add_func("/crl/what-openssl-ca-refuses-is-refused", test_refused_by_openssl_ca_too);
    g_test_add_func("/crl/what-makes-no-sense-is-refused", test_refused_by_us_alone);
    g_test_add_func("/crl/forms-of-lines", test_forms_of_lines);
    g_test_add_func("/crl/days", test_days);
    g_test_add_func("/crl/rfc5280-form", test_rfc5280_form);
    g_test_add_func("/crl/a-revoked-certificate-is-refused-by-openssl",
                    test_a_revoked_certificate_is_refused_by_openssl);
    g_test_add_func("/crl/large-lists-are-quick", test_large_lists_are_quick);
    return g_test_run();
}
