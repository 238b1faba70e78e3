/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Requests of signtype `cms` (protocol.md 3.3; vector 11), verified by `openssl cms`. */

#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <openssl/pem.h>
#include <string.h>

/* What `openssl cms -verify` recovers from |answer| in |form|. */
static char *recover(const TestAuthority *ca, const char *answer, const char *form)
{
    g_autofree char *path = test_write(ca->directory, "message", answer);
    g_autofree char *content = g_build_filename(ca->directory, "content", NULL);
    g_autofree char *output = TEST_RUN("openssl", "cms", "-verify", "-binary", "-no_check_time", "-inform",
                                       form, "-in", path, "-CAfile", ca->certificate_path, "-no-CApath",
                                       "-no-CAstore", "-purpose", "any", "-out", content);
    char *text = NULL;
    g_assert_true(g_file_get_contents(content, &text, NULL, NULL));
    assert_contains(output, "Verification successful");
    return text;
}

static char *printed(const TestAuthority *ca, const char *answer)
{
    g_autofree char *path = test_write(ca->directory, "message", answer);
    return TEST_RUN("openssl", "cms", "-cmsout", "-print", "-inform", "PEM", "-in", path);
}

static void assert_content(const char *data, const char *more, const char *expected)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *request = cms_request(data, more);
    g_autofree char *answer = sign(ca, "cms", request);
    g_autofree char *content = recover(ca, answer, "PEM");
    g_assert_cmpstr(content, ==, expected);
}

static void test_encodings(void)
{
    assert_content("hello", NULL, "hello");
    assert_content("Grüße\nzwei\r\n", ",\"encoding\":\"utf8\"", "Grüße\nzwei\r\n");
    assert_content("aGVsbG8", ",\"encoding\":\"binary\"", "hello");
    assert_content("aGVsbG8=", ",\"encoding\":\"binary\"", "hello");
    assert_content("aGVsbG8", ",\"encoding\":\"base64\"", "aGVsbG8");
    assert_content("77-_Pj8", ",\"encoding\":\"binary\"", "\xef\xbf\xbf>?");
    assert_content("77+/Pj8=", ",\"encoding\":\"binary\"", "\xef\xbf\xbf>?");
    assert_content("", NULL, "");
    assert_content("", ",\"encoding\":\"binary\",\"inform\":\"DER\"", "");
}

static void test_every_form(void)
{
    static const char *const keys[] = {"rsa2048", "rsa4096", "p256", "p384", "p521"};
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(TestAuthority) ca = test_authority_new(keys[i]);
        g_autofree char *pem_request = cms_request("x", ",\"outform\":\"PEM\"");
        g_autofree char *pem = sign(ca, "cms", pem_request);
        g_assert_true(g_str_has_prefix(pem, "-----BEGIN CMS-----\n"));
        g_assert_true(g_str_has_suffix(pem, "-----END CMS-----\n"));
        g_autofree char *from_pem = recover(ca, pem, "PEM");
        g_assert_cmpstr(from_pem, ==, "x");

        g_autofree char *smime_request = cms_request("x", ",\"outform\":\"SMIME\"");
        g_autofree char *smime = sign(ca, "cms", smime_request);
        g_assert_true(g_str_has_prefix(
            smime, "MIME-Version: 1.0\nContent-Disposition: attachment; filename=\"smime.p7m\"\n"
                   "Content-Type: application/pkcs7-mime; smime-type=signed-data; "
                   "name=\"smime.p7m\"\nContent-Transfer-Encoding: base64\n\nMII"));
        g_autofree char *from_smime = recover(ca, smime, "SMIME");
        g_assert_cmpstr(from_smime, ==, "x");

        g_autofree char *der_request = cms_request("x", ",\"outform\":\"DER\"");
        g_autofree char *der = sign(ca, "cms", der_request);
        gsize size = 0;
        g_autofree guchar *bytes = g_base64_decode(der, &size);
        const guchar *at = bytes;
        g_autoptr(CMS_ContentInfo) cms = d2i_CMS_ContentInfo(NULL, &at, (long)size);
        g_assert_nonnull(cms);
        g_assert_true(at == bytes + size);
    }
}

static void test_default_contents(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    g_autofree char *request = cms_request("hello", NULL);
    g_autofree char *answer = sign(ca, "cms", request);
    g_autofree char *text = printed(ca, answer);
    assert_contains(text, "eContentType: pkcs7-data (1.2.840.113549.1.7.1)");
    assert_contains(text, "object: contentType");
    assert_contains(text, "object: signingTime");
    assert_contains(text, "UTCTIME:Nov 20 23:50:38 2026 GMT");
    assert_contains(text, "object: messageDigest");
    assert_contains(text, "object: S/MIME Capabilities");
    assert_contains(text, "algorithm: sha256 (2.16.840.1.101.3.4.2.1)");
    assert_contains(text, "issuerAndSerialNumber");
}

static void test_capabilities_and_content_type(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *request = cms_request(
        "aGVsbG8", ",\"inform\":\"DER\",\"outform\":\"PEM\",\"encoding\":\"binary\",\"smimecap\":false,"
                   "\"contenttype\":\"1.3.6.1.5.5.7.12.3\"");
    g_autofree char *answer = sign(ca, "cms", request);
    g_autofree char *text = printed(ca, answer);
    g_assert_null(strstr(text, "S/MIME Capabilities"));
    assert_contains(text, "id-cct-PKIResponse");
    assert_contains(text, "version: 3");
    g_autofree char *content = recover(ca, answer, "PEM");
    g_assert_cmpstr(content, ==, "hello");
}

static int count_certificates(const char *answer)
{
    g_autoptr(BIO) bio = BIO_new_mem_buf(answer, -1);
    char *header = NULL, *pem_name = NULL;
    unsigned char *data = NULL;
    long size = 0;
    g_assert_cmpint(PEM_read_bio(bio, &pem_name, &header, &data, &size), ==, 1);
    const unsigned char *at = data;
    g_autoptr(CMS_ContentInfo) cms = d2i_CMS_ContentInfo(NULL, &at, size);
    STACK_OF(X509) *certificates = CMS_get1_certs(cms);
    int count = sk_X509_num(certificates);
    sk_X509_pop_free(certificates, X509_free);
    OPENSSL_free(pem_name);
    OPENSSL_free(header);
    OPENSSL_free(data);
    return count;
}

static void test_added_certificates(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(GString) chain = g_string_new(NULL);
    for (int i = 0; i <= 3; i++) {
        g_autofree char *added = quoted(chain->str);
        g_autofree char *more = g_strdup_printf(",\"addcerts\":%s", added);
        g_autofree char *request = cms_request("x", more);
        g_autofree char *answer = sign(ca, "cms", request);
        g_assert_cmpint(count_certificates(answer), ==, 1 + i);
        g_autofree char *content = recover(ca, answer, "PEM");
        g_autoptr(EVP_PKEY) key = test_key("rsa2048");
        g_autoptr(X509) other = test_ca("Another", key);
        g_autofree char *pem = test_certificate_pem(other);
        g_string_append_printf(chain, "subject=/CN=Another\n%s", pem);
    }
}

static void test_refusals(void)
{
    static const struct {
        const char *data, *more, *message;
    } cases[] = {
        {"aGVsbG8", ",\"encoding\":5", "Invalid cms: encoding is not a string"},
        {"aGVsb", ",\"encoding\":\"binary\"", "Invalid data: not base64url"},
        {"aGVsbG8==", ",\"encoding\":\"binary\"", "Invalid data: not base64url"},
        {"aGVs bG8", ",\"encoding\":\"binary\"", "Invalid data: not base64url"},
        {"x", ",\"outform\":\"XML\"", "Invalid outform: XML"},
        {"x", ",\"smimecap\":\"no\"", "Invalid cms: smimecap is not true or false"},
        {"x", ",\"contenttype\":\"pkcs7-data\"", "Invalid contenttype: pkcs7-data"},
        {"x", ",\"contenttype\":\"1.2.x\"", "Invalid contenttype: 1.2.x"},
        {"x", ",\"addcerts\":\"garbage\"", "Invalid addcerts: not 1 to 64 certificates in PEM form"},
        {"x", ",\"addcerts\":[]", "Invalid addcerts: not a text"},
        {"x", ",\"addcerts\":\"-----BEGIN X-----\\nMAA=\\n-----END X-----\\n\"",
         "Invalid addcerts: block 1 is not a certificate"},
    };
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *request = cms_request(cases[i].data, cases[i].more);
        assert_refused(ca, "cms", request, cases[i].message);
    }
    assert_refused(ca, "cms", "{}", "Invalid options: missing");
    assert_refused(ca, "cms", "{\"options\":5}", "Invalid options: not an object");
    assert_refused(ca, "cms", "{\"options\":{}}", "Invalid data: missing");
    assert_refused(ca, "cms", "{\"options\":{\"data\":5}}", "Invalid cms: data is not a string");
}

static void test_an_ed25519_ca_says_that_it_cannot(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("ed25519");
    g_autofree char *request = cms_request("x", NULL);
    assert_refused(ca, "cms", request, "This CA's key type cannot sign CMS here");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cms/encodings", test_encodings);
    g_test_add_func("/cms/every-form-and-key", test_every_form);
    g_test_add_func("/cms/default-contents", test_default_contents);
    g_test_add_func("/cms/capabilities-and-content-type", test_capabilities_and_content_type);
    g_test_add_func("/cms/added-certificates", test_added_certificates);
    g_test_add_func("/cms/refusals", test_refusals);
    g_test_add_func("/cms/an-ed25519-ca-says-that-it-cannot", test_an_ed25519_ca_says_that_it_cannot);
    return g_test_run();
}
