/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Writes the part of the corpus that a person can't type: `make-fuzz-corpus tests/fuzz/corpus`. Files are
 * replaced; what else lies there (typed by hand, or found by a fuzzer) stays. */

#include "daemon/json.h"
#include "daemon/link/message/cms-content.h"
#include "daemon/link/message/envelope.h"
#include "daemon/openssl-cleanup.h"
#include "daemon/token/fake/fake-attestation.h"
#include "daemon/token/piv/piv-object.h"
#include "tests/fuzz/fuzz-keys.h"
#include "tests/support/support.h"
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

static const char *folder;

static void put(const char *target, const char *name, const void *data, gsize size)
{
    g_autofree char *directory = g_build_filename(folder, target, NULL);
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_mkdir_with_parents(directory, 0755);
    g_assert_true(g_file_set_contents(path, data, (gssize)size, NULL));
}

static void put_text(const char *target, const char *name, const char *text)
{
    put(target, name, text, strlen(text));
}

static void put_bytes(const char *target, const char *name, GBytes *bytes)
{
    put(target, name, g_bytes_get_data(bytes, NULL), g_bytes_get_size(bytes));
}

/* |smime| as it is, and its CMS alone. */
static void put_smime(const char *target, const char *name, const char *smime)
{
    g_autoptr(GBytes) der = smime_read(smime, strlen(smime), NULL);
    g_autofree char *frame_name = g_strdup_printf("%s-%s", target, name);
    put_text("smime", frame_name, smime);
    put_bytes(target, name, der);
}

static void put_signed(void)
{
    static const char *const texts[] = {"{\"siguuid\":\"9b1f6a0e\"}", ""};
    static const char *const names[] = {"json", "empty"};
    g_autoptr(X509) platform = fuzz_certificate("platform");
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GBytes) content = g_bytes_new_static(texts[i], strlen(texts[i]));
        g_autofree char *smime = envelope_sign(content, platform, fuzz_key("platform"), NULL);
        put_smime("signed", names[i], smime);
    }
    g_autoptr(BIO) in = BIO_new_mem_buf("two", 3);
    g_autoptr(CMS_ContentInfo) two = CMS_sign(NULL, NULL, NULL, in, CMS_BINARY | CMS_PARTIAL);
    CMS_add1_signer(two, platform, fuzz_key("platform"), EVP_sha256(), CMS_BINARY);
    CMS_add1_signer(two, platform, fuzz_key("platform"), EVP_sha384(), CMS_BINARY | CMS_NOATTR);
    g_assert_true(CMS_final(two, in, NULL, CMS_BINARY));
    g_autofree char *smime = cms_content_to_smime(two, SMIME_SIGNED_DATA, NULL);
    put_smime("signed", "two-signers", smime);
}

static void put_encrypted(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = g_bytes_new_static("{\"request\":{}}", 14);
    g_autoptr(GBytes) deflated = envelope_deflate(content, NULL);
    g_autoptr(X509) channel = fuzz_certificate("channel");
    g_autofree char *ec = envelope_encrypt(deflated, channel, &error);
    g_assert_no_error(error);
    put_smime("encrypted", "ec", ec);

    g_autoptr(X509) rsa_recipient = test_ca("recipient", test_key("rsa2048"));
    g_autofree char *rsa = envelope_encrypt(deflated, rsa_recipient, &error);
    g_assert_no_error(error);
    put_smime("encrypted", "rsa", rsa);

    g_autoptr(BIO) in = cms_content_source(deflated, NULL);
    STACK_OF(X509) *both = sk_X509_new_null();
    sk_X509_push(both, channel);
    sk_X509_push(both, rsa_recipient);
    g_autoptr(CMS_ContentInfo) cms = CMS_encrypt(both, in, EVP_aes_128_cbc(), CMS_BINARY | CMS_USE_KEYID);
    sk_X509_free(both);
    g_autofree char *two = cms_content_to_smime(cms, SMIME_ENVELOPED_DATA, NULL);
    put_smime("encrypted", "two-recipients", two);
}

static void put_deflated(void)
{
    g_autofree char *zeros = g_strnfill(300000, '0');
    g_autoptr(GBytes) empty = g_bytes_new_static("", 0);
    g_autoptr(GBytes) text =
        g_bytes_new_static("{\"siguuid\":\"9b1f6a0e\",\"request\":{\"csr\":\"csr\"}}", 47);
    g_autoptr(GBytes) many = g_bytes_new_static(zeros, 300000);
    GBytes *const all[] = {empty, text, many};
    static const char *const names[] = {"empty", "json", "zeros"};
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        g_autoptr(GBytes) deflated = envelope_deflate(all[i], NULL);
        put_bytes("inflate", names[i], deflated);
    }
}

static void put_template(void)
{
    static const char *const extensions[] = {"basicConstraints",
                                             "critical,CA:TRUE,pathlen:1",
                                             "keyUsage",
                                             "critical,keyCertSign,cRLSign",
                                             "subjectAltName",
                                             "DNS:ca.example.test,URI:http://ca.example.test",
                                             "1.2.3.4",
                                             "critical,ASN1:UTF8String:x",
                                             "nameConstraints",
                                             "permitted;DNS:.example.test",
                                             "tlsfeature",
                                             "status_request",
                                             "authorityInfoAccess",
                                             "OCSP;URI:http://ocsp.example.test",
                                             NULL};
    g_autoptr(X509) certificate = test_certificate(
        &(TestCertificate){.subject = "C=US,O=Example,OU=One,OU=Two,CN=Example CA", .extensions = extensions},
        fuzz_key("template"), NULL, NULL);
    g_autofree char *pem = test_certificate_pem(certificate);
    g_autofree char *request = test_request_pem("C=US,O=Example,CN=Example CA", fuzz_key("template"));
    put_text("template", "certificate", pem);
    put_text("template", "request", request);
}

static char *traditional_pem(EVP_PKEY *key)
{
    g_autoptr(BIO) out = BIO_new(BIO_s_mem());
    char *data = NULL;
    g_assert_true(PEM_write_bio_PrivateKey_traditional(out, key, NULL, NULL, 0, NULL, NULL));
    long size = BIO_get_mem_data(out, &data);
    return g_strndup(data, (gsize)size);
}

static void put_key_files(void)
{
    g_autofree char *plain = test_key_pem(fuzz_key("imported"), NULL);
    g_autofree char *encrypted = test_key_pem(fuzz_key("imported"), "fuzz");
    g_autofree char *traditional = traditional_pem(fuzz_key("imported"));
    put_text("key-file", "pkcs8", plain);
    put_text("key-file", "pkcs8-encrypted", encrypted);
    put_text("key-file", "traditional", traditional);
}

/* |options|: JSON. */
/* The first byte is fuzz-piv.c's: which answer of the card this is. */
static void put_piv_answer(const char *name, guint8 kind, const guint8 *data, gsize size)
{
    g_autoptr(GByteArray) answer = g_byte_array_new();
    g_byte_array_append(answer, &kind, 1);
    g_byte_array_append(answer, data, (guint)size);
    put("piv", name, answer->data, answer->len);
}

static void put_piv_certificate(const char *name, X509 *certificate)
{
    guint8 answer[PIV_OBJECT_MAX + 8];
    PivWriter writer = {.data = answer, .room = sizeof answer};
    gsize size;
    g_autoptr(GBytes) content = piv_certificate_build(certificate);
    const void *data = g_bytes_get_data(content, &size);
    piv_write_tlv(&writer, 0x53, data, size);
    put_piv_answer(name, 1, answer, writer.size);
}

/* Net iD's way. */
static void put_piv_zlib_certificate(const char *name, const guint8 *der, gsize size)
{
    guint8 packed[PIV_OBJECT_MAX] = {0x01, 0x00, (guint8)size, (guint8)(size >> 8)};
    guint8 answer[PIV_OBJECT_MAX + 8];
    PivWriter writer = {.data = answer, .room = sizeof answer};
    g_autoptr(GZlibCompressor) compressor = g_zlib_compressor_new(G_ZLIB_COMPRESSOR_FORMAT_ZLIB, 9);
    gsize read, written;
    g_assert_cmpint(g_converter_convert(G_CONVERTER(compressor), der, size, packed + 4, sizeof packed - 4,
                                        G_CONVERTER_INPUT_AT_END, &read, &written, NULL),
                    ==, G_CONVERTER_FINISHED);
    piv_write_tlv(&writer, 0x70, packed, 4 + written);
    piv_write_byte_tlv(&writer, 0x71, 1);
    put_piv_answer(name, 1, answer, writer.size);
}

static void put_piv(void)
{
    static const guint8 of_pin[] = {1, 1, 0xff, 5, 1, 1, 6, 2, 3, 3};
    static const guint8 administration[] = {0x80, 9, 0x81, 1, 2, 0x83, 4, 1, 2, 3, 4};
    static const guint8 point[] = {0x7f, 0x49, 5, 0x86, 3, 4, 1, 2};
    guint8 metadata[1024], inner[1024], modulus[256];
    PivWriter writer = {.data = metadata, .room = sizeof metadata};
    PivWriter key = {.data = inner, .room = sizeof inner};
    memset(modulus, 0xc5, sizeof modulus);
    piv_write_byte_tlv(&writer, 1, 0x07);
    piv_write_tlv(&writer, 2, "\2\1", 2);
    piv_write_byte_tlv(&writer, 3, 1);
    piv_write_tlv(&key, 0x81, modulus, sizeof modulus);
    piv_write_tlv(&key, 0x82, "\1\0\1", 3);
    piv_write_tlv(&writer, 4, key.data, key.size);
    put_piv_answer("metadata-pin", 0, of_pin, sizeof of_pin);
    put_piv_answer("metadata-rsa", 0, metadata, writer.size);
    put_piv_answer("public-rsa", 3, inner, key.size);
    put_piv_answer("public-point", 3, point, sizeof point);
    put_piv_answer("administration", 4, administration, sizeof administration);
    g_autofree char *text = g_strnfill(5000, 'x');
    const char *extensions[] = {"nsComment", text, NULL};
    g_autoptr(X509) small = fuzz_certificate("platform");
    g_autoptr(X509) big = test_certificate(&(TestCertificate){.subject = "CN=Big", .extensions = extensions},
                                           fuzz_key("platform"), NULL, fuzz_key("platform"));
    put_piv_certificate("certificate", small);
    put_piv_certificate("certificate-gzip", big);
    unsigned char *der = NULL;
    int size = i2d_X509(small, &der);
    put_piv_answer("attestation", 2, der, (gsize)size);
    put_piv_zlib_certificate("certificate-zlib", der, (gsize)size);
    OPENSSL_free(der);
}

static void put_csr_request(const char *name, const char *options)
{
    g_autofree char *pem = test_request_pem("C=US,O=Example,CN=srv.example.test", fuzz_key("subject"));
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(request, "csr", pem);
    if (options) {
        g_autoptr(GError) error = NULL;
        JsonObject *parsed = json_object_parse(options, strlen(options), &error);
        g_assert_no_error(error);
        json_object_set_object_member(request, "options", parsed);
    }
    g_autofree char *text = json_object_to_text(request);
    put_text("csr", name, text);
}

static void put_requests(void)
{
    put_csr_request("minimal", NULL);
    put_csr_request("dates",
                    "{\"startdate\":\"2026-11-20T23:50:38.000Z\",\"enddate\":\"2050-01-01T00:00:00+02:00\","
                    "\"subject\":null}");
    put_csr_request(
        "full",
        "{\"hash\":\"sha256\",\"days\":397,"
        "\"subject\":{\"countryName\":\"US\",\"commonName\":[\"srv.example.test\"],\"domainComponent\":["
        "\"a\",\"b\"]},"
        "\"extensions\":{\"basicConstraints\":{\"critical\":true,\"CA\":false},"
        "\"keyUsage\":{\"critical\":true,\"usages\":[\"digitalSignature\",\"keyEncipherment\"]},"
        "\"extendedKeyUsage\":{\"critical\":false,\"usages\":[\"serverAuth\",\"1.3.6.1.5.5.7.3.17\"]},"
        "\"SANs\":{\"DNS\":[\"srv.example.test\"],\"IP\":[\"192.0.2.1\",\"2001:db8::1\"],\"URI\":[\"http://"
        "x.test\"],"
        "\"email\":[\"a@b.test\"],\"RID\":[\"1.2.3\"],\"otherName\":[\"1.2.3.4;UTF8:user@example.test\"]},"
        "\"tlsfeature\":[\"status_request\"],"
        "\"authorityInfoAccess\":{\"OCSP\":[\"http://ocsp.example.test/x\"],\"caIssuers\":[\"http://"
        "ca.example.test/x\"]},"
        "\"crlDistributionPoints\":[\"http://crl.example.test/x.crl\"],"
        "\"policies\":[{\"policyIdentifier\":\"2.23.140.1.2.1\",\"CPS\":[\"https://cps.example.test\"],"
        "\"userNotice\":[{\"explicitText\":\"text\",\"organization\":\"org\",\"noticeNumbers\":[1,2]}]}],"
        "\"customOIDs\":[{\"OID\":\"1.3.6.1.4.1.311.20.2\",\"value\":\"ASN1:PRINTABLESTRING:Test\"},"
        "{\"OID\":\"1.2.3.4\",\"value\":\"critical,DER:0500\"}]}}");
    g_autoptr(X509) extra = fuzz_certificate("extra");
    g_autofree char *pem = test_certificate_pem(extra);
    g_autoptr(JsonObject) options = json_object_new();
    g_autoptr(JsonObject) request = json_object_new();
    json_object_set_string_member(options, "data", "aGVsbG8");
    json_object_set_string_member(options, "encoding", "binary");
    json_object_set_string_member(options, "outform", "PEM");
    json_object_set_string_member(options, "addcerts", pem);
    json_object_set_boolean_member(options, "smimecap", FALSE);
    json_object_set_string_member(options, "contenttype", "1.3.6.1.5.5.7.12.3");
    json_object_set_object_member(request, "options", json_object_ref(options));
    g_autofree char *text = json_object_to_text(request);
    put_text("cms", "full", text);
}

static void put_certificates(const char *name, X509 *key, X509 *token, X509 *root)
{
    X509 *certificates[] = {key, token, root};
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    for (gsize i = 0; i < G_N_ELEMENTS(certificates); i++) {
        unsigned char *der = NULL;
        int size = i2d_X509(certificates[i], &der);
        g_byte_array_append(bytes, der, (guint)size);
        OPENSSL_free(der);
    }
    put("attestation", name, bytes->data, bytes->len);
}

static void put_attestations(void)
{
    static const guint8 policies[] = {2, 3};
    g_autoptr(FakeAttester) attester = fake_attester_new();
    g_autoptr(GPtrArray) chain = fake_attester_attest(attester, fuzz_key("attested"), 1234567, policies);
    put_certificates("genuine", chain->pdata[0], chain->pdata[1], attester->root);
    put_certificates("chained", chain->pdata[0], chain->pdata[0], attester->certificate);
    g_autoptr(X509) early =
        fake_attestation_certificate("Early", attester->key, attester->root, attester->root_key, NULL, NULL);
    put_certificates("early", chain->pdata[0], early, attester->root);
}

int main(int argc, char *argv[])
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    folder = argv[1];
    put_attestations();
    put_signed();
    put_encrypted();
    put_deflated();
    put_template();
    put_key_files();
    put_piv();
    put_requests();
    return 0;
}
