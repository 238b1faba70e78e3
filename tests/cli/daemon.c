/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* iothsmd-fake, configured so that it stays at home. */

#include "tests/cli/daemon.h"
#include "daemon/openssl-cleanup.h"

static const char configuration[] = "[Platform]\n"
                                    "Url=http://127.0.0.1:9\n"
                                    "[Tokens]\n"
                                    "SoftHsm=no\n";

static void start(Fixture *fixture, const char *text, const char *const *tokens, const char *credentials)
{
    /* Labels in any script. */
    const char *const environment[] = {
        "LC_ALL", "C.UTF-8", credentials != NULL ? "CREDENTIALS_DIRECTORY" : NULL, credentials, NULL,
    };
    g_autoptr(GPtrArray) arguments = g_ptr_array_new_with_free_func(g_free);
    for (; *tokens != NULL; tokens++)
        g_ptr_array_add(arguments, g_strdup_printf("--fake=fake:%s", *tokens));
    g_ptr_array_add(arguments, NULL);
    fixture_start_daemon(fixture, NULL, text, (const char *const *)arguments->pdata, environment);
}

Fixture *start_daemon(const char *const *tokens)
{
    Fixture *fixture = fixture_new();
    start(fixture, configuration, tokens, NULL);
    return fixture;
}

Fixture *start_daemon_with_google(const char *const *tokens, const char *url)
{
    g_autofree char *text = g_strdup_printf(
        "%s[GoogleKms]\nKmsUrl=%s\nResourceManagerUrl=%s\nMetadataUrl=%s\n", configuration, url, url, url);
    Fixture *fixture = fixture_new();
    start(fixture, text, tokens, NULL);
    return fixture;
}

void restart_daemon_with_key(Fixture *fixture, const char *const *tokens)
{
    g_autofree char *key =
        test_write(fixture_directory(fixture), "iothsm.key", "0123456789abcdef0123456789abcdef");
    fixture_stop_daemon(fixture);
    start(fixture, configuration, tokens, fixture_directory(fixture));
}

Fixture *start_daemon_with_softhsm(void)
{
    static const char with_softhsm[] = "[Platform]\nUrl=http://127.0.0.1:9\n";
    static const char *const environment[] = {"LC_ALL", "C.UTF-8", NULL};
    Fixture *fixture = fixture_new();
    fixture_start_daemon(fixture, NULL, with_softhsm, NULL, environment);
    return fixture;
}

char *write_template(Fixture *fixture)
{
    g_autoptr(X509) ca = test_ca("Provisioned CA", test_key("p256"));
    g_autofree char *pem = test_certificate_pem(ca);
    return test_write(fixture_directory(fixture), "template.pem", pem);
}

char *write_secret(Fixture *fixture, const char *text)
{
    static guint number;
    g_autofree char *name = g_strdup_printf("secret-%u", number++);
    return test_write(fixture_directory(fixture), name, text);
}
