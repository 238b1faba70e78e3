/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Provisioning certificates as templates (protocol.md 6.5; vector 12). */

#include "daemon/ca/name.h"
#include "daemon/ca/template.h"
#include "daemon/error.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <openssl/pem.h>
#include <string.h>

#define DAY G_GINT64_CONSTANT(86400)

static const char *const rich_extensions[] = {"subjectKeyIdentifier",
                                              "hash",
                                              "authorityKeyIdentifier",
                                              "keyid",
                                              "basicConstraints",
                                              "critical,CA:TRUE,pathlen:1",
                                              "keyUsage",
                                              "critical,keyCertSign,cRLSign",
                                              "certificatePolicies",
                                              "DER:3007300506032a0304",
                                              "nameConstraints",
                                              "critical,permitted;DNS:example.test",
                                              "subjectAltName",
                                              "critical,email:ca@example.test",
                                              "1.2.3.4.5",
                                              "ASN1:UTF8String:any\x1b[2Jthing",
                                              NULL};

static X509 *rich_template(gint64 not_after)
{
    g_autoptr(EVP_PKEY) key = test_key("rsa2048");
    const TestCertificate what = {.subject = "C=US, OU=One, OU=Two, O=Ex/am=ple, CN=Root",
                                  .not_after = not_after,
                                  .extensions = rich_extensions};
    return test_certificate(&what, key, NULL, NULL);
}

static Template *read_template(const char *pem)
{
    g_autoptr(GError) error = NULL;
    Template *template = template_from_pem(pem, &error);
    g_assert_no_error(error);
    return template;
}

static Template *read_certificate_template(X509 *certificate)
{
    g_autofree char *pem = test_certificate_pem(certificate);
    return read_template(pem);
}

static bool is_key_identifier(X509_EXTENSION *extension)
{
    int nid = OBJ_obj2nid(X509_EXTENSION_get_object(extension));
    return nid == NID_subject_key_identifier || nid == NID_authority_key_identifier;
}

/* Every extension of |from| but SKI and AKI is in |to|, byte for byte, and nothing else. */
static void assert_same_extensions(const X509_EXTENSIONS *from, const X509_EXTENSIONS *to)
{
    int at = 0;
    for (int i = 0; i < sk_X509_EXTENSION_num(from); i++) {
        X509_EXTENSION *wanted = sk_X509_EXTENSION_value(from, i);
        if (is_key_identifier(wanted))
            continue;
        while (at < sk_X509_EXTENSION_num(to) && is_key_identifier(sk_X509_EXTENSION_value(to, at)))
            at++;
        g_assert_cmpint(at, <, sk_X509_EXTENSION_num(to));
        X509_EXTENSION *found = sk_X509_EXTENSION_value(to, at++);
        g_assert_cmpint(OBJ_cmp(X509_EXTENSION_get_object(wanted), X509_EXTENSION_get_object(found)), ==, 0);
        g_assert_cmpint(X509_EXTENSION_get_critical(wanted), ==, X509_EXTENSION_get_critical(found));
        g_assert_cmpint(
            ASN1_OCTET_STRING_cmp(X509_EXTENSION_get_data(wanted), X509_EXTENSION_get_data(found)), ==, 0);
    }
    g_assert_cmpint(at, ==, sk_X509_EXTENSION_num(to));
}

static void test_self_signed_is_the_template_with_a_new_key(void)
{
    static const char *const keys[] = {"rsa2048", "p256", "p384", "ed25519"};
    g_autoptr(X509) original = rich_template(NOW + 1000 * DAY + 5);
    g_autoptr(Template) template = read_certificate_template(original);
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(EVP_PKEY) key = test_key(keys[i]);
        g_autoptr(GError) error = NULL;
        g_autoptr(X509) ca = template_self_sign(template, key, NULL, NOW, 0, &error);
        g_assert_no_error(error);
        g_assert_cmpint(X509_NAME_cmp(X509_get_subject_name(ca), X509_get_subject_name(original)), ==, 0);
        g_assert_cmpint(X509_NAME_cmp(X509_get_issuer_name(ca), X509_get_subject_name(original)), ==, 0);
        g_assert_cmpint(certificate_not_before(ca), ==, NOW);
        g_assert_cmpint(certificate_not_after(ca), ==, NOW + 1000 * DAY + 5); /* not cut to whole days */
        g_assert_cmpint(EVP_PKEY_eq(X509_get0_pubkey(ca), key), ==, 1);
        assert_same_extensions(X509_get0_extensions(original), X509_get0_extensions(ca));
        g_assert_cmpint(ASN1_OCTET_STRING_cmp(X509_get0_subject_key_id(ca), X509_get0_authority_key_id(ca)),
                        ==, 0);
        g_autoptr(TestAuthority) authority = test_authority_of(g_steal_pointer(&ca), key);
        g_autofree char *pem = test_certificate_pem(authority->certificate);
        assert_chains(authority, pem);
        g_autoptr(X509) issued =
            issue(authority, "{\"extensions\":{\"SANs\":{\"DNS\":[\"a.example.test\"]}}}");
    }
}

static void test_key_identifiers_are_new(void)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509) original = rich_template(NOW + DAY);
    g_autoptr(Template) template = read_certificate_template(original);
    g_autoptr(X509) ca = template_self_sign(template, key, NULL, NOW, 0, NULL);
    g_assert_cmpint(ASN1_OCTET_STRING_cmp(X509_get0_subject_key_id(ca), X509_get0_subject_key_id(original)),
                    !=, 0);
    /* The SHA-1 of the key is what `openssl req -x509` gives. */
    g_autofree char *key_pem = test_key_pem(key, NULL);
    g_autofree char *directory = test_directory();
    g_autofree char *path = test_write(directory, "key.pem", key_pem);
    g_autofree char *pem = TEST_RUN("openssl", "req", "-x509", "-new", "-key", path, "-subj", "/CN=x");
    g_autoptr(X509) theirs = read_certificate(pem);
    g_assert_cmpint(ASN1_OCTET_STRING_cmp(X509_get0_subject_key_id(ca), X509_get0_subject_key_id(theirs)), ==,
                    0);
}

static void test_hash(void)
{
    g_autoptr(EVP_PKEY) key = test_key("rsa2048");
    g_autoptr(X509) original = rich_template(NOW + DAY);
    g_autoptr(Template) template = read_certificate_template(original);
    g_autoptr(X509) plain = template_self_sign(template, key, NULL, NOW, 0, NULL);
    g_autoptr(X509) strong = template_self_sign(template, key, EVP_sha512(), NOW, 0, NULL);
    g_assert_cmpint(X509_get_signature_nid(plain), ==, NID_sha256WithRSAEncryption);
    g_assert_cmpint(X509_get_signature_nid(strong), ==, NID_sha512WithRSAEncryption);
}

static void assert_self_sign_fails(const Template *template, int days, IothsmError code)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(GError) error = NULL;
    g_assert_null(template_self_sign(template, key, NULL, NOW, days, &error));
    g_assert_error(error, IOTHSM_ERROR, (int)code);
}

static void test_an_expired_template(void)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509) original = rich_template(NOW);
    g_autoptr(Template) template = read_certificate_template(original);
    assert_self_sign_fails(template, 0, IOTHSM_ERROR_TEMPLATE_EXPIRED);
    assert_self_sign_fails(template, -1, IOTHSM_ERROR_INVALID);
    assert_self_sign_fails(template, G_MAXINT, IOTHSM_ERROR_INVALID);
    g_autoptr(X509) ca = template_self_sign(template, key, NULL, NOW, 7, NULL);
    g_assert_cmpint(certificate_not_after(ca), ==, NOW + 7 * DAY);
}

static char *request_template(void)
{
    g_autofree char *output =
        TEST_RUN("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", "/dev/null", "-subj", "/O=Org/CN=Intermediate", "-addext",
                 "basicConstraints=critical,CA:TRUE", "-addext", "certificatePolicies=1.2.3");
    return g_strdup(strstr(output, "-----BEGIN CERTIFICATE REQUEST"));
}

static void test_a_request_as_template_needs_days(void)
{
    g_autofree char *pem = request_template();
    g_autoptr(Template) template = read_template(pem);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    assert_self_sign_fails(template, 0, IOTHSM_ERROR_INVALID);
    g_autoptr(X509) ca = template_self_sign(template, key, NULL, NOW, 30, NULL);
    g_assert_cmpint(certificate_not_after(ca), ==, NOW + 30 * DAY);
    g_assert_true(certificate_is_ca(ca));
    g_autofree char *subject = certificate_subject(ca);
    g_assert_cmpstr(subject, ==, "O=Org,CN=Intermediate");
    g_assert_cmpint(X509_get_ext_count(ca), ==, 4);
}

static void test_request_carries_everything(void)
{
    static const char *const keys[] = {"rsa2048", "p521", "ed25519"};
    g_autoptr(X509) original = rich_template(NOW - 5 * DAY); /* an expired one is good enough for a CSR */
    g_autoptr(Template) template = read_certificate_template(original);
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(EVP_PKEY) key = test_key(keys[i]);
        g_autoptr(GError) error = NULL;
        g_autoptr(X509_REQ) request = template_request(template, key, NULL, &error);
        g_assert_no_error(error);
        g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
        PEM_write_bio_X509_REQ(bio, request);
        char *data = NULL;
        long size = BIO_get_mem_data(bio, &data);
        g_autofree char *pem = g_strndup(data, (gsize)size);
        g_autofree char *verified =
            test_run((const char *const[]){"openssl", "req", "-verify", "-noout", NULL}, pem, 0);
        assert_contains(verified, "self-signature verify OK");
        g_assert_cmpint(X509_NAME_cmp(X509_REQ_get_subject_name(request), X509_get_subject_name(original)),
                        ==, 0);
        X509_EXTENSIONS *extensions = X509_REQ_get_extensions(request);
        assert_same_extensions(X509_get0_extensions(original), extensions);
        sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    }
}

static void test_a_signed_request_makes_an_intermediate(void)
{
    g_autoptr(TestAuthority) root = test_authority_new("rsa2048");
    g_autofree char *template_pem = request_template();
    g_autoptr(Template) template = read_template(template_pem);
    g_autoptr(EVP_PKEY) key = test_key("p384");
    g_autoptr(X509_REQ) request = template_request(template, key, NULL, NULL);
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509_REQ(bio, request);
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    g_autofree char *pem = g_strndup(data, (gsize)size);
    g_autofree char *json = csr_request(pem, NULL);
    g_autofree char *answer = sign(root, "csr", json);
    assert_chains(root, answer);
    g_autoptr(X509) intermediate = read_certificate(answer);
    g_assert_true(certificate_is_ca(intermediate));
}

static void test_description(void)
{
    g_autoptr(X509) original = rich_template(NOW + DAY);
    g_autoptr(Template) template = read_certificate_template(original);
    g_autoptr(JsonObject) description = template_describe(template);
    g_assert_cmpstr(json_object_get_string_member(description, "kind"), ==, "certificate");
    g_assert_cmpstr(json_object_get_string_member(description, "subject"), ==,
                    "C=US,OU=One,OU=Two,O=Ex/am=ple,CN=Root");
    g_assert_cmpint(json_object_get_int_member(description, "notAfter"), ==, NOW + DAY);
    g_assert_true(json_object_get_boolean_member(description, "ca"));
    g_assert_cmpint(json_object_get_int_member(description, "pathlen"), ==, 1);
    JsonArray *extensions = json_object_get_array_member(description, "extensions");
    g_assert_cmpint(json_array_get_length(extensions), ==, 6);
    JsonObject *first = json_array_get_object_element(extensions, 0);
    g_assert_cmpstr(json_object_get_string_member(first, "oid"), ==, "2.5.29.19");
    g_assert_cmpstr(json_object_get_string_member(first, "name"), ==, "X509v3 Basic Constraints");
    g_assert_cmpstr(json_object_get_string_member(first, "text"), ==, "CA:TRUE, pathlen:1");
    g_assert_true(json_object_get_boolean_member(first, "critical"));
    for (guint i = 0; i < json_array_get_length(extensions); i++)
        g_assert_null(strchr(
            json_object_get_string_member(json_array_get_object_element(extensions, i), "text"), '\x1b'));

    g_autofree char *pem = request_template();
    g_autoptr(Template) request = read_template(pem);
    g_autoptr(JsonObject) other = template_describe(request);
    g_assert_cmpstr(json_object_get_string_member(other, "kind"), ==, "request");
    g_assert_false(json_object_has_member(other, "notAfter"));
    g_assert_false(json_object_has_member(other, "pathlen"));
}

static void test_what_is_no_template(void)
{
    g_autoptr(X509) original = rich_template(NOW + DAY);
    g_autofree char *pem = test_certificate_pem(original);
    g_autofree char *twice = g_strconcat(pem, pem, NULL);
    g_autofree char *cut = g_strndup(pem, strlen(pem) - 60);
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *private_key = test_key_pem(key, NULL);
    const char *const bad[] = {
        "", "x", twice, cut, private_key, "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"};
    for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(template_from_pem(bad[i], &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_BAD_CERTIFICATE);
    }
}

static Template *template_with_extensions(guint count, GError **error)
{
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(GPtrArray) extensions = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < count; i++) {
        g_ptr_array_add(extensions, g_strdup_printf("1.2.3.%u", i));
        g_ptr_array_add(extensions, g_strdup("DER:0500"));
    }
    g_ptr_array_add(extensions, NULL);
    const TestCertificate what = {.subject = "CN=Many", .extensions = (const char *const *)extensions->pdata};
    g_autoptr(X509) certificate = test_certificate(&what, key, NULL, NULL);
    g_autofree char *pem = test_certificate_pem(certificate);
    return template_from_pem(pem, error);
}

/* Everybody may have a template described, and each extension is compared with those before it. */
static void test_many_extensions(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Template) most = template_with_extensions(100, &error);
    g_assert_no_error(error);
    g_assert_nonnull(most);
    g_assert_null(template_with_extensions(101, &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_LIMITS_EXCEEDED);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/template/self-signed-is-the-template-with-a-new-key",
                    test_self_signed_is_the_template_with_a_new_key);
    g_test_add_func("/template/key-identifiers-are-new", test_key_identifiers_are_new);
    g_test_add_func("/template/hash", test_hash);
    g_test_add_func("/template/an-expired-one-is-refused", test_an_expired_template);
    g_test_add_func("/template/a-request-as-template-needs-days", test_a_request_as_template_needs_days);
    g_test_add_func("/template/a-request-carries-everything", test_request_carries_everything);
    g_test_add_func("/template/a-signed-request-makes-an-intermediate",
                    test_a_signed_request_makes_an_intermediate);
    g_test_add_func("/template/description", test_description);
    g_test_add_func("/template/what-is-no-template-is-refused", test_what_is_no_template);
    g_test_add_func("/template/no-more-than-100-extensions", test_many_extensions);
    return g_test_run();
}
