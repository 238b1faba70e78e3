/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Signed messages: ours judged by the openssl command, its messages read by us, and everything that must not
 * be believed. Odd messages are made with OpenSSL's CMS functions directly. */

#include "daemon/error.h"
#include "daemon/link/cms-content.h"
#include "tests/unit/link/signers.h"
#include <string.h>

static const char text[] = "{\"siguuid\":\"9b1f6a0e\"}";

static GBytes *content_of(const char *words)
{
    return g_bytes_new(words, strlen(words));
}

static EnvelopeSigned *verify(const char *smime, GError **error)
{
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    return envelope_verify(smime, strlen(smime), trust, error);
}

static void assert_believed(const char *smime, const char *words, const char *by)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeSigned) message = verify(smime, &error);
    g_assert_no_error(error);
    g_assert_cmpmem(g_bytes_get_data(message->content, NULL), g_bytes_get_size(message->content), words,
                    strlen(words));
    g_assert_cmpint(X509_cmp(message->signer, signer(by)->certificate), ==, 0);
    gint64 age = g_get_real_time() / G_USEC_PER_SEC - message->signing_time;
    g_assert_cmpint(age, >=, 0);
    g_assert_cmpint(age, <, 60);
}

static void assert_refused_by(const char *smime, SignerPurpose purpose, IothsmError code, const char *words)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeTrust) trust = signer_trust(purpose);
    g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), trust, &error);
    g_assert_null(message);
    g_assert_error(error, IOTHSM_ERROR, (gint)code);
    if (!strstr(error->message, words))
        g_error("\"%s\" does not say \"%s\"", error->message, words);
}

static void assert_refused(const char *smime, IothsmError code, const char *words)
{
    assert_refused_by(smime, SIGNER_PURPOSE_SMIMESIGN, code, words);
}

/* A signed message as its parts; what is left zero is as usual. */
typedef struct Recipe {
    X509 *certificate;
    EVP_PKEY *key;
    const char *digest;
    unsigned flags;
    X509 *extra;          /* one more certificate in the message */
    int copies;           /* so many times */
    const Signer *second; /* signs, too */
    const char *type;     /* eContentType */
} Recipe;

static CMS_ContentInfo *cook(const Recipe *recipe)
{
    unsigned flags = CMS_BINARY | recipe->flags;
    BIO *in = BIO_new_mem_buf(text, -1);
    CMS_ContentInfo *cms = CMS_sign(NULL, NULL, NULL, in, flags | CMS_PARTIAL);
    g_assert_nonnull(cms);
    if (recipe->type) {
        ASN1_OBJECT *type = OBJ_txt2obj(recipe->type, 1);
        g_assert_true(CMS_set1_eContentType(cms, type));
        ASN1_OBJECT_free(type);
    }
    const EVP_MD *digest = EVP_get_digestbyname(recipe->digest ? recipe->digest : "sha256");
    g_assert_nonnull(CMS_add1_signer(cms, recipe->certificate, recipe->key, digest, flags));
    if (recipe->second)
        g_assert_nonnull(
            CMS_add1_signer(cms, recipe->second->certificate, recipe->second->key, digest, flags));
    for (int i = 0; i < recipe->copies; i++)
        g_assert_true(CMS_add1_cert(cms, recipe->extra));
    g_assert_true(CMS_final(cms, in, NULL, flags));
    BIO_free(in);
    return cms;
}

static char *serve(CMS_ContentInfo *cms)
{
    g_autoptr(GError) error = NULL;
    char *smime = cms_content_to_smime(cms, SMIME_SIGNED_DATA, &error);
    g_assert_no_error(error);
    CMS_ContentInfo_free(cms);
    return smime;
}

static char *signed_by(const char *name)
{
    return serve(cook(&(Recipe){.certificate = signer(name)->certificate, .key = signer(name)->key}));
}

static void openssl_verifies_what_we_sign(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *pinned = signer_write(directory, "pinned");
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *smime =
        envelope_sign(content, signer("channel")->certificate, signer("channel")->key, &error);
    g_assert_no_error(error);
    g_assert_null(strchr(smime, '\r'));

    g_autofree char *file = test_write(directory, "message", smime);
    g_autofree char *out = g_build_filename(directory, "out", NULL);
    g_free(TEST_RUN("openssl", "cms", "-verify", "-no-CApath", "-no-CAstore", "-CAfile", pinned, "-inform",
                    "SMIME", "-binary", "-in", file, "-out", out));
    g_autofree char *back = NULL;
    g_assert_true(g_file_get_contents(out, &back, NULL, NULL));
    g_assert_cmpstr(back, ==, text);
}

/* protocol.md 1.5, field by field. */
static void what_we_sign_has_the_agreed_form(void)
{
    g_autofree char *directory = test_directory();
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *smime =
        envelope_sign(content, signer("channel")->certificate, signer("channel")->key, NULL);
    g_autofree char *file = test_write(directory, "message", smime);
    signer_assert_printed(
        smime, (const char *const[]){
                   "contentType: pkcs7-signedData", "eContentType: pkcs7-data", "version: 1 digestAlgorithms",
                   "algorithm: sha256 (2.16.840.1.101.3.4.2.1) parameter: <ABSENT> encapContentInfo",
                   "crls: <ABSENT> signerInfos: version: 1 d.issuerAndSerialNumber", "object: contentType",
                   "object: signingTime (1.2.840.113549.1.9.5) set: UTCTIME:", "object: messageDigest",
                   "object: S/MIME Capabilities",
                   "signatureAlgorithm: algorithm: rsaEncryption (1.2.840.113549.1.1.1) parameter: NULL",
                   "unsignedAttrs: <ABSENT>", NULL});
    g_autofree char *certificates = TEST_RUN("openssl", "cms", "-verify", "-noverify", "-inform", "SMIME",
                                             "-in", file, "-certsout", "/dev/stdout", "-out", "/dev/null");
    const char *first = strstr(certificates, "-----BEGIN CERTIFICATE-----");
    g_assert_nonnull(first);
    g_assert_null(strstr(first + 1, "-----BEGIN CERTIFICATE-----"));
}

static void we_believe_what_the_platform_signs_with_openssl(void)
{
    g_autofree char *directory = test_directory();
    static const char *const names[] = {"platform", "platform-ec"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *certificate = signer_write(directory, names[i]);
        g_autofree char *key = g_strdup_printf("%s/%s.key", directory, names[i]);
        g_autofree char *data = test_write(directory, "data", text);
        g_autofree char *smime = TEST_RUN("openssl", "cms", "-sign", "-in", data, "-signer", certificate,
                                          "-inkey", key, "-outform", "SMIME", "-binary", "-nodetach");
        assert_believed(smime, text, names[i]);
        g_auto(GStrv) lines = g_strsplit(smime, "\n", -1);
        g_autofree char *with_crlf = g_strjoinv("\r\n", lines);
        assert_believed(with_crlf, text, names[i]);
    }
}

static void content_comes_back_unchanged(void)
{
    static const struct {
        const char *data;
        gsize size;
    } contents[] = {{"", 0}, {"\0", 1}, {"a\nb\r\nc\r\n\0\n", 10}, {"MIME-Version: 1.0\n\nabc", 22}};
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    for (gsize i = 0; i < G_N_ELEMENTS(contents); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(GBytes) content = g_bytes_new_static(contents[i].data, contents[i].size);
        g_autofree char *smime =
            envelope_sign(content, signer("platform")->certificate, signer("platform")->key, &error);
        g_assert_no_error(error);
        g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), trust, &error);
        g_assert_no_error(error);
        g_assert_true(g_bytes_equal(content, message->content));
    }
}

static void clear_signed_and_detached_are_refused(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *certificate = signer_write(directory, "platform");
    g_autofree char *key = g_strdup_printf("%s/platform.key", directory);
    g_autofree char *data = test_write(directory, "data", text);
    g_autofree char *clear = TEST_RUN("openssl", "cms", "-sign", "-in", data, "-signer", certificate,
                                      "-inkey", key, "-outform", "SMIME", "-binary");
    assert_refused(clear, IOTHSM_ERROR_INVALID, "clear-signed");

    g_autofree char *detached = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                     .key = signer("platform")->key,
                                                     .flags = CMS_DETACHED}));
    assert_refused(detached, IOTHSM_ERROR_INVALID, "detached");
}

static void what_is_not_a_signed_message_is_refused(void)
{
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *encrypted = envelope_encrypt(content, signer("platform")->certificate, NULL);
    assert_refused(encrypted, IOTHSM_ERROR_INVALID, "not signed");
    assert_refused("", IOTHSM_ERROR_INVALID, "not S/MIME");

    g_autofree char *junk = smime_write((const guint8 *)"0\x03\x02\x01\x01", 5, SMIME_SIGNED_DATA);
    assert_refused(junk, IOTHSM_ERROR_INVALID, "does not hold CMS");

    g_autofree char *other = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                  .key = signer("platform")->key,
                                                  .type = "1.3.6.1.5.5.7.12.3"}));
    assert_refused(other, IOTHSM_ERROR_INVALID, "plain data");
}

/* The message with |change| made to its DER, framed again. */
static char *tampered(const char *smime, void (*change)(GByteArray *der))
{
    g_autoptr(GBytes) bytes = smime_read(smime, strlen(smime), NULL);
    g_autoptr(GByteArray) der = g_byte_array_new();
    g_byte_array_append(der, g_bytes_get_data(bytes, NULL), (guint)g_bytes_get_size(bytes));
    change(der);
    return smime_write(der->data, der->len, SMIME_SIGNED_DATA);
}

static void change_content(GByteArray *der)
{
    guint8 *found = memmem(der->data, der->len, text, strlen(text));
    g_assert_nonnull(found);
    found[2] ^= 1;
}

static void change_signature(GByteArray *der)
{
    der->data[der->len - 1] ^= 1;
}

static void change_tail(GByteArray *der)
{
    g_byte_array_append(der, (const guint8 *)"\0", 1);
}

static void cut_tail(GByteArray *der)
{
    g_byte_array_set_size(der, der->len - 1);
}

static void altered_messages_are_refused(void)
{
    g_autofree char *smime = signed_by("platform");
    assert_believed(smime, text, "platform");
    static void (*const changes[])(GByteArray *) = {change_content, change_signature};
    for (gsize i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autofree char *altered = tampered(smime, changes[i]);
        assert_refused(altered, IOTHSM_ERROR_INVALID, "signature is wrong");
    }
    g_autofree char *longer = tampered(smime, change_tail);
    assert_refused(longer, IOTHSM_ERROR_INVALID, "behind its CMS");
    g_autofree char *shorter = tampered(smime, cut_tail);
    assert_refused(shorter, IOTHSM_ERROR_INVALID, "does not hold CMS");
    g_autofree char *garbage = g_strconcat(smime, "and more\n", NULL);
    assert_refused(garbage, IOTHSM_ERROR_INVALID, "something else");
}

static void truncated_anywhere_is_refused(void)
{
    g_autofree char *smime = signed_by("platform");
    gsize whole = strlen(g_strchomp(smime));
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    for (gsize size = 0; size < whole; size++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(envelope_verify(smime, size, trust, &error));
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
    }
}

static void strangers_are_refused(void)
{
    g_autofree char *outsider = signed_by("outsider");
    assert_refused(outsider, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");

    /* Bringing the root along makes it no anchor. */
    g_autofree char *with_root = serve(cook(&(Recipe){.certificate = signer("outsider")->certificate,
                                                      .key = signer("outsider")->key,
                                                      .extra = signer("outsider-ca")->certificate,
                                                      .copies = 1}));
    assert_refused(with_root, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");

    /* Nor does borrowing the pinned CA's name. */
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) twin = test_ca("pinned", key);
    g_autoptr(X509) below =
        signer_certificate("CN=below", signer("outsider")->key, &(Signer){twin, key}, NULL);
    g_autofree char *twins = serve(
        cook(&(Recipe){.certificate = below, .key = signer("outsider")->key, .extra = twin, .copies = 1}));
    assert_refused(twins, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");
}

/* The defect of protocol.md 1.8: the openssl command believes the outsider as soon as its root lies in the
 * default directory, whatever -CAfile says. We must not, whatever the environment says. */
static void a_root_in_the_systems_directory_means_nothing(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *pinned = signer_write(directory, "pinned");
    g_autofree char *root = test_certificate_pem(signer("outsider-ca")->certificate);
    g_autofree char *hashed = g_strdup_printf(
        "%08lx.0",
        X509_NAME_hash_ex(X509_get_subject_name(signer("outsider-ca")->certificate), NULL, NULL, NULL));
    g_autofree char *root_file = test_write(directory, hashed, root);
    g_setenv("SSL_CERT_DIR", directory, TRUE);
    g_setenv("SSL_CERT_FILE", root_file, TRUE);

    g_autofree char *smime = signed_by("outsider");
    g_autofree char *file = test_write(directory, "message", smime);
    g_free(TEST_RUN("openssl", "cms", "-verify", "-binary", "-CAfile", pinned, "-inform", "SMIME", "-purpose",
                    "any", "-in", file, "-out", "/dev/null"));
    assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");
    assert_refused_by(smime, SIGNER_PURPOSE_ANY, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");
    g_unsetenv("SSL_CERT_DIR");
    g_unsetenv("SSL_CERT_FILE");
}

static void only_current_certificates_count(void)
{
    gint64 now = g_get_real_time() / G_USEC_PER_SEC;
    const TestCertificate expired = {
        .subject = "CN=expired", .not_before = now - 7200, .not_after = now - 60};
    const TestCertificate future = {.subject = "CN=future", .not_before = now + 3600};
    const TestCertificate *const all[] = {&expired, &future};
    static const char *const words[] = {"expired", "not yet valid"};
    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        g_autoptr(X509) certificate = test_certificate(all[i], signer("platform")->key,
                                                       signer("pinned")->certificate, signer("pinned")->key);
        g_autofree char *smime =
            serve(cook(&(Recipe){.certificate = certificate, .key = signer("platform")->key}));
        assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, words[i]);
    }
}

static void purpose_is_the_operators_choice(void)
{
    g_autoptr(X509) server =
        signer_certificate("CN=server", signer("platform")->key, signer("pinned"), "serverAuth,clientAuth");
    g_autofree char *smime = serve(cook(&(Recipe){.certificate = server, .key = signer("platform")->key}));
    assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, "purpose");

    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeTrust) any = signer_trust(SIGNER_PURPOSE_ANY);
    g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), any, &error);
    g_assert_no_error(error);
    g_assert_nonnull(message);
}

static void intermediates_come_with_the_message(void)
{
    static const char *const ca[] = {"basicConstraints",
                                     "critical,CA:TRUE",
                                     "keyUsage",
                                     "critical,keyCertSign",
                                     "subjectKeyIdentifier",
                                     "hash",
                                     NULL};
    g_autoptr(EVP_PKEY) key = test_new_key("p256");
    g_autoptr(X509) intermediate =
        test_certificate(&(TestCertificate){.subject = "CN=intermediate", .extensions = ca}, key,
                         signer("pinned")->certificate, signer("pinned")->key);
    g_autoptr(X509) leaf =
        signer_certificate("CN=leaf", signer("platform")->key, &(Signer){intermediate, key}, NULL);

    g_autofree char *alone = serve(cook(&(Recipe){.certificate = leaf, .key = signer("platform")->key}));
    assert_refused(alone, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");

    g_autofree char *both = serve(cook(
        &(Recipe){.certificate = leaf, .key = signer("platform")->key, .extra = intermediate, .copies = 1}));
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeSigned) message = verify(both, &error);
    g_assert_no_error(error);
    g_assert_cmpint(X509_cmp(message->signer, leaf), ==, 0);
}

/* The platform's own signer certificate is no CA. */
static void a_leaf_issues_nothing(void)
{
    g_autoptr(X509) below = signer_certificate("CN=below", signer("outsider")->key, signer("platform"), NULL);
    g_autofree char *smime = serve(cook(&(Recipe){.certificate = below,
                                                  .key = signer("outsider")->key,
                                                  .extra = signer("platform")->certificate,
                                                  .copies = 1}));
    assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");
}

static void weak_signers_are_refused(void)
{
    static const char *const keys[] = {"rsa1024", "P-224"};
    for (gsize i = 0; i < G_N_ELEMENTS(keys); i++) {
        g_autoptr(EVP_PKEY) key =
            keys[i][0] == 'r' ? test_new_key(keys[i]) : EVP_PKEY_Q_keygen(NULL, NULL, "EC", keys[i]);
        g_autoptr(X509) certificate = signer_certificate("CN=weak", key, signer("pinned"), NULL);
        g_autofree char *smime = serve(cook(&(Recipe){.certificate = certificate, .key = key}));
        assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, "RSA of 2048 bits");
    }
    static const char *const weak[] = {"sha1", "md5", "sha224"};
    for (gsize i = 0; i < G_N_ELEMENTS(weak); i++) {
        g_autofree char *smime = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                      .key = signer("platform")->key,
                                                      .digest = weak[i]}));
        assert_refused(smime, IOTHSM_ERROR_INVALID, "weaker than SHA-256");
    }
    static const char *const strong[] = {"sha256", "sha384", "sha512", "sha3-256"};
    for (gsize i = 0; i < G_N_ELEMENTS(strong); i++) {
        g_autofree char *smime = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                      .key = signer("platform")->key,
                                                      .digest = strong[i]}));
        assert_believed(smime, text, "platform");
    }
}

static void chain_of_sha1_is_refused(void)
{
    g_autoptr(X509) certificate =
        test_certificate(&(TestCertificate){.subject = "CN=old", .digest = "sha1"}, signer("platform")->key,
                         signer("pinned")->certificate, signer("pinned")->key);
    g_autofree char *smime =
        serve(cook(&(Recipe){.certificate = certificate, .key = signer("platform")->key}));
    assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, "digest");
}

static void exactly_one_signer(void)
{
    g_autofree char *two = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                .key = signer("platform")->key,
                                                .second = signer("platform-ec")}));
    assert_refused(two, IOTHSM_ERROR_INVALID, "exactly one signer");
    g_autofree char *one_bad = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                    .key = signer("platform")->key,
                                                    .second = signer("outsider")}));
    assert_refused(one_bad, IOTHSM_ERROR_INVALID, "exactly one signer");

    BIO *in = BIO_new_mem_buf(text, -1);
    CMS_ContentInfo *none = CMS_sign(NULL, NULL, NULL, in, CMS_BINARY | CMS_PARTIAL);
    BIO_free(in);
    ASN1_OCTET_STRING **content = CMS_get0_content(none);
    if (!*content)
        *content = ASN1_OCTET_STRING_new();
    g_assert_true(ASN1_OCTET_STRING_set(*content, (const unsigned char *)text, (int)strlen(text)));
    g_autofree char *unsigned_message = serve(none);
    assert_refused(unsigned_message, IOTHSM_ERROR_INVALID, "exactly one signer");
}

static void signers_certificate_must_be_there(void)
{
    g_autofree char *smime = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                  .key = signer("platform")->key,
                                                  .flags = CMS_NOCERTS}));
    assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, "does not carry");
}

static void too_many_certificates_are_refused(void)
{
    g_autoptr(CMS_ContentInfo) cms =
        cook(&(Recipe){.certificate = signer("platform")->certificate, .key = signer("platform")->key});
    for (int i = 0; i < 16; i++) {
        g_autofree char *subject = g_strdup_printf("CN=%d", i);
        g_autoptr(X509) one = signer_certificate(subject, signer("platform")->key, signer("pinned"), NULL);
        g_assert_true(CMS_add1_cert(cms, one));
    }
    g_autofree char *smime = serve(g_steal_pointer(&cms));
    assert_refused(smime, IOTHSM_ERROR_LIMITS_EXCEEDED, "too many certificates");
}

static void signed_attributes_are_required(void)
{
    g_autofree char *smime = serve(cook(&(Recipe){.certificate = signer("platform")->certificate,
                                                  .key = signer("platform")->key,
                                                  .flags = CMS_NOATTR}));
    assert_refused(smime, IOTHSM_ERROR_INVALID, "without signed attributes");
}

static gint compare_der(gconstpointer a, gconstpointer b)
{
    return g_bytes_compare(*(GBytes *const *)a, *(GBytes *const *)b);
}

/* Signs the attributes of |info| again as they are now: CMS_SignerInfo_sign would put a signing time back. */
static void sign_again(CMS_SignerInfo *info, EVP_PKEY *key)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    int body = 0;
    for (int i = 0; i < CMS_signed_get_attr_count(info); i++) {
        unsigned char *der = NULL;
        int size = i2d_X509_ATTRIBUTE(CMS_signed_get_attr(info, i), &der);
        g_ptr_array_add(parts, g_bytes_new(der, (gsize)size));
        OPENSSL_free(der);
        body += size;
    }
    g_ptr_array_sort(parts, compare_der);
    g_autofree unsigned char *set = g_malloc((gsize)ASN1_object_size(1, body, V_ASN1_SET));
    unsigned char *at = set;
    ASN1_put_object(&at, 1, body, V_ASN1_SET, V_ASN1_UNIVERSAL);
    for (guint i = 0; i < parts->len; i++) {
        gsize size = 0;
        const void *data = g_bytes_get_data(parts->pdata[i], &size);
        memcpy(at, data, size);
        at += size;
    }
    unsigned char signature[512];
    size_t size = sizeof signature;
    g_autoptr(EVP_MD_CTX) context = EVP_MD_CTX_new();
    g_assert_cmpint(EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key), ==, 1);
    g_assert_cmpint(EVP_DigestSign(context, signature, &size, set, (size_t)(at - set)), ==, 1);
    ASN1_STRING_set(CMS_SignerInfo_get0_signature(info), signature, (int)size);
}

/* |times|: the values that the signing time gets; none = no attribute. */
static char *signed_at(const char *const *times)
{
    CMS_ContentInfo *cms =
        cook(&(Recipe){.certificate = signer("platform")->certificate, .key = signer("platform")->key});
    CMS_SignerInfo *info = sk_CMS_SignerInfo_value(CMS_get0_SignerInfos(cms), 0);
    X509_ATTRIBUTE_free(
        CMS_signed_delete_attr(info, CMS_signed_get_attr_by_NID(info, NID_pkcs9_signingTime, -1)));
    X509_ATTRIBUTE *attribute = NULL;
    for (; times && *times; times++) {
        int type = strlen(*times) == 13 ? V_ASN1_UTCTIME : V_ASN1_GENERALIZEDTIME;
        if (!attribute)
            attribute =
                X509_ATTRIBUTE_create_by_NID(NULL, NID_pkcs9_signingTime, type, *times, (int)strlen(*times));
        else
            X509_ATTRIBUTE_set1_data(attribute, type, *times, (int)strlen(*times));
    }
    if (attribute)
        g_assert_true(CMS_signed_add1_attr(info, attribute));
    X509_ATTRIBUTE_free(attribute);
    sign_again(info, signer("platform")->key);
    return serve(cms);
}

static gint64 signing_time_of(const char *const *times)
{
    g_autofree char *smime = signed_at(times);
    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeSigned) message = verify(smime, &error);
    g_assert_no_error(error);
    return message->signing_time;
}

static void signing_time_is_read_in_both_forms(void)
{
    g_assert_cmpint(signing_time_of(NULL), ==, 0);
    g_assert_cmpint(signing_time_of((const char *const[]){"261120235038Z", NULL}), ==, 1795218638);
    g_assert_cmpint(signing_time_of((const char *const[]){"20261120235038Z", NULL}), ==, 1795218638);
    g_assert_cmpint(signing_time_of((const char *const[]){"20500101000000Z", NULL}), ==, 2524608000);
}

static void ambiguous_signing_times_are_refused(void)
{
    g_autofree char *two = signed_at((const char *const[]){"261120235038Z", "261120235039Z", NULL});
    assert_refused(two, IOTHSM_ERROR_INVALID, "signing time can't be read");
    g_autofree char *nonsense = signed_at((const char *const[]){"26112023503xZ", NULL});
    assert_refused(nonsense, IOTHSM_ERROR_INVALID, "signing time can't be read");
}

/* sign(encrypt(deflate)): protocol.md 2.6 and 2.7, one way by the openssl command. */
static void seal_is_what_openssl_opens(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *pinned = signer_write(directory, "pinned");
    g_autofree char *platform = signer_write(directory, "platform");
    g_autofree char *key = g_strdup_printf("%s/platform.key", directory);
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = content_of(text);
    g_autofree char *smime = envelope_seal(content, signer("platform")->certificate,
                                           signer("channel")->certificate, signer("channel")->key, &error);
    g_assert_no_error(error);
    g_autofree char *file = test_write(directory, "message", smime);
    g_autofree char *verified = g_build_filename(directory, "verified", NULL);
    g_autofree char *opened = g_build_filename(directory, "opened", NULL);
    g_free(TEST_RUN("openssl", "cms", "-verify", "-no-CApath", "-no-CAstore", "-CAfile", pinned, "-inform",
                    "SMIME", "-binary", "-in", file, "-out", verified));
    g_free(TEST_RUN("openssl", "cms", "-decrypt", "-inform", "SMIME", "-recip", platform, "-inkey", key,
                    "-binary", "-in", verified, "-out", opened));
    char *data = NULL;
    gsize size = 0;
    g_assert_true(g_file_get_contents(opened, &data, &size, NULL));
    g_autoptr(GBytes) deflated = g_bytes_new_take(data, size);
    g_autoptr(GBytes) back = envelope_inflate(deflated, 1024, &error);
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(content, back));
}

static void we_open_what_openssl_seals(void)
{
    g_autofree char *directory = test_directory();
    g_autofree char *channel = signer_write(directory, "channel");
    g_autofree char *platform = signer_write(directory, "platform");
    g_autofree char *key = g_strdup_printf("%s/platform.key", directory);
    g_autofree char *deflated_file = g_build_filename(directory, "deflated", NULL);
    g_autofree char *encrypted = g_build_filename(directory, "encrypted", NULL);
    g_autoptr(GBytes) content = content_of(text);
    g_autoptr(GBytes) deflated = envelope_deflate(content, NULL);
    g_assert_true(g_file_set_contents(deflated_file, g_bytes_get_data(deflated, NULL),
                                      (gssize)g_bytes_get_size(deflated), NULL));
    g_free(TEST_RUN("openssl", "cms", "-encrypt", "-binary", "-aes256", "-recip", channel, "-outform",
                    "SMIME", "-in", deflated_file, "-out", encrypted));
    g_autofree char *smime = TEST_RUN("openssl", "cms", "-sign", "-in", encrypted, "-signer", platform,
                                      "-inkey", key, "-outform", "SMIME", "-binary", "-nodetach");

    g_autoptr(GError) error = NULL;
    g_autoptr(EnvelopeSigned) message = verify(smime, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) opened = envelope_decrypt(message->content, signer("channel")->key, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) back = envelope_inflate(opened, 1024, &error);
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(content, back));
}

static void large_messages_make_the_round(void)
{
    gsize size = 24 << 20;
    g_autofree guint8 *noise = g_malloc(size);
    guint32 state = 1;
    for (gsize i = 0; i < size; i++) {
        state = state * 1664525 + 1013904223;
        noise[i] = (guint8)(state >> 24);
    }
    g_autoptr(GError) error = NULL;
    g_autoptr(GBytes) content = g_bytes_new_take(g_steal_pointer(&noise), size);
    g_autofree char *smime = envelope_seal(content, signer("channel")->certificate,
                                           signer("platform")->certificate, signer("platform")->key, &error);
    g_assert_no_error(error);
    g_autoptr(EnvelopeSigned) message = verify(smime, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) opened = envelope_decrypt(message->content, signer("channel")->key, &error);
    g_assert_no_error(error);
    g_autoptr(GBytes) back = envelope_inflate(opened, size, &error);
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(content, back));
}

static gpointer work(gpointer shared)
{
    EnvelopeTrust *trust = envelope_trust_ref(shared);
    for (int i = 0; i < 12; i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *words =
            g_strdup_printf("{\"thread\":\"%p\",\"round\":%d}", (void *)g_thread_self(), i);
        g_autoptr(GBytes) content = content_of(words);
        g_autofree char *smime =
            envelope_seal(content, signer("channel")->certificate, signer("platform")->certificate,
                          signer("platform")->key, &error);
        g_assert_no_error(error);
        g_autoptr(EnvelopeSigned) message = envelope_verify(smime, strlen(smime), trust, &error);
        g_assert_no_error(error);
        g_autoptr(GBytes) opened = envelope_decrypt(message->content, signer("channel")->key, &error);
        g_assert_no_error(error);
        g_autoptr(GBytes) back = envelope_inflate(opened, 1024, &error);
        g_assert_no_error(error);
        g_assert_true(g_bytes_equal(content, back));
    }
    envelope_trust_unref(trust);
    return NULL;
}

static void threads_share_keys_and_trust(void)
{
    g_autoptr(EnvelopeTrust) trust = signer_trust(SIGNER_PURPOSE_SMIMESIGN);
    (void)signer("platform");
    (void)signer("channel");
    GThread *threads[6];
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        threads[i] = g_thread_new("envelope", work, trust);
    for (gsize i = 0; i < G_N_ELEMENTS(threads); i++)
        g_thread_join(threads[i]);
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/envelope/openssl-verifies-what-we-sign", openssl_verifies_what_we_sign);
    g_test_add_func("/envelope/what-we-sign-has-the-agreed-form", what_we_sign_has_the_agreed_form);
    g_test_add_func("/envelope/we-believe-what-the-platform-signs-with-openssl",
                    we_believe_what_the_platform_signs_with_openssl);
    g_test_add_func("/envelope/content-comes-back-unchanged", content_comes_back_unchanged);
    g_test_add_func("/envelope/clear-signed-and-detached-are-refused", clear_signed_and_detached_are_refused);
    g_test_add_func("/envelope/what-is-not-a-signed-message-is-refused",
                    what_is_not_a_signed_message_is_refused);
    g_test_add_func("/envelope/altered-messages-are-refused", altered_messages_are_refused);
    g_test_add_func("/envelope/truncated-anywhere-is-refused", truncated_anywhere_is_refused);
    g_test_add_func("/envelope/strangers-are-refused", strangers_are_refused);
    g_test_add_func("/envelope/a-root-in-the-systems-directory-means-nothing",
                    a_root_in_the_systems_directory_means_nothing);
    g_test_add_func("/envelope/only-current-certificates-count", only_current_certificates_count);
    g_test_add_func("/envelope/the-purpose-is-the-operators-choice", purpose_is_the_operators_choice);
    g_test_add_func("/envelope/intermediates-come-with-the-message", intermediates_come_with_the_message);
    g_test_add_func("/envelope/a-leaf-issues-nothing", a_leaf_issues_nothing);
    g_test_add_func("/envelope/weak-signers-are-refused", weak_signers_are_refused);
    g_test_add_func("/envelope/a-chain-of-sha1-is-refused", chain_of_sha1_is_refused);
    g_test_add_func("/envelope/exactly-one-signer", exactly_one_signer);
    g_test_add_func("/envelope/the-signers-certificate-must-be-there", signers_certificate_must_be_there);
    g_test_add_func("/envelope/too-many-certificates-are-refused", too_many_certificates_are_refused);
    g_test_add_func("/envelope/signed-attributes-are-required", signed_attributes_are_required);
    g_test_add_func("/envelope/the-signing-time-is-read-in-both-forms", signing_time_is_read_in_both_forms);
    g_test_add_func("/envelope/ambiguous-signing-times-are-refused", ambiguous_signing_times_are_refused);
    g_test_add_func("/envelope/a-seal-is-what-openssl-opens", seal_is_what_openssl_opens);
    g_test_add_func("/envelope/we-open-what-openssl-seals", we_open_what_openssl_seals);
    g_test_add_func("/envelope/large-messages-make-the-round", large_messages_make_the_round);
    g_test_add_func("/envelope/threads-share-keys-and-trust", threads_share_keys_and_trust);
    return g_test_run();
}
