/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests of signtype `csr`: keys, signatures, dates, the certificate as a whole (protocol.md 3.2; vector
 * 9). */

#include "daemon/ca/name.h"
#include "daemon/ca/signing.h"
#include "daemon/error.h"
#include "daemon/json.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <openssl/pem.h>
#include <string.h>

#define DAY G_GINT64_CONSTANT(86400)

static const char full_options[] =
    "{\"hash\":\"sha256\",\"days\":397,"
    "\"subject\":{\"countryName\":\"US\",\"commonName\":[\"srv.example.test\"]},"
    "\"extensions\":{"
    "\"basicConstraints\":{\"critical\":true,\"CA\":false},"
    "\"keyUsage\":{\"critical\":true,\"usages\":[\"digitalSignature\",\"keyEncipherment\"]},"
    "\"extendedKeyUsage\":{\"critical\":false,\"usages\":[\"serverAuth\",\"clientAuth\"]},"
    "\"SANs\":{\"DNS\":[\"srv.example.test\"],\"IP\":[\"192.0.2.1\"]},"
    "\"authorityInfoAccess\":{\"OCSP\":[\"http://ocsp.example.test/x\"],\"caIssuers\":[\"http://"
    "ca.example.test/x.crt\"]},"
    "\"crlDistributionPoints\":[\"http://crl.example.test/x.crl\"],"
    "\"policies\":[{\"policyIdentifier\":\"2.23.140.1.2.1\",\"CPS\":[\"https://cps.example.test\"]}],"
    "\"customOIDs\":[{\"OID\":\"1.3.6.1.4.1.311.20.2\",\"value\":\"ASN1:PRINTABLESTRING:Test Template\"}]}}";

static void test_full_example(void)
{
    static const int order[] = {NID_subject_key_identifier,
                                NID_authority_key_identifier,
                                NID_basic_constraints,
                                NID_key_usage,
                                NID_ext_key_usage,
                                NID_info_access,
                                NID_crl_distribution_points,
                                NID_certificate_policies,
                                -1 /* 1.3.6.1.4.1.311.20.2 */,
                                NID_subject_alt_name};
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    g_autoptr(X509) certificate = issue(ca, full_options);
    g_assert_cmpint(X509_get_version(certificate), ==, X509_VERSION_3);
    g_assert_cmpint(X509_get_signature_nid(certificate), ==, NID_sha256WithRSAEncryption);
    g_assert_cmpint(certificate_not_before(certificate), ==, NOW);
    g_assert_cmpint(certificate_not_after(certificate), ==, NOW + 397 * DAY);
    g_assert_cmpint(X509_get_ext_count(certificate), ==, G_N_ELEMENTS(order));
    for (int i = 0; i < (int)G_N_ELEMENTS(order); i++) {
        int nid = OBJ_obj2nid(X509_EXTENSION_get_object(X509_get_ext(certificate, i)));
        if (order[i] > 0)
            g_assert_cmpint(nid, ==, order[i]);
    }
    g_autofree char *text = openssl_text(certificate);
    assert_contains(text, "Subject: C=US,CN=srv.example.test");
    assert_contains(text, "1.3.6.1.4.1.311.20.2");
    assert_contains(text, "Test Template");
    assert_contains(text, "DNS:srv.example.test, IP Address:192.0.2.1");
}

static void test_serials_are_long_random_and_positive(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int i = 0; i < 20; i++) {
        g_autoptr(X509) certificate = issue(ca, "{}");
        g_autoptr(BIGNUM) number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
        g_assert_false(BN_is_negative(number));
        g_assert_cmpint(BN_num_bits(number), <=, 159);
        g_assert_cmpint(BN_num_bits(number), >, 100);
        g_assert_true(g_hash_table_add(seen, certificate_serial(certificate)));
    }
}

static void test_every_kind_of_ca_key_and_request_key(void)
{
    static const char *const ca_keys[] = {"rsa2048", "rsa4096", "p256", "p384", "p521", "ed25519"};
    static const char *const request_keys[] = {"rsa2048", "p256", "p384", "p521", "ed25519"};
    for (gsize i = 0; i < G_N_ELEMENTS(ca_keys); i++) {
        g_autoptr(TestAuthority) ca = test_authority_new(ca_keys[i]);
        for (gsize k = 0; k < G_N_ELEMENTS(request_keys); k++) {
            g_autoptr(EVP_PKEY) key = test_key(request_keys[k]);
            g_autofree char *pem = test_request_pem("CN=x", key);
            g_autofree char *request = csr_request(pem, "{\"subject\":{\"commonName\":\"y\"}}");
            g_autofree char *answer = sign(ca, "csr", request);
            assert_chains(ca, answer);
            g_autoptr(X509) certificate = read_certificate(answer);
            g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(certificate), key), ==, 1);
        }
    }
}

static void test_an_rsa_pss_request(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *key = g_build_filename(ca->directory, "pss.key", NULL);
    g_autofree char *made = TEST_RUN("openssl", "genpkey", "-algorithm", "RSA-PSS", "-pkeyopt",
                                     "rsa_keygen_bits:2048", "-out", key);
    g_autofree char *pem = TEST_RUN("openssl", "req", "-new", "-key", key, "-subj", "/CN=pss");
    g_autofree char *request = csr_request(pem, "{}");
    g_autofree char *answer = sign(ca, "csr", request);
    assert_chains(ca, answer);
    g_autoptr(X509) certificate = read_certificate(answer);
    g_assert_true(EVP_PKEY_is_a(X509_get0_pubkey(certificate), "RSA-PSS"));
}

static void test_a_request_signed_in_pss(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    g_autofree char *pem = TEST_RUN("openssl", "req", "-new", "-key", ca->key_path, "-subj", "/CN=x",
                                    "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1");
    g_autofree char *request = csr_request(pem, "{}");
    g_autofree char *answer = sign(ca, "csr", request);
    assert_chains(ca, answer);
}

static void test_weak_keys_are_refused(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) key = test_key("rsa1024");
    g_autofree char *pem = test_request_pem("CN=x", key);
    g_autofree char *request = csr_request(pem, "{}");
    assert_refused(ca, "csr", request, "Invalid csr: a RSA key of 1024 bits is too weak");
}

/* Another key put into a signed request, or the signature bent. */
static void test_a_bad_signature_is_refused(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(EVP_PKEY) other = test_key("p384");
    g_autoptr(X509_REQ) request = X509_REQ_new();
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    X509_REQ_set_pubkey(request, other);
    X509_REQ_sign(request, key, EVP_sha256());
    PEM_write_bio_X509_REQ(bio, request);
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    g_autofree char *pem = g_strndup(data, (gsize)size);
    g_autofree char *json = csr_request(pem, "{}");
    assert_refused(ca, "csr", json, "Invalid csr: its signature does not match its key");
}

static void test_what_is_no_request(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *certificate = test_certificate_pem(ca->certificate);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=x", key);
    g_autofree char *twice = g_strconcat(pem, pem, NULL);
    g_autofree char *cut = g_strndup(pem, strlen(pem) / 2);
    g_autofree char *huge = g_strnfill(300 * 1024, 'A');
    const char *const bad[] = {
        "",
        "hello",
        certificate,
        twice,
        cut,
        huge,
        "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *json = csr_request(bad[i], "{}");
        assert_refused(ca, "csr", json, "Invalid csr: not a certificate request in PEM form");
    }
    assert_refused(ca, "csr", "{}", "Invalid csr: missing");
    assert_refused(ca, "csr", "{\"csr\":null}", "Invalid csr: missing");
    assert_refused(ca, "csr", "{\"csr\":5}", "Invalid csr: not a text");
    assert_refused(ca, "csr", "{\"csr\":\"x\",\"options\":[]}", "Invalid options: not an object");
    assert_refused(ca, "ocsp", "{}", "Invalid signtype: ocsp");
}

/* --- dates ------------------------------------------------------------------------------------------- */

static void assert_dates(const char *options, gint64 from, gint64 to)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(X509) certificate = issue(ca, options);
    g_assert_cmpint(certificate_not_before(certificate), ==, from);
    g_assert_cmpint(certificate_not_after(certificate), ==, to);
}

static void test_dates(void)
{
    assert_dates("{}", NOW, NOW + 365 * DAY);
    assert_dates("{\"days\":null}", NOW, NOW + 365 * DAY);
    assert_dates("{\"days\":1}", NOW, NOW + DAY);
    assert_dates("{\"days\":\"30\"}", NOW, NOW + 30 * DAY);
    assert_dates("{\"startdate\":null,\"enddate\":\"\",\"days\":2}", NOW, NOW + 2 * DAY);
    /* 1795218638 is 2026-11-20T23:50:38Z */
    assert_dates(
        "{\"startdate\":\"2026-11-20T23:50:38.999Z\",\"enddate\":\"2026-11-21T00:50:38+01:00\",\"days\":7}",
        NOW, NOW);
    assert_dates("{\"startdate\":\"2026-11-20T17:50:38-06:00\",\"enddate\":1795218639999}", NOW, NOW + 1);
    assert_dates("{\"startdate\":1795218638000,\"enddate\":\"2026-11-21T23:50:38Z\"}", NOW, NOW + DAY);
    assert_dates("{\"startdate\":\"1950-01-01T00:00:00Z\",\"enddate\":\"9999-12-31T23:59:59Z\"}", -631152000,
                 G_GINT64_CONSTANT(253402300799));
}

static void test_the_time_zone_does_not_matter(void)
{
    if (g_test_subprocess()) {
        g_setenv("TZ", "America/Chicago", TRUE);
        tzset();
        test_dates();
        return;
    }
    g_test_trap_subprocess(NULL, 0, G_TEST_SUBPROCESS_DEFAULT);
    g_test_trap_assert_passed();
}

static void test_encoding_changes_in_2050(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(X509) certificate =
        issue(ca, "{\"startdate\":\"2049-12-31T23:59:59Z\",\"enddate\":\"2050-01-01T00:00:00Z\"}");
    g_assert_cmpint(ASN1_STRING_type(X509_get0_notBefore(certificate)), ==, V_ASN1_UTCTIME);
    g_assert_cmpint(ASN1_STRING_type(X509_get0_notAfter(certificate)), ==, V_ASN1_GENERALIZEDTIME);
    g_assert_cmpstr((const char *)ASN1_STRING_get0_data(X509_get0_notBefore(certificate)), ==,
                    "491231235959Z");
    g_assert_cmpstr((const char *)ASN1_STRING_get0_data(X509_get0_notAfter(certificate)), ==,
                    "20500101000000Z");
}

static void test_bad_dates(void)
{
    static const struct {
        const char *options, *message;
    } cases[] = {
        {"{\"days\":0}", "Invalid days: not a positive integer"},
        {"{\"days\":-1}", "Invalid days: not a positive integer"},
        {"{\"days\":1.5}", "Invalid days: not a positive integer"},
        {"{\"days\":\"x\"}", "Invalid days: not a positive integer"},
        {"{\"days\":\"1.5\"}", "Invalid days: not a positive integer"},
        {"{\"days\":\" 1\"}", "Invalid days: not a positive integer"},
        {"{\"days\":true}", "Invalid days: not a positive integer"},
        {"{\"days\":[]}", "Invalid days: not a positive integer"},
        {"{\"days\":99999999}", "Invalid days: not a positive integer"},
        {"{\"days\":3652000}", "Invalid days: ends after the year 9999"},
        {"{\"startdate\":\"2026-11-20T23:50:38Z\"}", "Invalid enddate: missing"},
        {"{\"enddate\":\"2026-11-20T23:50:38Z\"}", "Invalid startdate: missing"},
        {"{\"startdate\":\"2026-11-20T23:50:38Z\",\"enddate\":\"2026-11-20T23:50:37Z\"}",
         "Invalid enddate: before startdate"},
        {"{\"startdate\":\"2026-11-20T23:50:38\",\"enddate\":1}",
         "Invalid startdate: not an ISO 8601 date with a time and a zone"},
        {"{\"startdate\":\"2026-11-20\",\"enddate\":1}",
         "Invalid startdate: not an ISO 8601 date with a time and a zone"},
        {"{\"startdate\":\"2026-02-30T00:00:00Z\",\"enddate\":1}",
         "Invalid startdate: not an ISO 8601 date with a time and a zone"},
        {"{\"startdate\":\"2026-02-03T24:00:01Z\",\"enddate\":1}",
         "Invalid startdate: not an ISO 8601 date with a time and a zone"},
        {"{\"startdate\":\"next week\",\"enddate\":1}",
         "Invalid startdate: not an ISO 8601 date with a time and a zone"},
        {"{\"startdate\":1.5,\"enddate\":1}", "Invalid startdate: neither a date nor milliseconds"},
        {"{\"startdate\":{},\"enddate\":1}", "Invalid startdate: neither a date nor milliseconds"},
        {"{\"startdate\":\"1949-12-31T23:59:59Z\",\"enddate\":1}",
         "Invalid startdate: not between the years 1950 and 9999"},
        {"{\"startdate\":1,\"enddate\":253402300800000}",
         "Invalid enddate: not between the years 1950 and 9999"},
    };
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        assert_issue_refused(ca, cases[i].options, cases[i].message);
}

/* --- hashes ------------------------------------------------------------------------------------------ */

static void assert_hash(const char *key, const char *hash, const SigningRules *rules, int nid)
{
    g_autoptr(TestAuthority) ca = test_authority_new(key);
    g_autoptr(EVP_PKEY) request_key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=x", request_key);
    g_autofree char *options = g_strdup_printf("{\"hash\":%s}", hash);
    g_autofree char *json = csr_request(pem, options);
    g_autofree char *answer = sign_with(ca, "csr", json, rules);
    g_autoptr(X509) certificate = read_certificate(answer);
    g_assert_cmpint(X509_get_signature_nid(certificate), ==, nid);
}

static void test_hashes(void)
{
    const SigningRules rules = {.digest = EVP_sha512()};
    assert_hash("rsa2048", "null", NULL, NID_sha256WithRSAEncryption);
    assert_hash("rsa2048", "\"sha384\"", NULL, NID_sha384WithRSAEncryption);
    assert_hash("rsa2048", "\"SHA512\"", NULL, NID_sha512WithRSAEncryption);
    assert_hash("p384", "\"sha256\"", NULL, NID_ecdsa_with_SHA256);
    assert_hash("rsa2048", "\"md5\"", NULL, NID_sha256WithRSAEncryption);
    assert_hash("rsa2048", "\"sha1\"", NULL, NID_sha256WithRSAEncryption);
    assert_hash("rsa2048", "7", NULL, NID_sha256WithRSAEncryption);
    assert_hash("p256", "\"sha384\"", &rules, NID_ecdsa_with_SHA512);
    assert_hash("ed25519", "\"sha384\"", NULL, NID_ED25519);
}

static void test_the_summary_says_which_hash_was_declined(void)
{
    const SigningRules rules = {0};
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *pem = test_request_pem("CN=x", key);
    g_autofree char *json = csr_request(pem, "{\"hash\":\"md5\"}");
    g_autoptr(JsonObject) request = json_object_parse(json, strlen(json), NULL);
    g_autoptr(Signing) signing = signing_new("csr", request, ca->certificate, &rules, NOW, NULL, NULL);
    g_assert_cmpstr(signing_summary(signing), ==,
                    "certificate for CN=x (hash md5 was asked for and is not used)");
}

/* --- without options --------------------------------------------------------------------------------- */

static char *request_with_extensions(void)
{
    return test_run((const char *const[]){"openssl",
                                          "req",
                                          "-new",
                                          "-newkey",
                                          "ec",
                                          "-pkeyopt",
                                          "ec_paramgen_curve:P-256",
                                          "-nodes",
                                          "-keyout",
                                          "/dev/null",
                                          "-subj",
                                          "/CN=own/C=DE",
                                          "-addext",
                                          "subjectAltName=critical,DNS:own.test",
                                          "-addext",
                                          "keyUsage=critical,digitalSignature",
                                          "-addext",
                                          "basicConstraints=CA:FALSE",
                                          "-addext",
                                          "certificatePolicies=1.2.3",
                                          "-addext",
                                          "nameConstraints=permitted;DNS:x",
                                          NULL},
                    NULL, 0);
}

static char *only_pem(const char *text)
{
    return g_strdup(strstr(text, "-----BEGIN CERTIFICATE REQUEST"));
}

static void test_without_options_the_request_decides(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *output = request_with_extensions();
    g_autofree char *pem = only_pem(output);
    for (int i = 0; i < 2; i++) {
        g_autofree char *json = csr_request(pem, i ? "null" : NULL);
        g_autofree char *answer = sign(ca, "csr", json);
        assert_chains(ca, answer);
        g_autoptr(X509) certificate = read_certificate(answer);
        g_autofree char *subject = certificate_subject(certificate);
        g_autofree char *names = extension_text(certificate, "Subject Alternative Name:");
        g_assert_cmpstr(subject, ==, "C=DE,CN=own");
        g_assert_cmpstr(names, ==, "DNS:own.test");
        g_assert_cmpint(X509_get_ext_count(certificate), ==, 5); /* SKI AKI KU BC SAN */
        g_assert_cmpint(OBJ_obj2nid(X509_EXTENSION_get_object(X509_get_ext(certificate, 4))), ==,
                        NID_subject_alt_name);
        g_assert_cmpint(X509_EXTENSION_get_critical(X509_get_ext(certificate, 4)), ==, 0);
        g_assert_cmpint(certificate_not_after(certificate), ==, NOW + 365 * DAY);
    }
}

static void test_with_options_the_requests_extensions_are_dropped(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *output = request_with_extensions();
    g_autofree char *pem = only_pem(output);
    g_autofree char *json = csr_request(pem, "{}");
    g_autofree char *answer = sign(ca, "csr", json);
    g_autoptr(X509) certificate = read_certificate(answer);
    g_assert_cmpint(X509_get_ext_count(certificate), ==, 2);
}

/* --- the CA ------------------------------------------------------------------------------------------ */

static void test_a_ca_without_key_identifier(void)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    const TestCertificate what = {.subject = "CN=CA"};
    g_autoptr(TestAuthority) ca = test_authority_of(test_certificate(&what, key, NULL, NULL), key);
    assert_issue_refused(ca, "{}", "The CA certificate has no subject key identifier");
}

static void test_the_wrong_key_is_found_out(void)
{
    const SigningRules rules = {0};
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) other = test_new_key("p256");
    g_autofree char *pem = test_request_pem("CN=x", other);
    g_autofree char *json = csr_request(pem, "{}");
    g_autoptr(JsonObject) request = json_object_parse(json, strlen(json), NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(Signing) signing = signing_new("csr", request, ca->certificate, &rules, NOW, NULL, &error);
    g_assert_no_error(error);
    g_assert_false(signing_sign(signing, other, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_FAILED);
    g_assert_cmpstr(error->message, ==, "The signature made by the CA key is not good");
    g_assert_null(signing_text(signing));
}

static void test_a_key_that_cannot_sign_says_why(void)
{
    const SigningRules rules = {0};
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *pem = test_request_pem("CN=x", ca->key);
    g_autofree char *json = csr_request(pem, "{}");
    g_autofree char *public_pem = test_public_key_pem(ca->key);
    g_autoptr(BIO) bio = BIO_new_mem_buf(public_pem, -1);
    g_autoptr(EVP_PKEY) public_only = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    g_autoptr(JsonObject) request = json_object_parse(json, strlen(json), NULL);
    g_autoptr(GError) error = NULL;
    g_autoptr(Signing) signing = signing_new("csr", request, ca->certificate, &rules, NOW, NULL, &error);
    g_assert_false(signing_sign(signing, public_only, &error));
    assert_contains(error->message, "The CA key could not sign: ");
    g_assert_null(signing_text(signing));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/certificate/full-example", test_full_example);
    g_test_add_func("/certificate/serials-are-long-random-and-positive",
                    test_serials_are_long_random_and_positive);
    g_test_add_func("/certificate/every-kind-of-key", test_every_kind_of_ca_key_and_request_key);
    g_test_add_func("/certificate/an-rsa-pss-request", test_an_rsa_pss_request);
    g_test_add_func("/certificate/a-request-signed-in-pss", test_a_request_signed_in_pss);
    g_test_add_func("/certificate/weak-keys-are-refused", test_weak_keys_are_refused);
    g_test_add_func("/certificate/a-bad-signature-is-refused", test_a_bad_signature_is_refused);
    g_test_add_func("/certificate/what-is-no-request-is-refused", test_what_is_no_request);
    g_test_add_func("/certificate/dates", test_dates);
    g_test_add_func("/certificate/the-time-zone-does-not-matter", test_the_time_zone_does_not_matter);
    g_test_add_func("/certificate/encoding-of-dates-changes-in-2050", test_encoding_changes_in_2050);
    g_test_add_func("/certificate/bad-dates-are-refused", test_bad_dates);
    g_test_add_func("/certificate/hashes", test_hashes);
    g_test_add_func("/certificate/the-summary-says-which-hash-was-declined",
                    test_the_summary_says_which_hash_was_declined);
    g_test_add_func("/certificate/without-options-the-request-decides",
                    test_without_options_the_request_decides);
    g_test_add_func("/certificate/with-options-the-requests-extensions-are-dropped",
                    test_with_options_the_requests_extensions_are_dropped);
    g_test_add_func("/certificate/a-ca-without-key-identifier-is-refused", test_a_ca_without_key_identifier);
    g_test_add_func("/certificate/the-wrong-key-is-found-out", test_the_wrong_key_is_found_out);
    g_test_add_func("/certificate/a-key-that-cannot-sign-says-why", test_a_key_that_cannot_sign_says_why);
    return g_test_run();
}
