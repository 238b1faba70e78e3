/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Subjects of issued certificates (protocol.md 3.2.2; vector 9). */

#include "daemon/ca/name.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <openssl/pem.h>
#include <string.h>

static char *issued_subject(const char *subject)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *options = g_strdup_printf("{\"subject\":%s}", subject);
    g_autoptr(X509) certificate = issue(ca, options);
    return certificate_subject(certificate);
}

static void assert_subject(const char *subject, const char *text)
{
    g_autofree char *issued = issued_subject(subject);
    g_assert_cmpstr(issued, ==, text);
}

static void assert_subject_refused(const char *subject, const char *message)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *options = g_strdup_printf("{\"subject\":%s}", subject);
    assert_issue_refused(ca, options, message);
}

static const struct {
    const char *name, *shown;
    int type;
} attributes[] = {
    {"countryName", "C", V_ASN1_PRINTABLESTRING},
    {"stateOrProvinceName", "ST", V_ASN1_UTF8STRING},
    {"localityName", "L", V_ASN1_UTF8STRING},
    {"postalCode", "postalCode", V_ASN1_UTF8STRING},
    {"streetAddress", "street", V_ASN1_UTF8STRING},
    {"organizationName", "O", V_ASN1_UTF8STRING},
    {"organizationalUnitName", "OU", V_ASN1_UTF8STRING},
    {"commonName", "CN", V_ASN1_UTF8STRING},
    {"emailAddress", "emailAddress", V_ASN1_IA5STRING},
    {"jurisdictionCountryName", "jurisdictionC", V_ASN1_PRINTABLESTRING},
    {"jurisdictionStateOrProvinceName", "jurisdictionST", V_ASN1_UTF8STRING},
    {"jurisdictionLocalityName", "jurisdictionL", V_ASN1_UTF8STRING},
    {"businessCategory", "businessCategory", V_ASN1_UTF8STRING},
    {"serialNumber", "serialNumber", V_ASN1_PRINTABLESTRING},
    {"domainComponent", "DC", V_ASN1_IA5STRING},
    {"surname", "SN", V_ASN1_UTF8STRING},
    {"title", "title", V_ASN1_UTF8STRING},
    {"givenName", "GN", V_ASN1_UTF8STRING},
    {"UID", "UID", V_ASN1_UTF8STRING},
    {"initials", "initials", V_ASN1_UTF8STRING},
    {"generationQualifier", "generationQualifier", V_ASN1_UTF8STRING},
    {"dnQualifier", "dnQualifier", V_ASN1_PRINTABLESTRING},
    {"pseudonym", "pseudonym", V_ASN1_UTF8STRING},
};

static void test_each_attribute_has_its_type_and_place(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(GString) json = g_string_new("{\"subject\":{");
    /* Asked for in the opposite order. */
    for (gsize i = G_N_ELEMENTS(attributes); i-- > 0;)
        g_string_append_printf(json, "\"%s\":\"US\"%s", attributes[i].name, i ? "," : "}}");
    g_autoptr(X509) certificate = issue(ca, json->str);
    const X509_NAME *name = X509_get_subject_name(certificate);
    g_assert_cmpint(X509_NAME_entry_count(name), ==, G_N_ELEMENTS(attributes));
    for (int i = 0; i < (int)G_N_ELEMENTS(attributes); i++) {
        const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, i);
        g_assert_cmpstr(OBJ_nid2sn(OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry))), ==, attributes[i].shown);
        g_assert_cmpint(ASN1_STRING_type(X509_NAME_ENTRY_get_data(entry)), ==, attributes[i].type);
        g_assert_cmpint(X509_NAME_ENTRY_set(entry), ==, i); /* an RDN of its own */
    }
}

static void test_order_of_the_original(void)
{
    assert_subject("{\"commonName\":\"a\",\"countryName\":\"US\",\"emailAddress\":\"e@x.y\","
                   "\"domainComponent\":[\"foo\",\"bar\"],\"organizationName\":\"Z\","
                   "\"organizationalUnitName\":[\"1\",\"2\"]}",
                   "C=US,O=Z,OU=1,OU=2,CN=a,emailAddress=e@x.y,DC=foo,DC=bar");
}

static void test_values_are_taken_literally(void)
{
    assert_subject("{\"commonName\":\"a/CN=b\",\"organizationName\":\"x+OU=y\"}", "O=x\\+OU=y,CN=a/CN=b");
    assert_subject("{\"commonName\":\"@section\",\"organizationName\":\"$ENV::HOME\"}",
                   "O=$ENV::HOME,CN=@section");
    assert_subject("{\"commonName\":\"back\\\\slash\",\"localityName\":\" Zürich, 日本\"}",
                   "L=\\ Zürich\\, 日本,CN=back\\\\slash");
}

static void test_no_subject(void)
{
    assert_subject("null", "");
    assert_subject("false", "");
    assert_subject("{}", "");
    assert_subject("{\"commonName\":[]}", "");
}

static void test_absent_subject_is_the_requests(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(X509) certificate = issue(ca, "{\"days\":1}");
    g_autofree char *subject = certificate_subject(certificate);
    g_assert_cmpstr(subject, ==, "CN=From The Request");
}

static void test_names_that_do_not_exist(void)
{
    assert_subject_refused("{\"organizationIdentifier\":\"x\"}", "Invalid subject: organizationIdentifier");
    assert_subject_refused("{\"CN\":\"x\"}", "Invalid subject: CN");
    assert_subject_refused("{\"undefined\":\"x\"}", "Invalid subject: undefined");
    assert_subject_refused("{\"a\\nb\":\"x\"}", "Invalid subject: a?b");
    assert_subject_refused("\"CN=x\"", "Invalid subject: not an object");
    assert_subject_refused("true", "Invalid subject: not an object");
    assert_subject_refused("[]", "Invalid subject: not an object");
}

static void test_lengths(void)
{
    g_autofree char *just = g_strnfill(64, 'x');
    g_autofree char *ok = g_strdup_printf("{\"commonName\":\"%s\"}", just);
    g_autofree char *more = g_strdup_printf("{\"commonName\":\"%sx\"}", just);
    g_autofree char *shown = g_strconcat("CN=", just, NULL);
    assert_subject(ok, shown);
    assert_subject_refused(more, "Invalid subject value of commonName: it is longer than 64 characters");
    assert_subject_refused("{\"countryName\":\"USA\"}",
                           "Invalid subject value of countryName: it must have 2 letters");
    assert_subject_refused("{\"countryName\":\"U\"}",
                           "Invalid subject value of countryName: it must have 2 letters");
    assert_subject_refused("{\"commonName\":\"\"}", "Invalid subject value of commonName: it is empty");
    /* 64 characters are 128 bytes here. */
    g_autoptr(GString) wide = g_string_new("{\"commonName\":\"");
    for (int i = 0; i < 64; i++)
        g_string_append(wide, "é");
    g_string_append(wide, "\"}");
    g_autofree char *issued = issued_subject(wide->str);
    g_assert_cmpint(g_utf8_strlen(issued, -1), ==, 3 + 64);
}

static void test_characters_that_do_not_fit(void)
{
    assert_subject_refused("{\"commonName\":\"a\\nb\"}",
                           "Invalid subject value of commonName: it has control characters");
    assert_subject_refused("{\"commonName\":\"a\\u007f\"}",
                           "Invalid subject value of commonName: it has control characters");
    assert_subject_refused("{\"commonName\":\"a\\u0085b\"}",
                           "Invalid subject value of commonName: it has control characters");
    assert_subject_refused("{\"commonName\":\"a\\u202eb\"}",
                           "Invalid subject value of commonName: it has control characters");
    assert_subject_refused("{\"serialNumber\":\"a@b\"}",
                           "Invalid subject value of serialNumber: it has characters "
                           "that a PrintableString cannot hold");
    assert_subject_refused("{\"emailAddress\":\"é@b\"}",
                           "Invalid subject value of emailAddress: it has characters "
                           "that an IA5String cannot hold");
    assert_subject_refused("{\"countryName\":\"ÄÖ\"}",
                           "Invalid subject value of countryName: it has characters "
                           "that a PrintableString cannot hold");
}

static void test_a_nul_never_shortens_a_name(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    assert_issue_refused(ca, "{\"subject\":{\"commonName\":\"a\\u0000b\"}}",
                         "a JSON string holds what is no text, or does not end");
}

static void test_values_of_other_types(void)
{
    assert_subject_refused("{\"commonName\":5}", "Invalid subject value of commonName: it is not a text");
    assert_subject_refused("{\"commonName\":null}", "Invalid subject value of commonName: it is not a text");
    assert_subject_refused("{\"commonName\":{\"a\":1}}",
                           "Invalid subject value of commonName: it is not a text");
    assert_subject_refused("{\"commonName\":[\"a\",[\"b\"]]}",
                           "Invalid subject value of commonName: it is not a text");
}

static void test_too_many_values(void)
{
    g_autoptr(GString) json = g_string_new("{\"organizationalUnitName\":[\"0\"");
    for (int i = 1; i <= 100; i++)
        g_string_append_printf(json, ",\"%d\"", i);
    g_string_append(json, "]}");
    assert_subject_refused(json->str, "Invalid subject: more than 100 values");
}

/* --- subjects out of a CSR --------------------------------------------------------------------------- */

static void assert_request_subject(X509_NAME *name, const char *subject, const char *refusal)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autoptr(X509_REQ) request = X509_REQ_new();
    g_autoptr(BIO) bio = BIO_new(BIO_s_mem());
    X509_REQ_set_subject_name(request, name);
    X509_REQ_set_pubkey(request, key);
    X509_REQ_sign(request, key, EVP_sha256());
    g_assert_cmpint(PEM_write_bio_X509_REQ(bio, request), ==, 1);
    char *data = NULL;
    long size = BIO_get_mem_data(bio, &data);
    g_autofree char *pem = g_strndup(data, (gsize)size);
    g_autofree char *json = csr_request(pem, NULL);
    if (refusal) {
        assert_refused(ca, "csr", json, refusal);
        return;
    }
    g_autofree char *issued = sign(ca, "csr", json);
    g_autoptr(X509) certificate = read_certificate(issued);
    g_autofree char *text = certificate_subject(certificate);
    g_assert_cmpstr(text, ==, subject);
}

static void add(X509_NAME *name, int nid, int type, const char *value, int set)
{
    g_assert_cmpint(X509_NAME_add_entry_by_NID(name, nid, type, (const unsigned char *)value, -1, -1, set),
                    ==, 1);
}

static void test_requests_subject_is_sorted_and_flattened(void)
{
    g_autoptr(X509_NAME) name = X509_NAME_new();
    add(name, NID_commonName, V_ASN1_PRINTABLESTRING, "a", 0);
    add(name, NID_organizationalUnitName, V_ASN1_T61STRING, "u", -1);
    add(name, NID_countryName, V_ASN1_PRINTABLESTRING, "US", 0);
    assert_request_subject(name, "C=US,OU=u,CN=a", NULL);
}

static void test_requests_subject_is_never_shortened(void)
{
    g_autoptr(X509_NAME) unknown = X509_NAME_new();
    add(unknown, NID_commonName, V_ASN1_UTF8STRING, "a", 0);
    add(unknown, NID_organizationIdentifier, V_ASN1_UTF8STRING, "b", 0);
    assert_request_subject(unknown, NULL, "Invalid subject: organizationIdentifier");

    g_autoptr(X509_NAME) controls = X509_NAME_new();
    add(controls, NID_commonName, V_ASN1_UTF8STRING, "a\nb", 0);
    assert_request_subject(controls, NULL, "Invalid subject value of commonName: it has control characters");

    g_autoptr(X509_NAME) nul = X509_NAME_new();
    X509_NAME_add_entry_by_NID(nul, NID_commonName, V_ASN1_UTF8STRING, (const unsigned char *)"a\0b", 3, -1,
                               0);
    assert_request_subject(nul, NULL, "Invalid subject value of commonName: it is not a readable text");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/subject/each-attribute-has-its-type-and-place",
                    test_each_attribute_has_its_type_and_place);
    g_test_add_func("/subject/order-of-the-original", test_order_of_the_original);
    g_test_add_func("/subject/values-are-taken-literally", test_values_are_taken_literally);
    g_test_add_func("/subject/null-false-and-empty-are-no-subject", test_no_subject);
    g_test_add_func("/subject/absent-is-the-requests", test_absent_subject_is_the_requests);
    g_test_add_func("/subject/names-that-do-not-exist-are-refused", test_names_that_do_not_exist);
    g_test_add_func("/subject/lengths-are-those-of-rfc5280", test_lengths);
    g_test_add_func("/subject/characters-that-do-not-fit-are-refused", test_characters_that_do_not_fit);
    g_test_add_func("/subject/a-nul-never-shortens-a-name", test_a_nul_never_shortens_a_name);
    g_test_add_func("/subject/values-of-other-types-are-refused", test_values_of_other_types);
    g_test_add_func("/subject/too-many-values-are-refused", test_too_many_values);
    g_test_add_func("/subject/a-requests-subject-is-sorted-and-flattened",
                    test_requests_subject_is_sorted_and_flattened);
    g_test_add_func("/subject/a-requests-subject-is-never-shortened",
                    test_requests_subject_is_never_shortened);
    return g_test_run();
}
