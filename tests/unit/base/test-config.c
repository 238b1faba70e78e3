/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "daemon/config.h"
#include "daemon/error.h"
#include "tests/support/support.h"
#include <string.h>

static Config *load(const char *text, GError **error)
{
    g_autofree char *directory = test_directory();
    g_autofree char *path = test_write(directory, "iothsmd.conf", text);
    return config_load(path, "/var/lib/iothsm", error);
}

static void an_empty_file_gives_the_documented_defaults(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = load("", &error);
    g_assert_no_error(error);
    g_assert_cmpstr(config->platform_url, ==, "https://pkiaas.io");
    g_assert_cmpstr(config->verification_ca, ==, "/var/lib/iothsm/trust/pkiaas.io.pem");
    g_assert_null(config->tls_ca);
    g_assert_cmpint(config->transport, ==, TRANSPORT_CHOICE_AUTO);
    g_assert_cmpstr(config->pubnub_origin, ==, "https://ps.pndsn.com");
    g_assert_cmpint(config->signer_purpose, ==, SIGNER_PURPOSE_SMIMESIGN);
    g_assert_true(config->yubikey);
    g_assert_true(config->softhsm);
    g_assert_cmpuint(g_strv_length(config->pkcs11_modules), ==, 0);
    g_assert_cmpuint(config->queue_length, ==, 1024);
    g_assert_cmpuint(config->default_ttl, ==, 5);
    g_assert_cmpuint(config->message_size, ==, 64 << 20);
    g_assert_cmpuint(config->inflated_size, ==, 192 << 20);
    g_assert_cmpint(config->replay_window, ==, 30 * 86400);
}

static void every_key_has_an_effect(void)
{
    static const char text[] =
        "[Platform]\nUrl=http://127.0.0.1:8080/\nTlsCa=/a/tls.pem\nVerificationCa=/a/v.pem\n"
        "Transport=pubnub\nPubNubOrigin=https://ps.example/"
        "\nSignerPurpose=any\nShortSerial=original\n[Tokens]\nYubiKey=no\nSoftHsm=no\n"
        "SoftHsmModule=/a/s.so\nPkcs11Modules=/a/b.so; /c/d.so\n[Limits]\nQueueLength=7\n"
        "DefaultTtl=9\nMessageSize=1M\nInflatedSize=2M\n[Crl]\nForm=rfc5280\n"
        "[Journal]\nReplayWindow=12h\n[GoogleKms]\nKmsUrl=https://kms.example.com/\n"
        "ResourceManagerUrl=http://127.0.0.1:81\nMetadataUrl=http://169.254.169.254\n";
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = load(text, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(config->platform_url, ==, "http://127.0.0.1:8080");
    g_assert_cmpstr(config->tls_ca, ==, "/a/tls.pem");
    g_assert_cmpstr(config->verification_ca, ==, "/a/v.pem");
    g_assert_cmpint(config->transport, ==, TRANSPORT_CHOICE_PUBNUB);
    g_assert_cmpstr(config->pubnub_origin, ==, "https://ps.example");
    g_assert_cmpint(config->signer_purpose, ==, SIGNER_PURPOSE_ANY);
    g_assert_cmpint(config->short_serial, ==, SHORT_SERIAL_ORIGINAL);
    g_assert_false(config->yubikey);
    g_assert_false(config->softhsm);
    g_assert_cmpstr(config->softhsm_module, ==, "/a/s.so");
    g_assert_cmpstr(config->pkcs11_modules[1], ==, "/c/d.so");
    g_assert_cmpuint(config->queue_length, ==, 7);
    g_assert_cmpuint(config->default_ttl, ==, 9);
    g_assert_cmpuint(config->message_size, ==, 1 << 20);
    g_assert_cmpuint(config->inflated_size, ==, 2 << 20);
    g_assert_cmpint(config->crl_form, ==, CRL_FORM_RFC5280);
    g_assert_cmpint(config->replay_window, ==, 12 * 3600);
    g_assert_cmpstr(config->google_kms_url, ==, "https://kms.example.com");
    g_assert_cmpstr(config->google_resource_manager_url, ==, "http://127.0.0.1:81");
    g_assert_cmpstr(config->google_metadata_url, ==, "http://169.254.169.254");
}

static void a_value_that_cannot_be_meant_is_an_error_that_names_it(void)
{
    static const char *const texts[] = {
        "[Platform]\nUrl=http://pkiaas.io\n",
        "[Platform]\nUrl=ftp://127.0.0.1\n",
        "[Platform]\nUrl=pkiaas.io\n",
        "[Platform]\nUrl=https://user@pkiaas.io\n",
        "[Platform]\nTlsCa=relative.pem\n",
        "[Platform]\nSignerPurpose=all\n",
        "[Platform]\nTransport=pigeon\n",
        "[Platform]\nPubNubOrigin=http://ps.pndsn.com\n",
        "[Platform]\nPubNubOrigin=\n",
        "[Tokens]\nSoftHsm=maybe\n",
        "[Tokens]\nYubiKey=2\n",
        "[Tokens]\nPkcs11Modules=/a;b\n",
        "[Limits]\nQueueLength=0\n",
        "[Limits]\nQueueLength=-1\n",
        "[Limits]\nMessageSize=1T\n",
        "[Limits]\nMessageSize=9999999999G\n",
        "[Limits]\nMessageSize=1\n",
        "[Limits]\nMessageSize=1MB\n",
        "[Journal]\nReplayWindow=30\n",
        "[Journal]\nReplayWindow=99999999999999999d\n",
        "[Crl]\nForm=v2\n",
        "[GoogleKms]\nKmsUrl=\n",
        "[GoogleKms]\nKmsUrl=http://metadata.google.internal\n",
        "[GoogleKms]\nResourceManagerUrl=http://cloudresourcemanager.googleapis.com\n",
        "[GoogleKms]\nMetadataUrl=http://metadata.example.com\n",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_autoptr(GError) error = NULL;
        g_autoptr(Config) config = load(texts[i], &error);
        if (config)
            g_error("accepted: %s", texts[i]);
        g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
        const char *name = strchr(texts[i], '\n') + 1;
        g_autofree char *key = g_strndup(name, strcspn(name, "="));
        g_assert_nonnull(strstr(error->message, key));
    }
}

static void a_missing_file_that_was_named_is_an_error(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(config_load("/nonexistent/iothsmd.conf", "/var/lib/iothsm", &error));
    g_assert_error(error, IOTHSM_ERROR, IOTHSM_ERROR_INVALID);
}

static void unknown_keys_and_groups_are_skipped(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Config) config = load("[Platform]\nColour=red\n[Else]\nA=b\n[Limits]\nDefaultTtl=6\n", &error);
    g_assert_no_error(error);
    g_assert_cmpuint(config->default_ttl, ==, 6);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/config/defaults", an_empty_file_gives_the_documented_defaults);
    g_test_add_func("/config/keys", every_key_has_an_effect);
    g_test_add_func("/config/wrong-values", a_value_that_cannot_be_meant_is_an_error_that_names_it);
    g_test_add_func("/config/missing", a_missing_file_that_was_named_is_an_error);
    g_test_add_func("/config/unknown", unknown_keys_and_groups_are_skipped);
    return g_test_run();
}
