/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The `extensions` of csr requests, one by one: what they become, and what is refused (protocol.md 3.2.4 and
 * C). */

#include "daemon/openssl-cleanup.h"
#include "tests/unit/ca/signing-fixture.h"
#include <string.h>

typedef struct Case {
    const char *json;    /* the extensions object */
    const char *heading; /* of openssl's text */
    const char *text;    /* NULL: the extension is not there */
} Case;

typedef struct Refusal {
    const char *json, *message;
} Refusal;

static void check_cases(const Case *cases, gsize count)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    for (gsize i = 0; i < count; i++) {
        g_autofree char *options = g_strdup_printf("{\"extensions\":%s}", cases[i].json);
        g_autoptr(X509) certificate = issue(ca, options);
        g_autofree char *text = extension_text(certificate, cases[i].heading);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void check_refusals(const Refusal *cases, gsize count)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    for (gsize i = 0; i < count; i++) {
        g_autofree char *options = g_strdup_printf("{\"extensions\":%s}", cases[i].json);
        assert_issue_refused(ca, options, cases[i].message);
    }
}

static void test_basic_constraints(void)
{
    static const Case cases[] = {
        {"{\"basicConstraints\":{\"critical\":true,\"CA\":true,\"pathlen\":0}}",
         "Basic Constraints: critical", "CA:TRUE, pathlen:0"},
        {"{\"basicConstraints\":{\"CA\":true,\"pathlen\":-1}}", "Basic Constraints:", "CA:TRUE"},
        {"{\"basicConstraints\":{\"CA\":false}}", "Basic Constraints:", "CA:FALSE"},
        {"{\"basicConstraints\":{}}", "Basic Constraints:", NULL},
        {"{\"basicConstraints\":null}", "Basic Constraints:", NULL},
    };
    static const Refusal refusals[] = {
        {"{\"basicConstraints\":{\"CA\":\"true\"}}",
         "Provided basicConstraints parameter 'CA' is type string, boolean required"},
        {"{\"basicConstraints\":{\"CA\":1}}",
         "Provided basicConstraints parameter 'CA' is type number, boolean required"},
        {"{\"basicConstraints\":{\"CA\":null}}",
         "Provided basicConstraints parameter 'CA' is type object, boolean required"},
        {"{\"basicConstraints\":{\"critical\":\"yes\",\"CA\":true}}",
         "Provided basicConstraints parameter 'critical' is type string, boolean required"},
        {"{\"basicConstraints\":{\"CA\":true,\"pathlen\":\"0\"}}",
         "Provided basicConstraints parameter 'pathlen' is type string, number required"},
        {"{\"basicConstraints\":{\"CA\":true,\"pathlen\":1.5}}", "Invalid basicConstraints: pathlen"},
        {"{\"basicConstraints\":{\"CA\":false,\"pathlen\":1}}",
         "Invalid basicConstraints: pathlen without CA"},
        {"{\"basicConstraints\":{\"critical\":true}}", "Basic constraints cannot contain only 'critical'"},
        {"{\"basicConstraints\":{\"ca\":true}}", "Invalid basicConstraints: ca"},
        {"{\"basicConstraints\":[]}", "Invalid basicConstraints: not an object"},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_key_usage(void)
{
    static const Case cases[] = {
        {"{\"keyUsage\":{\"critical\":true,\"usages\":[\"keyCertSign\",\"cRLSign\",\"digitalSignature\","
         "\"nonRepudiation\",\"keyEncipherment\",\"dataEncipherment\",\"keyAgreement\",\"encipherOnly\","
         "\"decipherOnly\"]}}",
         "Key Usage: critical",
         "Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment, Key Agreement, "
         "Certificate Sign, "
         "CRL Sign, Encipher Only, Decipher Only"},
        {"{\"keyUsage\":{\"usages\":[\"keyAgreement\"]}}", "Key Usage:", "Key Agreement"},
        {"{\"keyUsage\":{\"critical\":false,\"usages\":[]}}", "Key Usage:", NULL},
        {"{\"keyUsage\":{}}", "Key Usage:", NULL},
    };
    static const Refusal refusals[] = {
        {"{\"keyUsage\":{\"usages\":[\"sign\"]}}", "Invalid keyUsage: sign"},
        {"{\"keyUsage\":{\"usages\":[\"digitalSignature\\nx\"]}}", "Invalid keyUsage: digitalSignature?x"},
        {"{\"keyUsage\":{\"usages\":\"digitalSignature\"}}", "Invalid keyUsage: not a list of texts"},
        {"{\"keyUsage\":{\"usages\":[1]}}", "Invalid keyUsage: not a list of texts"},
        {"{\"keyUsage\":{\"critical\":true,\"usages\":[]}}", "Invalid keyUsage: critical without usages"},
        {"{\"keyUsage\":{\"critical\":1,\"usages\":[]}}", "Invalid keyUsage: critical is not true or false"},
        {"{\"keyUsage\":{\"usage\":[]}}", "Invalid keyUsage: usage"},
        {"{\"keyUsage\":[\"digitalSignature\"]}", "Invalid keyUsage: not an object"},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_extended_key_usage(void)
{
    static const Case cases[] = {
        {"{\"extendedKeyUsage\":{\"critical\":true,\"usages\":[\"serverAuth\",\"clientAuth\",\"codeSigning\","
         "\"emailProtection\",\"timeStamping\",\"OCSPSigning\",\"msCodeInd\",\"msCodeCom\",\"msCTLSign\","
         "\"msEFS\","
         "\"ipsecIKE\",\"ipsecEndSystem\",\"ipsecTunnel\",\"ipsecUser\",\"1.2.3.4.5\",\"2.999.1\"]}}",
         "Extended Key Usage: critical",
         "TLS Web Server Authentication, TLS Web Client Authentication, Code Signing, E-mail Protection, "
         "Time "
         "Stamping, OCSP Signing, Microsoft Individual Code Signing, Microsoft Commercial Code Signing, "
         "Microsoft "
         "Trust List Signing, Microsoft Encrypted File System, ipsec Internet Key Exchange, IPSec End "
         "System, IPSec "
         "Tunnel, IPSec User, 1.2.3.4.5, 2.999.1"},
    };
    static const Refusal refusals[] = {
        {"{\"extendedKeyUsage\":{\"usages\":[\"anyExtendedKeyUsage\"]}}",
         "Invalid extendedKeyUsage: anyExtendedKeyUsage"},
        {"{\"extendedKeyUsage\":{\"usages\":[\"3.1.2\"]}}", "Invalid extendedKeyUsage: 3.1.2"},
        {"{\"extendedKeyUsage\":{\"usages\":[\"1..2\"]}}", "Invalid extendedKeyUsage: 1..2"},
        {"{\"extendedKeyUsage\":{\"usages\":[\"1.2,clientAuth\"]}}",
         "Invalid extendedKeyUsage: 1.2,clientAuth"},
        {"{\"extendedKeyUsage\":{\"usages\":[\"\"]}}", "Invalid extendedKeyUsage: "},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_tls_feature(void)
{
    static const Case cases[] = {
        {"{\"tlsfeature\":[\"status_request\"]}", "TLS Feature:", "status_request"},
        {"{\"tlsfeature\":[]}", "TLS Feature:", NULL},
        {"{\"tlsfeature\":null}", "TLS Feature:", NULL},
    };
    static const Refusal refusals[] = {
        {"{\"tlsfeature\":[\"status_request_v2\"]}", "Invalid tlsfeature: status_request_v2"},
        {"{\"tlsfeature\":\"status_request\"}", "Invalid tlsfeature: not a list of texts"},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_alternative_names(void)
{
    static const Case cases[] = {
        {"{\"SANs\":{\"DNS\":[\"a.test\",\"*.b.test\"],\"IP\":[\"192.0.2.1\",\"2001:db8::1\"],"
         "\"URI\":[\"urn:uuid:5\"],\"email\":[\"a@b.test\"],\"RID\":[\"1.2.3\"]}}",
         "Alternative Name:",
         "DNS:a.test, DNS:*.b.test, IP Address:192.0.2.1, IP Address:2001:DB8:0:0:0:0:0:1, URI:urn:uuid:5, "
         "email:a@b.test, Registered ID:1.2.3"},
        {"{\"SANs\":{\"otherName\":[\"msUPN;UTF8:user@example.test\"]}}",
         "Alternative Name:", "othername: UPN::user@example.test"},
        {"{\"SANs\":{\"otherName\":[\"1.3.6.1.4.1.311.20.2.3;UTF8String:Grü;ße:x,y\"]}}",
         "Alternative Name:", "othername: UPN::Grü;ße:x,y"},
        {"{\"SANs\":{\"otherName\":[\"1.2.3.4;UTCTIME:240101010101Z\"]}}",
         "Alternative Name:", "othername: 1.2.3.4::<unsupported>"},
        {"{\"SANs\":{\"dirName\":[{\"commonName\":\"x/CN=y\",\"countryName\":\"US\"}]}}",
         "Alternative Name:", "DirName:/C=US/CN=x\\/CN=y"},
        {"{\"SANs\":null}", "Alternative Name:", NULL},
        {"{\"SANs\":{}}", "Alternative Name:", NULL},
        {"{\"SANs\":{\"DNS\":[],\"IP\":null}}", "Alternative Name:", NULL},
    };
    static const Refusal refusals[] = {
        {"{\"SANs\":{\"dns\":[\"a\"]}}", "Invalid SANs type : \"dns\""},
        {"{\"SANs\":{\"DNS\":\"a.test\"}}", "Invalid SANs DNS: not a list of texts"},
        {"{\"SANs\":{\"DNS\":[\"a.test,IP:192.0.2.1\"]}}", "Invalid SANs DNS: a.test,IP:192.0.2.1"},
        {"{\"SANs\":{\"DNS\":[\"a\\n[x]\"]}}", "Invalid SANs DNS: a?[x]"},
        {"{\"SANs\":{\"DNS\":[\"ä.test\"]}}", "Invalid SANs DNS: ä.test"},
        {"{\"SANs\":{\"DNS\":[\"\"]}}", "Invalid SANs DNS: "},
        {"{\"SANs\":{\"IP\":[\"192.0.2.256\"]}}", "Invalid SANs IP: 192.0.2.256"},
        {"{\"SANs\":{\"IP\":[\"192.0.2.0/24\"]}}", "Invalid SANs IP: 192.0.2.0/24"},
        {"{\"SANs\":{\"URI\":[\"no scheme\"]}}", "Invalid SANs URI: no scheme"},
        {"{\"SANs\":{\"email\":[\"copy\"]}}", "Invalid SANs email: copy"},
        {"{\"SANs\":{\"RID\":[\"commonName\"]}}", "Invalid SANs RID: commonName"},
        {"{\"SANs\":{\"otherName\":[\"1.2.3;SEQUENCE:section\"]}}",
         "Invalid SANs otherName: 1.2.3;SEQUENCE:section"},
        {"{\"SANs\":{\"otherName\":[\"1.2.3;EXPLICIT:1,UTF8:x\"]}}",
         "Invalid SANs otherName: 1.2.3;EXPLICIT:1,UTF8:x"},
        {"{\"SANs\":{\"otherName\":[\"1.2.3\"]}}", "Invalid SANs otherName: 1.2.3"},
        {"{\"SANs\":{\"otherName\":[\"noSuchName;UTF8:x\"]}}", "Invalid SANs otherName: noSuchName;UTF8:x"},
        {"{\"SANs\":{\"dirName\":[\"section\"]}}", "Invalid SANs dirName: not a list of objects"},
        {"{\"SANs\":{\"dirName\":[{\"x\":\"y\"}]}}", "Invalid subject: x"},
        {"{\"SANs\":[]}", "Invalid SANs: not an object"},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_addresses(void)
{
    static const Case cases[] = {
        {"{\"authorityInfoAccess\":{\"caIssuers\":[\"http://c.test\"],\"OCSP\":[\"http://o.test/a,b;c\"]}}",
         "Authority Information Access:", "OCSP - URI:http://o.test/a,b;c\nCA Issuers - URI:http://c.test"},
        {"{\"authorityInfoAccess\":{\"OCSP\":null}}", "Authority Information Access:", NULL},
        {"{\"authorityInfoAccess\":null}", "Authority Information Access:", NULL},
        {"{\"crlDistributionPoints\":[\"http://a.test/1.crl\",\"http://a.test/2.crl\"]}",
         "CRL Distribution Points:",
         "Full Name:\nURI:http://a.test/1.crl\nFull Name:\nURI:http://a.test/2.crl"},
        {"{\"crlDistributionPoints\":[]}", "CRL Distribution Points:", NULL},
        {"{\"crlDistributionPoints\":null}", "CRL Distribution Points:", NULL},
    };
    static const Refusal refusals[] = {
        {"{\"authorityInfoAccess\":{\"ocsp\":[]}}", "Invalid authorityInfoAccess: ocsp"},
        {"{\"authorityInfoAccess\":{\"OCSP\":[\"http://a\\n[b]\"]}}",
         "Invalid authorityInfoAccess: http://a?[b]"},
        {"{\"authorityInfoAccess\":{\"OCSP\":\"http://a\"}}",
         "Invalid authorityInfoAccess: not a list of texts"},
        {"{\"crlDistributionPoints\":[\"x\"]}", "Invalid crlDistributionPoints: x"},
        {"{\"crlDistributionPoints\":{}}", "Invalid crlDistributionPoints: not a list of texts"},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_policies(void)
{
    static const Case cases[] = {
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"CPS\":\"https://a.test\"},"
         "{\"CPS\":\"https://skipped.test\"},"
         "{\"policyIdentifier\":\"1.2.4\",\"CPS\":[\"https://b.test\",\"https://c.test\"]}]}",
         "Certificate Policies:",
         "Policy: 1.2.3\nCPS: https://a.test\nPolicy: 1.2.4\nCPS: https://b.test\nCPS: https://c.test"},
        /* In the original the second notice ends up in both. */
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"userNotice\":[{\"explicitText\":\"one\"}]},"
         "{\"policyIdentifier\":\"1.2.4\",\"userNotice\":[{\"explicitText\":\"zwölf\"},"
         "{\"organization\":\"Org\",\"noticeNumbers\":[1,2]}]}]}",
         "Certificate Policies:",
         "Policy: 1.2.3\nUser Notice:\nExplicit Text: one\nPolicy: 1.2.4\nUser Notice:\nExplicit Text: "
         "zwölf\nUser "
         "Notice:\nOrganization: Org\nNumbers: 1, 2"},
        {"{\"policies\":[]}", "Certificate Policies:", NULL},
        {"{\"policies\":null}", "Certificate Policies:", NULL},
    };
    static const Refusal refusals[] = {
        {"{\"policies\":{}}", "Invalid policies: not a list of objects"},
        {"{\"policies\":[\"1.2.3\"]}", "Invalid policies: not a list of objects"},
        {"{\"policies\":[{\"policyIdentifier\":\"@x\"}]}", "Invalid policies: @x"},
        {"{\"policies\":[{\"policyIdentifier\":5}]}", "Invalid policies: policyIdentifier is not a string"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\"},{\"policyIdentifier\":\"1.2.3\"}]}",
         "Invalid policies: 1.2.3 is there twice"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"cps\":\"x\"}]}", "Invalid policies: cps"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"CPS\":\"x\"}]}", "Invalid policies CPS: x"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"userNotice\":[{\"organization\":\"x\"}]}]}",
         "Invalid policies: organization and noticeNumbers need each other"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"userNotice\":[{\"organization\":\"x\","
         "\"noticeNumbers\":[\"1\"]}]}]}",
         "Invalid policies: noticeNumbers is not a list of integers"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"userNotice\":[{\"explicitText\":\"a\\nb\"}]}]}",
         "Invalid policies: a notice text must be one line of 1 to 200 characters"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"userNotice\":[{\"text\":\"a\"}]}]}",
         "Invalid policies: text"},
        {"{\"policies\":[{\"policyIdentifier\":\"1.2.3\",\"userNotice\":{}}]}",
         "Invalid policies: userNotice is not a list of objects"},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_custom(void)
{
    static const Case cases[] = {
        {"{\"customOIDs\":[{\"OID\":\"1.2.3.4\",\"value\":\"ASN1:PRINTABLESTRING:Test\"}]}",
         "1.2.3.4:", "..Test"},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3.4\",\"value\":\"critical,ASN1:NULL\"}]}", "1.2.3.4: critical",
         ".."},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3.4\",\"value\":\"critical, DER:0C:02:61:62\"}]}",
         "1.2.3.4: critical", "..ab"},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3.4\",\"value\":\"ASN1:FORMAT:HEX,OCT:6162\"}]}",
         "1.2.3.4:", "..ab"},
        {"{\"customOIDs\":[{\"OID\":\"2.5.29.19\",\"value\":\"DER:30030101FF\"}]}",
         "Basic Constraints:", "CA:TRUE"},
        {"{\"customOIDs\":[]}", "1.2.3.4", NULL},
        {"{\"customOIDs\":null}", "1.2.3.4", NULL},
    };
#define BAD_VALUE "Invalid customOIDs: the value of 1.2.3 is not DER:hex or ASN1:TYPE:value"
    static const Refusal refusals[] = {
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"@section\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"ASN1:SEQUENCE:section\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"ASN1:SET:section\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"ASN1:SEQWRAP,SEQUENCE:s\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"ASN1:UTF8:a\\n[openssl_init]\\nproviders=x\"}]}",
         BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"DER:05000\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"DER:0500ff\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"DER:\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"DER:xx\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"CA:TRUE\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":\"\"}]}", BAD_VALUE},
        {"{\"customOIDs\":[{\"OID\":\"basicConstraints\",\"value\":\"ASN1:NULL\"}]}",
         "Invalid customOIDs: basicConstraints"},
        {"{\"customOIDs\":[{\"OID\":\"2.5.29.19\",\"value\":\"ASN1:NULL\"}]}",
         "Invalid customOIDs: the value of 2.5.29.19 is of another kind"},
        {"{\"customOIDs\":[{\"OID\":\"2.5.29.14\",\"value\":\"DER:0400\"}]}",
         "Invalid extension: X509v3 Subject Key Identifier is there twice"},
        {"{\"basicConstraints\":{\"CA\":false},\"customOIDs\":[{\"OID\":\"2.5.29.19\",\"value\":\"DER:"
         "30030101FF\"}]}",
         "Invalid extension: X509v3 Basic Constraints is there twice"},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\"}]}", "Invalid customOIDs: OID and value are needed"},
        {"{\"customOIDs\":[{\"OID\":\"1.2.3\",\"value\":5}]}", "Invalid customOIDs: value is not a string"},
        {"{\"customOIDs\":{}}", "Invalid customOIDs: not a list of objects"},
        {"{\"customOIDs\":[1]}", "Invalid customOIDs: not a list of objects"},
    };
    check_cases(cases, G_N_ELEMENTS(cases));
    check_refusals(refusals, G_N_ELEMENTS(refusals));
}

static void test_order_is_the_requests_with_names_last(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(X509) certificate =
        issue(ca, "{\"extensions\":{\"SANs\":{\"DNS\":[\"a\"]},\"tlsfeature\":[\"status_request\"],"
                  "\"keyUsage\":{\"usages\":[\"cRLSign\"]},\"basicConstraints\":{\"CA\":true}}}");
    static const int order[] = {
        NID_subject_key_identifier, NID_authority_key_identifier, NID_tlsfeature, NID_key_usage,
        NID_basic_constraints,      NID_subject_alt_name};
    g_assert_cmpint(X509_get_ext_count(certificate), ==, G_N_ELEMENTS(order));
    for (int i = 0; i < (int)G_N_ELEMENTS(order); i++)
        g_assert_cmpint(OBJ_obj2nid(X509_EXTENSION_get_object(X509_get_ext(certificate, i))), ==, order[i]);
}

static void test_unknown_and_oversized(void)
{
    static const Refusal refusals[] = {
        {"{\"nameConstraints\":{}}", "Invalid extension: nameConstraints"},
        {"{\"subjectKeyIdentifier\":\"hash\"}", "Invalid extension: subjectKeyIdentifier"},
        {"[]", "Invalid extensions: not an object"},
    };
    check_refusals(refusals, G_N_ELEMENTS(refusals));

    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autoptr(GString) many = g_string_new("{\"extensions\":{\"SANs\":{\"DNS\":[\"a\"");
    for (int i = 0; i < 1000; i++)
        g_string_append_printf(many, ",\"n%d.test\"", i);
    g_string_append(many, "]}}}");
    assert_issue_refused(ca, many->str, "Invalid SANs DNS: more than 1000 entries");
    g_autofree char *path = g_strnfill(2100, 'a');
    g_autofree char *uri =
        g_strdup_printf("{\"extensions\":{\"crlDistributionPoints\":[\"http://%s\"]}}", path);
    assert_issue_refused(ca, uri, "Invalid crlDistributionPoints: a URI is longer than 2048 characters");
}

static void test_a_refusal_is_one_short_line(void)
{
    g_autoptr(TestAuthority) ca = test_authority_new("p256");
    g_autofree char *name = g_strnfill(500, 'x');
    g_autofree char *options = g_strdup_printf("{\"extensions\":{\"%s\":1}}", name);
    g_autofree char *start = g_strndup(name, 176);
    g_autofree char *message = g_strdup_printf("Invalid extension: %s…", start);
    assert_issue_refused(ca, options, message);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/extensions/basic-constraints", test_basic_constraints);
    g_test_add_func("/extensions/key-usage", test_key_usage);
    g_test_add_func("/extensions/extended-key-usage", test_extended_key_usage);
    g_test_add_func("/extensions/tls-feature", test_tls_feature);
    g_test_add_func("/extensions/alternative-names", test_alternative_names);
    g_test_add_func("/extensions/addresses", test_addresses);
    g_test_add_func("/extensions/policies-keep-their-own-notices", test_policies);
    g_test_add_func("/extensions/custom-ones-cannot-refer-to-a-configuration", test_custom);
    g_test_add_func("/extensions/order-is-the-requests-with-names-last",
                    test_order_is_the_requests_with_names_last);
    g_test_add_func("/extensions/unknown-and-oversized-are-refused", test_unknown_and_oversized);
    g_test_add_func("/extensions/a-refusal-is-one-short-line", test_a_refusal_is_one_short_line);
    return g_test_run();
}
