/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The same CSR issued by us and by `openssl ca` with the original's settings (protocol.md 3.2.2, 3.2.3):
 * subject, issuer and extensions are equal as DER. */

#include "daemon/ca/name.h"
#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <string.h>

static const char policy[] = "[policy]\nC=optional\nST=optional\nL=optional\npostalCode=optional\nstreet="
                             "optional\nO=optional\nOU=optional\n"
                             "CN=optional\nemailAddress=optional\njurisdictionC=optional\njurisdictionST="
                             "optional\njurisdictionL=optional\n"
                             "businessCategory=optional\nserialNumber=optional\nDC=optional\nSN="
                             "optional\ntitle=optional\nGN=optional\n"
                             "UID=optional\ninitials=optional\ngenerationQualifier=optional\ndnQualifier="
                             "optional\npseudonym=optional\n";

static X509 *theirs(const TestAuthority *ca, const char *request_pem, const char *subject,
                    const char *extensions)
{
    g_autofree char *index = test_write(ca->directory, "index.txt", "");
    g_autofree char *request = test_write(ca->directory, "request.pem", request_pem);
    g_autofree char *config = g_strdup_printf("[ca]\ndefault_ca=d\n[d]\ndatabase=%s\nnew_certs_dir=%"
                                              "s\nserial=%s/serial\ndefault_md=sha256\nunique_subject=no\n"
                                              "x509_extensions=e\npreserve=yes\n%s[e]\nsubjectKeyIdentifier="
                                              "hash\nauthorityKeyIdentifier=keyid\n%s\n",
                                              index, ca->directory, ca->directory, policy, extensions);
    g_autofree char *config_path = test_write(ca->directory, "ca.cnf", config);
    g_autofree char *out = g_build_filename(ca->directory, "theirs.pem", NULL);
    GPtrArray *argv = g_ptr_array_new();
    const char *const fixed[] = {"openssl",   "ca",       "-in",        request,  "-config",
                                 config_path, "-out",     out,          "-batch", "-notext",
                                 "-utf8",     "-keyfile", ca->key_path, "-cert",  ca->certificate_path,
                                 "-policy",   "policy",   "-days",      "30",     "-rand_serial"};
    for (gsize i = 0; i < G_N_ELEMENTS(fixed); i++)
        g_ptr_array_add(argv, (gpointer)fixed[i]);
    if (subject) {
        g_ptr_array_add(argv, (gpointer) "-subj");
        g_ptr_array_add(argv, (gpointer)subject);
    }
    g_ptr_array_add(argv, NULL);
    g_autofree char *output = test_run((const char *const *)argv->pdata, NULL, 0);
    g_ptr_array_unref(argv);
    g_autofree char *pem = NULL;
    g_assert_true(g_file_get_contents(out, &pem, NULL, NULL));
    return read_certificate(pem);
}

static X509 *ours(const TestAuthority *ca, const char *request_pem, const char *options)
{
    g_autofree char *json = csr_request(request_pem, options);
    g_autofree char *pem = sign(ca, "csr", json);
    return read_certificate(pem);
}

static void assert_same_name(const X509_NAME *a, const X509_NAME *b)
{
    const unsigned char *left, *right;
    size_t left_size, right_size;
    g_assert_cmpint(X509_NAME_get0_der(a, &left, &left_size), ==, 1);
    g_assert_cmpint(X509_NAME_get0_der(b, &right, &right_size), ==, 1);
    g_assert_cmpmem(left, left_size, right, right_size);
}

static void assert_same_certificate(X509 *a, X509 *b)
{
    assert_same_name(X509_get_subject_name(a), X509_get_subject_name(b));
    assert_same_name(X509_get_issuer_name(a), X509_get_issuer_name(b));
    g_assert_cmpint(X509_get_version(a), ==, X509_get_version(b));
    g_assert_cmpint(X509_get_signature_nid(a), ==, X509_get_signature_nid(b));
    g_assert_cmpint(X509_get_ext_count(a), ==, X509_get_ext_count(b));
    for (int i = 0; i < X509_get_ext_count(a); i++) {
        unsigned char *left = NULL, *right = NULL;
        int left_size = i2d_X509_EXTENSION(X509_get_ext(a, i), &left);
        int right_size = i2d_X509_EXTENSION(X509_get_ext(b, i), &right);
        g_assert_cmpmem(left, left_size, right, right_size);
        OPENSSL_free(left);
        OPENSSL_free(right);
    }
}

static void test_subjects(void)
{
    static const struct {
        const char *theirs, *ours;
    } cases[] = {
        {"/CN=a/C=US/emailAddress=e@x.y/DC=foo/DC=bar/O=Z/OU=1/OU=2",
         "{\"commonName\":\"a\",\"countryName\":\"US\",\"emailAddress\":\"e@x.y\","
         "\"domainComponent\":[\"foo\",\"bar\"],\"organizationName\":\"Z\","
         "\"organizationalUnitName\":[\"1\",\"2\"]}"},
        {"/pseudonym=p/dnQualifier=q/generationQualifier=III/initials=i/UID=u/GN=g/title=t/SN=s/"
         "serialNumber=5/"
         "businessCategory=b/jurisdictionL=jl/jurisdictionST=js/jurisdictionC=DE/street=st "
         "1/postalCode=123/L=l/ST=x",
         "{\"pseudonym\":\"p\",\"dnQualifier\":\"q\",\"generationQualifier\":\"III\",\"initials\":\"i\","
         "\"UID\":\"u\","
         "\"givenName\":\"g\",\"title\":\"t\",\"surname\":\"s\",\"serialNumber\":\"5\",\"businessCategory\":"
         "\"b\","
         "\"jurisdictionLocalityName\":\"jl\",\"jurisdictionStateOrProvinceName\":\"js\","
         "\"jurisdictionCountryName\":\"DE\",\"streetAddress\":\"st 1\",\"postalCode\":\"123\","
         "\"localityName\":\"l\",\"stateOrProvinceName\":\"x\"}"},
        {"/CN=Grüße 日本/O=Zürich", "{\"commonName\":\"Grüße 日本\",\"organizationName\":\"Zürich\"}"},
        {"/", "null"},
    };
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *request = test_request_pem("CN=ignored", key);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *options = g_strdup_printf("{\"days\":30,\"subject\":%s}", cases[i].ours);
        g_autoptr(X509) a = ours(ca, request, options);
        g_autoptr(X509) b = theirs(ca, request, cases[i].theirs, "");
        assert_same_certificate(a, b);
    }
}

static void test_subject_of_the_request(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p384");
    g_autofree char *request = TEST_RUN("openssl", "req", "-new", "-key", ca->key_path, "-multivalue-rdn",
                                        "-subj", "/CN=b+OU=c/C=DE/O=x/O=y");
    g_autoptr(X509) a = ours(ca, request, "{\"days\":30}");
    g_autoptr(X509) b = theirs(ca, request, NULL, "");
    assert_same_certificate(a, b);
}

static void test_extensions(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("rsa2048");
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *request = test_request_pem("CN=x", key);
    g_autoptr(X509) a =
        ours(ca, request,
             "{\"days\":30,\"extensions\":{"
             "\"basicConstraints\":{\"critical\":true,\"CA\":true,\"pathlen\":3},"
             "\"keyUsage\":{\"critical\":true,\"usages\":[\"keyCertSign\",\"decipherOnly\"]},"
             "\"extendedKeyUsage\":{\"usages\":[\"serverAuth\",\"msEFS\",\"1.2.3.4\"]},"
             "\"tlsfeature\":[\"status_request\"],"
             "\"authorityInfoAccess\":{\"caIssuers\":[\"http://c.test/c\"],\"OCSP\":[\"http://o.test/o\"]},"
             "\"crlDistributionPoints\":[\"http://a.test/1.crl\",\"http://a.test/2.crl\"],"
             "\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"CPS\":[\"https://p.test\"],\"userNotice\":["
             "{\"explicitText\":\"text\",\"organization\":\"Org\",\"noticeNumbers\":[1,200]}]},{"
             "\"policyIdentifier\":\"1.2.4\"}],"
             "\"customOIDs\":[{\"OID\":\"1.2.3.4\",\"value\":\"critical,ASN1:NULL\"},"
             "{\"OID\":\"1.2.3.5\",\"value\":\"ASN1:PRINTABLESTRING:Test\"},{\"OID\":\"1.2.3.6\",\"value\":"
             "\"DER:0500\"}],"
             "\"SANs\":{\"DNS\":[\"a.test\"],\"IP\":[\"192.0.2.1\",\"2001:db8::1\"],\"URI\":[\"urn:a:b\"],"
             "\"email\":[\"a@b.c\"],\"RID\":[\"1.2.3\"],\"otherName\":[\"msUPN;UTF8:user@example.test\","
             "\"1.2.3.4;UTCTIME:240101010101Z\"]}}}");
    g_autoptr(X509) b = theirs(
        ca, request, NULL,
        "basicConstraints=critical,CA:TRUE,pathlen:3\nkeyUsage=critical,keyCertSign,decipherOnly\n"
        "extendedKeyUsage=serverAuth,msEFS,1.2.3.4\ntlsfeature=status_request\n"
        "authorityInfoAccess=OCSP;URI:http://o.test/o,caIssuers;URI:http://c.test/c\n"
        "crlDistributionPoints=URI:http://a.test/1.crl,URI:http://a.test/2.crl\n"
        "certificatePolicies=ia5org,@p1,1.2.4\n1.2.3.4=critical,ASN1:NULL\n1.2.3.5=ASN1:PRINTABLESTRING:"
        "Test\n"
        "1.2.3.6=DER:0500\nsubjectAltName=@n\n"
        "[p1]\npolicyIdentifier=1.2.3\nCPS.1=https://p.test\nuserNotice.1=@u1\n"
        "[u1]\nexplicitText=text\norganization=Org\nnoticeNumbers=1,200\n"
        "[n]\nDNS.1=a.test\nIP.1=192.0.2.1\nIP.2=2001:db8::1\nURI.1=urn:a:b\nemail.1=a@b.c\nRID.1=1.2.3\n"
        "otherName.1=msUPN;UTF8:user@example.test\notherName.2=1.2.3.4;UTCTIME:240101010101Z\n");
    assert_same_certificate(a, b);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/openssl-ca/subjects-are-equal", test_subjects);
    g_test_add_func("/openssl-ca/subjects-of-requests-are-equal", test_subject_of_the_request);
    g_test_add_func("/openssl-ca/extensions-are-equal", test_extensions);
    return g_test_run();
}
