/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The main job: a CA's key on a token signs certificates, CRLs and CMS messages that the platform asks for.
 * Every result is judged three times: by the daemon, by the stand-in, and by the openssl command. */

#include "tests/end-to-end/signed.h"
#include <string.h>

static void assert_cms_unsupported(Scene *scene, const char *name)
{
    g_autofree char *options = scene_write(scene, "cms.json", "{\"options\":{\"data\":\"text\"}}");
    scene_assert_refused(scene, "This CA's key type cannot sign CMS here", "--ca=$1 --signtype=cms --json=$2",
                         name, options, NULL);
}

static void test_key_type(gconstpointer data)
{
    const char *type = data;
    g_autoptr(Scene) scene = scene_begin();
    g_autofree char *types = scene_control("show Home --json=short", NULL);
    g_autofree char *quoted = g_strdup_printf("\"%s\"", type);
    if (strstr(types, quoted) == NULL) {
        g_test_skip("this SoftHSM2 has no such keys");
        return;
    }
    g_autofree char *ca_file = scene_root(scene, type, "Home/01", type);
    g_autofree char *root = TEST_RUN("openssl", "verify", "-check_ss_sig", "-CAfile", ca_file, ca_file);
    assert_certificate(scene, type, ca_file);
    assert_crl(scene, type, ca_file);
    if (strcmp(type, "ed25519") == 0)
        assert_cms_unsupported(scene, type);
    else
        assert_cms(scene, type, ca_file);
    g_autofree char *signatures = scene_control_member("authorities.0.signatures", "status", NULL);
    g_assert_cmpstr(signatures, ==, strcmp(type, "ed25519") == 0 ? "2" : "3");
    scene_assert_no_complaints(scene);
}

/* https and wss below TlsCa=, a message signer with an EC key below an intermediate. */
static void test_tls(void)
{
    g_autoptr(Scene) scene = scene_new("--tls --signer=p256 --intermediate");
    scene_start(scene, NULL, NULL);
    scene_token(scene, "Home");
    g_autofree char *ca_file = scene_root(scene, "Secure", "Home/01", "p256");
    assert_certificate(scene, "Secure", ca_file);
    assert_crl(scene, "Secure", ca_file);
    assert_cms(scene, "Secure", ca_file);
    scene_assert_no_complaints(scene);
}

/* The channel's certificate costs a signature of the CA once, not with every request. */
static void test_channel_certificate_kept(void)
{
    g_autoptr(Scene) scene = scene_begin();
    g_autofree char *ca_file = scene_root(scene, "Thrifty", "Home/01", "p256");
    g_autofree char *before = scene_control_member("signatures", "show Home/01", NULL);
    for (int i = 0; i < 3; i++) {
        g_autofree char *serial = scene_sign(scene, "Thrifty");
    }
    g_autofree char *after = scene_control_member("signatures", "show Home/01", NULL);
    g_assert_cmpint(g_ascii_strtoll(after, NULL, 10) - g_ascii_strtoll(before, NULL, 10), ==, 3);
}

int main(int argc, char **argv)
{
    static const char *const types[] = {"rsa2048", "rsa3072", "rsa4096", "p256", "p384", "p521", "ed25519"};
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_autofree char *path = g_strdup_printf("/signing/root-ca-of-type-%s-signs-everything", types[i]);
        g_test_add_data_func(path, types[i], test_key_type);
    }
    g_test_add_func("/signing/over-tls-with-an-ec-signer-below-an-intermediate", test_tls);
    g_test_add_func("/signing/channel-certificate-is-not-made-for-every-request",
                    test_channel_certificate_kept);
    return g_test_run();
}
