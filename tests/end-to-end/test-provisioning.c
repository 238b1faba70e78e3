/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The ways in which a key and a certificate become an authority, other than a new root, and what becomes of
 * them afterwards. */

#include "daemon/openssl-cleanup.h"
#include "tests/end-to-end/scene.h"
#include <string.h>

static char *slot_state(const char *place)
{
    return scene_control_member("state", "show $1", place, NULL);
}

static void assert_slot_state(const char *place, const char *expected)
{
    g_autofree char *state = slot_state(place);
    g_assert_cmpstr(state, ==, expected);
}

static char *create_ca(Scene *scene, const char *name)
{
    char *file = scene_path(scene, "template.pem");
    g_autofree char *made = scene_platform(scene, 0, "create-ca --name=$1 --out=$2", name, file, NULL);
    return file;
}

static char *write_certificate(Scene *scene, const char *name, X509 *certificate)
{
    g_autofree char *pem = test_certificate_pem(certificate);
    return scene_write(scene, name, pem);
}

static char *write_key(Scene *scene, const char *name, EVP_PKEY *key, const char *passphrase)
{
    g_autofree char *pem = test_key_pem(key, passphrase);
    return scene_write(scene, name, pem);
}

/* iothsmctl must fail with |error_name|. */
static void assert_fails(const char *error_name, const char *line, const char *first, const char *second)
{
    g_autofree char *json = g_strdup_printf("--json=short %s", line);
    g_autoptr(Run) run = run_iothsmctl(json, first, second, NULL);
    assert_run(run, 1);
    if (strstr(run->out, error_name) == NULL)
        g_error("%s failed with %s instead of %s", line, run->out, error_name);
}

/* A request made on the token, signed outside by the openssl command. */
static void test_intermediate(void)
{
    g_autoptr(Scene) scene = scene_begin();
    g_autoptr(EVP_PKEY) root_key = test_key("rsa2048");
    g_autoptr(X509) root = test_ca("Offline Root", root_key);
    g_autofree char *root_file = write_certificate(scene, "root.pem", root);
    g_autofree char *key_file = write_key(scene, "root.key", root_key, NULL);
    g_autofree char *template_file = create_ca(scene, "Intermediate");
    g_autofree char *request = scene_path(scene, "intermediate.csr");
    g_autofree char *certificate = scene_path(scene, "intermediate.pem");

    g_autofree char *generated = scene_control("generate Home/01 --type=p384", NULL);
    g_autofree char *asked = scene_control("csr Home/01 $1 --output=$2", template_file, request, NULL);
    assert_slot_state("Home/01", "key-only");
    g_autofree char *judged = TEST_RUN("openssl", "req", "-in", request, "-noout", "-verify", "-text");
    g_assert_nonnull(strstr(judged, "CA:TRUE"));
    g_autofree char *issued =
        TEST_RUN("openssl", "x509", "-req", "-in", request, "-CA", root_file, "-CAkey", key_file,
                 "-copy_extensions", "copy", "-days", "1000", "-out", certificate);

    assert_fails("KeyMismatch", "import-cert Home/01 $1", root_file, NULL);
    assert_slot_state("Home/01", "key-only");
    g_autofree char *imported = scene_control("import-cert Home/01 $1", certificate, NULL);
    assert_slot_state("Home/01", "provisioned");
    scene_register(scene, "Intermediate", certificate);

    g_autofree char *leaf = scene_path(scene, "leaf.pem");
    g_autofree char *made = scene_platform(
        scene, 0, "sign-csr --ca=Intermediate --name=www --dns=www.example.test --eku=serverAuth --out=$1",
        leaf, NULL);
    g_autofree char *verified =
        TEST_RUN("openssl", "verify", "-CAfile", root_file, "-untrusted", certificate, leaf);
    scene_assert_no_complaints(scene);
}

static void test_imported_key(gconstpointer data)
{
    const char *type = data;
    g_autoptr(Scene) scene = scene_begin();
    g_autoptr(EVP_PKEY) key = test_key(type);
    g_autofree char *key_file = write_key(scene, "ca.key", key, "correct horse");
    g_autofree char *passphrase = scene_write(scene, "passphrase", "correct horse");
    g_autofree char *wrong = scene_write(scene, "wrong", "incorrect horse");
    g_autofree char *template_file = create_ca(scene, type);
    g_autofree char *certificate = scene_path(scene, "ca.pem");

    assert_fails("PassphraseWrong", "import-key Home/01 $1 --passphrase-file=$2", key_file, wrong);
    g_autofree char *imported =
        scene_control("import-key Home/01 $1 --passphrase-file=$2", key_file, passphrase, NULL);
    assert_slot_state("Home/01", "key-only");
    g_autofree char *made =
        scene_control("self-sign Home/01 $1 --output=$2", template_file, certificate, NULL);
    scene_register(scene, type, certificate);
    scene_assert_works(scene, type);
    /* The certificate is for that very key. */
    g_autofree char *public_key = test_public_key_pem(key);
    g_autofree char *shown = TEST_RUN("openssl", "x509", "-in", certificate, "-noout", "-pubkey");
    g_assert_cmpstr(shown, ==, public_key);
}

/* Two tokens, one key: one authority, and both sign. */
static void test_two_tokens(void)
{
    g_autoptr(Scene) scene = scene_begin();
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *key_file = write_key(scene, "ca.key", key, NULL);
    g_autofree char *template_file = create_ca(scene, "Shared");
    g_autofree char *certificate = scene_path(scene, "ca.pem");
    scene_token(scene, "Spare");
    g_autofree char *imported = scene_control("import-key Home/01 $1", key_file, NULL);
    g_autofree char *made =
        scene_control("self-sign Home/01 $1 --output=$2", template_file, certificate, NULL);
    scene_register(scene, "Shared", certificate);

    /* Re-association: the key goes to another token, and its certificate after it. */
    g_autofree char *again = scene_control("import-key Spare/05 $1", key_file, NULL);
    assert_slot_state("Spare/05", "key-only");
    g_autofree char *associated = scene_control("import-cert Spare/05 $1", certificate, NULL);
    assert_slot_state("Spare/05", "provisioned");
    g_auto(GStrv) authorities = fixture_objects(scene_fixture(scene), AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(authorities), ==, 1);

    g_autofree char *drive =
        scene_platform(scene, 0, "drive --ca=Shared --requests=40 --concurrency=8 --json", NULL);
    g_autofree char *home = scene_control_member("signatures", "show Home/01", NULL);
    g_autofree char *spare = scene_control_member("signatures", "show Spare/05", NULL);
    g_assert_cmpint(g_ascii_strtoll(home, NULL, 10), >=, 10);
    g_assert_cmpint(g_ascii_strtoll(spare, NULL, 10), >=, 10);

    /* The first one goes: the second one serves alone. */
    g_autofree char *cleared = scene_control("softhsm delete Home --yes", NULL);
    scene_wait_connected(scene, "Shared");
    scene_assert_works(scene, "Shared");
    scene_assert_no_complaints(scene);
}

/* What another agent leaves in a slot until its CA is made. */
static void test_temporary_certificate(void)
{
    g_autoptr(Scene) scene = scene_begin();
    g_autoptr(EVP_PKEY) key = test_key("p256");
    static const char *const extensions[] = {"subjectKeyIdentifier", "hash", NULL};
    const TestCertificate plan = {.subject = "C=US,CN=TEMPORARY CERT FOR KEY IMPORT",
                                  .extensions = extensions};
    g_autoptr(X509) temporary = test_certificate(&plan, key, NULL, NULL);
    g_autofree char *temporary_file = write_certificate(scene, "temporary.pem", temporary);
    g_autofree char *key_file = write_key(scene, "ca.key", key, NULL);
    g_autofree char *certificate = scene_path(scene, "ca.pem");

    g_autofree char *imported = scene_control("import-key Home/01 $1", key_file, NULL);
    g_autofree char *marked = scene_control("import-cert Home/01 $1", temporary_file, NULL);
    assert_slot_state("Home/01", "key-only");
    g_auto(GStrv) none = fixture_objects(scene_fixture(scene), AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(none), ==, 0);

    g_autofree char *template_file = create_ca(scene, "Completed");
    g_autofree char *made =
        scene_control("self-sign Home/01 $1 --output=$2", template_file, certificate, NULL);
    assert_slot_state("Home/01", "provisioned");
    scene_register(scene, "Completed", certificate);
    scene_assert_works(scene, "Completed");
}

/* --- certificates that others made ------------------------------------------------------------------- */

static char *import_foreign(Scene *scene, const char *name, const char *serial, bool with_key_identifier)
{
    static const char *const usual[] = {"basicConstraints",
                                        "critical,CA:TRUE",
                                        "keyUsage",
                                        "critical,keyCertSign,cRLSign",
                                        "subjectKeyIdentifier",
                                        "hash",
                                        NULL};
    static const char *const bare[] = {"basicConstraints", "critical,CA:TRUE", "keyUsage",
                                       "critical,keyCertSign,cRLSign", NULL};
    g_autoptr(EVP_PKEY) key = test_key("p256");
    g_autofree char *subject = g_strdup_printf("C=US,O=IoT-HSM platform stand-in,CN=%s", name);
    const TestCertificate plan = {
        .subject = subject, .serial = serial, .extensions = with_key_identifier ? usual : bare};
    g_autoptr(X509) certificate = test_certificate(&plan, key, NULL, NULL);
    g_autofree char *key_file = write_key(scene, "ca.key", key, NULL);
    char *file = write_certificate(scene, "ca.pem", certificate);
    g_autofree char *template_file = create_ca(scene, name);
    g_autofree char *imported = scene_control("import-key Home/01 $1", key_file, NULL);
    g_autofree char *associated = scene_control("import-cert Home/01 $1", file, NULL);
    return file;
}

static const char *const short_serials[] = {"1234", "7fffffffffffffff", "8000000000000000"};

static void test_short_serial(gconstpointer data)
{
    g_autoptr(Scene) scene = scene_begin();
    g_autofree char *file = import_foreign(scene, "Short", data, true);
    scene_register(scene, "Short", file);
    scene_assert_works(scene, "Short");
    scene_assert_no_complaints(scene);
}

/* The words that the original sends in place of a short number, which is an address, too, when a CRL is
 * delivered. */
static void test_original_serial(void)
{
    g_autoptr(Scene) scene = scene_new("");
    scene_start(scene, "ShortSerial=original\n", NULL);
    scene_token(scene, "Home");
    g_autofree char *file = import_foreign(scene, "Short", "1234", true);
    scene_register(scene, "Short", file);
    scene_assert_works(scene, "Short");
    g_autofree char *crl = scene_path(scene, "crl.pem");
    g_autofree char *made = scene_platform(scene, 0, "make-crl --ca=Short --revoke=01 --out=$1", crl, NULL);
    g_autofree char *judged = TEST_RUN("openssl", "crl", "-in", crl, "-CAfile", file, "-noout");
    g_assert_nonnull(strstr(judged, "verify OK"));
    scene_assert_no_complaints(scene);
}

/* Nothing that it signs could name its key: said before anything is asked of the platform. */
static void test_no_key_identifier(void)
{
    g_autoptr(Scene) scene = scene_begin();
    g_autofree char *file = import_foreign(scene, "Nameless", NULL, false);
    g_auto(GStrv) authorities = fixture_objects(scene_fixture(scene), AUTHORITY_INTERFACE);
    g_assert_cmpuint(g_strv_length(authorities), ==, 1);
    fixture_wait_string(scene_fixture(scene), authorities[0], AUTHORITY_INTERFACE, "LinkMessage",
                        "The CA certificate has no subject key identifier", 20);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/provisioning/intermediate-is-signed-outside-and-imported", test_intermediate);
    g_test_add_data_func("/provisioning/rsa-key-comes-with-a-passphrase", "rsa2048", test_imported_key);
    g_test_add_data_func("/provisioning/ec-key-comes-with-a-passphrase", "p384", test_imported_key);
    g_test_add_func("/provisioning/same-key-on-two-tokens-is-one-authority", test_two_tokens);
    g_test_add_func("/provisioning/slot-with-a-temporary-certificate-is-completed",
                    test_temporary_certificate);
    for (gsize i = 0; i < G_N_ELEMENTS(short_serials); i++) {
        g_autofree char *path = g_strdup_printf("/provisioning/serial-number-%s-connects", short_serials[i]);
        g_test_add_data_func(path, short_serials[i], test_short_serial);
    }
    g_test_add_func("/provisioning/short-serial-in-the-original-form-connects", test_original_serial);
    g_test_add_func("/provisioning/ca-without-a-key-identifier-is-said-clearly", test_no_key_identifier);
    return g_test_run();
}
