/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Programs that other people wrote for YubiKeys use the virtual one, through pcscd and vpcd: yubico-piv-tool,
 * ykcs11 below pkcs11-tool, and OpenSC. Two keys are in; openssl judges what they sign. */

#include "tests/virtual-yubikey/test/pcsc.h"
#include "tests/virtual-yubikey/test/virtual-key.h"
#include <openssl/x509.h>
#include <string.h>

#define FIRST_SERIAL "11111111"
#define SECOND_SERIAL "22222222"
#define PIN "123456"
#define NEW_PIN "654321"
#define WRONG_PIN "000000"
#define PUK "12345678"
#define WRONG_PUK "00000000"
#define MANAGEMENT_KEY "010203040506070801020304050607080102030405060708"
#define YKCS11 "libykcs11.so.2"
#define OPENSC "opensc-pkcs11.so"
#define MESSAGE "a message"

typedef struct Scene {
    Pcsc *pcsc;
    char *directory; /* of the files of this test */
    char *states[PCSC_READERS];
    VirtualKey *keys[PCSC_READERS];
} Scene;

static Scene *scene_new(void)
{
    Scene *scene = g_new0(Scene, 1);
    const char *first[] = {"--serial=" FIRST_SERIAL, "--firmware=5.4.3", NULL};
    const char *second[] = {"--serial=" SECOND_SERIAL, "--firmware=5.7.1", NULL};
    scene->pcsc = pcsc_start();
    scene->directory = test_directory();
    for (guint i = 0; i < PCSC_READERS; i++) {
        scene->states[i] = test_directory();
        scene->keys[i] =
            virtual_key_start(scene->states[i], pcsc_port(scene->pcsc, i), i == 0 ? first : second);
        pcsc_wait_card(scene->pcsc, i, true);
    }
    return scene;
}

static void scene_free(Scene *scene)
{
    for (guint i = 0; i < PCSC_READERS; i++) {
        virtual_key_free(scene->keys[i]);
        g_free(scene->states[i]);
    }
    pcsc_free(scene->pcsc);
    g_free(scene->directory);
    g_free(scene);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Scene, scene_free)

static char *file(const Scene *scene, const char *name)
{
    return g_build_filename(scene->directory, name, NULL);
}

/* yubico-piv-tool on the first key, whose exit status must be |status|; what it said. Transfer full. */
static char *piv_tool(int status, const char *const *arguments)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    g_ptr_array_add(argv, (char *)"yubico-piv-tool");
    g_ptr_array_add(argv, (char *)"--reader");
    g_ptr_array_add(argv, (char *)pcsc_reader_name(0));
    for (; *arguments; arguments++)
        g_ptr_array_add(argv, (char *)*arguments);
    g_ptr_array_add(argv, NULL);
    return test_run((const char *const *)argv->pdata, NULL, status);
}
#define PIV_TOOL(...) g_free(piv_tool(0, (const char *const[]){__VA_ARGS__, NULL}))
#define PIV_TOOL_SAYS(...) piv_tool(0, (const char *const[]){__VA_ARGS__, NULL})
#define PIV_TOOL_FAILS(...) g_free(piv_tool(1, (const char *const[]){__VA_ARGS__, NULL}))

#define ASSERT_CONTAINS(text, what)                                                                          \
    do {                                                                                                     \
        if (!strstr(text, what))                                                                             \
            g_error("\"%s\" is not in:\n%s", what, text);                                                    \
    } while (0)

static void piv_tool_generates_signs_and_attests(void)
{
    g_autoptr(Scene) scene = scene_new();
    g_autofree char *public = file(scene, "public.pem"), *message = file(scene, "message");
    g_autofree char *signature = file(scene, "signature"), *attestation = file(scene, "attestation.pem");
    g_autofree char *intermediate = file(scene, "f9.pem");
    g_autofree char *root = g_build_filename(scene->states[0], "attestation-root.pem", NULL);
    g_free(test_write(scene->directory, "message", MESSAGE));
    PIV_TOOL("-a", "generate", "-s", "9c", "-A", "ECCP256", "-o", public);
    PIV_TOOL("-a", "verify-pin", "-P", PIN, "--sign", "-s", "9c", "-A", "ECCP256", "-H", "SHA256", "-i",
             message, "-o", signature);
    g_free(TEST_RUN("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message));
    PIV_TOOL("-a", "generate", "-s", "9a", "-A", "RSA2048", "-o", public);
    PIV_TOOL("-a", "verify-pin", "-P", PIN, "--sign", "-s", "9a", "-A", "RSA2048", "-H", "SHA256", "-i",
             message, "-o", signature);
    g_free(TEST_RUN("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message));
    PIV_TOOL("-a", "attest", "-s", "9a", "-o", attestation);
    PIV_TOOL("-a", "read-certificate", "-s", "f9", "-o", intermediate);
    g_free(TEST_RUN("openssl", "verify", "-CAfile", root, "-untrusted", intermediate, attestation));
}

static void piv_tool_imports_and_tests_keys(void)
{
    g_autoptr(Scene) scene = scene_new();
    static const char *const types[] = {"rsa2048", "p384"};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        EVP_PKEY *key = test_key(types[i]);
        X509 *certificate = test_ca("Imported", key);
        g_autofree char *key_pem = test_key_pem(key, NULL), *pem = test_certificate_pem(certificate);
        g_autofree char *key_file = test_write(scene->directory, "key.pem", key_pem);
        g_autofree char *certificate_file = test_write(scene->directory, "certificate.pem", pem);
        PIV_TOOL("-a", "import-key", "-s", "9d", "-i", key_file);
        PIV_TOOL("-a", "import-certificate", "-s", "9d", "-i", certificate_file);
        PIV_TOOL("-a", "verify-pin", "-P", PIN, "-a", "test-signature", "-s", "9d", "-i", certificate_file);
        PIV_TOOL("-a", "verify-pin", "-P", PIN, "-a", "test-decipher", "-s", "9d", "-i", certificate_file);
        PIV_TOOL_FAILS("-a", "attest", "-s", "9d");
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
    g_autofree char *status = PIV_TOOL_SAYS("-a", "status");
    ASSERT_CONTAINS(status, FIRST_SERIAL);
    ASSERT_CONTAINS(status, "CN=Imported");
}

static void assert_tries(Scene *scene, const char *expected)
{
    g_autofree char *tries = virtual_key_ask(scene->keys[0], "tries");
    g_assert_cmpstr(tries, ==, expected);
}

static void piv_tool_changes_blocks_unblocks_and_resets(void)
{
    g_autoptr(Scene) scene = scene_new();
    PIV_TOOL("-a", "generate", "-s", "9a", "-A", "ECCP256");
    PIV_TOOL("-a", "change-pin", "-P", PIN, "-N", NEW_PIN);
    PIV_TOOL("-a", "verify-pin", "-P", NEW_PIN);
    for (guint i = 0; i < 3; i++)
        PIV_TOOL_FAILS("-a", "verify-pin", "-P", WRONG_PIN);
    PIV_TOOL_FAILS("-a", "verify-pin", "-P", NEW_PIN);
    assert_tries(scene, "pin=0/3 puk=3/3");
    PIV_TOOL_FAILS("-a", "reset");
    PIV_TOOL("-a", "unblock-pin", "-P", PUK, "-N", PIN);
    PIV_TOOL("-a", "verify-pin", "-P", PIN, "-a", "pin-retries", "--pin-retries", "5", "--puk-retries", "4");
    assert_tries(scene, "pin=5/5 puk=4/4");
    for (guint i = 0; i < 5; i++)
        PIV_TOOL_FAILS("-a", "verify-pin", "-P", WRONG_PIN);
    for (guint i = 0; i < 4; i++)
        PIV_TOOL_FAILS("-a", "change-puk", "-P", WRONG_PUK, "-N", "87654321");
    PIV_TOOL("-a", "reset");
    assert_tries(scene, "pin=3/3 puk=3/3");
    PIV_TOOL_FAILS("-a", "attest", "-s", "9a");
}

static void piv_tool_sets_the_management_key(void)
{
    static const char other[] = "0f0e0d0c0b0a09080706050403020100f1f2f3f4f5f6f7f8";
    g_autoptr(Scene) scene = scene_new();
    PIV_TOOL("-a", "set-mgm-key", "-n", other);
    PIV_TOOL_FAILS("-a", "set-chuid");
    g_autofree char *key = g_strconcat("--key=", other, NULL);
    PIV_TOOL(key, "-a", "set-chuid", "-a", "set-ccc");
}

#define YKCS11_TOOL(...) g_free(TEST_RUN("pkcs11-tool", "--module", YKCS11, "--slot", "0", __VA_ARGS__))
#define OPENSC_TOOL(...) TEST_RUN("pkcs11-tool", "--module", OPENSC, __VA_ARGS__)
#define AS_OFFICER "--login", "--login-type", "so", "--so-pin", MANAGEMENT_KEY
#define AS_USER "--login", "--pin", PIN

static X509 *set_public_key(X509 *certificate, const char *path)
{
    g_autofree char *text = NULL;
    gsize length;
    g_assert_true(g_file_get_contents(path, &text, &length, NULL));
    const guchar *der = (const guchar *)text;
    EVP_PKEY *public = d2i_PUBKEY(NULL, &der, (long)length);
    g_assert_nonnull(public);
    g_assert_true(X509_set_pubkey(certificate, public));
    EVP_PKEY_free(public);
    return certificate;
}

/* The slot's signature over what |certificate| is going to say becomes its own. */
static void sign_certificate(Scene *scene, X509 *certificate, const char *slot, const char *mechanism)
{
    guchar *bytes = NULL;
    gsize length;
    g_autofree char *input = file(scene, "to-be-signed"), *output = file(scene, "signature"), *text = NULL;
    int size = i2d_re_X509_tbs(certificate, &bytes);
    g_assert_cmpint(size, >, 0);
    g_assert_true(g_file_set_contents(input, (const char *)bytes, size, NULL));
    OPENSSL_free(bytes);
    YKCS11_TOOL(AS_USER, "--sign", "--id", slot, "--mechanism", mechanism, "--signature-format", "openssl",
                "--input-file", input, "--output-file", output);
    g_assert_true(g_file_get_contents(output, &text, &length, NULL));
    const ASN1_BIT_STRING *signature = NULL;
    X509_get0_signature(&signature, NULL, certificate);
    g_assert_true(ASN1_STRING_set((ASN1_STRING *)signature, text, (int)length));
}

/* Generates a key, has it sign a certificate of itself, and puts that beside it. */
static void self_sign(Scene *scene, const char *slot, const char *key_type, const char *type,
                      const char *mechanism)
{
    g_autofree char *public = file(scene, "public.der"), *der_file = file(scene, "certificate.der");
    EVP_PKEY *any_key = test_key(type);
    X509 *certificate = test_ca("Self-signed", any_key);
    YKCS11_TOOL(AS_OFFICER, "--keypairgen", "--id", slot, "--key-type", key_type);
    YKCS11_TOOL("--read-object", "--type", "pubkey", "--id", slot, "--output-file", public);
    sign_certificate(scene, set_public_key(certificate, public), slot, mechanism);
    g_autofree char *pem = test_certificate_pem(certificate);
    g_autofree char *pem_file = test_write(scene->directory, "certificate.pem", pem);
    g_free(TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", pem_file, pem_file));
    g_free(TEST_RUN("openssl", "x509", "-in", pem_file, "-outform", "DER", "-out", der_file));
    YKCS11_TOOL(AS_OFFICER, "--write-object", der_file, "--type", "cert", "--id", slot);
    X509_free(certificate);
    EVP_PKEY_free(any_key);
}

static void ykcs11_lists_generates_and_self_signs(void)
{
    g_autoptr(Scene) scene = scene_new();
    g_autofree char *slots = TEST_RUN("pkcs11-tool", "--module", YKCS11, "--list-slots");
    ASSERT_CONTAINS(slots, "YubiKey PIV #" FIRST_SERIAL);
    ASSERT_CONTAINS(slots, "YubiKey PIV #" SECOND_SERIAL);
    self_sign(scene, "01", "rsa:2048", "rsa2048", "SHA256-RSA-PKCS");
    self_sign(scene, "02", "EC:prime256v1", "p256", "ECDSA-SHA256");
    g_autofree char *objects =
        TEST_RUN("pkcs11-tool", "--module", YKCS11, "--slot", "0", AS_USER, "--list-objects");
    ASSERT_CONTAINS(objects, "Private key for PIV Authentication");
    ASSERT_CONTAINS(objects, "X.509 Certificate for PIV Attestation 9c");
    ASSERT_CONTAINS(objects, "CN=Self-signed");
}

static void opensc_lists_signs_and_changes_the_pin(void)
{
    g_autoptr(Scene) scene = scene_new();
    EVP_PKEY *key = test_key("rsa2048");
    X509 *certificate = test_ca("For OpenSC", key);
    g_autofree char *key_pem = test_key_pem(key, NULL), *pem = test_certificate_pem(certificate);
    g_autofree char *public_pem = test_public_key_pem(key);
    g_autofree char *key_file = test_write(scene->directory, "key.pem", key_pem);
    g_autofree char *certificate_file = test_write(scene->directory, "certificate.pem", pem);
    g_autofree char *public = test_write(scene->directory, "public.pem", public_pem);
    g_autofree char *message = test_write(scene->directory, "message", MESSAGE);
    g_autofree char *signature = file(scene, "signature");
    PIV_TOOL("-a", "import-key", "-s", "9a", "-i", key_file);
    PIV_TOOL("-a", "import-certificate", "-s", "9a", "-i", certificate_file);
    g_autofree char *name = TEST_RUN("opensc-tool", "--reader", "0", "--name");
    ASSERT_CONTAINS(name, "Personal Identity Verification Card");
    g_autofree char *listed = TEST_RUN("pkcs15-tool", "--reader", "0", "--dump");
    ASSERT_CONTAINS(listed, "PIV AUTH key");
    g_autofree char *read = TEST_RUN("pkcs15-tool", "--reader", "0", "--read-certificate", "01");
    ASSERT_CONTAINS(pem, read);
    g_free(OPENSC_TOOL("--slot-index", "0", AS_USER, "--sign", "--id", "01", "--mechanism", "SHA256-RSA-PKCS",
                       "--input-file", message, "--output-file", signature));
    g_free(TEST_RUN("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message));
    g_free(TEST_RUN("pkcs15-tool", "--reader", "0", "--change-pin", "--pin", PIN, "--new-pin", NEW_PIN));
    PIV_TOOL("-a", "verify-pin", "-P", NEW_PIN);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void a_key_comes_back_with_what_it_had(void)
{
    g_autoptr(Scene) scene = scene_new();
    g_autofree char *public = file(scene, "public.pem"), *signature = file(scene, "signature");
    g_autofree char *message = test_write(scene->directory, "message", MESSAGE);
    PIV_TOOL("-a", "generate", "-s", "9e", "-A", "ECCP256", "-o", public);
    virtual_key_tell(scene->keys[0], "unplug");
    pcsc_wait_card(scene->pcsc, 0, false);
    PIV_TOOL_FAILS("-a", "version");
    g_autofree char *other = TEST_RUN("yubico-piv-tool", "--reader", pcsc_reader_name(1), "-a", "status");
    ASSERT_CONTAINS(other, SECOND_SERIAL);
    virtual_key_tell(scene->keys[0], "plug");
    pcsc_wait_card(scene->pcsc, 0, true);
    PIV_TOOL("-a", "version", "--sign", "-s", "9e", "-A", "ECCP256", "-H", "SHA256", "-i", message, "-o",
             signature);
    g_free(TEST_RUN("openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, message));
}

int main(int argc, char *argv[])
{
    g_test_init(&argc, &argv, NULL);
    if (pcsc_is_missing())
        return 0;
#define TEST(name) g_test_add_func("/clients/" #name, name)
    TEST(piv_tool_generates_signs_and_attests);
    TEST(piv_tool_imports_and_tests_keys);
    TEST(piv_tool_changes_blocks_unblocks_and_resets);
    TEST(piv_tool_sets_the_management_key);
    TEST(ykcs11_lists_generates_and_self_signs);
    TEST(opensc_lists_signs_and_changes_the_pin);
    TEST(a_key_comes_back_with_what_it_had);
    return g_test_run();
}
