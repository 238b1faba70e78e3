/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Whom a message has to be signed by, and how, to be believed. Odd messages are made with OpenSSL's CMS
 * functions directly. */

#include "tests/unit/link/recipe.h"
#include <string.h>

static void strangers_are_refused(void)
{
    g_autofree char *outsider = signed_by("outsider");
    assert_refused(outsider, IOTHSM_ERROR_BAD_CERTIFICATE, "not trusted by the pinned");

    /* Bringing the root along makes it no anchor. */
    g_autofree char *with_root =
        serve(cook(&(Recipe){.by = "outsider", .extra = signer("outsider-ca")->certificate, .copies = 1}));
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
        g_autofree char *smime = serve(cook(&(Recipe){.by = "platform", .digest = weak[i]}));
        assert_refused(smime, IOTHSM_ERROR_INVALID, "weaker than SHA-256");
    }
    static const char *const strong[] = {"sha256", "sha384", "sha512", "sha3-256"};
    for (gsize i = 0; i < G_N_ELEMENTS(strong); i++) {
        g_autofree char *smime = serve(cook(&(Recipe){.by = "platform", .digest = strong[i]}));
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
    g_autofree char *two = serve(cook(&(Recipe){.by = "platform", .second = signer("platform-ec")}));
    assert_refused(two, IOTHSM_ERROR_INVALID, "exactly one signer");
    g_autofree char *one_bad = serve(cook(&(Recipe){.by = "platform", .second = signer("outsider")}));
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
    g_autofree char *smime = serve(cook(&(Recipe){.by = "platform", .flags = CMS_NOCERTS}));
    assert_refused(smime, IOTHSM_ERROR_BAD_CERTIFICATE, "does not carry");
}

static void too_many_certificates_are_refused(void)
{
    g_autoptr(CMS_ContentInfo) cms = cook(&(Recipe){.by = "platform"});
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
    g_autofree char *smime = serve(cook(&(Recipe){.by = "platform", .flags = CMS_NOATTR}));
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
    CMS_ContentInfo *cms = cook(&(Recipe){.by = "platform"});
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

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
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
    return g_test_run();
}
